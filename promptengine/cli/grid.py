"""The loop behind ``promptengine grid``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from promptengine.cli.arguments import free_path
from promptengine.cli.generate import open_engine, progress_bar
from promptengine.cli.terminal import printable
from promptengine.images import save_png
from promptengine.infotext.read import Infotext, infotext_with_prompts
from promptengine.registry.registry import Kind
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult
from promptengine.xyz_plot.axes import Axis
from promptengine.xyz_plot.plot import plan_grid, plot_grid

__all__ = ["run"]


def run(
    options: argparse.Namespace,
    request: GenerationRequest,
    folders: Mapping[Kind, list[Path]],
) -> tuple[GenerationResult, ...]:
    """Make the grid that the options ask for and write it, and its images if they are wanted.

    Returns:
        What became of every image.

    Raises:
        PromptEngineError: As :func:`promptengine.xyz_plot.plot.plot_grid` does.
        OSError: An image cannot be written.
    """
    axes = [
        None if text is None else Axis.parse(text) for text in (options.x, options.y, options.z)
    ]
    x, y, z = axes
    assert x is not None, "the option is required"
    engine = open_engine(options, folders, dtype=options.dtype)
    requests = plan_grid(engine, request, x, y, z)
    options.output.mkdir(parents=True, exist_ok=True)
    planned = iter(requests)

    def keep(result: GenerationResult) -> None:
        one = next(planned)
        if options.keep_images:
            path = free_path(options.output, result.seeds[0])
            save_png(result.images[0], path, _told(result.infotexts[0], one))

    with progress_bar(sum(one.steps for one in requests)) as on_progress:
        grid = plot_grid(engine, request, x, y, z, on_progress=on_progress, on_image=keep)
    path = free_path(options.output, request.seed, prefix="grid-")
    save_png(grid.image, path, _told(grid.infotext, requests[0]))
    Console(highlight=False).print(printable(str(path)), markup=False, soft_wrap=True)
    return grid.results


def _told(infotext: str, request: GenerationRequest) -> Infotext:
    return infotext_with_prompts(infotext, request.prompt, request.negative_prompt)
