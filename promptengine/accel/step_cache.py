"""Steps that reuse what the UNet's deep layers said a few steps ago: DeepCache (Ma et al., arXiv:2312.00858).

What lies deep in the UNet hardly changes from one step to the next. So only some calls are whole; those in between
compute the outermost skip alone: the first convolution, and the last layer of the last upward block, which gets what
the layers below gave it at the last whole call. Two things are unlike DeepCache, whose plain rule costs the starter
checkpoint 6.2 points of its probe at an interval of 3:

- What is reused follows the skip. From one whole call to the next both change, mostly with the same noise; a ridge
  regression over the places of the image tells how the one moves with the other, and so what the deep layers would
  have said to the skip of a call in between. With an ancestral sampler that takes a quarter off the error.
- Whole calls are close together at first, where there is nothing to learn from, and at last, where details are drawn.
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


_WHOLE_AT_THE_END: Final = 10
"""The part of a pass that is whole at its end."""

_RIDGE: Final = 0.1
"""What the regression adds to the skip's variances, as a part of their mean."""


@dataclass(frozen=True, slots=True, eq=False)
class _DeepStates:
    """What a row was given from below at a whole call.

    Attributes:
        call: When that was.
        text: What it was asked with.
        count: How many whole calls in a row were asked with that text, this one included.
        states: ``[channels, height, width]``.
        skip: What the outermost skip held then, ``[skip channels, height, width]``.
        response: How the states move with the skip, ``[skip channels, channels]``; None at the first of those calls.
    """

    call: int
    text: Hashable
    count: int
    states: Tensor
    skip: Tensor
    response: Tensor | None

    def beside(self, skip: Tensor) -> Tensor:
        """Return what the states of a later call would be, as far as its skip tells."""
        if self.response is None:
            return self.states
        moved = _by_place(skip, self.skip) @ self.response
        return self.states + moved.T.reshape(self.states.shape).to(self.states.dtype)


@dataclass(slots=True, eq=False)
class StepCache:
    """Says which calls of a UNet are whole, and keeps what they leave for those in between.

    From one whole call to the next it is one call at first, then two, and so on up to the interval. The last tenth of
    a pass is whole.

    Each row has states of its own, which are as old as they would be were it alone in the batch: a row whose text
    has changed is asked for as a whole, the others of that call go on with what they have. A network whose multiplier
    moves acts in the deep layers at whole calls only.

    Attributes:
        interval: How many calls of a pass share one whole call at most, 2 and more.
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

    def _deep(self, row: Hashable, text: Hashable) -> _DeepStates | None:
        """Return what a row goes on with; None where it has nothing that is young enough."""
        if self._call >= self.planned - self.planned // _WHOLE_AT_THE_END:
            return None
        kept = self._kept.get(row)
        if kept is None or kept.text != text:
            return None
        return kept if self._call - kept.call < min(kept.count, self.interval) else None

    def _settled(self, computed: Tensor | None, skips: Tensor) -> Tensor:
        """Return the states of all rows ``[rows, channels, height, width]``, and keep those that are new."""
        found: list[Tensor] = []
        for place, (row, text) in enumerate(self._rows):
            kept = self._deep(row, text)
            if kept is None:
                assert computed is not None
                kept = self._kept[row] = self._learned(row, text, computed[place], skips[place])
                found.append(kept.states)
            else:
                found.append(kept.beside(skips[place]))
        if found[0].is_contiguous():
            return torch.stack(found)
        # Images with channels last stay so, since in another order sums come out different in the last digit.
        return torch.stack([states.permute(1, 2, 0) for states in found]).permute(0, 3, 1, 2)

    def _learned(self, row: Hashable, text: Hashable, states: Tensor, skip: Tensor) -> _DeepStates:
        """Return what a row keeps of a whole call."""
        before = self._kept.get(row)
        if before is None or before.text != text:
            return _DeepStates(self._call, text, 1, states, skip, None)
        response = _response(_by_place(skip, before.skip), _by_place(states, before.states))
        return _DeepStates(self._call, text, before.count + 1, states, skip, response)

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
        x = torch.cat([self._settled(computed, skips[-1]), skips[-1]], 1)
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


def _by_place(now: Tensor, before: Tensor) -> Tensor:
    """Return how features ``[channels, height, width]`` have changed, ``[places, channels]`` in float32."""
    return (now.float() - before.float()).flatten(1).T


def _response(skip: Tensor, states: Tensor) -> Tensor:
    """Fit changes of states ``[places, channels]`` to those of a skip ``[places, skip channels]``.

    Returns:
        ``[skip channels, channels]``; zeros where the skip has not changed.
    """
    products = skip.T @ skip
    variances = products.diagonal()
    variances += (_RIDGE * variances.mean()).clamp(min=torch.finfo(products.dtype).tiny)
    return torch.linalg.solve_ex(products, skip.T @ states)[0]


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
