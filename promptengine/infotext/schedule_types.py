"""Which schedule a sampler's name alone stood for, in the version of WebUI that made an image.

Until 1.8 a bare name meant the model's plain list, and names such as ``DPM++ 2M Karras`` said another;
since 1.9 the schedule type is a key of its own, and without one each sampler has its own. Making an
image again takes what was meant then, whatever a bare name means to WebUI today. This program writes
the key since bare names mean to it what they mean to WebUI since 1.9; its infotexts without the key,
and those without a version, mean the plain list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["AUTOMATIC", "is_joined", "means_plain_list", "named_schedule", "split_name"]

AUTOMATIC: Final = frozenset({"", "automatic", "default"})
"""Schedule types that leave the choice to the sampler, in lower case."""

_PLAIN: Final = "Uniform"
_OWN: Final[Mapping[str, str]] = {
    **dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a"), "Karras"),
    **dict.fromkeys(("DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"), "Exponential"),
}
"""Since 1.9, where it is not what the bare name meant before."""

# Forge writes its own version before WebUI's, as in f2.0.1v1.10.1.
_VERSION: Final = re.compile(r"(?:f[\d.]+-?v|v?)(\d{1,9})\.(\d{1,9})")
_JOINED: Final = re.compile(r"(.*\S) (Karras|Exponential)")


def means_plain_list(version: str, kind: str) -> bool:
    """Return whether a bare name of a sampler in an infotext means the model's plain list.

    Args:
        version: As written under ``Version``, or empty.
        kind: The schedule type that stands beside the name, or, for that of a second pass, beside the
            name of the first; or empty.
    """
    match = _VERSION.match(version)
    if match is None:
        return kind.lower() in AUTOMATIC
    return (int(match[1]), int(match[2])) < (1, 9)


def named_schedule(sampler: str, *, plain: bool) -> str:
    """Return the label of what a bare name stands for, or an empty string where all versions mean the same.

    Args:
        sampler: As written under ``Sampler``.
        plain: See :func:`means_plain_list`.
    """
    if sampler not in _OWN:
        return ""
    return _PLAIN if plain else _OWN[sampler]


def is_joined(sampler: str) -> bool:
    """Return whether a sampler's name says a schedule type, as in old versions."""
    return _JOINED.fullmatch(sampler) is not None


def split_name(sampler: str) -> tuple[str, str]:
    """Return a sampler's name as old versions joined it with a schedule's: the name, and that or nothing."""
    match = _JOINED.fullmatch(sampler)
    return (sampler, "") if match is None else (match[1], match[2])
