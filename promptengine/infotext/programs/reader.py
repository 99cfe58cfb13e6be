"""What reads the images of a program, and the form in which all of them answer.

A reader gets the texts of a file and answers with a :class:`ProgramImage`: prompts and the dialect they
are written in, settings under WebUI's labels, what has no label with the place where it stands, and why
the same image cannot come out here. It never raises: notes that it cannot use are not its program's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from promptengine.infotext.documents import read_document
from promptengine.infotext.read import Infotext
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.dialects import DIALECTS, WEBUI

__all__ = [
    "ImageNotes",
    "ImageReader",
    "ProgramImage",
    "ProgramMarks",
    "UnmappedSetting",
    "notes_of",
]

_MOST_TOLD: Final = 100
_SYNTAX: Final = "Prompt syntax"


class UnmappedSetting(NamedTuple):
    """Something in a program's notes that makes no difference here.

    Attributes:
        place: Where it stands, such as ``node 12 (ImageScale)``.
        value: What is there, cut where it is long.
        reason: Why it is left out, or empty where nothing like it is known here.
    """

    place: str
    value: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ImageNotes:
    """All that a file says beside its pixels.

    Attributes:
        texts: By keyword; a text that stands alone, such as a file's, has an empty one.
        size: Width and height in pixels, or None where the file does not tell without being decoded.
        infotext: What is written as WebUI writes it, or None.
        documents: Those of the texts that are JSON, read.
    """

    texts: Mapping[str, str]
    size: tuple[int, int] | None = None
    infotext: Infotext | None = None
    documents: Mapping[str, object] = field(default_factory=dict[str, object])

    def document(self, *keywords: str) -> tuple[str, object] | None:
        """Return the first JSON under one of these keywords, and the keyword."""
        for keyword in keywords:
            if keyword in self.documents:
                return keyword, self.documents[keyword]
        return None


def notes_of(
    texts: Mapping[str, str],
    size: tuple[int, int] | None = None,
    infotext: Infotext | None = None,
) -> ImageNotes:
    """Gather what a file says, its JSON read once.

    Args:
        texts: By keyword; a text that stands alone has an empty one.
        size: Width and height in pixels, if known.
        infotext: What of it is written as WebUI writes it, if any is.
    """
    read = ((keyword, read_document(text)) for keyword, text in texts.items())
    documents = {keyword: document for keyword, document in read if document is not None}
    return ImageNotes(texts, size, infotext, documents)


def _frozen(values: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(values))


@dataclass(frozen=True, slots=True)
class ProgramImage:
    """What an image of another program says, in the words of this one.

    Attributes:
        program: Its name.
        place: Where in the file it was: keywords, with commas between.
        prompt: In the dialect, networks' tags included.
        negative_prompt: Likewise.
        dialect: Name of the dialect of both.
        entries: Settings by WebUI's labels, as infotexts hold them.
        unmapped: What has no label here, and where it stands.
        differences: Why the same image cannot come out here, as whole statements; none where it can.
    """

    program: str
    place: str
    prompt: str
    negative_prompt: str = ""
    dialect: str = WEBUI
    entries: Mapping[str, str] = field(default_factory=dict[str, str])
    unmapped: tuple[UnmappedSetting, ...] = ()
    differences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", _frozen(self.entries))

    @property
    def infotext(self) -> Infotext:
        """The same as an infotext, which names the dialect and the program."""
        entries = dict(self.entries)
        version = entries.pop("Version", self.program)
        known = DIALECTS.get(self.dialect)
        if known is None or not known.silent:
            entries[_SYNTAX] = self.dialect
        return Infotext(self.prompt, self.negative_prompt, {**entries, "Version": version})

    @property
    def verdict(self) -> str:
        """Whether the same image can come out here, in words."""
        if not self.differences:
            return "the same image can come out here, with the same files"
        return f"not the same image: {'; '.join(self.differences)}"

    @property
    def remarks(self) -> tuple[Diagnostic, ...]:
        """All that a user must know who makes it again: what is left out, and the verdict."""
        level = "warning" if self.differences else "info"
        verdict = f"made by {self.program}; {self.verdict}"
        told = [kinds.OTHER_PROGRAM(verdict, severity=level)]
        for place, value, reason in self.unmapped[:_MOST_TOLD]:
            why = f" ({reason})" if reason else ""
            # Names of nodes are anything, and a remark is one line.
            message = " ".join(f"{place}: {value} is left out{why}".splitlines())
            told.append(kinds.SETTING_LEFT_OUT(message))
        if len(self.unmapped) > _MOST_TOLD:
            more = len(self.unmapped) - _MOST_TOLD
            told.append(kinds.SETTING_LEFT_OUT(f"{more} more settings are left out"))
        return tuple(dict.fromkeys(told))


@dataclass(frozen=True, slots=True)
class ProgramMarks:
    """How one program's notes are told from others, where they cannot be read.

    Attributes:
        keywords: Of which an image's file has one.
        keys: Sets of keys, one of which is in a JSON object of the program's.
        words: What a text of its own that is no JSON looks like.
    """

    keywords: frozenset[str] = frozenset()
    keys: tuple[frozenset[str], ...] = ()
    words: re.Pattern[str] | None = None

    @classmethod
    def of(cls, keywords: str = "", keys: tuple[str, ...] = (), words: str = "") -> ProgramMarks:
        """Make them of texts: keywords and each set of keys with commas between, words as a pattern."""
        return cls(
            frozenset(filter(None, keywords.split(","))),
            tuple(frozenset(one.split(",")) for one in keys),
            re.compile(words) if words else None,
        )


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Reads the images of one program.

    Attributes:
        name: The program's.
        read: Returns what an image says, or None where it is not the program's or cannot be used.
        marks: What its notes are recognized by where they cannot be used.
    """

    name: str
    read: Callable[[ImageNotes], ProgramImage | None]
    marks: ProgramMarks = ProgramMarks()
