"""Fill what the pages take from the package itself, when mkdocs builds them.

A page says ``{{ commands }}`` and gets the commands as the parser declares them; :data:`SECTIONS` lists what
there is. So the reference cannot fall behind the code, and a mark that nothing fills fails the build.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from griffe import Docstring, DocstringSectionAttributes
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import promptengine
from promptengine.cli.main import _parser
from promptengine.prompt.diagnostic_kinds import DIAGNOSTIC_KINDS, KnownCode
from promptengine.prompt.dialects import DIALECTS, KnownDialect
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import Options, Setting
from promptengine.request.regions import RatioRule
from promptengine.request.request import GenerationRequest
from promptengine.validation import Between, MultipleOf

PACKAGE = ROOT / "promptengine"
BORROWED = {
    "images/grid.png": "models/starter/grid.png",
    "images/page.png": "models/starter/page.png",
    "images/inpaint.png": "models/starter/inpaint.png",
    "explanation/security.md": "SECURITY.md",
    **{
        f"images/networks/{path.name}": f"models/starter/networks/{path.name}"
        for path in sorted((ROOT / "models" / "starter" / "networks").glob("*.webp"))
    },
}
"""Pages and images of the site that lie elsewhere in the repository."""

_MARK = re.compile(r"^\{\{ (\w+) \}\}$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the borrowed files."""
    for address, place in BORROWED.items():
        files.append(File.generated(config, address, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill a page's marks."""

    def filled(mark: re.Match[str]) -> str:
        if mark[1] not in SECTIONS:
            raise PluginError(f"{page.file.src_uri}: nothing fills {mark[0]}")
        return "\n".join(SECTIONS[mark[1]]())

    return _MARK.sub(filled, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Leave out the roles of docstrings, which Markdown does not know."""
    return re.sub(r":(?:attr|class|data|exc|func|meth|mod):(?=<)", "", html)


def layers() -> Iterator[str]:
    """Yield the layers of the package, lowest first, from the list that the tests prove."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    value = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "LAYERS"
    )
    found: list[set[str]] = ast.literal_eval(value) if value else []
    rows = [
        (str(floor), f"`{name}`", _summary(_source(name)))
        for floor, names in enumerate(found)
        for name in sorted(names)
    ]
    yield from _table(("floor", "part", "what it holds"), rows)


def modules() -> Iterator[str]:
    """Yield every module with the first line of its docstring, part by part."""
    for folder in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        files = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
        yield f"\n### {folder.name}\n\n{_summary(folder / '__init__.py')}\n"
        rows = [(f"`{path.relative_to(folder)}`", _summary(path)) for path in files]
        yield from _table(("module", "what it holds"), rows)


def commands() -> Iterator[str]:
    """Yield every command with its options."""
    for parser, summary in _commands(_parser()):
        yield f"\n## {parser.prog}\n"
        yield _sentence(parser.description or summary) + "\n"
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        yield f"```text\n{usage}\n```\n"
        for group in parser._action_groups:
            rows = [_row(parser, action) for action in group._group_actions if _is_told(action)]
            if rows:
                yield f"\n**{group.title}**\n"
                yield from _table(("option", "meaning"), rows)


def request_fields() -> Iterator[str]:
    """Yield the fields of a request and of what it holds."""
    for kind in (GenerationRequest, HiresPass, ImageStart, Inpainting):
        yield f"\n## {kind.__name__}\n"
        meanings, hints = _attributes(kind), _hints(kind)
        rows = [
            (f"`{one.name}`", _words(hints[one.name]), _default(one), meanings[one.name])
            for one in dataclasses.fields(kind)
        ]
        yield from _table(("field", "value", "default", "meaning"), rows)


def options() -> Iterator[str]:
    """Yield WebUI's settings."""
    meanings = _attributes(Options)
    rows: list[tuple[str, ...]] = []
    for one in dataclasses.fields(Options):
        setting: Setting = one.metadata["setting"]
        rows.append(
            (
                f"`{one.name}`",
                f"`{setting.webui}`",
                _setting_words(setting),
                _default(one),
                meanings[one.name],
            )
        )
    yield from _table(("in Python", "in WebUI", "value", "default", "meaning"), rows)


def exports() -> Iterator[str]:
    """Yield the package's names: first what does something, then values, then errors."""
    names = [name for name in promptengine.__all__ if not name.startswith("__")]
    errors = [name for name in names if name.endswith(("Error", "Cancelled"))]
    types = [name for name in names if name[0].isupper() and name not in errors]
    functions = [name for name in names if name[0].islower()]
    for title, group in (("Functions", functions), ("Types", types), ("Errors", errors)):
        yield f"\n## {title}\n"
        for name in group:
            yield f"\n::: {_home(name)}\n    options:\n      heading: promptengine.{name}\n"


def diagnostics() -> Iterator[str]:
    """Yield the table of all kinds of diagnostics."""
    yield "| code | severity | tells that |"
    yield "|---|---|---|"
    for kind in DIAGNOSTIC_KINDS.values():
        summary = kind.summary.replace("|", "\\|")
        yield f"| `{kind.code}` | {kind.severity} | {summary} |"


SECTIONS: Mapping[str, Callable[[], Iterable[str]]] = {
    "layers": layers,
    "modules": modules,
    "commands": commands,
    "request_fields": request_fields,
    "options": options,
    "exports": exports,
    "diagnostics": diagnostics,
}
"""What fills which mark, line by line."""


def _home(name: str) -> str:
    """The path by which a name of the package is found without running anything."""
    if not any(PACKAGE.rglob(f"{name}.py")):
        return f"promptengine.{name}"
    # A module of the same name would be taken for it.
    value = getattr(promptengine, name)
    return f"{value.__module__}.{value.__qualname__}"


def _source(part: str) -> Path:
    folder = PACKAGE / part
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def _summary(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise PluginError(f"{path.relative_to(ROOT)} has no docstring")
    return _plain(text.partition("\n\n")[0])


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Every command below a parser that has none below itself, with its line of help."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, below in action.choices.items():
            deeper = list(_commands(below))
            yield from deeper or [(below, helps.get(name, ""))]


def _is_told(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str]:
    value, choices = "", ", ".join(map(str, action.choices or ()))
    if action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction):
        value = str(action.metavar or action.dest.upper())
        if action.choices is not None and action.metavar is None:
            value = "{" + choices.replace(", ", ",") + "}"
    names = [f"{name} {value}".strip() for name in action.option_strings] or [value]
    meaning = (action.help or "") % {**vars(action), "choices": choices, "prog": parser.prog}
    if _has_default(action) and "default" not in meaning:
        meaning = f"{meaning}; default: {action.default}".removeprefix("; ")
    if action.required and action.option_strings:
        meaning = f"{meaning} (required)"
    return ", ".join(_code(name) for name in names), _escaped(meaning)


def _has_default(action: argparse.Action) -> bool:
    return action.default not in (None, argparse.SUPPRESS, False, "") and action.default != []


def _attributes(kind: type) -> dict[str, str]:
    """The meaning of each field, from the class's docstring."""
    sections = Docstring(kind.__doc__ or "").parse("google")
    found = next(one for one in sections if isinstance(one, DocstringSectionAttributes))
    return {item.name: _plain(item.description) for item in found.value}


def _hints(kind: type) -> dict[str, Any]:
    from PIL.Image import Image

    return get_type_hints(kind, localns={"Image": Image}, include_extras=True)


def _words(hint: Any) -> str:
    """A type and its rules in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(arguments[0]) + "".join(map(_rule, arguments[1:]))
    if origin in (Union, UnionType):
        return " or ".join(map(_words, arguments))
    if origin is Literal:
        return ", ".join(_code(repr(choice)) for choice in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"tuple of {_words(arguments[0])}"
        return f"({'; '.join(map(_words, arguments))})"
    return _code("None" if hint is type(None) else hint.__name__)


def _rule(rule: object) -> str:
    if isinstance(rule, Between):
        return f", {rule.low:,} to {rule.high:,}"
    if isinstance(rule, MultipleOf):
        return f", a multiple of {rule.divisor}"
    if isinstance(rule, KnownDialect):
        return (
            f", one of {', '.join(_code(repr(name)) for name in DIALECTS.builtins)} or a plugin's"
        )
    if isinstance(rule, KnownCode):
        return ", one of the [codes of diagnostics](diagnostics.md)"
    if isinstance(rule, RatioRule):
        return f", {rule.words}"
    raise PluginError(f"no words for {rule!r}")


def _setting_words(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(_code(choice) for choice in setting.choices)
    limits = f", {setting.low:.12g} to {setting.high:.12g}" if setting.high < float("inf") else ""
    return _code(setting.kind.__name__) + limits


def _default(one: dataclasses.Field[Any]) -> str:
    if one.default is not dataclasses.MISSING:
        return _code(repr(one.default))
    if one.default_factory is not dataclasses.MISSING:
        return _code(f"{one.default_factory.__name__}()")  # type: ignore[attr-defined]
    return "required"


def _plain(text: str) -> str:
    """A docstring's text as one line of Markdown: roles and double backquotes become code."""
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text)
    return _escaped(re.sub(r"``\s*(.*?)``", r"`\1`", " ".join(text.split())))


def _sentence(text: str) -> str:
    return f"{_escaped(text[:1].upper() + text[1:])}{'' if text.endswith('.') else '.'}"


def _code(text: str) -> str:
    return f"`{text}`"


def _escaped(text: str) -> str:
    """Text in which only code is Markdown."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece
        if piece.startswith("`")
        else re.sub(r"([\\\[\]*_])", r"\\\1", escape(piece, quote=False))
        for piece in pieces
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield a Markdown table."""
    names = list(head)
    for cells in (names, ["---"] * len(names), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""
