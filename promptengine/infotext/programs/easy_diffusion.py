"""Easy Diffusion's images: texts of a PNG by the names of its settings, the same as JSON, and lines of a text file.

Its prompts are compel's, as its engine with diffusers reads them.
"""

from __future__ import annotations

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
    Settings,
    file_name,
    mapping,
    number_text,
    sampler_entries,
    shown,
    tagged,
)
from promptengine.kinds import LORA

__all__ = ["EASY_DIFFUSION"]

_LABELS: Final[Mapping[str, str]] = {
    "Prompt": "prompt",
    "Negative Prompt": "negative_prompt",
    "Width": "width",
    "Height": "height",
    "Seed": "seed",
    "Steps": "num_inference_steps",
    "Guidance Scale": "guidance_scale",
    "Prompt Strength": "prompt_strength",
    "Sampler": "sampler_name",
    "Stable Diffusion model": "use_stable_diffusion_model",
    "VAE model": "use_vae_model",
    "Hypernetwork model": "use_hypernetwork_model",
    "Hypernetwork Strength": "hypernetwork_strength",
    "LoRA model": "use_lora_model",
    "LoRA Strength": "lora_alpha",
    "Clip Skip": "clip_skip",
    "Use Face Correction": "use_face_correction",
    "Use Upscaling": "use_upscale",
    "Upscale By": "upscale_amount",
    "Seamless Tiling": "tiling",
    "Tiling": "tiling",
}
"""What its pages call a setting, and what its files do."""

_SAMPLERS: Final[Mapping[str, tuple[str, str]]] = {
    "plms": ("PLMS", ""),
    "ddim": ("DDIM", ""),
    "heun": ("Heun", "Uniform"),
    "euler": ("Euler", "Uniform"),
    "euler_a": ("Euler a", "Uniform"),
    "dpm2": ("DPM2", "Uniform"),
    "dpm2_a": ("DPM2 a", "Uniform"),
    "lms": ("LMS", "Uniform"),
    "dpmpp_2s_a": ("DPM++ 2S a", "Uniform"),
    "dpmpp_2m": ("DPM++ 2M", "Uniform"),
    "dpmpp_2m_sde": ("DPM++ 2M SDE", "Uniform"),
    "dpmpp_sde": ("DPM++ SDE", "Uniform"),
    "unipc_snr": ("UniPC", ""),
    "unipc_tu": ("UniPC", ""),
    "unipc_tq": ("UniPC", ""),
}
_NEEDED: Final = frozenset({"prompt", "seed", "use_stable_diffusion_model"})
_MOST_LINES: Final = 400
_MOST_LORAS: Final = 100
_DIFFERENT: Final = (
    "Easy Diffusion spaces the steps of samplers as diffusers does, and does not say where its noise comes "
    "from, so the image is another one"
)


def _read(notes: ImageNotes) -> ProgramImage | None:
    found = notes.document("UserComment", "parameters", "comment", "")
    if found is not None:
        return _image(found[0], _renamed(mapping(found[1])))
    renamed = _renamed(notes.texts)
    if renamed.keys() >= _NEEDED:
        return _image("", renamed)
    for keyword in ("", "parameters", "UserComment"):
        if "\nSeed: " in (text := notes.texts.get(keyword, "")):
            return _image(keyword, _renamed(_lines(text)))
    return None


def _renamed(held: Mapping[str, object]) -> dict[str, object]:
    # A task holds its request beside what became of it.
    held = mapping(held.get("reqBody")) or held
    return {_LABELS.get(name, name): value for name, value in held.items()}


def _lines(text: str) -> dict[str, object]:
    """Return the settings of a text file: the prompt, and then one to a line."""
    lines = text.strip().split("\n")
    first = next(
        (n for n, line in enumerate(lines) if line.partition(":")[0].strip() in _LABELS), len(lines)
    )
    found: dict[str, object] = {}
    if first:
        found["Prompt"] = "\n".join(lines[:first]).strip()
    for line in lines[first : first + _MOST_LINES]:
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found


def _image(place: str, held: dict[str, object]) -> ProgramImage | None:
    if not held.keys() >= _NEEDED or not isinstance(held["prompt"], str):
        return None
    settings = Settings(held, place)
    entries: dict[str, str] = {}
    differences = [_DIFFERENT]
    for label, name in (
        ("Steps", "num_inference_steps"),
        ("CFG scale", "guidance_scale"),
        ("Seed", "seed"),
    ):
        if (number := settings.number(name)) is not None:
            entries[label] = number
    width, height = settings.number("width"), settings.number("height")
    if width is not None and height is not None:
        entries["Size"] = f"{width}x{height}"
    found, unmapped = sampler_entries(
        settings.text("sampler_name", "sampler"), _SAMPLERS, "sampler_name"
    )
    entries |= found
    for label, name in (
        ("Model", "use_stable_diffusion_model"),
        ("VAE", "use_vae_model"),
        ("Hypernet", "use_hypernetwork_model"),
    ):
        if (model := file_name(settings.take(name))) is not None:
            entries[label] = model
    strength = settings.number("hypernetwork_strength")
    lost = _hypernetwork(entries, strength)
    if str(settings.take("clip_skip")).lower() in ("true", "1"):
        entries["Clip skip"] = "2"
    if str(held.get("tiling")).lower() == "xy":
        settings.drop("tiling")
        entries["Tiling"] = "True"
    strength = settings.number("prompt_strength")
    if "init_image" in settings or "mask" in settings:
        differences.append("it was made from another image, which its notes do not hold")
        settings.drop("init_image", "mask")
        if strength is not None:
            entries["Denoising strength"] = strength
    prompt, more = _with_loras(settings)
    negative = settings.text("negative_prompt")
    entries["Version"] = EASY_DIFFUSION.name
    rest = (one for one in settings.rest() if one.value not in ("'False'", "'false'", "'none'"))
    return ProgramImage(
        EASY_DIFFUSION.name,
        place,
        prompt,
        negative,
        "compel",
        entries,
        (*unmapped, *lost, *more, *rest),
        tuple(differences),
    )


def _hypernetwork(entries: dict[str, str], strength: str | None) -> tuple[UnmappedSetting, ...]:
    """Take a hypernetwork, which a prompt of compel's cannot name, out again and tell of it."""
    name = entries.pop("Hypernet", None)
    if name is None:
        return ()
    told = f"{shown(name)} at {strength or '1'}"
    reason = "a prompt in compel cannot name one; write its tag and choose the dialect webui"
    return (UnmappedSetting("use_hypernetwork_model", told, reason),)


def _with_loras(settings: Settings) -> tuple[str, tuple[UnmappedSetting, ...]]:
    prompt = settings.text("prompt").strip()
    named, alpha = settings.take("use_lora_model"), settings.take("lora_alpha")
    names = cast("list[object]", named) if isinstance(named, list) else [named]
    weights = cast("list[object]", alpha) if isinstance(alpha, list) else [alpha]
    lost: list[UnmappedSetting] = []
    for number, value in enumerate(names[:_MOST_LORAS]):
        name = file_name(value)
        if name is None:
            continue
        weight = (number_text(weights[number]) if number < len(weights) else None) or "1"
        prompt, _, problem = tagged(prompt, "compel", LORA, name, weight)
        if problem:
            lost.append(UnmappedSetting("use_lora_model", shown(name), problem))
    return prompt, tuple(lost)


EASY_DIFFUSION: Final = ImageReader(
    "Easy Diffusion",
    _read,
    ProgramMarks.of(
        "use_stable_diffusion_model", ("use_stable_diffusion_model", "reqBody,numOutputsTotal")
    ),
)
