"""Places in a text as people, Python and editors count them.

All else of this package counts code points from the text's start. The Language Server Protocol counts lines, and in
each the units of UTF-16, of which some characters take two.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

__all__ = ["Lines", "from_utf16", "utf16_length"]

_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Lines:
    """A text by its lines, for places to be converted.

    Attributes:
        text: The text.
        starts: Where its lines begin, ascending; the first is 0.
    """

    text: str
    starts: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Lines:
        r"""Find the lines of a text, which ``\n``, ``\r\n`` or ``\r`` end."""
        return cls(text, (0, *(end.end() for end in _LINE_END.finditer(text))))

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line, from 0, and the UTF-16 units before an offset in it; an offset past the end is the end."""
        place = min(max(offset, 0), len(self.text))
        line = bisect_right(self.starts, place) - 1
        return line, utf16_length(self.text[self.starts[line] : place])

    def offset(self, line: int, units: int) -> int:
        """Return the offset of a place; one outside of the text or its line is the nearest within."""
        if line < 0:
            return 0
        if line >= len(self.starts):
            return len(self.text)
        start = self.starts[line]
        end = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.text)
        return start + from_utf16(self.text[start:end].rstrip("\r\n"), units)


def utf16_length(text: str) -> int:
    """Count the UTF-16 units of a text."""
    return len(text) if text.isascii() else len(text) + sum(one > "\uffff" for one in text)


def from_utf16(text: str, units: int) -> int:
    """Return how many characters stand before a number of UTF-16 units; one that is cut in two does not count."""
    if text.isascii():
        return min(max(units, 0), len(text))
    passed = 0
    for offset, character in enumerate(text):
        passed += 1 + (character > "\uffff")
        if passed > units:
            return offset
    return len(text)
