"""SwarmUI's images: a JSON object under ``parameters`` or in EXIF, whose ``sui_image_params`` are the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from promptengine.infotext.programs.comfyui import noise_differences
from promptengine.infotext.programs.comfyui_nodes import SAMPLER_NAMES, SCHEDULERS
from promptengine.infotext.programs.reader import (
    ImageNotes,
    ImageReader,
    ProgramImage,
    ProgramMarks,
    UnmappedSetting,
)
from promptengine.infotext.programs.values import (
    Settings,
    file_name,
    mapping,
    number_text,
    sampler_entries,
    shown,
    tagged,
    text_of,
    whole_text,
)
from promptengine.kinds import LORA

__all__ = ["SWARMUI"]

_PARAMETERS: Final = "sui_image_params"
_MOST_LORAS: Final = 100
_NUMBERS: Final = {
    "Steps": "steps",
    "CFG scale": "cfgscale",
    "Seed": "seed",
    "Variation seed": "variationseed",
    "Variation seed strength": "variationseedstrength",
}
_REFINER: Final = (
    *("refinermodel", "refinercontrolpercentage", "refinercontrol", "refinermethod"),
    *("refinerupscale", "refinerupscalemethod", "refinersteps"),
)


def _read(notes: ImageNotes) -> ProgramImage | None:
    found = notes.document("parameters", "UserComment", "comment", "")
    if found is None:
        return None
    whole = mapping(found[1])
    held = mapping(whole.get(_PARAMETERS))
    if not isinstance(held.get("prompt"), str):
        return None
    return _image(f"{found[0]} {_PARAMETERS}".strip(), held, mapping(whole.get("sui_extra_data")))


def _image(place: str, held: Mapping[str, object], more: Mapping[str, object]) -> ProgramImage:
    settings = Settings(held, place)
    entries: dict[str, str] = {}
    differences: list[str] = []
    for label, name in _NUMBERS.items():
        if (number := settings.number(name)) is not None:
            entries[label] = number
    if entries.get("Variation seed strength") in ("0", "0.0"):
        del entries["Variation seed strength"]
        entries.pop("Variation seed", None)
    width, height = settings.number("width"), settings.number("height")
    if width is not None and height is not None:
        entries["Size"] = f"{width}x{height}"
    settings.drop("aspectratio")
    found, unmapped = sampler_entries(settings.text("sampler"), SAMPLER_NAMES, f"{place} sampler")
    entries |= found
    kind = settings.text("scheduler")
    if kind in SCHEDULERS:
        entries["Schedule type"] = SCHEDULERS[kind]
    elif kind:
        settings.refuse("scheduler", kind, "no schedule type here is the same")
    for label, name in (("Model", "model"), ("VAE", "vae")):
        value = settings.text(name)
        if value != "Automatic" and (model := file_name(value)) is not None:
            entries[label] = model
    stop = whole_text(settings.take("clipstopatlayer"))
    if stop is not None and -12 <= int(stop) < 0:
        entries["Clip skip"] = str(-int(stop))
    creativity = number_text(settings.take("initimagecreativity"))
    if "initimage" in settings or creativity is not None:
        differences.append("it was made from another image, which its notes do not hold")
        settings.drop("initimage")
        if creativity is not None:
            entries["Denoising strength"] = creativity
    if any(name in settings for name in _REFINER):
        differences.append("its second pass is left out")
    prompt, dialect, lost = _with_loras(settings.text("prompt"), settings)
    negative = settings.text("negativeprompt")
    version = settings.text("swarm_version", "swarmversion")
    entries |= {"RNG": "CPU", "Version": f"{SWARMUI.name} {version[:20]}".strip()}
    settings.drop("date", "generation_time")
    wanted = text_of(more.get("original_prompt"))
    drawn = (UnmappedSetting("sui_extra_data original_prompt", shown(wanted), "it is written out"),)
    return ProgramImage(
        SWARMUI.name,
        place,
        prompt,
        negative,
        dialect,
        entries,
        (*unmapped, *lost, *(drawn if wanted else ()), *settings.rest()),
        (*noise_differences(entries), *differences),
    )


def _with_loras(prompt: str, settings: Settings) -> tuple[str, str, tuple[UnmappedSetting, ...]]:
    names, weights = _listed(settings.take("loras")), _listed(settings.take("loraweights"))
    text_weights = _listed(settings.take("loratencweights"))
    lost: list[UnmappedSetting] = []
    for number, value in enumerate(names[:_MOST_LORAS]):
        name = file_name(value)
        weight = _weight(weights, number)
        text = _weight(text_weights, number) if text_weights else weight
        problem = "it names no file"
        if name is not None:
            multiplier = weight if text == weight else f"{weight}:{text}"
            prompt, _, problem = tagged(prompt, "swarmui", LORA, name, multiplier)
        if problem:
            lost.append(UnmappedSetting("loras", shown(value), problem))
    if names[_MOST_LORAS:]:
        lost.append(UnmappedSetting("loras", f"{len(names) - _MOST_LORAS} more LoRAs"))
    return prompt, "swarmui", tuple(lost)


def _listed(value: object) -> list[object]:
    """Return the items of a list, which older versions have as one text with commas."""
    if isinstance(value, list):
        return cast("list[object]", value)
    text = text_of(value)
    return [item.strip() for item in text.split(",") if item.strip()] if text else []


def _weight(weights: list[object], number: int) -> str:
    return (number_text(weights[number]) if number < len(weights) else None) or "1"


SWARMUI: Final = ImageReader("SwarmUI", _read, ProgramMarks.of("", (_PARAMETERS, "swarm_version")))
