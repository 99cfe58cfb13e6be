"""``promptengine expand``: the prompts of a template."""

from __future__ import annotations

import argparse
import json
from typing import get_args

from promptengine.cli.model_folders import add_model_folders, folders_of
from promptengine.cli.options import add_ignore
from promptengine.cli.render import show_diagnostics
from promptengine.cli.terminal import printable
from promptengine.prompt.diagnostic_kinds import check_codes, without_codes
from promptengine.prompt.serialize import well_formed
from promptengine.prompt.templates import Wildcards, parse_template
from promptengine.registry.registry import WILDCARDS
from promptengine.request.dynamic import MOST_PROMPTS, expand_template
from promptengine.request.dynamic_fields import DynamicMethod

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Write prompts of a template, one a line, as --dynamic of txt2img and img2img draws them. Wildcards lie in a "
        "models folder or beside it."
    )
    parser.add_argument("template", metavar="TEMPLATE", help='such as "a {red|blue} __animal__"')
    parser.add_argument(
        "-n",
        dest="count",
        type=int,
        default=20,
        metavar="N",
        help=f"how many, up to {MOST_PROMPTS}; default: 20",
    )
    how = parser.add_mutually_exclusive_group()
    for method in get_args(DynamicMethod)[1:]:
        words = {"combinatorial": "every combination", "cyclical": "each choice in turn"}[method]
        how.add_argument(
            f"--{method}", dest="method", action="store_const", const=method, help=words
        )
    parser.add_argument(
        "--seed",
        type=int,
        default=-1,
        metavar="N",
        help="of the first prompt, each further one has one more; default: drawn",
    )
    add_ignore(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    add_model_folders(parser, hypernetworks=False)
    parser.set_defaults(run=_expand, method="random")


def _expand(options: argparse.Namespace) -> int:
    check_codes(options.ignore, "--ignore")
    wildcards = Wildcards.open(folders_of(options)[WILDCARDS])
    found = without_codes(parse_template(options.template).diagnostics, options.ignore)
    show_diagnostics(found, options.template, to_stderr=True)
    prompts = expand_template(
        options.template, wildcards, options.count, method=options.method, seed=options.seed
    )
    if options.json:
        print(json.dumps(well_formed(prompts), indent=2))
    else:
        print("\n".join(map(printable, prompts)))
    return 0
