"""The loop behind ``promptengine txt2img``: batch by batch, each image on disk once it is made."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from promptengine.cli.arguments import assignments, free_path
from promptengine.cli.field_options import given_fields
from promptengine.cli.image_options import regions_of
from promptengine.cli.offload import offload_of
from promptengine.cli.terminal import printable
from promptengine.cli.webui import chosen_models
from promptengine.garbage import gc_paused
from promptengine.generation.engine import Engine, Precision
from promptengine.generation.timing import StageTimer
from promptengine.images import save_image
from promptengine.infotext.read import infotext_with_prompts
from promptengine.prompt.diagnostic_kinds import check_codes
from promptengine.registry.open_models import Models, open_models
from promptengine.registry.registry import Kind
from promptengine.request.edit import apply_settings
from promptengine.request.options import read_settings
from promptengine.request.request import GenerationRequest, one_batch, with_seeds
from promptengine.request.result import GenerationResult, Progress

__all__ = [
    "open_engine",
    "planned_steps",
    "progress_bar",
    "quiet_libraries",
    "request_of",
    "run",
]


def run(
    options: argparse.Namespace,
    request: GenerationRequest,
    folders: Mapping[Kind, list[Path]],
    clock: StageTimer,
) -> GenerationResult:
    """Make the images the options ask for and write them.

    Batches are separate requests with the seeds they would have in one, so that what is finished is
    on disk when a later batch is interrupted. The clock takes the time of every stage.

    Returns:
        The last batch's result.

    Raises:
        PromptEngineError: As :meth:`promptengine.generation.engine.Engine.generate` does.
        OSError: An image cannot be written.
    """
    with clock.measuring("open"):
        engine = open_engine(options, folders, dtype=options.dtype)
    options.output.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    result: GenerationResult | None = None
    with progress_bar(planned_steps(request) * request.batch_count) as on_progress:
        for batch in range(request.batch_count):
            result = engine.generate(one_batch(request, batch), on_progress=on_progress)
            clock.add(result.timings)
            for number, (image, infotext, seed) in enumerate(
                zip(result.images, result.infotexts, result.seeds, strict=True)
            ):
                path = free_path(options.output, seed, suffix=options.format)
                told = infotext_with_prompts(infotext, request.prompt, request.negative_prompt)
                with clock.measuring("save"):
                    save_image(image, path, told)
                    for name, mask in result.masks_of(number).items():
                        save_image(mask, path.with_name(f"{path.stem}-{name}.png"))
                console.print(printable(str(path)), markup=False, soft_wrap=True)
    assert result is not None, "a request has at least one batch"
    return result


def request_of(options: argparse.Namespace, request: GenerationRequest) -> GenerationRequest:
    """Return a request with what a command line gives put in its place, and its seeds drawn if need be.

    Raises:
        RequestError: An option that is unknown, or a value out of its range.
        ImageError: A mask of a region is no image.
    """
    check_codes(options.ignore, "--ignore")
    given = given_fields(options, GenerationRequest) | {"ignored_diagnostics": options.ignore}
    request = apply_settings(replace(request, **given), read_settings(assignments(options.option)))
    if regions := regions_of(options):
        request = replace(request, regions=regions)
    if options.noise_source is not None:
        request = replace(
            request, options=replace(request.options, noise_source=options.noise_source)
        )
    return with_seeds(request)


def planned_steps(request: GenerationRequest) -> int:
    """About how many steps a batch takes, both passes together."""
    hires, start = request.hires, request.start
    if hires is not None:
        return request.steps + (hires.steps or request.steps)
    if start is None or request.options.img2img_exact_steps:
        return request.steps
    return int(start.denoising_strength * request.steps) + 1


@contextmanager
def progress_bar(steps: int) -> Generator[Callable[[Progress], None]]:
    """A bar over all steps of all images, on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with ProgressBar(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("sampling", total=steps)
        yield lambda _progress: bar.advance(task)


@gc_paused
def open_engine(options: argparse.Namespace, folders: Models, *, dtype: Precision) -> Engine:
    """Open the engine that a command's options name, with the libraries' own output turned off.

    Of commands that read the model's weights themselves, and so have no ``--offload``, all of it stays on the device.
    """
    quiet_libraries()
    registry = open_models(folders)
    checkpoint, vae, vae_overrides = chosen_models(options, registry)
    return Engine.open(
        checkpoint,
        registry,
        config=options.config,
        device=options.device,
        dtype=dtype,
        vae=vae,
        vae_overrides=vae_overrides,
        compile=getattr(options, "compile", False),
        offload=offload_of(options, (options.device,)),
    )


def quiet_libraries() -> None:
    """Turn the libraries' own output off."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
