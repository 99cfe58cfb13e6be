"""Loopback: an image that is painted over again and again, each time from the last result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import cos, pi, sin
from typing import Final

from PIL.Image import Image

from promptengine.request.image_start import ImageStart
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult
from promptengine.scripts.image_input import (
    check_last_seed,
    going_on,
    one_start,
    with_entries,
    with_grid,
)
from promptengine.scripts.script import (
    IMG2IMG,
    Script,
    ScriptArgument,
    ScriptArguments,
    ScriptContext,
    ScriptRun,
    ScriptStep,
)

__all__ = ["LOOPBACK", "loop_strength"]

_CURVES: Final[Mapping[str, Callable[[float], float]]] = {
    "Aggressive": lambda share: sin(share * pi / 2),
    "Linear": lambda share: share,
    "Lazy": lambda share: 1 - cos(share * pi / 2),
}
"""How far the strength has come to the final one, by how far the loops have come to the last one."""


def loop_strength(first: float, final: float, curve: str, loop: int, loops: int) -> float:
    """Return the denoising strength of a loop.

    Args:
        first: Of loop 0.
        final: Of the last loop, where there are several.
        curve: ``Linear``, ``Aggressive`` (soon near the final one) or ``Lazy``.
        loop: From 0.
        loops: How many there are.
    """
    if loops == 1:
        return first
    return first + (final - first) * _CURVES[curve](loop / (loops - 1))


def _run(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> ScriptRun:
    del context
    loops, curve, final = arguments["loops"], arguments["curve"], arguments["final_strength"]
    assert isinstance(loops, int)
    assert isinstance(final, float)
    assert isinstance(curve, str)
    start, original = one_start(request, LOOPBACK.name)
    plain = with_entries(
        with_seeds(replace(request, batch_size=1, batch_count=1)),
        Final_denoising_strength=final,
        Denoising_curve=curve,
    )
    check_last_seed(plain, loops * request.batch_count - 1)
    start = replace(start, color_reference=start.color_reference or original)
    results: list[GenerationResult] = []
    history: list[Image] = []
    for _ in range(request.batch_count):
        image = original
        for loop in range(loops):
            strength = loop_strength(start.denoising_strength, final, curve, loop, loops)
            again = replace(_from(start, image, loop), denoising_strength=strength)
            again = going_on(again, results)
            asked = replace(plain, start=again, seed=plain.seed + len(results))
            (result,) = yield ScriptStep((asked,))
            results.append(result)
            image = result.images[0]
            if request.batch_count == 1:
                history.append(image)
        if request.batch_count > 1:
            history.append(image)
    notes = (f"{LOOPBACK.name} makes one image at a time; the batch size is not used",)
    return with_grid(
        history, results, request.options, rows=1, notes=notes if request.batch_size > 1 else ()
    )


def _from(start: ImageStart, image: Image, loop: int) -> ImageStart:
    """Return what a loop starts from; after the first one there is something under the mask to go on from."""
    inpainting = start.inpainting
    if loop > 0 and inpainting is not None:
        inpainting = replace(inpainting, content="original")
    return replace(start, images=(image,), inpainting=inpainting)


LOOPBACK: Final = Script(
    "Loopback",
    (
        ScriptArgument(
            "loops", "Loops", 4, 1, 1000, help="how often an image starts from the last"
        ),
        ScriptArgument(
            "final_strength", "Final denoising strength", 0.5, 0, 1, help="that of the last loop"
        ),
        ScriptArgument(
            "curve",
            "Denoising strength curve",
            "Linear",
            choices=tuple(_CURVES),
            help="how the strength gets there",
        ),
        ScriptArgument(
            "interrogator",
            "Append interrogated prompt at each iteration",
            "None",
            choices=("None",),
            control="none",
        ),
    ),
    IMG2IMG,
    _run,
)
"""Arguments in the order of WebUI's page. No model here describes images, so nothing is interrogated."""
