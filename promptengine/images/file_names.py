"""Names of saved images from patterns such as ``[seed]-[prompt_words]``, as WebUI 1.10.1 makes them.

Whatever prompts and patterns hold, a name stays one name: without separators, ``..``, control
characters, names of devices, and within what file systems take.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["MOST_PATTERN", "NameFacts", "decoration", "file_name", "folder_names", "safe_name"]

MOST_PATTERN: Final = 500
"""Characters of a pattern."""

_MOST_BYTES: Final = 255
_MOST_VALUE: Final = 128
_MOST_FOLDERS: Final = 8
_FORBIDDEN: Final = frozenset('#<>:"/\\|?*')
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_DEVICE: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE
)
_TAG: Final = re.compile(r"\[([^\[\]]+)\]")
_ARGUMENT: Final = re.compile(r"(.*)<([^>]*)>", re.DOTALL)
_NO_WORD: Final = re.compile(rf"[\s{re.escape(string.punctuation)}]+")
_TIME: Final = re.compile(r"(?:[^%]|%-?[A-Za-z%])*", re.DOTALL)
_USUAL_TIME: Final = "%Y%m%d%H%M%S"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFacts:
    """What the tags of a pattern may tell of an image.

    Attributes:
        prompt: As it was used, its styles in it.
        prompt_without_styles: As it was written.
        seed: Of the image.
        steps: Of its first pass.
        cfg_scale: Likewise.
        width: In pixels.
        height: Likewise.
        sampler: WebUI's name of it.
        model_name: The checkpoint's file, without suffix.
        model_hash: Ten digits, or empty where it is not known.
        styles: Names of those that were used.
        batch_number: Its place in its batch, from 1; None in a batch of one.
        generation_number: Its place among all images of the request, from 1; None for the only one.
        words: Of the prompt that ``[prompt_words]`` keeps.
        when: When it was made.
    """

    prompt: str
    prompt_without_styles: str
    seed: int
    steps: int
    cfg_scale: float
    width: int
    height: int
    sampler: str
    model_name: str
    model_hash: str = ""
    styles: tuple[str, ...] = ()
    batch_number: int | None = None
    generation_number: int | None = None
    words: int = 8
    when: datetime = field(default_factory=lambda: datetime.now().astimezone())


def decoration(pattern: str, facts: NameFacts) -> str:
    """Return what a file's name has behind its number.

    Args:
        pattern: WebUI's ``samples_filename_pattern``; empty for the seed. Unknown tags stay as text.
        facts: Of the image.
    """
    return "".join(_pieces(pattern or "[seed]", facts))


def folder_names(pattern: str, facts: NameFacts) -> tuple[str, ...]:
    """Return the folders that an image goes to, one in the other.

    Args:
        pattern: WebUI's ``directories_filename_pattern``; empty for the first words of the prompt.
            Slashes between its tags begin another folder, those in what the tags tell do not.
        facts: Of the image.
    """
    path = "".join(_pieces(pattern or "[prompt_words]", facts)).replace("\\", "/")
    names = [safe_name(part) for part in path.split("/")]
    return tuple(name for name in names if name)[:_MOST_FOLDERS]


def file_name(head: str, told: str, suffix: str) -> str:
    """Return the name of a file.

    Args:
        head: What it begins with, a number; nothing that needs to be made safe.
        told: Its decoration; may be empty.
        suffix: With its dot.
    """
    stem = safe_name(f"{head}-{told}" if told else head, _MOST_BYTES - len(suffix.encode()))
    return stem.rstrip("-") + suffix


def safe_name(text: str, most_bytes: int = _MOST_BYTES) -> str:
    """Return a text as one name of a file or folder; empty where nothing of it is left.

    Args:
        text: Any.
        most_bytes: Of the name in UTF-8.
    """
    name = "".join("_" if _is_forbidden(one) else one for one in text).lstrip(" ")
    if name.startswith(".") and name.strip(" ."):
        name = f"_{name[1:]}"
    if _DEVICE.fullmatch(name):
        name = f"_{name}"
    return name.encode()[:most_bytes].decode(errors="ignore").rstrip(" .")


def _is_forbidden(one: str) -> bool:
    return one in _FORBIDDEN or unicodedata.category(one) in _UNSEEN


def _value(text: str, *, spaces: bool = True) -> str:
    """Return what a tag tells as a part of a name."""
    text = text if spaces else text.replace(" ", "_")
    told = "".join("_" if _is_forbidden(one) else one for one in text)
    return told.lstrip(" ")[:_MOST_VALUE].rstrip(" .")


def _pieces(pattern: str, facts: NameFacts) -> list[str]:
    """Return the texts of a pattern and what its tags tell, in order."""
    found: list[str] = []
    end = 0
    for match in _TAG.finditer(pattern):
        text, end = pattern[end : match.start()], match.end()
        told = _told(match[1], facts)
        # A number that says nothing takes the text before it along.
        found += [] if told is None else [text, told]
    return [*found, pattern[end:]]


def _told(tag: str, facts: NameFacts) -> str | None:
    """Return what a tag tells; None for nothing, not even the text before it."""
    arguments: list[str] = []
    while match := _ARGUMENT.fullmatch(tag):
        tag = match[1]
        arguments.insert(0, match[2])
    name = tag.lower()
    if name in _WITH_ARGUMENTS:
        return _value(_WITH_ARGUMENTS[name](facts, arguments))
    if name not in _PLAIN or arguments:
        return f"[{_value(tag)}]"
    return _PLAIN[name](facts)


def _time(facts: NameFacts, arguments: list[str]) -> str:
    """Return the time in a format and a time zone, or the usual ones in place of unknown ones."""
    form = arguments[0] if arguments and arguments[0] else _USUAL_TIME
    when = facts.when
    if len(arguments) > 1:
        try:
            when = when.astimezone(ZoneInfo(arguments[1]))
        except (KeyError, ValueError, OSError):
            when = facts.when
    try:
        # The C library pads numbers to whatever width a format names.
        return when.strftime(form if _TIME.fullmatch(form) else _USUAL_TIME)
    except ValueError:
        return when.strftime(_USUAL_TIME)


def _has_prompt(facts: NameFacts, arguments: list[str]) -> str:
    """Return the words that a prompt holds, and of others what stands for them behind ``|``."""
    lower, told = facts.prompt.lower(), ""
    for argument in arguments:
        wanted, _, other = argument.partition("|")
        told += wanted.lower() if wanted.lower() in lower else other.partition("|")[0]
    return told


def _words(facts: NameFacts) -> str:
    found = [word for word in _NO_WORD.split(facts.prompt) if word]
    return _value(" ".join(found[: facts.words]) or "empty")


_WITH_ARGUMENTS: Final[Mapping[str, Callable[[NameFacts, list[str]], str]]] = {
    "datetime": _time,
    "hasprompt": _has_prompt,
}
_PLAIN: Final[Mapping[str, Callable[[NameFacts], str | None]]] = {
    "seed": lambda facts: str(facts.seed),
    "steps": lambda facts: str(facts.steps),
    "cfg": lambda facts: str(float(facts.cfg_scale)),
    "width": lambda facts: str(facts.width),
    "height": lambda facts: str(facts.height),
    "styles": lambda facts: _value(", ".join(facts.styles) or "None"),
    "sampler": lambda facts: _value(facts.sampler),
    "model_name": lambda facts: _value(facts.model_name),
    "model_hash": lambda facts: _value(facts.model_hash),
    "date": lambda facts: facts.when.strftime("%Y-%m-%d"),
    "prompt": lambda facts: _value(facts.prompt, spaces=False),
    "prompt_no_styles": lambda facts: _value(facts.prompt_without_styles),
    "prompt_spaces": lambda facts: _value(facts.prompt),
    "prompt_words": _words,
    "batch_number": lambda facts: _number(facts.batch_number),
    "generation_number": lambda facts: _number(facts.generation_number),
    "none": lambda facts: "",
}


def _number(number: int | None) -> str | None:
    return None if number is None else str(number)
