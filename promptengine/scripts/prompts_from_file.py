"""WebUI's prompts from file or textbox: every line of a text is a prompt, or flags as on a command line."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from promptengine.errors import RequestError
from promptengine.kinds import CHECKPOINT
from promptengine.prompt.parser import without_comments
from promptengine.request.ranges import LATENT_SCALE
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult
from promptengine.scripts.script import (
    BOTH_TABS,
    Script,
    ScriptArgument,
    ScriptArguments,
    ScriptContext,
    ScriptImage,
    ScriptOutput,
    ScriptRun,
    ScriptStep,
)

__all__ = ["MOST_LINES", "PROMPTS_FROM_FILE"]

MOST_LINES: Final = 10_000
"""Of one text; a longer one is split into several."""

_LONGEST_LINE: Final = 100_000
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class _Line:
    """A line as read.

    Attributes:
        number: Counted from 1, empty lines too.
        flags: What it sets, by the flags' names.
        note: Why it is a prompt in whole although it holds flags; empty where it is not.
    """

    number: int
    flags: Mapping[str, object]
    note: str = ""


class _NoFlagsError(ValueError):
    """A line that WebUI takes for a prompt, since it cannot be read as flags."""


def _is_true(text: str) -> bool:
    return text == "true"


_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    **dict.fromkeys(("prompt", "negative_prompt", "prompt_for_display", "styles"), str),
    **dict.fromkeys(("sampler_name", "sd_model", "outpath_samples", "outpath_grids"), str),
    **dict.fromkeys(("seed", "subseed", "seed_resize_from_w", "seed_resize_from_h"), int),
    **dict.fromkeys(("sampler_index", "batch_size", "n_iter", "steps", "width", "height"), int),
    **dict.fromkeys(("subseed_strength", "cfg_scale"), float),
    **dict.fromkeys(("restore_faces", "tiling"), _is_true),
    **dict.fromkeys(("do_not_save_samples", "do_not_save_grid"), _is_true),
}
"""WebUI's flags, and how the value of each is read."""

_FIELDS: Final[Mapping[str, str]] = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "sampler_name": "sampler",
    "seed": "seed",
    "subseed": "variation_seed",
    "subseed_strength": "variation_strength",
    "batch_size": "batch_size",
    "n_iter": "batch_count",
    "steps": "steps",
    "cfg_scale": "cfg_scale",
    "width": "width",
    "height": "height",
    "tiling": "tiling",
}
"""Flags that set a field of the request."""

_SIDES: Final = ("seed_resize_from_w", "seed_resize_from_h")
_TEXTS: Final = ("prompt", "negative_prompt")

_REFUSED: Final[Mapping[str, str]] = {
    "outpath_samples": "a line cannot choose where files go; set the folder for the whole run",
    "outpath_grids": "a line cannot choose where files go; set the folder for the whole run",
    "styles": "a line cannot choose styles; set them for the whole run, or write their text out",
    "restore_faces": "there is no restoring of faces here; leave it out or write false",
    "do_not_save_samples": "a line cannot choose what is saved; set it for the whole run",
}
"""Flags that cannot be honored, with the remedy; their values false and empty ask for nothing."""

_IDLE: Final[Mapping[str, str]] = {
    "prompt_for_display": "is for WebUI's page and changes no image",
    "sampler_index": "has no effect, as in WebUI; write --sampler_name",
}


def _lines(text: str) -> list[_Line]:
    """Read the lines of a text that are not empty; too many or too long ones are refused before any is read."""
    stripped = {n: line.strip() for n, line in enumerate(text.splitlines(), 1) if line.strip()}
    if len(stripped) > MOST_LINES:
        message = f"there are more than {MOST_LINES} lines of prompts; split them"
        raise RequestError(message, field="text")
    for number, line in stripped.items():
        if len(line) > _LONGEST_LINE:
            message = f"line {number} has {len(line)} characters; {_LONGEST_LINE} are the most"
            raise RequestError(message, field="text")
    return [_line(number, line) for number, line in stripped.items()]


def _line(number: int, text: str) -> _Line:
    if "--" not in text:
        return _Line(number, {"prompt": text})
    try:
        flags = _flags(shlex.split(text))
    except ValueError as error:
        note = f"line {number} is a prompt in whole, since it cannot be read as flags: {error}"
        return _Line(number, {"prompt": text}, note)
    _refuse(number, flags)
    idle = [f"line {number}: --{name} {_IDLE[name]}" for name in flags if name in _IDLE]
    return _Line(number, flags, "; ".join(idle))


