"""The text inside an image that says how it was made, as WebUI writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from promptengine.kinds import EMBEDDING, NETWORK_KINDS, NetworkKind
from promptengine.plugins import Plugin
from promptengine.request.fields import entries_of, fields_of
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import SETTINGS, Options
from promptengine.request.request import GenerationRequest, merging_ratios_of
from promptengine.request.result import NetworkReport
from promptengine.version import __version__

__all__ = [
    "BLOCK_WEIGHTS",
    "OTHER_NODES",
    "InfotextContext",
    "add_entries",
    "generation_entries",
    "hires_label",
    "listed_presets",
    "skipped_items",
    "write_entries",
    "write_infotext",
]

BLOCK_WEIGHTS: Final = "Block weights"
"""The key that tells the numbers of presets that tags name."""

OTHER_NODES: Final = "ComfyUI changes"
"""The key that names what other nodes did where an image was made within ComfyUI."""

_ITEM_MARKS: Final = re.compile(r"[()\r\n]")
_VERSION: Final = re.compile(r', Version: [^,"\n]*\Z')
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


def add_entries(infotext: str, entries: Mapping[str, object]) -> str:
    """Add entries to an infotext, where WebUI has those of scripts: before the version, else at the end.

    Args:
        infotext: As :func:`write_infotext` writes it.
        entries: As there.
    """
    added = write_entries(entries)
    if not added:
        return infotext
    if version := _VERSION.search(infotext):
        return f"{infotext[: version.start()]}, {added}{version[0]}"
    return f"{infotext}, {added}"


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
        refiner: Title of the refiner, where it took over.
        hires_checkpoint: Title of the second pass's checkpoint, where one was named.
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
    refiner: str | None = None
    hires_checkpoint: str | None = None


def generation_entries(
    request: GenerationRequest,
    making: InfotextContext,
    *,
    seed: int,
    variation_seed: int | None = None,
) -> dict[str, object]:
    """Return the entries of one image, in WebUI's order.

    Args:
        request: What was asked for.
        making: What it was made with.
        seed: Of this image.
        variation_seed: Of this image, where there is a variation.

    Returns:
        Keys and values; absent or None where an entry does not apply. ``RNG`` is absent only where noise is
        a GPU's, which is what its absence means to WebUI.
    """
    options = request.options
    said = _field_entries(request, making, seed, variation_seed)
    return {
        **_taken(said, "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size"),
        "Model hash": _short(making.model_digest) if options.hash_model else None,
        "Model": making.model if options.name_model else None,
        "VAE hash": _short(making.vae_digest) if options.hash_vae else None,
        "VAE": making.vae if options.name_vae else None,
        **_taken(said, "Variation seed", "Variation seed strength", "Seed resize from"),
        **_taken(said, "Denoising strength"),
        "Conditional mask weight": making.mask_strength,
        **_taken(said, "Clip skip"),
        "ENSD": making.seed_delta,
        **_merging_entries(request),
        "RNG": _SOURCES[options.noise_source],
        **_taken(said, "Tiling"),
        **dict(request.script_entries),
        **_taken(
            said, "Hires checkpoint", "Hires sampler", "Hires prompt", "Hires negative prompt"
        ),
        **_taken(said, "Hires schedule type"),
        **_taken(said, "Hires upscale", "Hires resize", "Hires steps", "Hires upscaler"),
        **_taken(said, *(label for label in said if label.startswith("Soft inpainting "))),
        **_taken(said, "Mask mode", "Mask blur", "Inpaint area", "Masked area padding"),
        **_taken(said, "Masked content"),
        **making.levels,
        **_network_entries(making.networks, making.hires_networks, making.embedding_hashes),
        **(_hires_network_entries(making.hires_networks) if _other_prompt(request) else {}),
        **making.sampling,
        **_refiner_entries(request, making),
        **_taken(said, "Refiner", "Refiner switch at"),
        # What WebUI has no place for.
        **said,
        "Plugins": ", ".join(map(str, making.plugins)) or None,
        "Version": f"promptengine {__version__}" if options.name_version else None,
    }


def _field_entries(
    request: GenerationRequest, making: InfotextContext, seed: int, variation_seed: int | None
) -> dict[str, object]:
    """Return the entries of all declared fields, in no order that matters."""
    width, height = making.size
    used = {
        **{"seed": seed, "variation_seed": variation_seed, "width": width, "height": height},
        **{"sampler": making.sampler, "scheduler": making.scheduler, "refiner": making.refiner},
    }
    values = _values(request) | used
    found = entries_of(GenerationRequest, values, values)
    start, hires = request.start, request.hires
    if start is not None:
        found |= entries_of(ImageStart, _values(start), values)
        if start.inpainting is not None:
            found |= entries_of(Inpainting, _values(start.inpainting), values)
    if hires is not None:
        other = None if making.hires_sampler == making.sampler else making.hires_sampler
        used = {"sampler": other, "scheduler": making.hires_scheduler}
        used["checkpoint"] = making.hires_checkpoint
        found |= entries_of(HiresPass, _values(hires) | used, values)
    return found


def _refiner_entries(request: GenerationRequest, making: InfotextContext) -> dict[str, object]:
    """Return the settings of both passes' models; WebUI does not tell of the first pass's networks."""
    options, hires = request.options, request.hires
    told = {
        "refiner_by_steps": options.refiner_by_steps or None,
        "refiner_pass": options.refiner_pass if making.refiner and hires else None,
        "hires_first_networks": (options.hires_first_networks and hires is not None) or None,
    }
    usual = Options()
    settings = {own: SETTINGS[Options.webui_name(own)] for own in told}
    return {
        settings[own].label: settings[own].theirs(value)
        for own, value in told.items()
        if value is not None and value != getattr(usual, own)
    }


def _merging_entries(request: GenerationRequest) -> dict[str, float | None]:
    first, second = merging_ratios_of(request)
    labels = (
        SETTINGS[Options.webui_name(own)].label for own in ("token_merging", "token_merging_hires")
    )
    return {label: ratio or None for label, ratio in zip(labels, (first, second), strict=True)}


def _values(owner: object) -> dict[str, Any]:
    return {own.name: getattr(owner, own.name) for own in fields_of(type(owner))}


def _taken(entries: dict[str, object], *labels: str) -> dict[str, object]:
    """Take entries out, in this order."""
    return {label: entries.pop(label) for label in labels if label in entries}


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:10]


_SOURCES = {"cpu": "CPU", "nv": "NV", "gpu": None}


def _other_prompt(request: GenerationRequest) -> bool:
    """Return whether the second pass has a prompt of its own, and so networks."""
    return request.hires is not None and request.hires.prompt not in ("", request.prompt)


def _network_entries(
    reports: Sequence[NetworkReport],
    hires_reports: Sequence[NetworkReport],
    embedding_hashes: str | None,
) -> dict[str, str]:
    """Return the entries that tell which networks really ran, and which tags did nothing.

    ``Lora hashes`` is WebUI's: every LoRA that was found in either pass, by the name in its tag, once.
    ``Hypernet hashes`` lists what was applied in order, each with the first ten digits of its file's SHA-256.
    ``Lora skipped`` and ``Hypernet skipped`` list what was not applied, and why. ``Hypernet objects`` lists
    networks that were in no file and no tag. ``Block weights`` tells the numbers behind the names of presets.
    """
    kinds = NETWORK_KINDS.values()
    lists = {
        kind.infotext.hashes: _hashes(
            {r.name: r for r in (*reports, *hires_reports)}.values(), kind
        )
        for kind in kinds
        if kind.infotext.webui
    }
    # Words have no tags, so that no report names them.
    lists[EMBEDDING.infotext.hashes] = embedding_hashes or ""
    presets = {BLOCK_WEIGHTS: listed_presets((*reports, *hires_reports))}
    entries = {**lists, **_own_entries(reports), **presets}
    return {key: value for key, value in entries.items() if key and value}


def listed_presets(reports: Iterable[NetworkReport]) -> str:
    """Return the presets of block weights that tags name, ``NAME: 1,0,…; …``, or nothing."""
    used = (report.blocks for report in reports if report.blocks is not None)
    found = {blocks.preset: blocks.written for blocks in used if blocks.preset}
    return "; ".join(f"{name}: {numbers}" for name, numbers in found.items())


def _own_entries(reports: Sequence[NetworkReport]) -> dict[str, str]:
    """Return the entries of networks that WebUI does not have, those of its own networks first."""
    entries: dict[str, str] = {}
    for kind in sorted(NETWORK_KINDS.values(), key=lambda kind: not kind.infotext.webui):
        labels = kind.infotext
        if not labels.webui:
            entries[labels.hashes] = _hashes(reports, kind)
        entries[labels.skipped] = _skipped(reports, kind)
        entries[labels.schedule] = _schedules(reports, kind)
        entries[labels.objects] = _objects(reports, kind)
    return entries


def _schedules(reports: Sequence[NetworkReport], kind: NetworkKind) -> str:
    """Multipliers that change: ``name: multiplier@call, …``, calls counted from 1."""
    told: list[str] = []
    for report in reports:
        if report.kind in kind.words and report.applied and report.multipliers:
            steps = zip((None, *report.multipliers), report.multipliers[:-1], strict=False)
            changes = [f"{now:g}@{call}" for call, (was, now) in enumerate(steps, 1) if now != was]
            told.append(f"{report.name}: {' '.join(changes)}")
    return ", ".join(told)


def _objects(reports: Sequence[NetworkReport], kind: NetworkKind) -> str:
    """Networks of the request itself: ``name: multiplier digest, …``."""
    return ", ".join(
        f"{_list_name(r.name)}: {r.multiplier:g} {r.digest[:10]}"
        for r in reports
        if r.kind in kind.words and r.origin == "request" and r.applied and r.digest
    )


def _hires_network_entries(reports: Sequence[NetworkReport]) -> dict[str, str]:
    """Return the same of a second pass with tags of its own, but for WebUI's lists, which tell of both."""
    entries: dict[str, str] = {}
    for kind in sorted(NETWORK_KINDS.values(), key=lambda kind: not kind.infotext.webui):
        labels = kind.infotext
        if not labels.webui:
            entries[hires_label(labels.hashes)] = _hashes(reports, kind)
        entries[hires_label(labels.skipped)] = _skipped(reports, kind)
    return {key: value for key, value in entries.items() if value}


def hires_label(label: str) -> str:
    """Return the key that tells of the second pass what another one tells of the first."""
    return f"Hires {label[:1].lower()}{label[1:]}"


def _hashes(reports: Iterable[NetworkReport], kind: NetworkKind) -> str:
    listed = ((r.name, kind.infotext.listed(r)) for r in reports if r.kind in kind.words)
    return ", ".join(f"{_list_name(name)}: {digest}" for name, digest in listed if digest)


def _skipped(reports: Sequence[NetworkReport], kind: NetworkKind) -> str:
    return ", ".join(
        f"{_list_name(r.name)} ({_ITEM_MARKS.sub('', r.reason)})"
        for r in reports
        if not r.applied and r.kind in kind.words
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
