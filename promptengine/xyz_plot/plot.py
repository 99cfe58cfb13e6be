"""X/Y/Z plots: an image for every combination of the axes' values, on one labeled sheet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Final

from PIL.Image import Image

from promptengine.errors import RequestError
from promptengine.generation.engine import Engine, OnProgress
from promptengine.images import draw_sheet, stack_sheets
from promptengine.infotext.write import write_entries
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult
from promptengine.validation import check_type
from promptengine.xyz_plot.axes import AXIS_KINDS, Axis, request_at

__all__ = ["GridResult", "compose_grid", "grid_requests", "plan_grid", "plot_grid"]

MOST_PIXELS: Final = 200_000_000
"""Of all images together; WebUI's limit for a grid."""

_BLANK: Final = Axis("prompt", ("",))
"""Stands for an axis that is not there: one place, without a label."""


@dataclass(frozen=True, slots=True, eq=False)
class GridResult:
    """A finished grid.

    Attributes:
        image: The labeled sheet, RGB. Where there is a z axis, a block for each of its values.
        results: Of every image, x running fastest and z slowest.
        infotext: That of the first image, and the axes as WebUI writes them.
    """

    image: Image
    results: tuple[GenerationResult, ...]
    infotext: str


def plan_grid(
    engine: Engine,
    request: GenerationRequest,
    x: Axis,
    y: Axis | None = None,
    z: Axis | None = None,
) -> tuple[GenerationRequest, ...]:
    """Work out and check the requests of a grid, before the first image is made.

    All have one seed, so that their noise is the same, unless an axis gives seeds.

    Returns:
        One request for each image, x running fastest and z slowest.

    Raises:
        RequestError: A value that cannot be used, two axes that set the same thing, a request for
            several images, or a grid of more than 200 million pixels.
        UnknownNetworkError: A ``hypernetwork`` axis names one that is in no folder.
    """
    axes = [axis for axis in (x, y, z) if axis is not None]
    return grid_requests(request, axes, engine.registry, engine.checkpoint.native_size)


def grid_requests(
    request: GenerationRequest, axes: Sequence[Axis], registry: Registry, native_size: int
) -> tuple[GenerationRequest, ...]:
    """As :func:`plan_grid`, for whoever makes the images in another way than with an engine.

    Args:
        request: What all images share.
        axes: x, y and z as far as they are there.
        registry: Where names of networks are looked up.
        native_size: Pixels of a side that the request leaves open.

    Raises:
        RequestError: As :func:`plan_grid` does.
        UnknownNetworkError: Likewise.
    """
    kinds = [axis.kind for axis in axes if not AXIS_KINDS[axis.kind].repeats]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise RequestError(f"two axes are {kind}", field=kind)
    if request.batch_size * request.batch_count > 1:
        message = "a grid has one image in each place; batch size and count must be 1"
        raise RequestError(message, field="batch_size")
    count = prod(len(axis.values) for axis in axes)
    _check_pixels(count * _pixels(request, native_size))
    request = with_seeds(request)
    for axis in axes:
        AXIS_KINDS[axis.kind].check(request, axis, registry)
    places = product(*([(axis, value) for value in axis.values] for axis in reversed(axes)))
    requests = tuple(request_at(request, place) for place in places)
    # An axis may vary the size.
    _check_pixels(sum(_pixels(one, native_size) for one in requests))
    return requests


def _pixels(request: GenerationRequest, native: int) -> int:
    return (request.width or native) * (request.height or native)


def _check_pixels(pixels: int) -> None:
    if pixels > MOST_PIXELS:
        message = f"the grid would have {pixels / 1e6:.0f} million pixels; 200 million are the most"
        raise RequestError(message, field="axis")


def plot_grid(
    engine: Engine,
    request: GenerationRequest,
    x: Axis,
    y: Axis | None = None,
    z: Axis | None = None,
    *,
    on_progress: OnProgress | None = None,
    on_image: Callable[[GenerationResult], None] | None = None,
    cancel: threading.Event | None = None,
) -> GridResult:
    """Make a grid.

    Args:
        engine: Makes the images.
        request: What all images share.
        x: Across.
        y: Down.
        z: Block by block.
        on_progress: Called after every step; its batches are the images of the grid.
        on_image: Called with every image once it is made.
        cancel: Set it from anywhere to stop between two steps.

    Raises:
        GenerationCancelled: ``cancel`` was set.
        PromptEngineError: As :func:`plan_grid` and :meth:`promptengine.Engine.generate` do.
    """
    check_type("engine", engine, Engine)
    check_type("request", request, GenerationRequest)
    check_type("x", x, Axis)
    for name, axis in (("y", y), ("z", z)):
        check_type(name, axis, Axis, type(None))
    results: list[GenerationResult] = []
    requests = plan_grid(engine, request, x, y, z)
    for done, one in enumerate(requests):
        report = None
        if on_progress is not None:
            report = _as_batch(on_progress, done, len(requests))
        results.append(engine.generate(one, on_progress=report, cancel=cancel))
        if on_image is not None:
            on_image(results[-1])
    return compose_grid(results, x, y, z)


def compose_grid(
    results: Sequence[GenerationResult], x: Axis, y: Axis | None = None, z: Axis | None = None
) -> GridResult:
    """Put the images of a grid on its sheet.

    Args:
        results: In the order of :func:`plan_grid`, each with one image.
        x: Across.
        y: Down.
        z: Block by block.
    """
    image = _sheet([result.images[0] for result in results], x, y or _BLANK, z or _BLANK)
    return GridResult(image, tuple(results), _infotext(results[0], x, y, z))


def _as_batch(on_progress: OnProgress, done: int, count: int) -> OnProgress:
    return lambda progress: on_progress(replace(progress, batch=done, batches=count))


def _sheet(images: Sequence[Image], x: Axis, y: Axis, z: Axis) -> Image:
    across, down = len(x.values), len(y.values)
    rows = [images[start : start + across] for start in range(0, len(images), across)]
    columns = [x.label(value) for value in x.values]
    labels = [y.label(value) for value in y.values]
    blocks = [rows[start : start + down] for start in range(0, len(rows), down)]
    titles = [z.label(value) for value in z.values]
    return stack_sheets(
        [draw_sheet(b, labels, columns, t) for b, t in zip(blocks, titles, strict=True)]
    )


def _infotext(first: GenerationResult, x: Axis, y: Axis | None, z: Axis | None) -> str:
    """WebUI's entries for its X/Y/Z plot after those of the first image."""
    entries: dict[str, object] = {"Script": "X/Y/Z plot"}
    for letter, axis in (("X", x), ("Y", y), ("Z", z)):
        if axis is not None:
            entries[f"{letter} Type"] = axis.kind
            entries[f"{letter} Values"] = axis.written()
    return f"{first.infotexts[0]}, {write_entries(entries)}"
