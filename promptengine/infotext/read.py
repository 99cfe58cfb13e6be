r"""Infotexts, read as WebUI reads them, and what other programs leave in them.

The grammar is WebUI's: the prompt, a line ``Negative prompt: …`` (both may go on over more lines), and
one line of ``key: value`` pairs. That line counts only with three pairs or more, so that a prompt
without parameters is not mistaken for them. A key has two characters at least: a letter, digit or
underscore, then any of those, blanks, ``-`` and ``/``. A value reaches to the next comma, or is a JSON
string.

Three things are read that WebUI passes over: lines after the parameters (extensions leave some), values
that are JSON objects or lists without quotes around them, such as the ``Hashes: {…}`` and ``Civitai
resources: […]`` that Civitai's programs write, and a key alone, which is how WebUI writes a key that
equals its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from promptengine.infotext.documents import holds_json
from promptengine.infotext.write import write_entries, write_infotext
from promptengine.validation import check_type

__all__ = [
    "LEAST_PAIRS",
    "NEGATIVE",
    "Infotext",
    "Pair",
    "infotext_with_prompts",
    "read_infotext",
    "split_pairs",
    "unquote",
]

NEGATIVE: Final = "Negative prompt:"
LEAST_PAIRS: Final = 3
"""A line of fewer pairs is part of the prompt."""

_RUN: Final = re.compile(r"[\w \-/]+:?")
_VALUE: Final = re.compile(r'\s*("[^\\"]*(?:\\.[^\\"]*)*"|[^,]*)(?:,|$)')
_LONE_KEY: Final = re.compile(r"\w[\w \-/]*")
_LEAST_KEY: Final = 2
_MOST_DOCUMENTS: Final = 64
"""Values that are tried as JSON; an error takes Python time in proportion to the line."""

_BEFORE_JSON: Final = re.compile(r"\s*(?=[{\[])")
_AFTER_JSON: Final = re.compile(r"\s*(?:,|$)")


def _no_entries() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Infotext:
    """What an image says about itself.

    Attributes:
        prompt: Tags included, without outer white space.
        negative_prompt: Likewise.
        entries: Keys and values in the order written, values without their quotes. Of a key that is
            written twice the last value stands here, as in WebUI.
        strays: What else the line of parameters holds: earlier values of such a key, as
            ``key: value``, and pieces that are no pair.
        trailing: The lines after the parameters.
    """

    prompt: str
    negative_prompt: str = ""
    entries: Mapping[str, str] = field(default_factory=_no_entries)
    strays: tuple[str, ...] = ()
    trailing: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", MappingProxyType(dict(self.entries)))

    def __str__(self) -> str:
        """Return the text as WebUI writes it; strays and trailing lines follow where there are any."""
        text = write_infotext(self.prompt, self.negative_prompt, self.entries)
        line = ", ".join((text, *self.strays))
        return f"{line}\n{self.trailing}" if self.trailing else line


class Pair(NamedTuple):
    """One ``key: value`` of a parameter line.

    Attributes:
        before: What lies between the former pair and this key.
        key: At least two characters.
        value: As written, quotes included.
    """

    before: str
    key: str
    value: str


def read_infotext(text: str) -> Infotext:
    """Read any text. What is no infotext is a prompt; nothing is an error.

    Another program's JSON is a prompt too as far as this goes, so that nothing of it is lost;
    :func:`promptengine.infotext.recipe.recipe_from_infotext` refuses it.

    Reading takes time in proportion to the length. White space around the prompts is not part of
    them, and a prompt with a line that looks like ``Negative prompt:`` or, at the end of a text
    without parameters, like parameters cannot be told from them; see
    :func:`promptengine.images.save_image` for a way around that.
    """
    check_type("text", text, str)
    lines = text.strip().split("\n")
    if holds_json(text):
        return Infotext(text.strip())
    place = _parameter_line(lines)
    above = lines if place is None else lines[:place]
    start = next((n for n, line in enumerate(above) if line.strip().startswith(NEGATIVE)), None)
    negative = "" if start is None else "\n".join(above[start:]).strip()
    entries, strays = ({}, ()) if place is None else _entries(lines[place])
    return Infotext(
        prompt="\n".join(above[:start]).strip(),
        negative_prompt=negative.removeprefix(NEGATIVE).strip(),
        entries=entries,
        strays=strays,
        trailing="" if place is None else "\n".join(lines[place + 1 :]),
    )


def infotext_with_prompts(text: str, prompt: str, negative_prompt: str) -> Infotext:
    """Read an infotext whose prompts are known, so that no line of them is taken for anything else.

    Args:
        text: As :func:`promptengine.infotext.write.write_infotext` wrote it.
        prompt: The prompt it was written with.
        negative_prompt: Likewise.
    """
    entries, strays = _entries(text.rpartition("\n")[2])
    known = Infotext(prompt, negative_prompt, entries, strays)
    return known if str(known) == text else read_infotext(text)


def split_pairs(line: str, *, documents: bool = False) -> Iterator[Pair]:
    """Yield the pairs of a parameter line, and at last what follows them under an empty key.

    Args:
        line: Without line breaks.
        documents: Read a JSON object or list as one value. WebUI does not.
    """
    position = done = 0
    tries = _MOST_DOCUMENTS if documents else 0
    while (run := _RUN.search(line, position)) is not None:
        position = run.end()
        name = _LONE_KEY.search(run[0])
        # A run ends in a colon or is no key.
        if name is None or run[0][-1] != ":" or len(name[0]) < _LEAST_KEY:
            continue
        before = line[done : run.start() + name.start()]
        start = _BEFORE_JSON.match(line, position) if tries else None
        tries -= start is not None
        end = None if start is None else _document_end(line, start.end())
        if end is None:
            match = _VALUE.match(line, position)
            assert match is not None, "the pattern matches any text"
            value, position = match[1], match.end()
        else:
            value, position = line[position:end].strip(), _after(line, end)
        done = position
        yield Pair(before, name[0], value)
    yield Pair(line[done:], "", "")


def unquote(value: str) -> str:
    """Return a value without its quotes; one that is no JSON string stays as it is."""
    if value[:1] == '"' == value[-1:]:
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value


def _parameter_line(lines: list[str]) -> int | None:
    """Return the number of the line that holds the parameters: the last one, as in WebUI, or else the last
    that begins as WebUI's do.
    """
    for number in range(len(lines) - 1, -1, -1):
        last = number == len(lines) - 1
        if (last or lines[number].startswith("Steps: ")) and _has_pairs(lines[number]):
            return number
    return None


def _has_pairs(line: str) -> bool:
    return (
        sum(1 for _ in zip(split_pairs(line), range(LEAST_PAIRS + 1), strict=False)) > LEAST_PAIRS
    )


def _entries(line: str) -> tuple[dict[str, str], tuple[str, ...]]:
    entries: dict[str, str] = {}
    strays: list[str] = []

    def put(key: str, value: str) -> None:
        if key in entries:
            strays.append(write_entries({key: entries[key]}))
        entries[key] = value

    for pair in split_pairs(line, documents=True):
        for piece in filter(None, map(str.strip, pair.before.split(","))):
            if _LONE_KEY.fullmatch(piece):
                put(piece, piece)
            else:
                strays.append(piece)
        if pair.key:
            put(pair.key, unquote(pair.value))
    return entries, tuple(strays)


def _document_end(line: str, start: int) -> int | None:
    """Return where the JSON object or list ends that is all of the value from a place on, or None."""
    try:
        _, end = json.JSONDecoder().raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    return end if _AFTER_JSON.match(line, end) else None


def _after(line: str, end: int) -> int:
    """Return the place behind the comma that follows a value."""
    comma = _AFTER_JSON.match(line, end)
    return end if comma is None else comma.end()
