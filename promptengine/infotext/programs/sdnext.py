"""SD.Next's images: WebUI's infotext with some labels and values of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from promptengine.infotext.programs.reader import (
    ImageNotes,
    ImageReader,
    ProgramImage,
    UnmappedSetting,
)
from promptengine.infotext.programs.values import file_name, shown
from promptengine.request.samplers import SAMPLERS

__all__ = ["SDNEXT"]

_APP: Final = re.compile(r"(?i)sd[. ]?next")
_LABELS: Final[Mapping[str, str]] = {
    "Cfg scale": "CFG scale",
    "CLIP skip": "Clip skip",
    "Clip Skip": "Clip skip",
    "Seed resize": "Seed resize from",
    "Strength": "Denoising strength",
    "Denoise": "Denoising strength",
}
"""Its labels, by WebUI's."""

_SAMPLERS: Final[Mapping[str, str]] = {
    "DPM SDE": "DPM++ SDE",
    "DPM++ 2M SDE": "DPM++ 2M SDE",
    "DPM++ 2M EDM": "DPM++ 2M",
    "DPM2++ 2M SDE": "DPM++ 2M SDE",
    "KDPM2": "DPM2",
    "KDPM2 a": "DPM2 a",
    "PNDM": "PLMS",
    "Euler EDM": "Euler",
}
_SCHEDULES: Final[Mapping[str, str]] = {
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
}
_OWN_NOTES: Final = ("App", "Backend", "Pipeline", "Operations", "Index", "Parser", "Version")
"""Labels that ask for nothing, or that are dealt with otherwise."""

_DIFFERENT: Final = "SD.Next spaces the steps of samplers as diffusers does, and not as WebUI, so the image is another one"
_PARSERS: Final = ("", "Full parser", "A1111 parser", "A1111", "native", "Native", "xhinker")


def _read(notes: ImageNotes) -> ProgramImage | None:
    infotext = notes.infotext
    if infotext is None or not _is_ours(infotext.entries):
        return None
    entries = {
        _LABELS.get(label, label): value
        for label, value in infotext.entries.items()
        if label not in _OWN_NOTES
    }
    unmapped = [UnmappedSetting("the parameters", shown(one)) for one in infotext.strays]
    differences: list[str] = []
    original = infotext.entries.get("Backend", "") == "Original"
    if not original:
        differences.append(_DIFFERENT)
    _schedule(entries, unmapped)
    if "Model" in entries:
        entries["Model"] = file_name(entries["Model"]) or entries["Model"]
    parser = infotext.entries.get("Parser", "")
    if parser not in _PARSERS:
        differences.append(f"prompts were read by {shown(parser)}, and here are read as WebUI's")
    if infotext.entries.get("Operations", "txt2img").partition(";")[0] != "txt2img":
        differences.append("it was made from another image or in several passes")
    version = infotext.entries.get("Version", "")
    entries["Version"] = f"{SDNEXT.name} {version[:20]}".strip()
    return ProgramImage(
        SDNEXT.name,
        "parameters",
        infotext.prompt,
        infotext.negative_prompt,
        entries=entries,
        unmapped=tuple(unmapped),
        differences=tuple(differences) or ("SD.Next's original backend is of an older WebUI",),
    )


def _is_ours(entries: Mapping[str, str]) -> bool:
    app = entries.get("App", "")
    return bool(_APP.match(app)) or (
        entries.get("Backend") in ("Diffusers", "Original") and "Operations" in entries
    )


def _schedule(entries: dict[str, str], unmapped: list[UnmappedSetting]) -> None:
    """Read the sampler, and the schedule type among its options."""
    sampler = entries.get("Sampler", "")
    entries["Sampler"] = _SAMPLERS.get(sampler, sampler)
    if entries["Sampler"] not in SAMPLERS:
        del entries["Sampler"]
        if sampler:
            reason = "no sampler here is the same"
            unmapped.append(UnmappedSetting("the parameters Sampler", shown(sampler), reason))
    options = entries.pop("Sampler options", "")
    sigma = entries.pop("Sampler sigma", "")
    for option in (*options.split("/"), sigma):
        name = option.strip().lower()
        if name in _SCHEDULES:
            entries["Schedule type"] = _SCHEDULES[name]
        elif name and name != "default":
            unmapped.append(
                UnmappedSetting("the parameters Sampler options", shown(option.strip()))
            )
    entries.setdefault("Schedule type", "Uniform")


SDNEXT: Final = ImageReader("SD.Next", _read)
