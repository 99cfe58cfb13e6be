"""A ComfyUI ``CLIP`` as the text model that the engine's own encoding asks: ids in, states out.

ComfyUI's own reading of weights, ``BREAK`` and long prompts is passed by: it gets windows of 77 tokens whose
weights are all 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from promptengine.errors import PromptEngineError
from promptengine.families import FAMILIES, Family
from promptengine.text.encoder import Encoded
from promptengine.text.textual_inversion.table import Placement
from promptengine.text.tokenizer import END_TOKEN

__all__ = ["ClipText"]

_FAMILY_OF: Final[Mapping[frozenset[str], Family]] = {
    frozenset("l"): "SD1",
    frozenset("h"): "SD2",
    frozenset("lg"): "SDXL",
}
"""Families by ComfyUI's names of their encoders; an encoder's order is that of the letters in a name."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipText:
    """All encoders of a ``CLIP`` as one function, as :class:`promptengine.text.encoder.TextModel` says.

    Attributes:
        clip: ComfyUI's object.
        family: Of the model it belongs to.
        keys: ComfyUI's names of the encoders, in the family's order.
        widths: Of each encoder's states and token vectors.
    """

    clip: Any
    family: Family
    keys: tuple[str, ...]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, clip: Any) -> ClipText:
        """Read a ``CLIP``.

        Raises:
            PromptEngineError: It has encoders that WebUI's prompts are not read by.
        """
        names = clip.tokenize("").keys()
        family = _FAMILY_OF.get(frozenset(names))
        if family is None:
            message = f"the CLIP has the encoders {', '.join(names)}"
            raise PromptEngineError(f"{message}; it must be that of Stable Diffusion 1, 2 or XL")
        keys = tuple(key for key in "lhg" if key in names)
        encoders = [getattr(clip.cond_stage_model, f"clip_{key}") for key in keys]
        layers = [encoder.transformer.get_input_embeddings() for encoder in encoders]
        return cls(clip, family, keys, tuple(layer.weight.shape[-1] for layer in layers))

    def __call__(
        self,
        tokens: Tensor,
        placements: Sequence[Sequence[Placement]] = (),
        *,
        mask: Tensor | None = None,
    ) -> Encoded:
        """Encode windows ``[batch, 77]``, with vectors in the places of tokens.

        Raises:
            PromptEngineError: A mask is given, which ComfyUI's encoders do not take.
        """
        if mask is not None:
            message = "this dialect hides tokens from the text encoder, which ComfyUI's cannot do"
            raise PromptEngineError(f"{message}; choose another dialect")
        rows = [
            self._row(row.tolist(), placements[number] if placements else ())
            for number, row in enumerate(tokens)
        ]
        states = torch.cat([state for state, _ in rows])
        pooled = [one for _, one in rows if one is not None]
        takes_pooled = bool(FAMILIES[self.family].sizes) and len(pooled) == len(rows)
        return Encoded(
            tuple(states.split(list(self.widths), dim=-1)),
            torch.cat(pooled) if takes_pooled else None,
        )

    def _row(self, ids: list[int], placed: Sequence[Placement]) -> tuple[Tensor, Tensor | None]:
        asked = {
            key: [[(item, 1.0) for item in self._items(ids, placed, part)]]
            for part, key in enumerate(self.keys)
        }
        return self.clip.encode_from_tokens(asked, return_pooled=True)

    def _items(self, ids: list[int], placed: Sequence[Placement], part: int) -> list[int | Tensor]:
        items: list[int | Tensor] = list(ids)
        if self.keys[part] != "l":
            # OpenCLIP was trained to see 0 behind a text.
            end = ids.index(END_TOKEN) + 1
            items[end:] = [0] * (len(ids) - end)
        for place in placed:
            vectors = place.embedding.parts[part]
            items[place.position : place.position + len(vectors)] = list(vectors)
        return items
