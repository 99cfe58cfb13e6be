"""Values of other programs' notes, which may be of any type, as what an infotext can hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

from promptengine.errors import RequestError
from promptengine.infotext.programs.reader import UnmappedSetting
from promptengine.kinds import LORA, NetworkKind
from promptengine.prompt import parse
from promptengine.prompt.translate import says_the_same
from promptengine.request.edit import append_network

__all__ = [
    "MOST_PROMPT",
    "Settings",
    "file_name",
    "mapping",
    "number_text",
    "sampler_entries",
    "shown",
    "tagged",
    "text_of",
    "whole_text",
]

MOST_PROMPT: Final = 256 << 10
"""Characters of a prompt; longer ones are none."""

_MOST_SHOWN: Final = 200
_MOST_DIGITS: Final = 40
_MOST_TAGGED: Final = 20_000
"""Characters of a prompt that is read in two dialects to compare what it says in each."""

_NUMBER: Final = re.compile(
    r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?\s*", re.ASCII | re.IGNORECASE
)
_WEIGHT_FILE: Final = re.compile(r"\.(safetensors|ckpt|pt|pth|bin|sft|gguf)\Z", re.IGNORECASE)
_NOTHING: Final[tuple[object, ...]] = ([], {})
_EMPTY: Final[tuple[object, ...]] = (None, "", "None", "none")


def text_of(value: object) -> str | None:
    """Return a text that an infotext can hold, lone surrogates replaced; None for any other type."""
    if not isinstance(value, str) or len(value) > MOST_PROMPT:
        return None
    if value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mapping(value: object) -> Mapping[str, object]:
    """Return a JSON object; an empty one for any other type."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def number_text(value: object) -> str | None:
    """Return a finite number as text, from a number or its text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else None
    if isinstance(value, int):
        return str(value) if abs(value) < 10**_MOST_DIGITS else None
    return value.strip() if len(value) <= _MOST_DIGITS and _NUMBER.fullmatch(value) else None


def whole_text(value: object) -> str | None:
    """Return a whole number as text, from a number, or its text, that is one; None for anything else."""
    text = number_text(value)
    if text is None:
        return None
    try:
        return str(int(text))
    except ValueError:
        number = float(text)
    return str(int(number)) if math.isfinite(number) and number.is_integer() else None


def shown(value: object) -> str:
    """Return any value as one line, cut where it is long."""
    if isinstance(value, str):
        text = repr(text_of(value[: _MOST_SHOWN + 1]))
    else:
        try:
            text = json.dumps(value)
        except (ValueError, TypeError, RecursionError):
            text = f"a {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def file_name(value: object) -> str | None:
    """Return a model's name, as its file is called here: without folders and suffix; None for no text."""
    text = text_of(value)
    if not text or text in _EMPTY:
        return None
    name = _WEIGHT_FILE.sub("", text.replace("\\", "/").rpartition("/")[2]).strip()
    return name or None


class Settings:
    """A program's settings, each of which is taken once; what nobody took is told.

    Args:
        values: By the program's names.
        place: What precedes these names where they are told.
    """

    def __init__(self, values: Mapping[str, object], place: str) -> None:
        self._left = dict(values)
        self._place = place
        self._refused: list[UnmappedSetting] = []

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> object:
        """Take a value as it is, or None."""
        return self._left.pop(name, None)

    def text(self, *names: str) -> str:
        """Take a text; empty where there is none. The first of the names that is there counts."""
        for name in names:
            if name in self._left:
                value = self._left.pop(name)
                found = text_of(value)
                if found is None and value is not None:
                    self.refuse(name, value, "not a text")
                return found or ""
        return ""

    def number(self, *names: str) -> str | None:
        """Take a number, as text; None where there is none."""
        for name in names:
            if name in self._left:
                value = self._left.pop(name)
                found = number_text(value)
                if found is None and value not in _EMPTY:
                    self.refuse(name, value, "not a number")
                return found
        return None

    def refuse(self, name: str, value: object, reason: str = "") -> None:
        """Tell of a value that cannot be used."""
        self._refused.append(UnmappedSetting(self._at(name), shown(value), reason))

    def drop(self, *names: str) -> None:
        """Take what says nothing about how the image was made, or is said elsewhere."""
        for name in names:
            self._left.pop(name, None)

    def rest(self) -> Iterator[UnmappedSetting]:
        """Tell all that is left; what is empty or off is nothing."""
        yield from self._refused
        for name, value in self._left.items():
            if value in _EMPTY or value is False or value in _NOTHING:
                continue
            yield UnmappedSetting(self._at(name), shown(value))

    def _at(self, name: str) -> str:
        name = shown(name)[1:-1]
        return f"{self._place} {name}" if self._place else name


def sampler_entries(
    name: str, table: Mapping[str, tuple[str, str]], place: str
) -> tuple[dict[str, str], tuple[UnmappedSetting, ...]]:
    """Return the entries of a sampler that a program names, or that it is not known here.

    Args:
        name: As the program spells it.
        table: Sampler and schedule type by that; an empty schedule type leaves the choice to others.
        place: Where it stands.
    """
    if name not in table:
        return {}, (
            UnmappedSetting(place, shown(name), "no sampler here is the same"),
        ) if name else ()
    sampler, scheduler = table[name]
    entries = {"Sampler": sampler}
    return {**entries, "Schedule type": scheduler} if scheduler else entries, ()


def tagged(
    prompt: str, dialect: str, kind: NetworkKind, name: str, multiplier: str
) -> tuple[str, str, str]:
    """Let a prompt name a network, in its own dialect or in one that says the same and has tags.

    Args:
        prompt: Any prompt.
        dialect: That it is written in.
        kind: Of the network.
        name: As its file is called.
        multiplier: As it shall stand in the tag; of two the backbone's first.

    Returns:
        The prompt, its dialect, and why it cannot name the network, or nothing.
    """
    if dialect == "compel" and kind == LORA and re.fullmatch(r"[\w-]+", name, re.ASCII):
        if ":" in multiplier:
            return prompt, dialect, "a prompt in compel gives a LoRA one weight"
        return f"{prompt} withLora({name}, {multiplier})".strip(), dialect, ""
    target = "swarmui" if dialect == "comfyui" else dialect
    if target != dialect:
        if len(prompt) > _MOST_TAGGED:
            return prompt, dialect, "the prompt is too long for tags"
        if not says_the_same(parse(prompt, dialect=dialect), parse(prompt, dialect=target)):
            return (
                prompt,
                dialect,
                "a prompt of ComfyUI's has no tags, and this one is none of SwarmUI's",
            )
    if target != "swarmui" and multiplier.count(":") == 1:
        unet, _, text = multiplier.partition(":")
        multiplier = f"{text}:{unet}"
    try:
        made = append_network(prompt, kind, name, multiplier, field="infotext", dialect=target)
    except RequestError as error:
        return prompt, dialect, str(error)
    return made, target, ""
