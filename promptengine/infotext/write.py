"""The text inside an image that says how it was made, as WebUI writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from promptengine.plugins import Plugin
from promptengine.request.request import GenerationRequest, NetworkReport
from promptengine.version import __version__

__all__ = [
    "InfotextContext",
    "generation_entries",
    "skipped_items",
    "write_entries",
    "write_infotext",
]

_ITEM_MARKS: Final = re.compile(r"[()\r\n]")
_ITEM_END: Final = re.compile(r"\)\s*,")
"""Where an item of a list of ``name (reason)`` ends: reasons hold commas, but no brackets."""


def write_infotext(prompt: str, negative_prompt: str, entries: Mapping[str, object]) -> str:
    """Write WebUI's ``parameters`` text.

    Args:
        prompt: As the user wrote it, tags included.
        negative_prompt: Likewise; its line is left out if empty.
        entries: Keys and values in the order they shall stand; None leaves an entry out, and a
            value that holds a comma, a colon or a line break is quoted as JSON.

    Returns:
        Prompt, negative prompt and one line of entries, stripped.
    """
    lines = [prompt]
    if negative_prompt:
        lines.append(f"Negative prompt: {negative_prompt}")
    return "\n".join([*lines, write_entries(entries)]).strip()


def write_entries(entries: Mapping[str, object]) -> str:
    """Write the last line alone; for ``entries`` see :func:`write_infotext`."""
    return ", ".join(_pair(key, value) for key, value in entries.items() if value is not None)


def _pair(key: str, value: object) -> str:
    text = str(value)
    if key == text:
        return key
    # Beyond WebUI's rule, so that blanks at the ends and quotes of a value's own are read back.
    if any(mark in text for mark in ",:\n") or text != text.strip() or text[:1] == '"':
        text = json.dumps(text, ensure_ascii=False)
    return f"{key}: {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InfotextContext:
    """What the images of a job were made with, beside what was asked for.

    Attributes:
        sampler: The sampler's own name.
        size: Width and height in pixels.
        model: The checkpoint's name without suffix.
        model_digest: Its SHA-256 in hex, or None for a folder.
        vae: Name of a separate VAE's file, or None.
        vae_digest: Its SHA-256 in hex.
        networks: What became of the tags.
        hires_sampler: Name of the second pass's sampler, where there is such a pass.
        hires_scheduler: The label of its schedule type, where that does not follow from the rest.
        hires_networks: What became of the tags there.
        embedding_hashes: See :func:`promptengine.text.conditioning.embedding_hashes`.
        scheduler: The label of its schedule type.
        mask_strength: "Conditional mask weight", where an inpainting model saw an image.
        seed_delta: ENSD, where it is to be told.
        levels: What was done to the model's noise levels.
        sampling: Entries of prompts and sampling that stand behind those of networks.
        plugins: Who added what it was made with, where that is not this package's own.
    """

    sampler: str
    size: tuple[int, int]
    model: str
    model_digest: str | None = None
    vae: str | None = None
    vae_digest: str | None = None
    networks: Sequence[NetworkReport] = ()
    hires_sampler: str | None = None
    hires_scheduler: str | None = None
    hires_networks: Sequence[NetworkReport] = ()
    embedding_hashes: str | None = None
    scheduler: str = "Automatic"
    mask_strength: float | None = None
    seed_delta: int | None = None
    levels: Mapping[str, object] = field(default_factory=dict[str, object])
    sampling: Mapping[str, object] = field(default_factory=dict[str, object])
    plugins: Sequence[Plugin] = ()


def generation_entries(
    request: GenerationRequest,
    making: InfotextContext,
    *,
    seed: int,
    variation_seed: int | None = None,
) -> dict[str, object]:
    """The entries of one image, in WebUI's order.

    Args:
        request: What was asked for.
        making: What it was made with.
        seed: Of this image.
        variation_seed: Of this image, where there is a variation.

    Returns:
        Keys and values; None where an entry does not apply. ``RNG`` is absent only where noise is a
        GPU's, which is what its absence means to WebUI.
    """
    options, scale, size = request.options, request.cfg_scale, making.size
    hires_sampler = None if making.hires_sampler == making.sampler else making.hires_sampler
    return {
        "Steps": request.steps,
        "Sampler": making.sampler,
        "Schedule type": making.scheduler,
        "CFG scale": int(scale) if scale == int(scale) else scale,
        "Seed": seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model hash": _short(making.model_digest) if options.hash_model else None,
        "Model": making.model if options.name_model else None,
        "VAE hash": _short(making.vae_digest) if options.hash_vae else None,
        "VAE": making.vae if options.name_vae else None,
        **_variation_entries(request, variation_seed),
        "Denoising strength": _strength(request),
        "Conditional mask weight": making.mask_strength,
        "Clip skip": request.clip_skip if request.clip_skip > 1 else None,
        "ENSD": making.seed_delta,
        "RNG": _SOURCES[options.noise_source],
        "Tiling": request.tiling or None,
        **_hires_entries(request, hires_sampler, making.hires_scheduler),
        **_inpainting_entries(request),
        **making.levels,
        **_network_entries(making.networks, making.hires_networks, making.embedding_hashes),
        **(_hires_network_entries(making.hires_networks) if _other_prompt(request) else {}),
        **making.sampling,
        "Prompt syntax": "extended" if request.dialect == "extended" else None,
        "Plugins": ", ".join(map(str, making.plugins)) or None,
        "Version": f"promptengine {__version__}" if options.name_version else None,
    }


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:10]


_SOURCES = {"cpu": "CPU", "nv": "NV", "gpu": None}


def _variation_entries(request: GenerationRequest, variation_seed: int | None) -> dict[str, object]:
    resized = request.seed_resize_from
    return {
        "Variation seed": variation_seed,
        "Variation seed strength": None if variation_seed is None else request.variation_strength,
        "Seed resize from": None if resized is None else f"{resized[0]}x{resized[1]}",
    }


def _strength(request: GenerationRequest) -> float | None:
    changing = request.hires or request.start
    return None if changing is None else float(changing.denoising_strength)


def _other_prompt(request: GenerationRequest) -> bool:
    """Whether the second pass has a prompt of its own, and so networks."""
    return request.hires is not None and request.hires.prompt not in ("", request.prompt)


def _hires_entries(
    request: GenerationRequest, sampler: str | None, scheduler: str | None
) -> dict[str, object]:
    """What WebUI tells about a high-resolution pass.

    Args:
        request: What was asked for.
        sampler: The pass's, where it is another one.
        scheduler: Likewise its schedule type's label.
    """
    hires = request.hires
    if hires is None:
        return {}
    negative = hires.negative_prompt
    other_negative = negative not in ("", request.negative_prompt)
    sides = f"{hires.resize_x}x{hires.resize_y}" if hires.resize_x or hires.resize_y else None
    return {
        "Hires sampler": sampler,
        "Hires prompt": hires.prompt if _other_prompt(request) else None,
        "Hires negative prompt": negative if other_negative else None,
        "Hires schedule type": scheduler,
        "Hires upscale": None if sides else float(hires.scale),
        "Hires resize": sides,
        "Hires steps": hires.steps or None,
        "Hires upscaler": hires.upscaler,
    }


def _inpainting_entries(request: GenerationRequest) -> dict[str, object]:
    """What WebUI tells about a mask: a blur only where it is the same along both axes."""
    inpainting = None if request.start is None else request.start.inpainting
    if inpainting is None:
        return {}
    across, down = inpainting.blur
    blur = int(across) if across == int(across) else across
    area = inpainting.only_masked
    return {
        "Mask mode": "Inpaint not masked" if inpainting.inverted else None,
        "Mask blur": blur if across == down and across > 0 else None,
        "Inpaint area": "Only masked" if area else None,
        "Masked area padding": inpainting.padding if area else None,
        "Masked content": None if inpainting.content == "original" else inpainting.content,
    }


def _network_entries(
    reports: Sequence[NetworkReport],
    hires_reports: Sequence[NetworkReport],
    embedding_hashes: str | None,
) -> dict[str, str]:
    """The entries that tell which networks really ran, and which tags did nothing.

    ``Lora hashes`` is WebUI's: every LoRA that was found, by the name in its tag; those of the second
    pass where that has any. ``Hypernet hashes`` lists what was applied in order, each with the first
    ten digits of its file's SHA-256. ``Lora skipped`` and ``Hypernet skipped`` list what was not
    applied, and why. ``Hypernet objects`` lists networks that were in no file and no tag.
    """
    entries = {
        "Lora hashes": _lora_hashes(hires_reports) or _lora_hashes(reports),
        "TI hashes": embedding_hashes,
        "Lora skipped": _skipped(reports, "lora", "lyco"),
        "Hypernet hashes": _hypernet_hashes(reports),
        "Hypernet skipped": _skipped(reports, "hypernet"),
        "Hypernet schedule": _schedules(reports),
        "Hypernet objects": _objects(reports),
    }
    return {key: value for key, value in entries.items() if value}


def _schedules(reports: Sequence[NetworkReport]) -> str:
    """Multipliers that change: ``name: multiplier@call, …``, calls counted from 1."""
    told: list[str] = []
    for report in reports:
        if report.applied and report.multipliers:
            steps = zip((None, *report.multipliers), report.multipliers[:-1], strict=False)
            changes = [f"{now:g}@{call}" for call, (was, now) in enumerate(steps, 1) if now != was]
            told.append(f"{report.name}: {' '.join(changes)}")
    return ", ".join(told)


def _objects(reports: Sequence[NetworkReport]) -> str:
    """Networks of the request itself: ``name: multiplier digest, …``."""
    return ", ".join(
        f"{_list_name(r.name)}: {r.multiplier:g} {r.digest[:10]}"
        for r in reports
        if r.origin == "request" and r.applied and r.digest
    )


def _hires_network_entries(reports: Sequence[NetworkReport]) -> dict[str, str]:
    """The same of a second pass with tags of its own, but for ``Lora hashes``."""
    entries = {
        "Hires lora skipped": _skipped(reports, "lora", "lyco"),
        "Hires hypernet hashes": _hypernet_hashes(reports),
        "Hires hypernet skipped": _skipped(reports, "hypernet"),
    }
    return {key: value for key, value in entries.items() if value}


def _lora_hashes(reports: Sequence[NetworkReport]) -> str:
    return ", ".join(f"{_list_name(r.name)}: {r.lora_hash}" for r in reports if r.lora_hash)


def _hypernet_hashes(reports: Sequence[NetworkReport]) -> str:
    return ", ".join(
        f"{_list_name(r.name)}: {r.digest[:10]}"
        for r in reports
        if r.kind == "hypernet" and r.applied and r.digest and r.origin == "prompt"
    )


def _skipped(reports: Sequence[NetworkReport], *kinds: str) -> str:
    return ", ".join(
        f"{_list_name(r.name)} ({_ITEM_MARKS.sub('', r.reason)})"
        for r in reports
        if not r.applied and r.kind in kinds
    )


def skipped_items(value: str) -> Iterator[str]:
    """Take what stands under ``Hypernet skipped`` apart: ``name (reason)``, the reason with its commas."""
    done = 0
    for end in _ITEM_END.finditer(value):
        yield value[done : end.start() + 1].strip()
        done = end.end()
    if rest := value[done:].strip():
        yield rest


def _list_name(name: str) -> str:
    """Text that cannot break a list of ``name: value`` pairs."""
    return name.translate({ord(mark): None for mark in ",:\r\n"})
