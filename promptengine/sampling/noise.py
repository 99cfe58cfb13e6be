"""Where random numbers come from: one stream per image, so a batch equals its images alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from promptengine.request.options import NoiseSource

__all__ = ["ImageNoise", "Seeding", "Stream", "philox_normal", "slerp", "stream"]

Stream = Callable[[Sequence[int]], Tensor]
"""Shape to the next standard normal numbers of one seed, float32, on the CPU."""

_SEEDS = 2**64
_SKIPPED_AT_ONCE = 1 << 20


def stream(seed: int, source: NoiseSource = "cpu", *, skipped: int = 0) -> Stream:
    """Start the random numbers of a seed (taken modulo 2**64).

    ``cpu`` is torch's CPU generator. ``nv`` is what a CUDA generator gives on NVIDIA's GPUs: its n-th
    call reads Philox at counter n, whatever was drawn before; ``gpu`` is the same.

    Args:
        seed: As given.
        source: Who draws.
        skipped: How many uniform numbers torch's generator draws for others first.
    """
    seed %= _SEEDS
    if source == "cpu":
        generator = torch.Generator("cpu").manual_seed(seed)
        while skipped > 0:
            part = min(skipped, _SKIPPED_AT_ONCE)
            torch.rand(part, generator=generator)
            skipped -= part
        return lambda shape: torch.randn(tuple(shape), generator=generator)
    calls = iter(range(2**32))
    return lambda shape: philox_normal(seed, next(calls), shape)


def philox_normal(seed: int, call: int, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers as CUDA draws them.

    Element i is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3") of
    counter (call, 0, i, 0) under the key ``seed``, its first two words taken through Box and Muller's
    transform; only the sine is kept.

    Args:
        seed: 0 to 2**64 - 1.
        call: How many draws came before.
        shape: Of the result.
    """
    first, second = _philox(seed, call, prod(shape))
    # float32 constants in float64 arithmetic, which is what the numbers of record were made with.
    unit, turn = float(np.float32(2.3283064e-10)), float(np.float32(2.3283064e-10 * 6.2831855))
    radius = np.sqrt(-2.0 * np.log(first * unit + unit / 2))
    normal = radius * np.sin(second * turn + turn / 2)
    return torch.from_numpy(normal.astype(np.float32)).reshape(tuple(shape))


def _philox(seed: int, call: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two of the four words of Philox4x32-10 for ``count`` counters."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    words = [np.full(count, call, np.uint64), np.zeros(count, np.uint64)]
    words += [np.arange(count, dtype=np.uint64), np.zeros(count, np.uint64)]
    key, other_key = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        product = words[0] * np.uint64(0xD2511F53)
        other = words[2] * np.uint64(0xCD9E8D57)
        words = [
            (other >> half) ^ words[1] ^ np.uint64(key),
            other & low,
            (product >> half) ^ words[3] ^ np.uint64(other_key),
            product & low,
        ]
        key, other_key = (key + 0x9E3779B9) & 0xFFFFFFFF, (other_key + 0xBB67AE85) & 0xFFFFFFFF
    return words[0], words[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeding:
    """Which random numbers the images of a batch get.

    Attributes:
        seeds: One per image.
        variation_seeds: One per image where ``strength`` is above 0.
        strength: How far the first noise moves towards that of the variation seeds, 0 to 1.
        resize_from: Latent ``(height, width)`` at which the first noise is drawn before it is put in
            the middle of noise of the image's size, or None.
        delta: Added to the seeds for all noise after the first.
        source: Who draws.
    """

    seeds: tuple[int, ...]
    variation_seeds: tuple[int, ...] = ()
    strength: float = 0.0
    resize_from: tuple[int, int] | None = None
    delta: int = 0
    source: NoiseSource = "cpu"


@dataclass(frozen=True, eq=False)
class ImageNoise:
    """Standard normal noise for a batch, drawn image by image and never on the device.

    Every image has a stream of its own, as in WebUI, so an image does not depend on its neighbors or
    on the device.

    Attributes:
        seeding: Seeds and how they are used.
        shape: ``(channels, height, width)`` of one image's latents.
        device: Where the noise is needed.
    """

    seeding: Seeding
    shape: tuple[int, int, int]
    device: torch.device
    _streams: list[Stream] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_streams", self._started(delta=0))

    @classmethod
    def seeded(
        cls,
        seeds: Sequence[int],
        shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
        source: NoiseSource = "cpu",
    ) -> ImageNoise:
        """Plain noise, one image for each seed (0 to 2**64 - 1)."""
        return cls(Seeding(seeds=tuple(seeds), source=source), shape, torch.device(device))

    def first(self) -> Tensor:
        """Return the noise that images start from ``[images, channels, height, width]``, float32.

        To be called once, before :meth:`draw`: variation and seed resize act here, and
        ``seeding.delta`` from here on.
        """
        noise = [self._first(index) for index in range(len(self.seeding.seeds))]
        if self.seeding.delta:
            self._streams[:] = self._started(delta=self.seeding.delta)
        return torch.stack(noise).to(self.device)

    def draw(self) -> Tensor:
        """Return the next noise ``[images, channels, height, width]``, float32."""
        return torch.stack([draw(self.shape) for draw in self._streams]).to(self.device)

    def _started(self, *, delta: int) -> list[Stream]:
        return [stream(seed + delta, self.seeding.source) for seed in self.seeding.seeds]

    def _first(self, index: int) -> Tensor:
        """Return one image's first noise; the image's stream is drawn from exactly once."""
        seeding = self.seeding
        fresh = self._streams[index](self.shape)
        noise, shape = fresh, self.shape
        if seeding.resize_from is not None and seeding.resize_from != self.shape[1:]:
            shape = (self.shape[0], *seeding.resize_from)
            noise = stream(seeding.seeds[index], seeding.source)(shape)
        if seeding.strength > 0:
            variation = stream(seeding.variation_seeds[index], seeding.source)(shape)
            noise = slerp(noise, variation, seeding.strength)
        return noise if shape == self.shape else _centerd(noise, fresh)


def slerp(start: Tensor, end: Tensor, strength: float) -> Tensor:
    """Turn ``start`` towards ``end``, both ``[channels, height, width]``, along the height axis.

    WebUI's rule, the axis included. Where the two are almost parallel it mixes them instead, with
    the shares the other way round; that too is WebUI's.
    """
    directions = [noise / noise.norm(dim=1, keepdim=True) for noise in (start, end)]
    cosine = (directions[0] * directions[1]).sum(1)
    if cosine.mean() > 0.9995:
        return start * strength + end * (1 - strength)
    angle = cosine.acos()
    shares = [((1 - strength) * angle).sin() / angle.sin(), (strength * angle).sin() / angle.sin()]
    return shares[0].unsqueeze(1) * start + shares[1].unsqueeze(1) * end


def _centerd(noise: Tensor, canvas: Tensor) -> Tensor:
    """Put ``noise`` in the middle of a copy of ``canvas``, cut at its edges."""
    result = canvas.clone()
    places: list[tuple[slice, slice]] = []
    for have, want in zip(noise.shape[1:], canvas.shape[1:], strict=True):
        offset = (want - have) // 2
        length = have if offset >= 0 else have + 2 * offset
        inner, outer = max(-offset, 0), max(offset, 0)
        places.append((slice(outer, outer + length), slice(inner, inner + length)))
    (rows, source_rows), (columns, source_columns) = places
    result[:, rows, columns] = noise[:, source_rows, source_columns]
    return result
