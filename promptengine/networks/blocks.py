"""Which block of a UNet a module lies in. Text only, no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

__all__ = ["UNetBlocks"]

_PLACE: Final = re.compile(r"(down|up)_blocks\.(\d{1,3})\.(resnets|attentions)\.(\d{1,3})(?:\.|$)")
_SAMPLER: Final = re.compile(r"(down|up)_blocks\.(\d{1,3})\.(?:down|up)samplers\.")


class UNetBlocks:
    """The blocks of a diffusers UNet, numbered as in the original layout.

    On the way down the first convolution is ``IN00``; each residual block takes a number, with the attention behind
    it, and so does each downsampler. On the way up an upsampler belongs to the last block of its level.

    Args:
        paths: Of its modules, such as ``down_blocks.0.resnets.1``; they tell how many blocks each level has.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        counts: dict[str, dict[int, int]] = {"down": {}, "up": {}}
        for path in paths:
            if (found := _PLACE.match(path)) and found[3] == "resnets":
                level, number = int(found[2]), int(found[4])
                held = counts[found[1]]
                held[level] = max(held.get(level, 0), number + 1)
        self._down = _starts(counts["down"], first=1, behind=1)
        self._up = _starts(counts["up"], first=0, behind=0)

    def of(self, path: str) -> str | None:
        """Return the block of a module, such as ``OUT05``; None for what lies in none.

        Args:
            path: Of the module, such as ``up_blocks.1.attentions.2.proj_in``.
        """
        if path == "conv_in":
            return "IN00"
        if path.startswith("mid_block."):
            return "MID"
        if found := _PLACE.match(path):
            return self._named(found[1], int(found[2]), int(found[4]))
        if found := _SAMPLER.match(path):
            # The place behind the last residual block, which on the way up is that block itself.
            return self._named(found[1], int(found[2]) + 1, -1)
        return None

    def _named(self, way: str, level: int, number: int) -> str | None:
        starts = self._down if way == "down" else self._up
        if level >= len(starts):
            return None
        return f"{'IN' if way == 'down' else 'OUT'}{starts[level] + number:02}"


def _starts(counts: dict[int, int], *, first: int, behind: int) -> list[int]:
    """Return the number of the first block of each level, and of the one that would come next."""
    sizes = (counts[level] + behind for level in sorted(counts))
    return list(accumulate(sizes, initial=first))
