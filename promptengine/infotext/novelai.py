"""What NovelAI writes into its images, as the infotext that WebUI makes of it.

Its PNGs hold the prompt under ``Description`` and all else as a JSON object under ``Comment``. WebUI
gives them ``Clip skip: 2, ENSD: 31337``, with which it comes closest to that service's first model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from promptengine.infotext.read import Infotext

__all__ = ["MADE_BY_NOVELAI", "SAMPLERS", "read_novelai"]

MADE_BY_NOVELAI: Final = "NovelAI"
"""The value of ``Version`` that these infotexts get."""

SAMPLERS: Final[Mapping[str, str]] = {
    "ddim": "DDIM",
    "k_dpm_2": "DPM2",
    "k_dpm_2_ancestral": "DPM2 a",
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_2s_ancestral": "DPM++ 2S a",
    "k_dpmpp_sde": "DPM++ SDE",
    "k_euler": "Euler",
    "k_euler_ancestral": "Euler a",
    "k_heun": "Heun",
    "k_lms": "LMS",
    "plms": "PLMS",
}
"""Its samplers, by WebUI's names."""

_LABELS: Final[Mapping[str, str]] = {
    "steps": "Steps",
    "sampler": "Sampler",
    "scale": "CFG scale",
    "seed": "Seed",
}
_READ: Final = {*_LABELS, "uc", "prompt", "width", "height"}


def read_novelai(texts: Mapping[str, str], size: tuple[int, int] | None) -> Infotext | None:
    """Read the texts of an image by NovelAI; None where they are another program's.

    Args:
        texts: By the keyword that the image's file has them under.
        size: Of the image, in pixels.

    Returns:
        Prompts and entries under WebUI's labels; what has none there is under ``NovelAI …``.
    """
    if texts.get("Software") != MADE_BY_NOVELAI or "Comment" not in texts:
        return None
    try:
        document: Any = json.loads(texts["Comment"])
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    comment = cast("dict[str, Any]", document)
    entries = {label: _text(comment[key]) for key, label in _LABELS.items() if key in comment}
    if "Sampler" in entries:
        entries["Sampler"] = SAMPLERS.get(entries["Sampler"], entries["Sampler"])
    width, height = size or (comment.get("width"), comment.get("height"))
    if width is not None and height is not None:
        entries["Size"] = f"{_text(width)}x{_text(height)}"
    entries |= {"Clip skip": "2", "ENSD": "31337"}
    entries |= {f"NovelAI {key}": _text(comment[key]) for key in comment if key not in _READ}
    prompt = texts.get("Description", _text(comment.get("prompt", "")))
    negative = _text(comment.get("uc", ""))
    return Infotext(prompt.strip(), negative.strip(), {**entries, "Version": MADE_BY_NOVELAI})


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
