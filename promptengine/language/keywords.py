"""The words of capitals that mean something in prompts, each with the dialects that have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["KEYWORDS", "Keyword", "keywords_of"]


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word that is a mark.

    Attributes:
        word: As it is written.
        help: What it does, in a sentence without its subject.
        dialects: Those that read it so.
        positive: Whether only the positive prompt has it.
    """

    word: str
    help: str
    dialects: tuple[str, ...]
    positive: bool = False


_WEBUI: Final = ("webui", "extended")
_REGIONS: Final = ("extended",)

KEYWORDS: Final = (
    Keyword("BREAK", "begins a new chunk of 75 tokens", _WEBUI),
    Keyword("AND", "begins another prompt, which is mixed with the one before", _WEBUI, True),
    Keyword("ADDCOMM", "ends the text that all regions share", _REGIONS, True),
    Keyword("ADDBASE", "ends the text that all of the image follows in part", _REGIONS, True),
    Keyword("ADDCOL", "begins the text of a new column", _REGIONS, True),
    Keyword("ADDROW", "begins the text of a new row", _REGIONS, True),
    Keyword("<break>", "begins a new chunk of 75 tokens", ("swarmui",)),
)
"""All of them."""


def keywords_of(dialect: str, *, negative: bool) -> tuple[Keyword, ...]:
    """Return the keywords of a dialect's prompts."""
    return tuple(
        one for one in KEYWORDS if dialect in one.dialects and not (negative and one.positive)
    )
