"""Which schedule a sampler's name alone stood for, in the version of WebUI that made an image.

Until 1.8 a bare name meant the model's plain list, and names such as ``DPM++ 2M Karras`` said another;
since 1.9 the schedule type is a key of its own, and without one each sampler has its own. Making an
image again takes what was meant then, whatever a bare name means to WebUI or to this engine today. An
infotext without a version, or by this program, means the plain list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = [
    "AUTOMATIC",
    "named_schedule",
    "old_plain_list",
    "own_schedule",
    "since_1_9",
    "split_name",
]

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


def since_1_9(version: str) -> bool | None:
    """Whether a version of WebUI has schedule types by themselves; None where it is no version."""
    match = _VERSION.match(version)
    return None if match is None else (int(match[1]), int(match[2])) >= (1, 9)


def own_schedule(sampler: str, version: str) -> str:
    """The label of the schedule type that a bare name stood for.

    Args:
        sampler: As written under ``Sampler``.
        version: As written under ``Version``.

    Returns:
        A label, or an empty string where the name means the same in every version.
    """
    if sampler not in _OWN:
        return ""
    return _OWN[sampler] if since_1_9(version) else _PLAIN


def named_schedule(sampler: str, version: str) -> str:
    """The same, by its label also where the name means the same in every version."""
    return own_schedule(sampler, version) or ("Karras" if sampler == "Restart" else _PLAIN)


def old_plain_list(sampler: str, version: str) -> bool:
    """Whether an old version of WebUI is known to have taken the plain list where a new one would not."""
    return sampler in _OWN and since_1_9(version) is False


def split_name(sampler: str) -> tuple[str, str]:
    """A sampler's name as old versions joined it with a schedule's: the name, and that or nothing."""
    match = _JOINED.fullmatch(sampler)
    return (sampler, "") if match is None else (match[1], match[2])
