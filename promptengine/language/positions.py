"""Places in a text as people, Python and editors count them.

All else of this package counts code points from the text's start. The Language Server Protocol counts lines, and in
each the units of UTF-16, of which some characters take two, unless a client asks for another encoding.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["Encoding", "Lines"]

Encoding: TypeAlias = Literal["utf-16", "utf-8", "utf-32"]
"""Whose units are counted in a line."""

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_WIDTHS: Final[Mapping[Encoding, Callable[[str], int]]] = {
    "utf-16": lambda character: 1 + (character > "\uffff"),
    "utf-8": lambda character: len(character.encode("utf-8", "surrogatepass")),
    "utf-32": lambda character: 1,
}


@dataclass(frozen=True, slots=True)
class Lines:
    """A text by its lines, for places to be converted.

    Attributes:
        text: The text.
        starts: Where its lines begin, ascending; the first is 0.
        encoding: Whose units are counted in a line.
    """

    text: str
    starts: tuple[int, ...]
    encoding: Encoding = "utf-16"

    @classmethod
    def of(cls, text: str, encoding: Encoding = "utf-16") -> Lines:
        r"""Find the lines of a text, which ``\n``, ``\r\n`` or ``\r`` end."""
        return cls(text, (0, *(end.end() for end in _LINE_END.finditer(text))), encoding)

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line, from 0, and the units before an offset in it; an offset past the end is the end."""
        place = min(max(offset, 0), len(self.text))
        line = bisect_right(self.starts, place) - 1
        return line, self.units(self.starts[line], place)

    def units(self, start: int, end: int) -> int:
        """Count the units of a stretch."""
        stretch = self.text[start:end]
        return len(stretch) if stretch.isascii() else sum(map(_WIDTHS[self.encoding], stretch))

    def offset(self, line: int, units: int) -> int:
        """Return the offset of a place; one outside of the text or its line is the nearest within, and one within a
        character is its beginning.
        """
        if line < 0:
            return 0
        if line >= len(self.starts):
            return len(self.text)
        start = self.starts[line]
        end = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.text)
        stretch = self.text[start:end].rstrip("\r\n")
        if stretch.isascii():
            return start + min(max(units, 0), len(stretch))
        width, passed = _WIDTHS[self.encoding], 0
        for number, character in enumerate(stretch):
            passed += width(character)
            if passed > units:
                return start + number
        return start + len(stretch)
