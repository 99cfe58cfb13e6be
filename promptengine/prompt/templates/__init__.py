"""Templates of prompts, as the Dynamic Prompts extension of WebUI has them: ``{a|b}``, ``__name__``, ``${x}``.

A layer before any dialect: what it gives is a prompt, which is then read as always.
"""

from promptengine.prompt.templates.parser import parse_template
from promptengine.prompt.templates.sampling import combinations, draw
from promptengine.prompt.templates.tree import Template, unparse
from promptengine.prompt.templates.wildcards import Wildcards

__all__ = ["Template", "Wildcards", "combinations", "draw", "parse_template", "unparse"]
