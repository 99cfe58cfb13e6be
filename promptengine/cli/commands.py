"""What each command does. Options arrive parsed; errors leave as exceptions of our tree.

torch is imported by the commands that need it, so that the others answer at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptengine.cli.model_folders import folders_of, has_folders, places_of, styles_of
from promptengine.cli.render import (
    printable,
    show_block_weights,
    show_diagnostics,
    show_file,
    show_networks,
    show_profile,
    show_prompt,
    show_reports,
    show_timelines,
)
from promptengine.errors import RequestError
from promptengine.files.hashing import default_cache_file
from promptengine.kinds import (
    NETWORK_KINDS,
    FileSummary,
    NetworkKind,
    model_kinds,
)
from promptengine.prompt import Prompt, parse
from promptengine.prompt.diagnostic_kinds import check_codes, without_codes
from promptengine.prompt.lint import negative_weights
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.prompt.serialize import prompt_document, well_formed
from promptengine.prompt.timelines import tag_timelines
from promptengine.registry.registry import (
    Kind,
    Registry,
    RegistryEntry,
    description,
    preview,
)
from promptengine.request.edit import append_hypernetwork
from promptengine.request.plan import Plan, make_plan
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult, NetworkReport
from promptengine.request.styles import apply_styles

__all__ = [
    "grid",
    "info",
    "inspect",
    "networks",
    "parse_prompt",
    "printable",
    "train_hypernetwork",
    "txt2img",
]


def parse_prompt(options: argparse.Namespace) -> int:
    """``promptengine parse``: show how a prompt is read, or answer a stream of them."""
    for name in ("steps", "hires_steps"):
        _check_steps(name, getattr(options, name))
    check_codes(options.ignore, "--ignore")
    if options.jsonl:
        return _parse_lines(sys.stdin, options.ignore, comments=bool(options.comments))
    prompt = parse(
        options.prompt,
        comments=options.comments is not False,
        negative=options.negative,
        dialect=options.dialect,
    )
    plan = _lookups(prompt, options)
    found = prompt.diagnostics if plan is None else plan.diagnostics
    diagnostics = without_codes((*found, *negative_weights(prompt)), options.ignore)
    uses = () if plan is None else plan.networks
    scheduled = ScheduledPrompt(prompt, options.steps, options.hires_steps)
    if options.json:
        answer = prompt_document(scheduled, diagnostics)
        if blocks := {
            str(prompt.tags.index(use.tag)): dict(use.blocks.by_block)
            for use in uses
            if use.blocks is not None
        }:
            answer["block_weights"] = blocks
        print(json.dumps(answer, indent=2))
    else:
        show_prompt(scheduled, diagnostics)
        show_timelines(tag_timelines(scheduled))
        show_block_weights(uses)
    return 0


def _check_steps(name: str, steps: object) -> None:
    if steps is not None and not (type(steps) is int and 1 <= steps <= 10_000):
        raise RequestError(f"{name} is {steps!r}; it must be 1 to 10000", field=name)


def _lookups(prompt: Prompt, options: argparse.Namespace) -> Plan | None:
    """Return what the tags come to with the models folder; nothing where there is no such folder."""
    if not has_folders(options):
        return None
    registry = Registry.open(folders_of(options))
    return make_plan(ScheduledPrompt(prompt, 1), parse("", negative=True), registry)


def _parse_lines(lines: Iterable[str], ignored: Collection[str], *, comments: bool) -> int:
    """Answer each line; a bad one gets an ``error`` in its answer and makes the exit status 1."""
    status = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            answer = _parse_line(line, ignored, comments=comments)
        except (ValueError, RequestError) as error:
            answer = {"id": None, "error": f"line {number}: {error}"}
            status = 1
        print(json.dumps(answer), flush=True)
    return status


def _parse_line(line: str, ignored: Collection[str], *, comments: bool) -> Mapping[str, Any]:
    question: Any = json.loads(line)
    if not isinstance(question, dict) or not isinstance(question.get("prompt"), str):
        raise ValueError('not a JSON object with a text "prompt"')
    steps = question.get("steps", 20)
    hires_steps = question.get("hires_steps")
    _check_steps("steps", steps)
    _check_steps("hires_steps", hires_steps)
    prompt = parse(question["prompt"], comments=comments)
    scheduled = ScheduledPrompt(prompt, steps, hires_steps)
    diagnostics = without_codes((*prompt.diagnostics, *negative_weights(prompt)), ignored)
    return {"id": question.get("id"), **prompt_document(scheduled, diagnostics)}


def networks(options: argparse.Namespace) -> int:
    """``promptengine networks``: list what the models folder holds."""
    registry = Registry.open(folders_of(options), cache_file=default_cache_file())
    summaries = {
        kind.name: kind.summarize(registry)
        for kind in model_kinds().values()
        if isinstance(kind, NetworkKind)
    }
    hidden = {kind.name for kind in NETWORK_KINDS.values() if kind.needs_summary}
    entries = [
        entry
        for kind in model_kinds()
        for entry in registry.entries(kind)
        if kind not in hidden or entry.path in summaries[kind]
    ]
    found = {path: one for some in summaries.values() for path, one in some.items()}
    if options.json:
        told = [_entry_as_json(entry, registry, found.get(entry.path)) for entry in entries]
        print(json.dumps(well_formed(told), indent=2))
    else:
        show_networks(entries, registry.clashes, places_of(options), found)
    registry.digests.save()
    return 0


def _entry_as_json(
    entry: RegistryEntry, registry: Registry, summary: FileSummary | None
) -> dict[str, Any]:
    image = preview(entry)
    fields: dict[str, Any] = {
        "kind": entry.kind,
        "name": entry.name,
        "path": str(entry.path),
        "size": entry.size,
        "sha256": registry.digest(entry),
        "aliases": list(entry.aliases),
        "preview": None if image is None else str(image),
        "description": description(entry),
        "layers": [],
        "base_model": None,
        "misfit": None,
    }
    return fields | ({} if summary is None else dict(summary.facts))


def inspect(options: argparse.Namespace) -> int:
    """``promptengine inspect``: say what a file is, without running anything in it."""
    from promptengine.inspection import inspect_file

    report = inspect_file(options.file)
    if options.json:
        print(json.dumps(well_formed(report.to_dict()), indent=2))
    else:
        show_file(report)
    return 0


def info(options: argparse.Namespace) -> int:
    """``promptengine info``: show what images say about themselves."""
    from promptengine.cli.info import run

    return run(options)


def txt2img(options: argparse.Namespace) -> int:
    """``promptengine txt2img``: make images, and say which networks really ran."""
    from promptengine.cli.image_options import hires_of

    folders = folders_of(options)
    options, request = _begun(options, folders, "txt2img")
    request = replace(request, hires=hires_of(options, request.hires))
    return _generate(options, request, folders)


def img2img(options: argparse.Namespace) -> int:
    """``promptengine img2img``: the same, from an image, in whole or where a mask is white."""
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
    from promptengine.cli.script import asks_for_script
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


def grid(options: argparse.Namespace) -> int:
    """``promptengine grid``: an X/Y/Z plot, and what became of the networks in it."""
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


def train_hypernetwork(options: argparse.Namespace) -> int:
    """``promptengine train hypernetwork``: train, or go on where an earlier run stopped."""
    from promptengine.cli.train import run

    return run(options, folders_of(options, new=True))


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
