"""Lets several texts act in one image, each where its mask is: regional prompts in attention mode.

A batch has a *row* for each text that latents are asked about. Where a row has regions, the text context has
more rows than the batch: one for each region that acts in it. Within a ``with`` block every cross-attention
answers for each of these as it would alone, whatever processor computes it, and the answers are added up
under the masks at that layer's resolution ("attention couple").
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from promptengine.errors import PromptEngineError
from promptengine.networks.attention import attentions
from promptengine.undo import UndoLog

__all__ = ["MaskedRows", "RegionalAttention", "attend_regions", "cells_of"]


def cells_of(tokens: int, cells: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of the level of a UNet that works on so many tokens.

    Args:
        tokens: Of an attention over the image.
        cells: Height and width of the latents. Each level has half as many as the one above, rounded up.

    Raises:
        PromptEngineError: No level has so many.
    """
    height, width = cells
    while height * width > tokens and height * width > 1:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != tokens:
        raise PromptEngineError(
            f"an attention works on {tokens} tokens, and latents of {cells[1]}x{cells[0]} cells have no such "
            "level; regions cannot act in this model"
        )
    return height, width


@dataclass(frozen=True, slots=True, eq=False)
class MaskedRows:
    """What a batch becomes where its rows are asked several times, each time for a part of the image.

    Attributes:
        rows: For each asking the row of the batch it is for; ascending, none is left out.
        masks: Returns the share of each asking ``[askings, height, width]`` for a height and width; those of
            a row add up to 1 everywhere.
        cells: Height and width of the latents.
    """

    rows: tuple[int, ...]
    masks: Callable[[int, int], Tensor]
    cells: tuple[int, int]
    _kept: dict[object, Tensor] = field(default_factory=dict[object, Tensor])

    def expand(self, x: Tensor) -> Tensor:
        """Return what each asking sees ``[askings, tokens, width]`` of a batch ``[rows, tokens, width]``."""
        return x[list(self.rows)]

    def mix(self, answers: Tensor) -> Tensor:
        """Add up the answers ``[askings, tokens, width]`` of each row under their masks."""
        weighted = answers * self._shares(answers)
        counts = [self.rows.count(row) for row in dict.fromkeys(self.rows)]
        # One row after the other: scattered sums on a GPU come out different from time to time.
        return torch.stack([some.sum(dim=0) for some in weighted.split(counts)])

    def _shares(self, like: Tensor) -> Tensor:
        """Return the masks ``[askings, tokens, 1]`` for answers, in their dtype and on their device."""
        key = like.shape[1], like.dtype, like.device
        if key not in self._kept:
            found = self.masks(*cells_of(like.shape[1], self.cells))
            self._kept[key] = found.flatten(1).to(like)[..., None]
        return self._kept[key]


class RegionalAttention:
    """Which rows of the batches that a UNet is asked about have regions.

    Attributes:
        chosen: What holds for the next call of the UNet; None where no row has regions.
    """

    def __init__(self) -> None:
        self.chosen: MaskedRows | None = None

    def choose(self, rows: MaskedRows | None) -> None:
        """Set what holds from the next call of the UNet on; its context must have a row for each asking."""
        self.chosen = rows


@contextmanager
def attend_regions(
    unet: nn.Module, *, journal: UndoLog | None = None
) -> Generator[RegionalAttention]:
    """Let the rows of a batch have regions within a ``with`` block.

    When the block ends, by an exception too, the UNet computes bit for bit what it did before.

    Args:
        unet: A diffusers ``UNet2DConditionModel``.
        journal: Of the run that this is a part of; by default the block stands alone.

    Yields:
        What regions are chosen with.
    """
    regional = RegionalAttention()
    with (journal or UndoLog()).block() as changes:
        for attention in attentions(unet):
            if attention.reads_text:
                module = attention.module
                changes.shadow(module, "forward", partial(_attend, regional, module.forward))
        yield regional


def _attend(
    regional: RegionalAttention, forward: Callable[..., Tensor], x: Tensor, *args: Any, **more: Any
) -> Tensor:
    """Answer for each asking and add up; ``x`` is ``[rows, tokens, width]``."""
    chosen = regional.chosen
    if chosen is None:
        return forward(x, *args, **more)
    return chosen.mix(forward(chosen.expand(x), *args, **more))
