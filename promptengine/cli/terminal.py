"""Lines of styled text and trees of them on a terminal.

Nothing is imported for it: what shows a prompt has to be quicker than any library that draws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TextIO, TypeAlias

__all__ = ["Line", "Tree", "columns", "printable", "show", "styled"]

Line: TypeAlias = "tuple[tuple[str, str], ...]"
"""Pieces of text, each with the words of its style, such as ``bold red``; what is joined with + is one line."""

_CODES: Final[Mapping[str, str]] = {
    "bold": "1",
    "dim": "2",
    "reverse": "7",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
"""How terminals are told (ECMA-48, "select graphic rendition")."""

_TWIGS: Final = ("├── ", "│   ", "└── ", "    ")
_ASCII_TWIGS: Final = ("+-- ", "|   ", "`-- ", "    ")


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A line, and what hangs below it.

    Attributes:
        line: Its own.
        below: Further trees, from the top down.
    """

    line: Line
    below: list[Tree] = field(default_factory=list["Tree"])

    def add(self, line: Line) -> Tree:
        """Hang a line below, as a tree of its own."""
        twig = Tree(line)
        self.below.append(twig)
        return twig


def printable(text: str) -> str:
    """Spell out control characters, so that no prompt or file name can drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def columns(text: str) -> int:
    """Return how wide a text is on a terminal."""
    if text.isascii():
        return len(text)
    # Its tables of characters are loaded only where they have a say.
    from rich.cells import cell_len

    return cell_len(text)


def styled(*pieces: str | tuple[str, str]) -> Line:
    """Make a line of texts, with their styles where they have one."""
    return tuple((piece, "") if isinstance(piece, str) else piece for piece in pieces)


def show(what: Line | Tree, *, to_stderr: bool = False) -> None:
    """Print a line or a tree, in colors where a terminal shows them.

    Characters that the encoding of the output lacks are spelled out.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    encoding = stream.encoding or "utf-8"
    colored = _shows_styles(stream)
    twigs = _TWIGS if encoding.lower().startswith("utf") else _ASCII_TWIGS
    for line in _drawn(what, twigs) if isinstance(what, Tree) else [what]:
        text = "".join(_coded(*piece) if colored else piece[0] for piece in line)
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def _shows_styles(stream: TextIO) -> bool:
    """Whether the reader sees styles and not their codes.

    A variable ``NO_COLOR`` or ``FORCE_COLOR`` that is not empty decides it; Windows' old console is given none.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("FORCE_COLOR"):
        return not os.environ.get("NO_COLOR")
    if sys.platform == "win32" and not os.environ.get("WT_SESSION"):
        return False
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _coded(text: str, style: str) -> str:
    codes = ";".join(_CODES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text


def _drawn(tree: Tree, twigs: tuple[str, str, str, str]) -> Iterator[Line]:
    """Yield the lines of a tree; a stack instead of recursion, since nesting has no limit."""
    beside, past, last, behind = twigs
    yield tree.line
    waiting = [("", iter(tree.below), len(tree.below))]
    while waiting:
        indent, trees, left = waiting.pop()
        twig = next(trees, None)
        if twig is None:
            continue
        waiting.append((indent, trees, left - 1))
        yield ((indent + (beside if left > 1 else last), ""), *twig.line)
        waiting.append((indent + (past if left > 1 else behind), iter(twig.below), len(twig.below)))
