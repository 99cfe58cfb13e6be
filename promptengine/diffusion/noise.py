"""Where random numbers come from: one generator per image, so a batch equals its images alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ImageNoise"]


@dataclass(frozen=True, eq=False)
class ImageNoise:
    """Standard normal noise for a batch, drawn image by image on the CPU.

    Every image has a generator of its own, seeded with its seed. The first draw is the initial noise;
    each later draw (ancestral steps) takes the next numbers of the same generators, as in WebUI, so
    an image does not depend on its neighbours or on the device.

    Attributes:
        generators: One per image.
        shape: ``(channels, height, width)`` of one image's latents.
        device: Where the noise is needed.
    """

    generators: tuple[torch.Generator, ...]
    shape: tuple[int, int, int]
    device: torch.device

    @classmethod
    def seeded(
        cls, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ) -> ImageNoise:
        """Start the noise of a batch, one image for each seed (0 to 2**64 - 1)."""
        generators = tuple(torch.Generator("cpu").manual_seed(seed) for seed in seeds)
        return cls(generators, shape, torch.device(device))

    def draw(self) -> Tensor:
        """Return the next noise ``[images, channels, height, width]``, float32."""
        noise = [torch.randn(self.shape, generator=generator) for generator in self.generators]
        return torch.stack(noise).to(self.device)
