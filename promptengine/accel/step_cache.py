"""Steps that reuse what the UNet's deep layers said a few steps ago: DeepCache (Ma et al., arXiv:2312.00858).

What lies deep in the UNet hardly changes from one step to the next. So only every few calls are whole; those in
between compute the outermost skip alone: the first convolution, and the last layer of the last upward block, which
gets what the layers below gave it at the last whole call. The last fifth of a pass is whole, unlike DeepCache's: there
the starter checkpoint loses most, 6.2 points of its probe at an interval of 3, and 2.5 so.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from promptengine.undo import UndoLog

__all__ = ["StepCache", "cache_steps"]


_WHOLE_AT_THE_END: Final = 5
"""The part of a pass that is whole at its end."""


@dataclass(frozen=True, slots=True, eq=False)
class _DeepStates:
    """What a row was given from below.

    Attributes:
        call: When that was.
        text: What it was asked with.
        states: ``[channels, height, width]``.
    """

    call: int
    text: Hashable
    states: Tensor


@dataclass(slots=True, eq=False)
class StepCache:
    """Says which calls of a UNet are whole, and keeps what they leave for those in between.

    Each row has states of its own, which are as old as they would be were it alone in the batch: a row whose text
    has changed is asked for as a whole, the others of that call go on with what they have. A network whose multiplier
    moves acts in the deep layers at whole calls only.

    Attributes:
        interval: How many calls of a pass share one whole call, 2 and more.
        planned: Calls of the pass in all.
        whole: Whether the present call computes all layers.
    """

    interval: int
    planned: int
    whole: bool = field(default=True, init=False)
    _kept: dict[Hashable, _DeepStates] = field(default_factory=dict, init=False)
    _rows: Sequence[tuple[Hashable, Hashable]] = field(default=(), init=False)
    _call: int = field(default=0, init=False)

    def choose(self, rows: Sequence[tuple[Hashable, Hashable]], call: int) -> None:
        """Decide what the next call computes.

        Args:
            rows: What tells each row from all others of the pass, and what tells its text from others that it has
                at other calls.
            call: Which call of the pass it is, counted from 0.
        """
        self._rows, self._call = rows, call
        self.whole = any(self._deep(*row) is None for row in rows)

    def _deep(self, row: Hashable, text: Hashable) -> Tensor | None:
        """Return the states that a row goes on with; None where it has none that are young enough."""
        if self._call >= self.planned - self.planned // _WHOLE_AT_THE_END:
            return None
        kept = self._kept.get(row)
        if kept is None or kept.text != text or self._call - kept.call >= self.interval:
            return None
        return kept.states

    def _settled(self, computed: Tensor | None) -> Tensor:
        """Return the states of all rows ``[rows, channels, height, width]``, and keep those that are new."""
        found: list[Tensor] = []
        for place, (row, text) in enumerate(self._rows):
            deep = self._deep(row, text)
            if deep is None:
                assert computed is not None
                deep = computed[place]
                self._kept[row] = _DeepStates(self._call, text, deep)
            found.append(deep)
        if found[0].is_contiguous():
            return torch.stack(found)
        # Images with channels last stay so, since in another order sums come out different in the last digit.
        return torch.stack([states.permute(1, 2, 0) for states in found]).permute(0, 3, 1, 2)

    def last_block(
        self,
        block: Any,
        *,
        hidden_states: Tensor,
        temb: Tensor,
        res_hidden_states_tuple: tuple[Tensor, ...],
        upsample_size: object = None,
        **text: Any,
    ) -> Tensor:
        """Answer for the last upward block, whose arguments these are; it has no upsampler."""
        del upsample_size
        layers = len(block.resnets)
        skips = res_hidden_states_tuple[-layers:][::-1]
        computed = None
        if self.whole:
            computed = hidden_states
            for index in range(layers - 1):
                computed = _layer(block, index, torch.cat([computed, skips[index]], 1), temb, text)
        x = torch.cat([self._settled(computed), skips[-1]], 1)
        return _layer(block, layers - 1, x, temb, text)

    def downward(
        self,
        block: Any,
        forward: Callable[..., Any],
        hidden_states: Tensor,
        *given: Any,
        **more: Any,
    ) -> Any:
        """Answer for a downward block; between whole calls with as many stand-ins as it has answers."""
        if self.whole:
            return forward(hidden_states, *given, **more)
        return hidden_states, (hidden_states,) * (len(block.resnets) + bool(block.downsamplers))

    def within(
        self, forward: Callable[..., Tensor], hidden_states: Tensor, *given: Any, **more: Any
    ) -> Tensor:
        """Answer for any other block; between whole calls with what it got."""
        return forward(hidden_states, *given, **more) if self.whole else hidden_states


def _layer(block: Any, index: int, x: Tensor, temb: Tensor, text: dict[str, Any]) -> Tensor:
    """Run a layer of an upward block: a residual block, and attention where the block has that."""
    x = block.resnets[index](x, temb)
    attentions = getattr(block, "attentions", None)
    return x if attentions is None else attentions[index](x, **text, return_dict=False)[0]


@contextmanager
def cache_steps(
    unet: nn.Module, interval: int, planned: int, *, journal: UndoLog | None = None
) -> Generator[StepCache | None]:
    """Let a UNet reuse its deep layers' states within a ``with`` block.

    Blocks that change the same UNet's blocks further, such as
    :func:`promptengine.generation.cfg_denoiser.skips_resized_like_webui`, go inside this one.

    Args:
        unet: A diffusers ``UNet2DConditionModel``.
        interval: How many calls share one whole call; 1 leaves the UNet as it is, bit for bit.
        planned: Calls of the pass in all.
        journal: Of the run that this is a part of; by default the block stands alone.

    Yields:
        What is told of each call before it is made; None where the interval is 1.
    """
    if interval <= 1:
        yield None
        return
    cache, blocks = StepCache(interval, planned), cast("Any", unet)
    with (journal or UndoLog()).block() as changes:
        for block in blocks.down_blocks:
            changes.shadow(block, "forward", partial(cache.downward, block, block.forward))
        for block in (blocks.mid_block, *blocks.up_blocks[:-1]):
            changes.shadow(block, "forward", partial(cache.within, block.forward))
        last = blocks.up_blocks[-1]
        changes.shadow(last, "forward", partial(cache.last_block, last))
        yield cache
