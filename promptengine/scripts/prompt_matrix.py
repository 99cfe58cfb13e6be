"""WebUI's prompt matrix: an image for every combination of a prompt's parts, and a labeled grid of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from PIL.Image import Image

from promptengine.images.labeled_grid import GridLabel, check_grid_pixels, draw_labeled_grid
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult
from promptengine.scripts.script import (
    BOTH_TABS,
    Script,
    ScriptArgument,
    ScriptArguments,
    ScriptContext,
    ScriptImage,
    ScriptOutput,
    ScriptRun,
    ScriptStep,
)

__all__ = ["PROMPT_MATRIX"]

_JOINTS: Final = {"comma": ", ", "space": " "}
_LONGEST_LABEL: Final = 200
"""Characters of a part that are written beside the images."""


def _field(arguments: ScriptArguments) -> str:
    return "prompt" if arguments["prompt_type"] == "positive" else "negative_prompt"


def _parts(request: GenerationRequest, arguments: ScriptArguments) -> list[str]:
    """The fixed part, then those that vary; WebUI looks at no brackets."""
    return str(getattr(request, _field(arguments))).split("|")


def _varying(parts: Sequence[str]) -> list[str]:
    return [part.strip().strip(",") for part in parts[1:]]


def _prompts(parts: Sequence[str], arguments: ScriptArguments) -> Iterator[str]:
    """Every combination: that of number k has part n where bit n of k is set."""
    joint, varying = _JOINTS[str(arguments["joint"])], _varying(parts)
    for number in range(1 << len(varying)):
        chosen = [part for bit, part in enumerate(varying) if number >> bit & 1]
        yield joint.join([*chosen, parts[0]] if arguments["at_start"] else [parts[0], *chosen])


def _steps(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> Iterator[ScriptStep]:
    """Yield the batches, each of as many combinations as the request has images at once."""
    parts = _parts(request, arguments)
    width = request.width or context.native_size
    height = request.height or context.native_size
    check_grid_pixels(1 << (len(parts) - 1), width, height)
    request = with_seeds(request)
    one_each = _numbered(request, _prompts(parts, arguments), arguments)
    while batch := tuple(islice(one_each, request.batch_images)):
        yield ScriptStep(batch, networks="first-prompt")


def _numbered(
    request: GenerationRequest, prompts: Iterator[str], arguments: ScriptArguments
) -> Iterator[GenerationRequest]:
    """Yield a request for each prompt. With a variation it is its seed that grows, in any case."""
    for number, prompt in enumerate(prompts):
        place = number % request.batch_images
        seed = request.seed + (number if arguments["different_seeds"] else 0)
        start = request.start
        if start is not None:
            # All batches of one job start from the same latents.
            first = request.seed + (place if arguments["different_seeds"] else 0)
            noise = first if start.noise_seed is None else start.noise_seed + place
            images = start.images[place : place + 1] if len(start.images) > 1 else start.images
            start = replace(start, images=images, noise_seed=noise)
        yield replace(
            request,
            **{_field(arguments): prompt},
            seed=seed,
            variation_seed=request.variation_seed + number,
            batch_size=1,
            batch_count=1,
            start=start,
        )


def _run(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> ScriptRun:
    results: list[GenerationResult] = []
    for step in tuple(_steps(request, arguments, context)):
        results += yield step
    images = [ScriptImage(result.images[0], result.infotexts[0]) for result in results]
    sheet = _grid([one.image for one in images], _parts(request, arguments), arguments)
    grid = ScriptImage(sheet, images[0].infotext, grid=True)
    return ScriptOutput((grid, *images), tuple(results))


def _grid(images: Sequence[Image], parts: Sequence[str], arguments: ScriptArguments) -> Image:
    """Half of the parts vary across, the rest downwards; each label is struck through where its part is off."""
    varying = [part[:_LONGEST_LABEL] for part in _varying(parts)]
    half = (len(varying) + 1) // 2
    margin = arguments["margin"]
    assert isinstance(margin, int)
    return draw_labeled_grid(images, _labels(varying[:half]), _labels(varying[half:]), margin)


def _labels(parts: Sequence[str]) -> list[list[GridLabel]]:
    return [
        [GridLabel(part, bool(number >> bit & 1)) for bit, part in enumerate(parts)]
        for number in range(1 << len(parts))
    ]


PROMPT_MATRIX: Final = Script(
    name="Prompt matrix",
    arguments=(
        ScriptArgument(
            "at_start",
            "Put variable parts at start of prompt",
            default=False,
            help="the parts behind the first | come before the fixed one",
        ),
        ScriptArgument(
            "different_seeds",
            "Use different seed for each picture",
            default=False,
            help="otherwise all images have one seed",
        ),
        ScriptArgument(
            "prompt_type",
            "Select prompt",
            default="positive",
            choices=("positive", "negative"),
            help="the prompt whose parts between | vary",
        ),
        ScriptArgument(
            "joint",
            "Select joining char",
            default="comma",
            choices=tuple(_JOINTS),
            help="what joins the parts",
        ),
        ScriptArgument("margin", "Grid margins (px)", default=0, low=0, high=500),
    ),
    tabs=BOTH_TABS,
    run=_run,
    steps=_steps,
)
"""``a cat|in snow|at night`` makes four images: without the parts behind the first bar, with each, with both."""
