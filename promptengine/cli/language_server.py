"""``promptengine language-server``: the prompt language for editors."""

from __future__ import annotations

import argparse
import importlib.util

from promptengine.cli.model_folders import add_model_folders, folders_of
from promptengine.cli.options import add_dialect
from promptengine.errors import PromptEngineError

__all__ = ["add_arguments"]


def _run(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("pygls") is None:
        message = (
            "promptengine language-server needs the extra 'lsp': pip install 'promptengine[lsp]'"
        )
        raise PromptEngineError(message)
    from promptengine.language.lsp.options import ServerOptions
    from promptengine.language.lsp.server import serve
    from promptengine.language.syntax import PromptSyntax

    syntax = PromptSyntax(
        dialect=options.dialect,
        negative=options.negative,
        comments=options.comments,
        dynamic=options.dynamic,
        steps=options.steps,
    )
    serve(ServerOptions.open(folders_of(options), syntax))
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Answer an editor on standard input and output, in the Language Server Protocol: diagnostics, completion, "
        "hover, colors, formatting and remedies. A client may set the same options by their names, - as _, as its "
        "initialization options or settings."
    )
    parser.add_argument(
        "--stdio", action="store_true", help="what some clients give; it is the only way there is"
    )
    add_dialect(parser)
    parser.add_argument("--negative", action="store_true", help="texts are negative prompts")
    parser.add_argument("--dynamic", action="store_true", help="texts are templates")
    parser.add_argument(
        "--comments",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="# begins a comment (default: yes)",
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="default: 20")
    add_model_folders(parser)
    parser.set_defaults(run=_run)
