"""Every script by its name, and how its arguments are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Final, cast

from promptengine.errors import RequestError
from promptengine.plugins import SCRIPT, ObjectRegistry, Plugin
from promptengine.scripts.dynamic_prompts import DYNAMIC_PROMPTS
from promptengine.scripts.loopback import LOOPBACK
from promptengine.scripts.outpainting_mk2 import OUTPAINTING_MK2
from promptengine.scripts.poor_mans_outpainting import POOR_MANS_OUTPAINTING
from promptengine.scripts.prompt_matrix import PROMPT_MATRIX
from promptengine.scripts.prompts_from_file import PROMPTS_FROM_FILE
from promptengine.scripts.script import Script, ScriptArgument, ScriptArguments
from promptengine.scripts.sd_upscale import SD_UPSCALE
from promptengine.scripts.xyz_plot import XYZ_PLOT

__all__ = ["SCRIPTS", "find_script", "named_arguments", "placed_arguments", "register_script"]

SCRIPTS: Final[ObjectRegistry[Script]] = ObjectRegistry(
    "promptengine.scripts",
    "script",
    Script,
    (
        LOOPBACK,
        OUTPAINTING_MK2,
        POOR_MANS_OUTPAINTING,
        SD_UPSCALE,
        PROMPT_MATRIX,
        PROMPTS_FROM_FILE,
        XYZ_PLOT,
    ),
    spellings=lambda script: (script.name, script.name.lower()),
)
"""Every script by its name, in WebUI's order."""

_LONGEST: Final = 100
"""Characters of a value that a message repeats."""


def find_script(name: str) -> Script:
    """Look a script up; upper and lower case are alike.

    Raises:
        RequestError: There is none of this name; the message lists what there is.
    """
    for script in (*SCRIPTS.values(), DYNAMIC_PROMPTS):
        if script.name.lower() == name.lower():
            return script
    known = ", ".join(SCRIPTS)
    raise RequestError(
        f"unknown script {name[:_LONGEST]!r}; there are {known}", field="script_name"
    )


def placed_arguments(script: Script, values: Sequence[object]) -> ScriptArguments:
    """Read arguments in their order, as WebUI's API has them; those at the end that are left out have defaults.

    Raises:
        RequestError: More values than arguments, or one that cannot be used.
    """
    if len(values) > len(script.arguments):
        raise RequestError(
            f"{script.name} takes {len(script.arguments)} arguments (got {len(values)})",
            field="script_args",
        )
    names = (argument.name for argument in script.arguments)
    return named_arguments(script, dict(zip(names, values, strict=False)))


def named_arguments(script: Script, values: Mapping[str, object]) -> ScriptArguments:
    """Read arguments by their names; those that are left out have defaults.

    Raises:
        RequestError: An argument that there is not, or a value that cannot be used.
    """
    known = {argument.name: argument for argument in script.arguments}
    for name in values:
        if name not in known:
            raise RequestError(
                f"{script.name} has no argument {name[:_LONGEST]!r}; it has {', '.join(known)}",
                field="script_args",
            )
    return {
        name: _checked(script, argument, values[name]) if name in values else argument.default
        for name, argument in known.items()
    }


def register_script(script: Script, *, origin: str = SCRIPT) -> None:
    """Add a script for the rest of the process.

    Args:
        script: The script.
        origin: Who adds it.

    Raises:
        PluginError: It is no script, or has a name that is taken.
    """
    SCRIPTS.register(script, Plugin(origin))


def _checked(script: Script, argument: ScriptArgument, value: object) -> object:
    def refused(rule: str) -> RequestError:
        return RequestError(
            f"{script.name}: {argument.label} must be {rule} (got {repr(value)[:_LONGEST]})",
            field=argument.name,
        )

    default = argument.default
    if not argument.label:
        return default
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)):
            raise refused("a list of texts")
        texts = tuple(cast("Sequence[object]", value))
        if any(not isinstance(text, str) for text in texts):
            raise refused("a list of texts")
        if argument.choices and not set(texts) <= set(argument.choices):
            raise refused(f"a list of {', '.join(argument.choices)}")
        return texts
    if isinstance(default, bool):
        if not isinstance(value, (bool, int, float)):
            raise refused("true or false")
        return bool(value)
    if isinstance(default, str):
        if argument.numbered and isinstance(value, int) and not isinstance(value, bool):
            if not 0 <= value < len(argument.choices):
                raise refused(f"one of {', '.join(argument.choices)}, or its number from 0")
            return argument.choices[value]
        if not isinstance(value, str):
            raise refused("a text")
        if argument.choices and value not in argument.choices:
            raise refused(f"one of {', '.join(argument.choices)}")
        return value
    return _number(argument, default, value, refused)


def _number(
    argument: ScriptArgument,
    default: int | float,
    value: object,
    refused: Callable[[str], RequestError],
) -> int | float:
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise refused("a whole number" if whole else "a number")
    if whole and value != int(value):
        raise refused("a whole number")
    low, high = argument.low, argument.high
    if (low is not None and value < low) or (high is not None and value > high):
        raise refused(f"from {low} to {high}")
    return int(value) if whole else float(value)


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:
        # A whole number that no float can be.
        return False
