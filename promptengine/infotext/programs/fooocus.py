"""Fooocus's images, in both schemes that it writes: JSON of its own, and WebUI's infotext with labels of its own.

Its prompts weigh words as WebUI does. What styles and the expansion add to a prompt is in ``full_prompt``,
which both schemes hold, the one as it is and the other as the infotext's prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

from promptengine.infotext.find_files import hash_list
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
)
from promptengine.infotext.read import Infotext
from promptengine.kinds import LORA

__all__ = ["FOOOCUS"]

_SIZE: Final = re.compile(r"\(?\s*(\d{1,6})\s*[,x×]\s*(\d{1,6})\s*\)?")
_LORA_LABEL: Final = re.compile(r"(?i)lora[ _]?\d{1,3}")
_MOST_LORAS: Final = 100
_DIFFERENT: Final = "Fooocus sharpens while it samples and scales its guidance in ways of its own, so the image is another one"
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "Steps": ("steps", "Steps"),
    "CFG scale": ("guidance_scale", "Guidance Scale"),
    "Seed": ("seed", "Seed"),
}
_KEYS: Final = (
    {"metadata_scheme", "prompt"},
    {"prompt", "version", "sampler"},
    {"Prompt", "Version", "Sampler"},
    {"Prompt", "Fooocus V2 Expansion"},
)


def _read(notes: ImageNotes) -> ProgramImage | None:
    found = notes.document("parameters", "UserComment", "comment", "")
    if found is not None and _is_ours(held := mapping(found[1])):
        return _own(found[0], held)
    infotext = notes.infotext
    if infotext is not None and infotext.entries.get("Version", "").startswith("Fooocus"):
        return _as_webui(infotext)
    return None


def _is_ours(held: Mapping[str, object]) -> bool:
    version = held.get("version", held.get("Version"))
    return held.get("metadata_scheme") == "fooocus" or (
        isinstance(version, str)
        and version.startswith("Fooocus")
        and any(keys <= held.keys() for keys in _KEYS)
    )


def _own(keyword: str, held: Mapping[str, object]) -> ProgramImage:
    settings = Settings(held, keyword)
    entries: dict[str, str] = {}
    for label, names in _NAMES.items():
        if (number := settings.number(*names)) is not None:
            entries[label] = number
    size = _SIZE.fullmatch(settings.text("resolution", "Resolution"))
    if size is not None:
        entries["Size"] = f"{size[1]}x{size[2]}"
    found, unmapped = sampler_entries(
        settings.text("sampler", "Sampler"), SAMPLER_NAMES, f"{keyword} sampler"
    )
    entries |= found
    kind = settings.text("scheduler", "Scheduler")
    if kind in SCHEDULERS:
        entries["Schedule type"] = SCHEDULERS[kind]
    elif kind:
        settings.refuse("scheduler", kind, "no schedule type here is the same")
    _models(settings, entries)
    if (skip := settings.number("clip_skip", "CLIP Skip")) is not None:
        entries["Clip skip"] = skip
    prompt = _full(settings, "prompt", "Prompt")
    negative = _full(settings, "negative_prompt", "Negative Prompt")
    prompt, lost = _with_loras(prompt, list(_loras(settings, held)))
    version = settings.text("version", "Version")
    settings.drop("metadata_scheme")
    entries |= {"RNG": "CPU", "Version": version[:40] or FOOOCUS.name}
    return ProgramImage(
        FOOOCUS.name,
        keyword,
        prompt,
        negative,
        entries=entries,
        unmapped=(*unmapped, *lost, *settings.rest()),
        differences=(_DIFFERENT,),
    )


def _full(settings: Settings, *names: str) -> str:
    """Return a prompt with what its styles add, as its images' other scheme has it."""
    prompt = settings.text(*names)
    full = settings.take(f"full_{names[0]}")
    if not isinstance(full, list):
        return prompt
    texts = [text for one in cast("list[object]", full)[:_MOST_LORAS] if (text := text_of(one))]
    return ", ".join(texts) or prompt


