"""A stand-in for an engine: drives a script and paints each image asked for in a way that can be foretold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from PIL import Image

from promptengine import GenerationRequest, GenerationResult, ImageStart
from promptengine.registry.registry import Registry
from promptengine.scripts.script import Script, ScriptContext, ScriptOutput
from promptengine.scripts.table import named_arguments

Paint = Callable[[Image.Image, int], Image.Image]
"""Makes an image of what it starts from and its seed."""


def unchanged(image: Image.Image, seed: int) -> Image.Image:
    del seed
    return image.convert("RGB")


def lighter(image: Image.Image, seed: int) -> Image.Image:
    del seed
    return image.convert("RGB").point(lambda level: min(level + 1, 255))


@dataclass
class Painter:
    """Attributes:
    paint: How an image is made.
    requests: What was asked for so far.
    """

    paint: Paint = unchanged
    requests: list[GenerationRequest] = field(default_factory=list[GenerationRequest])

    def run(
        self,
        script: Script,
        request: GenerationRequest,
        registry: Registry | None = None,
        **arguments: object,
    ) -> ScriptOutput:
        context = ScriptContext(registry or Registry({}), 64)
        run = script.run(request, named_arguments(script, arguments), context)
        try:
            step = next(run)
            while True:
                step = run.send(tuple(self._made(asked) for asked in step.requests))
        except StopIteration as end:
            return end.value

    def _made(self, request: GenerationRequest) -> GenerationResult:
        self.requests.append(request)
        assert request.start is not None
        assert request.batch_count == 1
        images = list(request.start.images)
        images *= request.batch_images // len(images)
        seeds = tuple(range(request.seed, request.seed + len(images)))
        return GenerationResult(
            images=tuple(map(self.paint, images, seeds)),
            latents=torch.zeros(len(images), 4, 1, 1),
            infotexts=tuple(f"seed {seed}" for seed in seeds),
            seeds=seeds,
            networks=(),
            diagnostics=(),
        )


def from_image(image: Image.Image, **values: object) -> GenerationRequest:
    """A request of 64x64 pixels, seed 100, that starts from an image."""
    start = ImageStart(images=(image,), denoising_strength=0.4)
    request = GenerationRequest(prompt="sea", seed=100, width=64, height=64, start=start)
    return replace(request, **values)
