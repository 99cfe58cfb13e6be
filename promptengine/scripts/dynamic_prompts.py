"""Templates as a run of batches: what makes the images of a request with ``dynamic``.

No script that anyone chooses: front ends run it for such a request, so that each batch is kept once it is
made and each image told with its own prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from promptengine.request.dynamic import expand_request
from promptengine.request.request import GenerationRequest
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

__all__ = ["DYNAMIC_PROMPTS"]


def _steps(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> Iterator[ScriptStep]:
    """Yield the batches, each of as many prompts as the request has images at once."""
    most = arguments["most"]
    assert isinstance(most, int)
    images = expand_request(request, context.registry.wildcards(), most=most or None)
    while batch := tuple(islice(images, request.batch_images)):
        yield ScriptStep(batch)


def _run(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> ScriptRun:
    results: list[GenerationResult] = []
    for step in tuple(_steps(request, arguments, context)):
        results += yield step
    images = [
        ScriptImage(image, infotext)
        for result in results
        for image, infotext in zip(result.images, result.infotexts, strict=True)
    ]
    return ScriptOutput(tuple(images), tuple(results))


DYNAMIC_PROMPTS: Final = Script(
    name="Dynamic Prompts",
    arguments=(
        ScriptArgument(
            "most",
            "Max generations",
            default=0,
            low=0,
            high=1_000_000,
            help="images at most; 0 takes batch size and count",
        ),
    ),
    tabs=BOTH_TABS,
    run=_run,
    steps=_steps,
    expands=True,
)
"""``a {cat|dog}`` gives each image one of the two."""
