"""``promptengine translate``: a prompt in another dialect, and what of it has no words there."""

from __future__ import annotations

import argparse
import json

from promptengine.cli.options import add_ignore
from promptengine.cli.render import show_diagnostics
from promptengine.cli.terminal import printable
from promptengine.prompt import DIALECTS
from promptengine.prompt.diagnostic_kinds import check_codes, without_codes
from promptengine.prompt.dialects import WEBUI
from promptengine.prompt.serialize import diagnostic_document, well_formed
from promptengine.prompt.translate import translate

__all__ = ["add_arguments"]


def _run(options: argparse.Namespace) -> int:
    check_codes(options.ignore, "--ignore")
    found = translate(
        options.prompt,
        options.source,
        options.target,
        negative=options.negative,
        comments=options.comments,
    )
    problems = without_codes(found.problems, options.ignore)
    if options.json:
        told = [diagnostic_document(problem) for problem in problems]
        print(json.dumps(well_formed({"prompt": found.text, "problems": told}), indent=2))
        return 0
    print(printable(found.text))
    show_diagnostics(problems, options.prompt, to_stderr=True)
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    written = [name for name, dialect in DIALECTS.items() if dialect.style is not None]
    parser.description = (
        "Rewrite a prompt in another dialect. What cannot be said there is told on standard error, "
        "with its column in PROMPT."
    )
    parser.add_argument("prompt", metavar="PROMPT")
    parser.add_argument(
        "--from", dest="source", choices=list(DIALECTS), default=WEBUI, help="default: webui"
    )
    parser.add_argument(
        "--to", dest="target", choices=written, default=WEBUI, help="default: webui"
    )
    parser.add_argument("--negative", action="store_true", help="it is a negative prompt")
    parser.add_argument(
        "--comments",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take out # comments of WebUI's prompts (default: yes)",
    )
    add_ignore(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)
