"""T5's states of a prompt (Raffel et al., arXiv:1910.10683), as Stable Diffusion 3 and Flux read them.

T5 has one window of tokens and no chunks. As in WebUI 1.10.1, fragments of different weight are cut into tokens
on their own and ``BREAK`` is left out. A weight multiplies the states of its tokens, and nothing restores the
mean: nothing keeps that of T5's states away from 0, where a quotient of two means says nothing. (WebUI reads T5's
weights and drops them.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from promptengine.prompt import Fragment
from promptengine.prompt.weighing import BREAK_WEIGHT
from promptengine.text.tokenizer import encodable

__all__ = ["NoT5", "T5Model", "T5Reader", "T5Weights"]

T5Weights = Literal["weighted", "unweighted", "off"]
"""What weights do to T5's states.

``weighted`` multiplies the states by them. ``unweighted`` leaves them alone, as WebUI 1.10.1 does. ``off`` puts
zeros in the place of T5's states, as WebUI does where its option ``sd3_enable_t5`` is off.
"""


class T5Reader(Protocol):
    """What stands in a model's text for T5."""

    def __call__(self, fragments: Iterable[Fragment]) -> Tensor:
        """Return the states ``[tokens, width]`` of a scheduled text."""
        ...

    def cut_off(self, fragments: Iterable[Fragment]) -> str:
        """Return the words of a scheduled text that there is no room for."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class NoT5:
    """Zeros in the place of T5's states.

    Attributes:
        like: Zeros ``[tokens, width]``.
    """

    like: Tensor

    def __call__(self, fragments: Iterable[Fragment]) -> Tensor:
        """Return the zeros, whatever the text."""
        return self.like

    def cut_off(self, fragments: Iterable[Fragment]) -> str:
        """Return nothing: it reads no word of a text."""
        return ""


@dataclass(frozen=True, slots=True, eq=False)
class T5Model:
    """T5 with its tokenizer. Equal texts are encoded once.

    Attributes:
        encoder: A transformers ``T5EncoderModel``.
        tokenizer: Its own.
        length: Tokens of a text, the end token and padding included.
        device: Where the encoder's input belongs.
        weighted: Whether weights multiply states.
    """

    encoder: Any
    tokenizer: Any
    length: int
    device: torch.device
    weighted: bool = True
    _known: dict[tuple[tuple[int, ...], tuple[float, ...]], Tensor] = field(
        default_factory=dict[tuple[tuple[int, ...], tuple[float, ...]], Tensor], init=False
    )

    def __call__(self, fragments: Iterable[Fragment]) -> Tensor:
        """Return the states ``[length, width]`` of a scheduled text."""
        ids, weights = self._tokens(fragments)
        room = self.length - 1
        missing = max(room - len(ids), 0)
        key = (
            (*ids[:room], self.tokenizer.eos_token_id, *[self.tokenizer.pad_token_id] * missing),
            (*weights[:room], *[1.0] * (missing + 1)),
        )
        if key not in self._known:
            self._known[key] = self._encoded(*key)
        return self._known[key]

    def cut_off(self, fragments: Iterable[Fragment]) -> str:
        """Return the words of a scheduled text behind the last token that has room."""
        ids, _ = self._tokens(fragments)
        return str(self.tokenizer.decode(ids[self.length - 1 :])).strip()

    def _tokens(self, fragments: Iterable[Fragment]) -> tuple[list[int], list[float]]:
        """Return the ids of a text and their weights, without the end token."""
        words = [one for one in fragments if (one.text, one.weight) != ("BREAK", BREAK_WEIGHT)]
        texts = [encodable(one.text) for one in words]
        # The tokenizer's own warning is about its training's length, which is none of the encoder's.
        found = (
            self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            if texts
            else []
        )
        ids = [token for some in found for token in some]
        weights = [one.weight for one, some in zip(words, found, strict=True) for _ in some]
        return ids, weights

    @torch.no_grad()
    def _encoded(self, ids: tuple[int, ...], weights: tuple[float, ...]) -> Tensor:
        states: Tensor = self.encoder(torch.tensor([ids], device=self.device))[0][0]
        if not self.weighted or all(weight == 1 for weight in weights):
            return states
        return states * torch.tensor(weights).to(states).unsqueeze(-1)