def _models(settings: Settings, entries: dict[str, str]) -> None:
    for label, names in (
        ("Model", ("base_model", "Base Model")),
        ("VAE", ("vae", "VAE")),
        ("Refiner", ("refiner_model", "Refiner Model")),
    ):
        name = file_name(settings.text(*names))
        if name is not None and not name.startswith("Default"):
            entries[label] = name
    digest = settings.text("base_model_hash")
    if digest:
        entries["Model hash"] = digest[:64]
    settings.drop("refiner_model_hash")
    switch = settings.number("refiner_switch", "Refiner Switch")
    if "Refiner" in entries and switch is not None:
        entries["Refiner switch at"] = switch


def _loras(settings: Settings, held: Mapping[str, object]) -> Iterator[tuple[object, str]]:
    """Yield names and weights, from the list of them or from labels such as ``LoRA 1``."""
    listed = settings.take("loras")
    for item in cast("list[object]", listed) if isinstance(listed, list) else []:
        parts = cast("list[object]", item) if isinstance(item, list) else [item]
        yield (
            (parts[0] if parts else None),
            (number_text(parts[1]) if len(parts) > 1 else None) or "1",
        )
    for label in held:
        if _LORA_LABEL.fullmatch(label):
            name, _, weight = settings.text(label).rpartition(":")
            yield name.strip(), number_text(weight.strip()) or "1"


def _with_loras(
    prompt: str, loras: list[tuple[object, str]]
) -> tuple[str, tuple[UnmappedSetting, ...]]:
    lost: list[UnmappedSetting] = []
    for named, weight in loras[:_MOST_LORAS]:
        name, problem = file_name(named), "it names no file"
        if name is not None and f"<lora:{name}:" in prompt:
            continue
        if name is not None:
            prompt, _, problem = tagged(prompt, "webui", LORA, name, weight)
        if problem:
            lost.append(UnmappedSetting("LoRA", shown(name or named), problem))
    if loras[_MOST_LORAS:]:
        lost.append(UnmappedSetting("LoRA", f"{len(loras) - _MOST_LORAS} more LoRAs"))
    return prompt, tuple(lost)


def _as_webui(infotext: Infotext) -> ProgramImage:
    entries = dict(infotext.entries)
    sampler = entries.get("Sampler", "")
    if sampler in SAMPLER_NAMES:
        entries["Sampler"] = SAMPLER_NAMES[sampler][0]
    kind = entries.pop("Scheduler", "")
    if kind in SCHEDULERS:
        entries["Schedule type"] = SCHEDULERS[kind]
    elif kind:
        entries["Scheduler"] = kind
    for label in ("Refiner", "VAE"):
        if entries.get(label, "").startswith(("None", "Default")):
            del entries[label]
    weights = hash_list(entries.pop("Lora weights", ""))
    loras: list[tuple[object, str]] = [
        (name, number_text(weight) or "1") for name, weight in weights.items()
    ]
    prompt, lost = _with_loras(infotext.prompt, loras)
    entries.setdefault("RNG", "CPU")
    # What is not understood stays among the entries, where it is told as that of any infotext.
    strays = tuple(UnmappedSetting("the parameters", shown(one)) for one in infotext.strays)
    return ProgramImage(
        FOOOCUS.name,
        "parameters",
        prompt,
        infotext.negative_prompt,
        entries=entries,
        unmapped=(*lost, *strays),
        differences=(_DIFFERENT,),
    )


FOOOCUS: Final = ImageReader(
    "Fooocus",
    _read,
    ProgramMarks.of(
        "fooocus_scheme",
        (
            "fooocus_v2_expansion",
            "Fooocus V2 Expansion",
            "metadata_scheme",
            "adm_guidance",
        ),
    ),
)
