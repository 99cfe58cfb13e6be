"""The scripts that ``txt2img`` and ``img2img`` run, and ``promptengine scripts``, which lists them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptengine.cli.arguments import free_path
from promptengine.cli.script_options import asks_for_script
from promptengine.cli.terminal import printable
from promptengine.errors import RequestError
from promptengine.images import save_image
from promptengine.infotext.read import infotext_with_prompts
from promptengine.registry.registry import Kind
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult
from promptengine.scripts.dynamic_prompts import DYNAMIC_PROMPTS
from promptengine.scripts.prompts_from_file import PROMPTS_FROM_FILE
from promptengine.scripts.script import (
    Script,
    ScriptArgument,
    ScriptArguments,
    ScriptContext,
    ScriptImage,
    ScriptOutput,
)
from promptengine.scripts.table import SCRIPTS, find_script, named_arguments

__all__ = ["add_arguments", "run"]

_MOST_BYTES: Final = 64 << 20
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def run(
    options: argparse.Namespace,
    request: GenerationRequest,
    folders: Mapping[Kind, list[Path]],
) -> ScriptOutput:
    """Run the script that the options ask for; images are on disk once they are made, then its grids.

    Raises:
        PromptEngineError: As :func:`promptengine.run_script` does.
        OSError: A file cannot be read, or an image cannot be written.
    """
    script, arguments = _asked(options, request)
    from promptengine.cli.generate import open_engine, planned_steps, progress_bar
    from promptengine.scripts.run import check_tab, run_script

    check_tab(script, request)
    engine = open_engine(options, folders, dtype=options.dtype)
    context = ScriptContext(engine.registry, engine.checkpoint.native_size)
    # Where steps are known beforehand, what is made is what is returned.
    planned = [] if script.steps is None else list(script.steps(request, arguments, context))
    total = sum(planned_steps(one.requests[0]) * one.requests[0].batch_count for one in planned)
    options.output.mkdir(parents=True, exist_ok=True)

    def keep(one: GenerationRequest, result: GenerationResult) -> None:
        if planned:
            for number in range(len(result.images)):
                _save_result(options, one, result, number)

    with progress_bar(total or planned_steps(request)) as on_progress:
        output = run_script(
            engine,
            script,
            request,
            arguments,
            config=options.config,
            on_progress=on_progress,
            on_image=keep,
        )
    kept = {id(image) for one in output.results for image in one.images} if planned else set[int]()
    for one in output.images:
        if id(one.image) not in kept:
            _save_returned(options, one, output)
    return output


def _save_result(
    options: argparse.Namespace, request: GenerationRequest, result: GenerationResult, number: int
) -> None:
    path = free_path(options.output, result.seeds[number], suffix=options.format)
    told = infotext_with_prompts(result.infotexts[number], request.prompt, request.negative_prompt)
    save_image(result.images[number], path, told)
    for name, mask in result.masks_of(number).items():
        save_image(mask, path.with_name(f"{path.stem}-{name}.png"))
    _print(path)


def _save_returned(options: argparse.Namespace, one: ScriptImage, output: ScriptOutput) -> None:
    places = {
        id(image): (request, result.seeds[number])
        for request, result in zip(output.requests, output.results, strict=True)
        for number, image in enumerate(result.images)
    }
    first = (output.requests[0], output.results[0].seeds[0])
    request, seed = places.get(id(one.image), first)
    prefix = "grid-" if one.grid else ""
    path = free_path(options.output, seed, prefix, options.format)
    save_image(
        one.image,
        path,
        infotext_with_prompts(one.infotext, request.prompt, request.negative_prompt),
    )
    _print(path)


def _print(path: Path) -> None:
    Console(highlight=False).print(printable(str(path)), markup=False, soft_wrap=True)


def _asked(
    options: argparse.Namespace, request: GenerationRequest
) -> tuple[Script, ScriptArguments]:
    """Return the script and all of its arguments."""
    if request.dynamic and not asks_for_script(options):
        return DYNAMIC_PROMPTS, named_arguments(DYNAMIC_PROMPTS, {})
    script = PROMPTS_FROM_FILE if options.script is None else find_script(options.script)
    known = {argument.name: argument for argument in script.arguments}
    values: dict[str, object] = {}
    for text in options.script_arg:
        name, equals, value = text.partition("=")
        if not equals:
            raise RequestError(f"--script-arg {text!r}: write NAME=VALUE", field="script_arg")
        argument = known.get(name.strip())
        values[name.strip()] = value if argument is None else _value(argument, value)
    if options.prompts is not None:
        if script is not PROMPTS_FROM_FILE:
            message = f"--prompts is for {PROMPTS_FROM_FILE.name!r} and not for {script.name!r}"
            raise RequestError(f"{message}; leave one of the two out", field="prompts")
        values["text"] = _text(options.prompts)
    return script, named_arguments(script, values)


def _value(argument: ScriptArgument, text: str) -> object:
    """Return what a text says as an argument; one that says nothing of its type is refused where it is checked."""
    default = argument.default
    try:
        if isinstance(default, bool):
            return _FLAGS.get(text.strip().lower(), text)
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
    except ValueError:
        return text
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _text(name: str) -> str:
    """Read a file of prompts, or standard input.

    Raises:
        RequestError: It is no text, or too long to be one of prompts.
        OSError: It cannot be read.
    """
    if name == "-":
        data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        message = f"--prompts {name}: more than {_MOST_BYTES >> 20} MiB; split the file"
        raise RequestError(message, field="prompts")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"--prompts {name}: no UTF-8 text (byte {error.start})"
        raise RequestError(message, field="prompts") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``promptengine scripts``."""
    parser.description = "List the scripts for --script of txt2img and img2img, with their arguments for --script-arg."
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps([_document(script) for script in SCRIPTS.values()], indent=2))
        return 0
    for script in SCRIPTS.values():
        table = Table("argument", "default", "what", box=None, pad_edge=False)
        for argument in script.arguments:
            what = f"{argument.label}{_range(argument)}" if argument.label else "not used"
            cells = (argument.name, _shown(argument.default), what)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        print(f"{printable(script.name)} ({', '.join(sorted(script.tabs, reverse=True))})")
        Console(highlight=False).print(table)
        print()
    return 0


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))  # pyright: ignore[reportUnknownArgumentType]
    return str(default).lower() if isinstance(default, bool) else str(default)


def _range(argument: ScriptArgument) -> str:
    if argument.choices:
        return f": {', '.join(argument.choices)}"
    return "" if argument.low is None else f", {argument.low:g} to {argument.high:g}"


def _document(script: Script) -> dict[str, Any]:
    return {
        "name": script.name,
        "tabs": sorted(script.tabs, reverse=True),
        "arguments": [
            {
                "name": one.name,
                "label": one.label,
                "default": one.default,
                "minimum": one.low,
                "maximum": one.high,
                "choices": _listed(one.choices),
            }
            for one in script.arguments
        ],
    }


def _listed(choices: Sequence[str]) -> list[str] | None:
    return list(choices) or None
