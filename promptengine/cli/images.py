"""``promptengine txt2img``, ``img2img`` and ``grid``: their options, and what each comes to.

torch is imported once an image is to be made, so that help and mistakes are told at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from promptengine.cli.field_options import add_fields
from promptengine.cli.model_folders import folders_of, styles_of
from promptengine.cli.render import show_diagnostics, show_reports
from promptengine.cli.request_options import add_hires, add_images, add_prompt, add_request
from promptengine.cli.script_options import add_script_options, asks_for_script
from promptengine.cli.terminal import printable
from promptengine.errors import RequestError
from promptengine.registry.registry import Kind
from promptengine.request.edit import append_hypernetwork
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult, NetworkReport
from promptengine.request.styles import apply_styles

__all__ = ["add_grid", "add_img2img", "add_txt2img"]


def add_txt2img(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``txt2img``."""
    add_prompt(parser, "make the image (or infotext) of this file again")
    add_request(parser)
    add_hires(parser)
    add_script_options(parser)
    add_images(parser)
    parser.set_defaults(run=_txt2img)


def add_img2img(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``img2img``."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="to start from")
    add_prompt(parser, "take prompts and settings of this image (or infotext)")
    group = parser.add_argument_group("image and mask")
    add_fields(group, ImageStart)
    add_fields(group, Inpainting)
    add_request(parser)
    add_script_options(parser)
    add_images(parser)
    parser.set_defaults(run=_img2img)


def add_grid(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``grid``."""
    from promptengine.xyz_plot.axes import AXIS_KINDS

    parser.description = (
        "Make an image for every combination of values, from the same noise, on one sheet. "
        "An axis is KIND=VALUES, such as hypernetwork=ink,none or multiplier=0-1 [5] or "
        '"prompt=cat,dog,old fox" (replaces cat).'
    )
    for letter, place in (("x", "across"), ("y", "down"), ("z", "block by block")):
        parser.add_argument(
            f"-{letter}",
            required=letter == "x",
            metavar="KIND=VALUES",
            help=f"what varies {place}" + (f": {', '.join(AXIS_KINDS)}" if letter == "x" else ""),
        )
    parser.add_argument("prompt", metavar="PROMPT", help="in WebUI's syntax, tags included")
    add_request(parser, leave=("batch_size", "batch_count", "dynamic", "dynamic_method"))
    parser.add_argument(
        "--keep-images", action="store_true", help="write every image as a file of its own too"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="for the PNGs"
    )
    parser.set_defaults(run=_grid)


def _txt2img(options: argparse.Namespace) -> int:
    """Make images, and say which networks really ran."""
    from promptengine.cli.image_options import hires_of

    folders = folders_of(options)
    options, request = _begun(options, folders, "txt2img")
    request = replace(request, hires=hires_of(options, request.hires))
    return _generate(options, request, folders)


def _img2img(options: argparse.Namespace) -> int:
    """Make images from an image, in whole or where a mask is white."""
    from promptengine.cli.image_options import start_of

    folders = folders_of(options)
    options, request = _begun(options, folders, "img2img")
    return _generate(options, replace(request, start=start_of(options)), folders)


def _begun(
    options: argparse.Namespace, folders: Mapping[Kind, list[Path]], tab: str
) -> tuple[argparse.Namespace, GenerationRequest]:
    """Options and request to go on with: those of the file of ``--from``, or the prompt and WebUI's defaults."""
    if options.origin is not None:
        from promptengine.cli.from_image import read_recipe

        options, request = read_recipe(options, folders)
        return _with_webui(options, request)
    if options.prompt is None and options.prompts is None:
        message = "PROMPT is missing; write one, or name a file with --from"
        raise RequestError(message, field="prompt")
    return _with_webui(options, GenerationRequest(prompt=options.prompt or ""), tab)


def _with_webui(
    options: argparse.Namespace, request: GenerationRequest, tab: str = ""
) -> tuple[argparse.Namespace, GenerationRequest]:
    """Fill what is not given from the WebUI of ``--webui``.

    Args:
        options: Of the command line.
        request: What to change.
        tab: Whose defaults hold; empty for a request that was read off a file and has its own.
    """
    if options.webui is None:
        return options, request
    from promptengine.cli.webui import with_page_defaults, with_saved_settings

    request = with_saved_settings(options, request, read=not tab)
    return with_page_defaults(options, tab) if tab else options, request


def _generate(
    options: argparse.Namespace,
    request: GenerationRequest,
    folders: Mapping[Kind, list[Path]],
) -> int:
    from promptengine.generation.timing import StageTimer

    if asks_for_script(options) or options.dynamic:
        return _run_script(options, request, folders)
    clock = StageTimer()
    with clock.measuring("import"):
        from promptengine.cli.generate import run

    request = _asked(options, request)
    result = run(options, request, folders, clock)
    show_diagnostics(result.diagnostics, request.prompt, to_stderr=True)
    show_reports(result.networks)
    hires = request.hires
    if hires is not None and hires.prompt not in ("", request.prompt):
        print("in the high-resolution pass:")
        show_reports(result.hires_networks)
    if len({use.path for use in result.models}) > 1:
        parts = (f"{use.name} ({use.stage} pass, {use.calls} calls)" for use in result.models)
        print(printable("models: " + ", ".join(parts)))
    if options.profile:
        from promptengine.cli.tables import show_profile

        show_profile(clock.seconds)
    return 0


def _run_script(
    options: argparse.Namespace,
    request: GenerationRequest,
    folders: Mapping[Kind, list[Path]],
) -> int:
    from promptengine.cli.script import run

    if options.profile:
        message = "--profile times one request and not a script; leave it out"
        raise RequestError(message, field="profile")
    output = run(options, _asked(options, request), folders)
    for note in output.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    _show_all(output.results)
    return 0


def _asked(options: argparse.Namespace, request: GenerationRequest) -> GenerationRequest:
    """Return what the options ask for: their fields, then their styles, then their hypernetworks."""
    from promptengine.cli.generate import request_of

    request = request_of(options, request)
    if options.style:
        request = apply_styles(request, options.style, styles_of(options))
    return replace(request, prompt=_prompt(options, request))


def _show_all(results: Sequence[GenerationResult]) -> None:
    """Say what is to be said of several images, each thing once."""
    diagnostics = dict.fromkeys(found for result in results for found in result.diagnostics)
    # A column means nothing across prompts that differ.
    show_diagnostics([found.without_places() for found in diagnostics], "", to_stderr=True)
    show_reports(_reports_of_all(results))


def _grid(options: argparse.Namespace) -> int:
    """Make an X/Y/Z plot, and say what became of the networks in it."""
    from promptengine.cli.grid import run

    folders = folders_of(options)
    options, request = _with_webui(options, GenerationRequest(prompt=options.prompt), "txt2img")
    _show_all(run(options, _asked(options, request), folders))
    return 0


def _reports_of_all(results: Sequence[GenerationResult]) -> Iterable[NetworkReport]:
    """Return a report for each network, multiplier and fate, however many images share it."""
    reports = [report for result in results for report in result.networks]
    return {
        (
            r.kind,
            r.name,
            r.multiplier,
            r.unet_multiplier,
            r.blocks,
            r.region,
            r.applied,
            r.reason,
        ): r
        for r in reports
    }.values()


def _prompt(options: argparse.Namespace, request: GenerationRequest) -> str:
    """Return a request's prompt with the tags of ``--hypernetwork NAME[:MULTIPLIER]`` appended."""
    prompt, dialect = request.prompt, options.dialect or request.dialect
    for use in options.hypernetwork:
        name, colon, multiplier = use.partition(":")
        try:
            float(multiplier if colon else "1")
        except ValueError:
            message = f"--hypernetwork {use!r}: multiplier {multiplier!r} is no number"
            raise RequestError(message, field="hypernetwork") from None
        prompt = append_hypernetwork(prompt, name, multiplier if colon else "1", dialect=dialect)
    return prompt
