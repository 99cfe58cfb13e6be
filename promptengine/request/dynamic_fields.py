"""The fields of a request by which its prompts are templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from promptengine.request.fields import Flag, LeftOut, described

__all__ = ["DYNAMIC", "DYNAMIC_METHOD", "DynamicMethod"]

DynamicMethod = Literal["random", "combinatorial", "cyclical"]
"""How the choices of a template are picked: by each image's seed, every combination in turn, or each choice in turn."""

DYNAMIC: Final[Mapping[str, object]] = described(
    "Dynamic prompts",
    "read the prompts as templates: {a|b}, __wildcard__, ${name=value}",
    flag=Flag("--dynamic"),
    api=LeftOut("an always-on script there: Dynamic Prompts"),
    entry=LeftOut("the prompt is the one that was drawn; Template is its own entry"),
)
DYNAMIC_METHOD: Final[Mapping[str, object]] = described(
    "Dynamic prompts method",
    "how templates' choices are picked: by the seed, all combinations, or in turn",
    flag=Flag("--dynamic-method"),
    api=LeftOut("an argument of the always-on script"),
    entry=LeftOut("the prompt is the one that was drawn"),
)
