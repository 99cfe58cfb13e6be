"""Answers a pipeline's questions to its transformer with what the prompts say at that step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from promptengine.errors import PromptEngineError
from promptengine.integrations.diffusers.rows import chosen_rows
from promptengine.text.conditioning import Conditioning
from promptengine.undo import Changes, UndoLog

__all__ = ["PromptTexts", "override_transformer_forward"]

_OF_TOKENS: Final = ("img_ids", "txt_ids")
"""Arguments of Flux's transformer that have a row for each token, and none for each image."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptTexts:
    """What steers a transformer about an image.

    Attributes:
        positive: The prompt's parts with their weights (one part without ``AND``).
        negative: The negative prompt; None where nothing asks for it.
    """

    positive: tuple[tuple[Conditioning, float], ...]
    negative: Conditioning | None

    @property
    def composed(self) -> bool:
        """Whether the answer to the prompt is put together from others."""
        return composed([weight for _, weight in self.positive])


def composed(weights: Sequence[float]) -> bool:
    """Tell whether parts of these weights are more than one text to be followed."""
    return list(weights) != [1.0]


@contextmanager
def override_transformer_forward(
    transformer: nn.Module,
    scheduler: Any,
    texts: Sequence[PromptTexts],
    negative: Tensor | None,
    *,
    journal: UndoLog,
) -> Generator[None]:
    """Let a transformer answer with a prompt's own texts, whatever texts it is asked with, in a ``with`` block.

    A pipeline asks with one row for each image, or with two, the unconditional ones first, and guides by
    ``U + scale * (C - U)``. It gets ``C = U + sum(weight * (C_part - U))``, so that prompts of several
    parts are guided as in WebUI; where the pipeline asks for no ``U``, it is asked for here. A step ends where
    the scheduler makes its step, however often the transformer was asked before.

    Args:
        transformer: The pipeline's.
        scheduler: Likewise.
        texts: Of each image.
        negative: The embeddings that the pipeline was given for negative prompts; a question with these and one
            row for each image is about negative prompts.
        journal: Of the run that this is a part of.
    """
    with journal.block() as changes:
        count = _counted_steps(scheduler, changes)
        changes.shadow(
            transformer, "forward", _Steering(transformer.forward, texts, negative, count)
        )
        yield


@dataclass(slots=True)
class _StepCount:
    done: int = 0


def _counted_steps(scheduler: Any, changes: Changes) -> _StepCount:
    """Count the steps that a scheduler makes."""
    count, step = _StepCount(), scheduler.step

    # Pipelines look at which arguments it takes.
    @functools.wraps(step)
    def counted(*args: Any, **kwargs: Any) -> Any:
        found = step(*args, **kwargs)
        count.done += 1
        return found

    changes.shadow(scheduler, "step", counted)
    return count


class _Question(NamedTuple):
    """A text ``[tokens, width]`` with its pooled vector ``[width]``, and the pipeline's row that it is asked with."""

    source: int
    text: Tensor
    pooled: Tensor


class _Sum(NamedTuple):
    """An answer as the sum of others: the place of U, and those of the parts with their weights."""

    base: int
    parts: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, eq=False)
class _Steering:
    """Stands in for a transformer's ``forward``."""

    ask: Callable[..., Any]
    texts: Sequence[PromptTexts]
    negative: Tensor | None
    steps: _StepCount

    def __call__(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        timestep: Tensor,
        *,
        return_dict: bool = True,
        **more: Any,
    ) -> Any:
        """Answer as the transformer's own ``forward`` does, row for row."""
        asked, images = len(hidden_states), len(self.texts)
        if asked not in (images, 2 * images):
            message = f"the pipeline asks about {asked} rows for {images} images"
            raise PromptEngineError(f"{message}; promptengine cannot tell which prompts they have")
        questions, sums = self._questions(asked, encoder_hidden_states)
        rows = {
            "hidden_states": hidden_states,
            "timestep": timestep,
            **{name: value for name, value in more.items() if name not in _OF_TOKENS},
        }
        same = {name: more[name] for name in _OF_TOKENS if name in more}
        answers: dict[int, Tensor] = {}
        for places in _of_one_length(questions):
            some = [questions[place] for place in places]
            chosen = chosen_rows(rows, [one.source for one in some], asked)
            found = self.ask(
                encoder_hidden_states=torch.stack([one.text for one in some]).to(
                    encoder_hidden_states
                ),
                pooled_projections=torch.stack([one.pooled for one in some]).to(pooled_projections),
                return_dict=False,
                **chosen,
                **same,
            )[0]
            answers |= dict(zip(places, found, strict=True))
        found = torch.stack([_added(one, answers) for one in sums])
        if not return_dict:
            return (found,)
        from diffusers.models.modeling_outputs import Transformer2DModelOutput

        return Transformer2DModelOutput(sample=found)

    def _questions(self, asked: int, embeddings: Tensor) -> tuple[list[_Question], list[_Sum]]:
        """Return all that is to be asked, and how the answer to each row of the pipeline's comes of it."""
        images = len(self.texts)
        questions: list[_Question] = []
        sums: list[_Sum] = []

        def put(source: int, text: Conditioning) -> int:
            pooled = text.pooled_at(self.steps.done)
            assert pooled is not None
            questions.append(_Question(source, text.at(self.steps.done), pooled))
            return len(questions) - 1

        first_positive = 0
        if asked > images or _is_same(embeddings, self.negative):
            for image, one in enumerate(self.texts):
                assert one.negative is not None
                sums.append(_Sum(put(image, one.negative), ()))
            first_positive = images
        for image, one in enumerate(self.texts if first_positive < asked else ()):
            source = first_positive + image
            parts = [(put(source, text), weight) for text, weight in one.positive]
            if not one.composed:
                sums.append(_Sum(parts[0][0], ()))
            elif first_positive:
                sums.append(_Sum(sums[image].base, parts))
            else:
                assert one.negative is not None
                sums.append(_Sum(put(source, one.negative), parts))
        return questions, sums


def _is_same(tensor: Tensor, other: Tensor | None) -> bool:
    """Tell whether two tensors are one, perhaps seen by another object."""
    return other is not None and tensor.data_ptr() == other.data_ptr()


def _of_one_length(questions: Sequence[_Question]) -> Iterator[list[int]]:
    """Yield the places of the questions that can be asked at once, since transformers know no mask of a text."""
    by_length: dict[int, list[int]] = {}
    for place, one in enumerate(questions):
        by_length.setdefault(len(one.text), []).append(place)
    yield from by_length.values()


def _added(one: _Sum, answers: dict[int, Tensor]) -> Tensor:
    base = found = answers[one.base]
    for place, weight in one.parts:
        found = found + (answers[place] - base) * weight
    return found
