"""What WebUI makes of an infotext when it is pasted: every field, defaults filled in.

As of 1.10.1; a client that was written for WebUI's ``png-info`` answer gets from here what it expects.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Final

from packaging.version import InvalidVersion, Version

from promptengine.infotext.read import LEAST_PAIRS, NEGATIVE, split_pairs, unquote
from promptengine.prompt.emphasis import attention

__all__ = ["first_pass_size", "implied_labels", "size_of", "webui_fields"]

Fields = dict[str, str | int | bool]

_SIZE: Final = re.compile(r"^(\d+)x(\d+)$")
_DESCRIBED: Final = re.compile(r"([^-]+-[^-]+)-")
_LONGEST_VERSION: Final = 100
_MOST_DIGITS: Final = 9

_BEFORE_HIRES: Final[Mapping[str, str | int]] = {
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
}
_AFTER_HIRES: Final[Mapping[str, str | int | bool]] = {
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": 0,
    "Schedule min sigma": 0,
    "Schedule rho": 0,
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Refiner switch by sampling steps": False,
}


def webui_fields(
    text: str, *, backward_compatible: bool = True, left_out: Collection[str] = ()
) -> Fields:
    """Read a text exactly as WebUI does.

    Args:
        text: Any text.
        backward_compatible: Add the settings that the version named in the text implies: WebUI's
            setting ``auto_backcompat``.
        left_out: Labels to leave out: WebUI's setting ``infotext_skip_pasting``.

    Returns:
        Prompts and entries as text, sizes split into ``-1`` and ``-2``, defaults of what is missing,
        the tag of the setting ``Hypernet`` appended to the prompt, and the settings that the version
        named in the text implies. Never raises.
    """
    *lines, last = text.strip().split("\n")
    found = [(pair.key, pair.value) for pair in split_pairs(last) if pair.key]
    if len(found) < LEAST_PAIRS:
        lines, found = [*lines, last], []
    prompt, negative = _prompts(lines)
    fields: Fields = {"Prompt": prompt, "Negative prompt": negative}
    for key, value in found:
        # WebUI stumbles over an empty value and goes on without it.
        if value:
            fields |= _split_size(key, unquote(value))
    fields.setdefault("Clip skip", "1")
    if "Hypernet" in fields:
        tag = f"<hypernet:{fields['Hypernet']}:{fields.get('Hypernet strength', '1.0')}>"
        fields["Prompt"] = f"{fields['Prompt']}{tag}"
    if "Hires resize-1" not in fields:
        fields |= {"Hires resize-1": 0, "Hires resize-2": 0}
    fields = {**fields, **_missing(_BEFORE_HIRES, fields)}
    fields |= _old_hires_sizes(fields)
    fields |= _missing(_AFTER_HIRES, fields)
    if fields["FP8 weight"] != "Disable":
        fields.setdefault("Cache FP16 weight for LoRA", False)
    if _has_weights(prompt) or _has_weights(negative):
        fields.setdefault("Emphasis", "Original")
    if backward_compatible:
        fields |= implied_labels(fields)
    return {label: value for label, value in fields.items() if label not in left_out}


def _has_weights(prompt: str) -> bool:
    return any(part.weight != 1 for part in attention(prompt) if part.text != "BREAK")


def implied_labels(fields: Mapping[str, object]) -> dict[str, bool]:
    """Settings that an old program was bound to, by their labels in infotexts.

    Args:
        fields: By their labels, the positive prompt under ``Prompt``. A ``Version`` that is no version
            of WebUI implies nothing.
    """
    made_by = _version(str(fields.get("Version", "")))
    implied: dict[str, bool] = {}
    if made_by is None:
        return implied
    if made_by < Version("1.6.0"):
        if "[" in str(fields.get("Prompt", "")):
            implied["Old prompt editing timelines"] = True
        if fields.get("Sampler") in ("DDIM", "PLMS"):
            implied["Pad conds v0"] = True
    if made_by < Version("1.7.0-225"):
        implied["Downcast alphas_cumprod"] = True
    if made_by < Version("1.8.0") and "Refiner" in fields:
        implied["Refiner switch by sampling steps"] = True
    return implied


def size_of(value: str) -> tuple[int, int] | None:
    """Width and height of ``512x768``, or None where the text is no size that an image can have."""
    match = _SIZE.match(value)
    if match is None or len(value) > 2 * _MOST_DIGITS:
        return None
    return int(match[1]), int(match[2])


def first_pass_size(first: tuple[int, int] | None, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the size of the first pass of an image of 2022.

    Args:
        first: Width and height under ``First pass size``; a 0 leaves the choice to WebUI.
        size: Under ``Size``, that of the second pass.
    """
    if first is None or 0 not in first:
        return first
    width, height = size
    try:
        # The first pass had about 512 x 512 pixels, in steps of 64.
        scale = math.sqrt(512 * 512 / (width * height))
        return math.ceil(scale * width / 64) * 64, math.ceil(scale * height / 64) * 64
    except (ValueError, ArithmeticError):
        return None


def _version(text: str) -> Version | None:
    """Return the version of a text such as ``v1.6.0`` or, as git describes it, ``v1.7.0-225-gabcdef``."""
    described = _DESCRIBED.match(text)
    try:
        return Version((text if described is None else described[1])[:_LONGEST_VERSION])
    except InvalidVersion:
        return None


def _prompts(lines: list[str]) -> tuple[str, str]:
    """Return the two prompts, each line stripped, without empty lines at their beginning."""
    side = 0
    pieces: tuple[list[str], list[str]] = ([], [])
    for line in map(str.strip, lines):
        shown = line
        if line.startswith(NEGATIVE):
            side, shown = 1, line.removeprefix(NEGATIVE).strip()
        if shown or pieces[side]:
            pieces[side].append(shown)
    return "\n".join(pieces[0]), "\n".join(pieces[1])


def _split_size(key: str, value: str) -> Fields:
    match = _SIZE.match(value)
    return {key: value} if match is None else {f"{key}-1": match[1], f"{key}-2": match[2]}


def _missing(defaults: Mapping[str, str | int | bool], fields: Fields) -> Fields:
    return {key: value for key, value in defaults.items() if key not in fields}


def _old_hires_sizes(fields: Fields) -> Fields:
    """Return what ``First pass size`` of 2022 means today: the size is then that of the second pass."""
    try:
        first = int(fields["First pass size-1"]), int(fields["First pass size-2"])
        size = int(fields.get("Size-1", 512)), int(fields.get("Size-2", 512))
    except (KeyError, ValueError):
        return {}
    found = first_pass_size(first, size)
    if found is None:
        return {}
    return {
        "Size-1": found[0],
        "Size-2": found[1],
        "Hires resize-1": size[0],
        "Hires resize-2": size[1],
    }
