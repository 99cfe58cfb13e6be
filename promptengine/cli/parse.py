"""``promptengine parse``: how a prompt is read, which needs no model and is answered at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from promptengine.cli.model_folders import add_model_folders, folders_of, has_folders
from promptengine.cli.options import add_dialect, add_ignore
from promptengine.cli.render import (
    show_block_weights,
    show_prompt,
    show_timelines,
)
from promptengine.errors import RequestError
from promptengine.prompt.ast import Diagnostic, Prompt
from promptengine.prompt.diagnostic_kinds import check_codes, without_codes
from promptengine.prompt.lint import negative_weights
from promptengine.prompt.parser import parse
from promptengine.prompt.scheduled import ScheduledPrompt

if TYPE_CHECKING:
    from promptengine.request.plan import Plan

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("prompt", nargs="?", metavar="PROMPT")
    what.add_argument(
        "--jsonl",
        action="store_true",
        help='read {"id", "prompt", "steps", "hires_steps"} a line, answer one JSON object a line',
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N")
    parser.add_argument(
        "--hires-steps", type=int, metavar="N", help="show the schedule of the second pass"
    )
    parser.add_argument("--negative", action="store_true", help="read it as a negative prompt")
    add_dialect(parser)
    add_ignore(parser)
    parser.add_argument(
        "--comments",
        action=argparse.BooleanOptionalAction,
        help="take out # comments (default: yes; with --jsonl no)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_model_folders(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Show how a prompt is read, or answer a stream of them."""
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
    scheduled = ScheduledPrompt(prompt, options.steps, options.hires_steps)
    if options.json:
        _print_document(scheduled, diagnostics, plan)
        return 0
    show_prompt(scheduled, diagnostics)
    if prompt.tags:
        from promptengine.prompt.timelines import tag_timelines

        show_timelines(tag_timelines(scheduled))
        show_block_weights(() if plan is None else plan.networks)
    return 0


def _print_document(
    scheduled: ScheduledPrompt, diagnostics: Iterable[Diagnostic], plan: Plan | None
) -> None:
    import json

    from promptengine.prompt.serialize import prompt_document

    answer = prompt_document(scheduled, diagnostics)
    tags, uses = scheduled.prompt.tags, () if plan is None else plan.networks
    if blocks := {
        str(tags.index(use.tag)): dict(use.blocks.by_block)
        for use in uses
        if use.blocks is not None
    }:
        answer["block_weights"] = blocks
    print(json.dumps(answer, indent=2))


def _check_steps(name: str, steps: object) -> None:
    if steps is not None and not (type(steps) is int and 1 <= steps <= 10_000):
        raise RequestError(f"{name} is {steps!r}; it must be 1 to 10000", field=name)


def _lookups(prompt: Prompt, options: argparse.Namespace) -> Plan | None:
    """Return what the tags come to with the models folder; nothing where there are none, or no such folder."""
    if not prompt.tags or not has_folders(options):
        return None
    from promptengine.registry.registry import Registry
    from promptengine.request.plan import make_plan

    registry = Registry.open(folders_of(options))
    return make_plan(ScheduledPrompt(prompt, 1), parse("", negative=True), registry)


def _parse_lines(lines: Iterable[str], ignored: Collection[str], *, comments: bool) -> int:
    """Answer each line; a bad one gets an ``error`` in its answer and makes the exit status 1."""
    import json

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
    import json

    from promptengine.prompt.serialize import prompt_document

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