def _flags(words: Sequence[str]) -> dict[str, object]:
    """Read a line's flags, each with its value; those of prompts reach to the next flag.

    Raises:
        ValueError: What is no flag, a flag that there is not, or a value that is missing or wrong.
    """
    found: dict[str, object] = {}
    position = 0
    while position < len(words):
        word = words[position]
        name = word.removeprefix("--")
        if name == word or name not in _READERS:
            raise _NoFlagsError(f"{word[:_SHOWN]!r} is no flag of WebUI's")
        if position + 1 == len(words):
            raise _NoFlagsError(f"--{name} has no value")
        end = position + 2
        while name in _TEXTS and end < len(words) and not words[end].startswith("--"):
            end += 1
        value = " ".join(words[position + 1 : end])
        try:
            found[name] = _READERS[name](value)
        except ValueError:
            raise _NoFlagsError(f"--{name} {value[:_SHOWN]!r} is no number") from None
        position = end
    return found


def _refuse(number: int, flags: Mapping[str, object]) -> None:
    for name, reason in _REFUSED.items():
        if flags.get(name):
            raise RequestError(f"line {number}: --{name} is refused: {reason}", field="text")


def _steps(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> Iterator[ScriptStep]:
    return _planned(_lines(str(arguments["text"])), request, arguments, context)


def _planned(
    lines: Sequence[_Line],
    request: GenerationRequest,
    arguments: ScriptArguments,
    context: ScriptContext,
) -> Iterator[ScriptStep]:
    """Yield a step for each line. A line's checkpoint stays for those that follow, as in WebUI."""
    if arguments["iterate_seed"] or arguments["same_seed"]:
        request = replace(request, seed=with_seeds(request).seed)
    checkpoint = ""
    for line in lines:
        try:
            checkpoint = _checkpoint(line, context) or checkpoint
            one = with_seeds(_request(line, request, start=arguments["position"] == "start"))
        except RequestError as error:
            raise RequestError(f"line {line.number}: {error}", field=error.field) from None
        yield ScriptStep((one,), checkpoint=checkpoint)
        if arguments["iterate_seed"]:
            images = request.batch_size * request.batch_count
            request = replace(request, seed=request.seed + images)


def _checkpoint(line: _Line, context: ScriptContext) -> str:
    """Return the checkpoint that a line names, or nothing.

    Raises:
        UnknownNetworkError: There is none of the name.
    """
    name = str(line.flags.get("sd_model", ""))
    if not name:
        return ""
    entry = context.registry.find(CHECKPOINT.name, name)
    if entry is None:
        near = context.registry.near(CHECKPOINT.name, name)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RequestError(f"--sd_model {name[:_SHOWN]!r}: no such checkpoint{hint}", field="text")
    return entry.name


def _request(line: _Line, request: GenerationRequest, *, start: bool) -> GenerationRequest:
    """Return what a line asks for, beside the request that holds for all lines."""
    fields = {own: line.flags[name] for name, own in _FIELDS.items() if name in line.flags}
    for name in _TEXTS:
        own, common = str(fields.get(name, "")), str(getattr(request, name))
        if own and request.options.comments:
            fields[name] = own = without_comments(own)
        if own and common:
            fields[name] = f"{own} {common}" if start else f"{common} {own}"
    for name in ("width", "height"):
        side = fields.get(name)
        if isinstance(side, int):
            fields[name] = side - side % LATENT_SCALE
    if any(name in line.flags for name in _SIDES):
        usual = request.seed_resize_from or (-1, -1)
        sides = [line.flags.get(name, old) for name, old in zip(_SIDES, usual, strict=True)]
        positive = all(isinstance(side, int) and side > 0 for side in sides)
        fields["seed_resize_from"] = tuple(sides) if positive else None
    return partial(replace, request, **fields)()


def _run(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> ScriptRun:
    lines = tuple(_lines(str(arguments["text"])))
    if not lines:
        raise RequestError("there are no lines with prompts; write one a line", field="text")
    results: list[GenerationResult] = []
    for step in tuple(_planned(lines, request, arguments, context)):
        results += yield step
    images = [
        ScriptImage(image, infotext)
        for result in results
        for image, infotext in zip(result.images, result.infotexts, strict=True)
    ]
    notes = tuple(line.note for line in lines if line.note)
    return ScriptOutput(tuple(images), tuple(results), notes)


PROMPTS_FROM_FILE: Final = Script(
    name="Prompts from file or textbox",
    arguments=(
        ScriptArgument(
            "iterate_seed",
            "Iterate seed every line",
            default=False,
            help="each line goes on counting where the one before ended",
        ),
        ScriptArgument(
            "same_seed",
            "Use same random seed for all lines",
            default=False,
            help="a seed of -1 is drawn once",
        ),
        ScriptArgument(
            "position",
            "Insert prompts at the",
            default="start",
            choices=("start", "end"),
            help="where a line goes beside the prompt above",
        ),
        ScriptArgument(
            "text",
            "List of prompt inputs",
            default="",
            help='a prompt a line, or flags such as --prompt "a cat" --steps 30',
            control="lines",
        ),
    ),
    tabs=BOTH_TABS,
    run=_run,
    steps=_steps,
)
"""A line such as ``--prompt "a cat" --steps 30`` sets what its image differs in."""
