"""InvokeAI's images: ``invokeai_metadata`` of versions from 3 on, ``sd-metadata`` of 2, and ``Dream`` of 2022.

Prompts are compel's. Those of the two older forms hold the negative prompt in square brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from promptengine.infotext.programs.reader import (
    ImageNotes,
    ImageReader,
    ProgramImage,
    ProgramMarks,
    UnmappedSetting,
)
from promptengine.infotext.programs.values import (
    MOST_PROMPT,
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

__all__ = ["INVOKEAI"]

_SAMPLERS: Final[Mapping[str, tuple[str, str]]] = {
    "ddim": ("DDIM", ""),
    "plms": ("PLMS", ""),
    "pndm": ("PLMS", ""),
    "unipc": ("UniPC", ""),
    "lcm": ("LCM", ""),
    **{
        f"{prefix}{name}{ending}": (sampler, kind)
        for name, sampler in (
            ("euler", "Euler"),
            ("heun", "Heun"),
            ("lms", "LMS"),
            ("dpmpp_2m", "DPM++ 2M"),
            ("dpmpp_2m_sde", "DPM++ 2M SDE"),
            ("dpmpp_sde", "DPM++ SDE"),
            ("kdpm_2", "DPM2"),
            ("dpm_2", "DPM2"),
            ("kdpm_2_a", "DPM2 a"),
            ("dpm_2_a", "DPM2 a"),
            ("euler_a", "Euler a"),
        )
        for prefix in ("", "k_")
        for ending, kind in (("", "Uniform"), ("_k", "Karras"))
    },
}
_DREAM: Final = re.compile(r'\s*"((?:[^"\\]|\\.)*)"((?:\s+-\S.*)?)', re.DOTALL)
_FLAG: Final = re.compile(r"\s-{1,2}([A-Za-z_]+)(?:[ =]?(-?\d[\w.]*|[\w./\\:]+))?")
_DREAM_LABELS: Final = {"s": "steps", "S": "seed", "W": "width", "H": "height"} | {
    "C": "cfg_scale",
    "A": "sampler",
    "f": "strength",
}
_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\]")
_IDLE: Final = (0, 0.0, "0", "txt2img", "cpu")
_MOST_LORAS: Final = 100

_DIFFERENT: Final = "InvokeAI spaces the steps of samplers as diffusers does, and not as WebUI, so the image is another one"


def _read(notes: ImageNotes) -> ProgramImage | None:
    found = notes.document("invokeai_metadata", "", "UserComment")
    if found is not None and {"positive_prompt", "seed"} <= mapping(found[1]).keys():
        return _modern(found[0], mapping(found[1]))
    found = notes.document("sd-metadata", "", "UserComment")
    if found is not None and (image := _image_in(mapping(found[1]))):
        return _version_2(found[0], mapping(found[1]), image)
    for keyword in ("Dream", "dream", "", "UserComment"):
        text = notes.texts.get(keyword, "")
        match = _DREAM.fullmatch(text) if len(text) <= MOST_PROMPT else None
        if match is not None and " -S" in match[2]:
            return _dream(keyword, match)
    return None


def _image_in(document: Mapping[str, object]) -> Mapping[str, object]:
    image = document.get("image")
    listed = document.get("images")
    if isinstance(listed, list) and listed:
        image = cast("list[object]", listed)[0]
    return mapping(image) if "prompt" in mapping(image) else {}


def _modern(keyword: str, document: Mapping[str, object]) -> ProgramImage:
    settings = Settings(document, keyword)
    entries: dict[str, str] = {}
    unmapped: list[UnmappedSetting] = []
    differences = [_DIFFERENT]
    prompt = settings.text("positive_prompt")
    negative = settings.text("negative_prompt")
    _numbers(settings, entries)
    _named(settings, "scheduler", f"{keyword} scheduler", entries, unmapped)
    skipped = whole_text(settings.take("clip_skip"))
    if skipped is not None and skipped != "0":
        # There it counts the layers that are left out.
        entries["Clip skip"] = str(int(skipped) + 1)
    for label, name in (("Model", "model"), ("VAE", "vae")):
        held = settings.take(name)
        if (found := _model_name(held)) is not None:
            entries[label] = found
        elif held is not None:
            settings.refuse(name, held, "it names no model")
    if settings.take("seamless_x") is True and settings.take("seamless_y") is True:
        entries["Tiling"] = "True"
    strength = number_text(settings.take("strength"))
    if document.get("generation_mode") not in (None, "txt2img"):
        differences.append("it was made from another image, which its notes name alone")
        if strength is not None:
            entries["Denoising strength"] = strength
    device = settings.text("rand_device")
    if device:
        entries["RNG"] = "CPU" if device == "cpu" else "GPU"
    prompt = _loras(settings, prompt, unmapped)
    for name in ("positive_style_prompt", "negative_style_prompt"):
        if document.get(name) in (document.get(name.replace("style_", "")), ""):
            settings.drop(name)
    settings.drop("app_version")
    version = text_of(document.get("app_version")) or ""
    entries["Version"] = f"InvokeAI {version[:20]}".strip()
    return _made(keyword, (prompt, negative), entries, (*unmapped, *settings.rest()), differences)


def _numbers(settings: Settings, entries: dict[str, str]) -> None:
    for label, name in (("Steps", "steps"), ("CFG scale", "cfg_scale"), ("Seed", "seed")):
        if (number := settings.number(name)) is not None:
            entries[label] = number
    width, height = settings.number("width"), settings.number("height")
    if width is not None and height is not None:
        entries["Size"] = f"{width}x{height}"


def _named(
    settings: Settings,
    name: str,
    place: str,
    entries: dict[str, str],
    unmapped: list[UnmappedSetting],
) -> None:
    found, unknown = sampler_entries(settings.text(name), _SAMPLERS, place)
    entries |= found
    unmapped += unknown


def _model_name(value: object) -> str | None:
    """Return the name of a model, which versions have under different keys."""
    if isinstance(value, str):
        return file_name(value)
    held = mapping(value)
    return next(filter(None, (file_name(held.get(key)) for key in ("name", "model_name"))), None)


def _loras(settings: Settings, prompt: str, unmapped: list[UnmappedSetting]) -> str:
    listed = settings.take("loras")
    items = cast("list[object]", listed) if isinstance(listed, list) else []
    for item in items[:_MOST_LORAS]:
        held = mapping(item)
        name = _model_name(held.get("model")) or _model_name(held.get("lora")) or _model_name(item)
        weight = number_text(held.get("weight")) or "0.75"
        problem = "it names no file"
        if name is not None:
            prompt, _, problem = tagged(prompt, "compel", LORA, name, weight)
        if problem:
            unmapped.append(UnmappedSetting("loras", shown(name or item), problem))
    if items[_MOST_LORAS:]:
        unmapped.append(UnmappedSetting("loras", f"{len(items) - _MOST_LORAS} more LoRAs"))
    return prompt


def _version_2(
    keyword: str, document: Mapping[str, object], image: Mapping[str, object]
) -> ProgramImage:
    settings = Settings(image, f"{keyword} image")
    entries: dict[str, str] = {}
    unmapped: list[UnmappedSetting] = []
    _numbers(settings, entries)
    _named(settings, "sampler", f"{keyword} image sampler", entries, unmapped)
    model = text_of(document.get("model_weights"))
    if model:
        entries["Model"] = model
    digest = text_of(document.get("model_hash"))
    if digest:
        entries["Model hash"] = digest[:64]
    differences = [_DIFFERENT]
    if image.get("type") not in (None, "txt2img"):
        differences.append("it was made from another image, which its notes do not hold")
    if settings.take("seamless") is True:
        entries["Tiling"] = "True"
    for name in ("threshold", "perlin", "type"):
        if image.get(name) in _IDLE:
            settings.drop(name)
    prompts = _weighted(settings.take("prompt"))
    version = text_of(document.get("app_version")) or ""
    entries["Version"] = f"InvokeAI {version[:20]}".strip()
    unmapped += settings.rest()
    return _made(keyword, _split(prompts), entries, tuple(unmapped), differences)


def _weighted(value: object) -> str:
    """Return the prompts of version 2, of which there may be several with weights, as compel blends them."""
    if isinstance(value, str):
        return text_of(value) or ""
    items = cast("list[object]", value) if isinstance(value, list) else []
    found = [
        (text, number_text(mapping(item).get("weight")) or "1")
        for item in items[:_MOST_LORAS]
        if (text := text_of(mapping(item).get("prompt")))
    ]
    if len(found) < 2:
        return found[0][0] if found else ""
    texts = ", ".join('"{}"'.format(text.replace('"', '\\"')) for text, _ in found)
    return f"({texts}).blend({', '.join(weight for _, weight in found)})"


def _dream(keyword: str, match: re.Match[str]) -> ProgramImage:
    flags: list[tuple[str, str]] = _FLAG.findall(match[2])
    found = {_DREAM_LABELS.get(flag, flag): value or True for flag, value in flags}
    settings = Settings(found, f"{keyword} option")
    entries: dict[str, str] = {}
    unmapped: list[UnmappedSetting] = []
    _numbers(settings, entries)
    _named(settings, "sampler", f"{keyword} -A", entries, unmapped)
    differences = [_DIFFERENT]
    if (strength := settings.number("strength")) is not None:
        entries["Denoising strength"] = strength
        differences.append("it was made from another image, which its notes do not hold")
    prompts = _split(match[1].replace('\\"', '"'))
    unmapped += settings.rest()
    return _made(keyword, prompts, entries, tuple(unmapped), differences)


def _split(prompt: str) -> tuple[str, str]:
    """Take the negative prompt, which stands in square brackets, out of a prompt."""
    negative = ", ".join(part.strip(" ,") for part in _BRACKETS.findall(prompt))
    positive = _BRACKETS.sub("", prompt).strip(" ,") if negative else prompt.strip()
    return positive, negative


def _made(
    keyword: str,
    prompts: tuple[str, str],
    entries: Mapping[str, str],
    unmapped: tuple[UnmappedSetting, ...],
    differences: list[str],
) -> ProgramImage:
    idle = (shown(value) for value in _IDLE)
    quiet = frozenset(idle)
    told = tuple(one for one in unmapped if one.value not in quiet or one.reason)
    return ProgramImage(
        INVOKEAI.name, keyword, *prompts, "compel", entries, told, tuple(differences)
    )


INVOKEAI: Final = ImageReader(
    "InvokeAI",
    _read,
    ProgramMarks.of(
        "invokeai_metadata,invokeai_graph,invokeai,sd-metadata,Dream",
        ("app_version,generation_mode", "positive_prompt,rand_device", "app_id,model_weights"),
        r'"[^"]*" -s ?\d+ -S ?\d+',
    ),
)
