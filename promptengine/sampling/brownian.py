"""Noise for SDE samplers: increments of a Brownian motion that its seed alone determines.

However the interval is cut into steps, the same path is walked, so images of different step counts
resemble each other. The construction, and with it every number, is that of torchsde's ``BrownianTree``
(Li et al., arXiv:2001.01328), which WebUI uses. It is built here because theirs draws with torch's
generators only, and NVIDIA's numbers are wanted as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from promptengine.request.options import NoiseSource
from promptengine.sampling.noise import Seeding, stream

__all__ = ["BrownianTree", "brownian_noise"]

_DIGITS = 6
"""Times are rounded to so many; below that the tree has no branches."""

_POOL = 24
_KEPT = 128


class BrownianTree:
    """One path of Brownian motion between two times.

    The increment over the whole interval is drawn first; that over a half is what a Brownian bridge
    allows, and so on down to the times asked for. Each node draws from a seed that numpy's
    ``SeedSequence`` derives from the entropy and the node's place.

    Args:
        start: The earlier time.
        end: The later time.
        entropy: 0 or more; determines the path.
        shape: Of an increment.
        source: Who draws.
    """

    def __init__(
        self,
        start: float,
        end: float,
        *,
        entropy: int,
        shape: Sequence[int],
        source: NoiseSource = "cpu",
    ) -> None:
        self._start, self._end = round(start, _DIGITS), round(end, _DIGITS)
        self._entropy = entropy
        self._shape = tuple(shape)
        self._source: NoiseSource = source
        # Neighboring steps share most of their way down the tree.
        self._noise = lru_cache(maxsize=_KEPT)(self._draw)
        seed = np.random.SeedSequence(entropy, pool_size=_POOL).generate_state(3)[0]
        self._whole = stream(int(seed), source)(self._shape) * sqrt(end - start)

    def increment(self, start: float, end: float) -> Tensor:
        """Return the motion from ``start`` to ``end``, both clamped to the interval; CPU, float32."""
        times = [min(max(round(t, _DIGITS), self._start), self._end) for t in (start, end)]
        if times[0] >= times[1]:
            return torch.zeros(self._shape)
        return self._within(times[0], times[1], (self._start, self._end), self._whole, (0, 0))

    def _within(
        self,
        start: float,
        end: float,
        span: tuple[float, float],
        increment: Tensor,
        place: tuple[int, int],
    ) -> Tensor:
        """Return the motion over a part of a node's span, given the node's increment and place."""
        if (start, end) == span:
            return increment
        first, last = span
        middle = round(0.5 * (first + last), _DIGITS)
        before, after = middle - first, last - middle
        share = 1 / (last - first)
        left = before * increment * share + sqrt(before * after * share) * self._noise(place)
        key, depth = place
        if end <= middle:
            return self._within(start, end, (first, middle), left, (2 * key, depth + 1))
        right = increment - left
        if start >= middle:
            return self._within(start, end, (middle, last), right, (2 * key + 1, depth + 1))
        return self._within(
            start, middle, (first, middle), left, (2 * key, depth + 1)
        ) + self._within(middle, end, (middle, last), right, (2 * key + 1, depth + 1))

    def _draw(self, place: tuple[int, int]) -> Tensor:
        sequence = np.random.SeedSequence(self._entropy, spawn_key=place, pool_size=_POOL)
        return stream(int(sequence.generate_state(4)[0]), self._source)(self._shape)


def brownian_noise(
    sigmas: Tensor,
    seeding: Seeding,
    shape: tuple[int, int, int],
    device: torch.device,
    *,
    per_batch: bool = False,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Make the noise of an SDE sampler's steps.

    Variation seeds and ``seeding.delta`` do not enter here, as in WebUI.

    Args:
        sigmas: The whole schedule of the pass, also where only its end is walked: the path spans it.
        seeding: Seeds of the images.
        shape: ``(channels, height, width)`` of one image's latents.
        device: Where the noise is needed.
        per_batch: Walk one path for the whole batch, determined by the last image's seed and the size
            of the batch.

    Returns:
        A function of two sigmas, higher first: standard normal noise
        ``[images, channels, height, width]`` for the step between them.
    """
    lowest, highest = float(sigmas[sigmas > 0].min()), float(sigmas.max())
    if per_batch:
        generator = torch.Generator("cpu").manual_seed(seeding.seeds[-1] % 2**64)
        entropies = [int(torch.randint(0, 2**63 - 1, (), generator=generator))]
        shapes: Sequence[tuple[int, ...]] = [(len(seeding.seeds), *shape)]
    else:
        entropies = list(seeding.seeds)
        shapes = [(1, *shape)] * len(entropies)
    trees = [
        BrownianTree(lowest, highest, entropy=entropy, shape=size, source=seeding.source)
        for entropy, size in zip(entropies, shapes, strict=True)
    ]

    def noise(sigma: Tensor, target: Tensor) -> Tensor:
        # Sigmas fall while the path's time rises, hence the sign.
        moved = torch.cat([tree.increment(float(target), float(sigma)) for tree in trees])
        return -(moved / (target - sigma).abs().sqrt().cpu()).to(device)

    return noise
