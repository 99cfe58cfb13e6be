"""NovelAI's images: texts of a PNG, or the same as one JSON object, which is how the alpha channel holds them.

:mod:`promptengine.infotext.novelai` reads the first as WebUI does. Here prompts are NovelAI's dialect, and
what has no label here is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

from promptengine.infotext.documents import read_document
from promptengine.infotext.novelai import MADE_BY_NOVELAI, SAMPLERS
from promptengine.infotext.programs.reader import (
    ImageNotes,
    ImageReader,
    ProgramImage,
    ProgramMarks,
)
from promptengine.infotext.programs.values import (
    Settings,
    mapping,
    number_text,
    sampler_entries,
    text_of,
)

__all__ = ["NOVELAI"]

_LABELS: Final = {"Steps": "steps", "CFG scale": "scale", "Seed": "seed"}
_SCHEDULES: Final[Mapping[str, str]] = {
    "native": "Uniform",
    "karras": "Karras",
    "exponential": "Exponential",
    "polyexponential": "Polyexponential",
}
_FIRST_MODEL: Final = re.compile(r"Stable Diffusion [0-9A-F]{8}|", re.ASCII)
_MOST_CHARACTERS: Final = 20
_SIGNS: Final = ("signed_hash", "request_type", "n_samples", "version")
_KEYS: Final = frozenset({"steps", "uc"})


def _read(notes: ImageNotes) -> ProgramImage | None:
    if notes.texts.get("Software") == MADE_BY_NOVELAI and "Comment" in notes.documents:
        comment = mapping(notes.documents["Comment"])
        return _image("Comment", comment, notes.texts, notes.size) if comment else None
    for keyword in ("", "UserComment", "Comment", "parameters"):
        held = mapping(notes.documents.get(keyword))
        if "Comment" in held and held.get("Software") == MADE_BY_NOVELAI:
            inner = notes.document(keyword)
            comment = _comment(held["Comment"])
            return _image(keyword, comment, held, notes.size) if inner and comment else None
        if held.keys() >= _KEYS and any(sign in held for sign in _SIGNS):
            return _image(keyword, held, {}, notes.size)
    return None


def _comment(value: object) -> Mapping[str, object]:
    return mapping(read_document(value)) if isinstance(value, str) else mapping(value)


def _image(
    place: str,
    comment: Mapping[str, object],
    beside: Mapping[str, object],
    size: tuple[int, int] | None,
) -> ProgramImage:
    settings = Settings(comment, place)
    entries: dict[str, str] = {}
    for label, name in _LABELS.items():
        if (number := settings.number(name)) is not None:
            entries[label] = number
    sides = settings.number("width"), settings.number("height")
    width, height = map(str, size) if size is not None else sides
    if width is not None and height is not None:
        entries["Size"] = f"{width}x{height}"
    table = {name: (label, "") for name, label in SAMPLERS.items()}
    found, unmapped = sampler_entries(settings.text("sampler"), table, f"{place} sampler".strip())
    entries |= found
    kind = settings.text("noise_schedule")
    if kind in _SCHEDULES:
        entries["Schedule type"] = _SCHEDULES[kind]
    elif kind:
        settings.refuse("noise_schedule", kind, "no schedule type here is the same")
    source = text_of(beside.get("Source")) or ""
    if _FIRST_MODEL.fullmatch(source):
        # With which WebUI comes closest to that service's first model.
        entries |= {"Clip skip": "2", "ENSD": "31337"}
    elif source:
        entries["Model"] = source[:100]
    prompt = text_of(beside.get("Description"))
    prompt = settings.text("prompt") if prompt is None else prompt
    negative = settings.text("uc")
    characters = list(_characters(settings.take("v4_prompt")))
    for text in characters:
        settings.refuse("v4_prompt character", text, "words for a place in the image")
    for text in _characters(settings.take("v4_negative_prompt")):
        settings.refuse("v4_negative_prompt character", text, "words for a place in the image")
    strength = number_text(settings.take("strength"))
    differences = ["NovelAI's models run nowhere else"]
    if text_of(comment.get("request_type")) not in (None, "PromptGenerateRequest"):
        differences.append("it was made from another image, which its notes do not hold")
        if strength is not None:
            entries["Denoising strength"] = strength
    settings.drop("prompt", "signed_hash", "request_type", "version", "n_samples", "image", "mask")
    return ProgramImage(
        NOVELAI.name,
        place,
        prompt.strip(),
        negative.strip(),
        "novelai",
        entries,
        (*unmapped, *settings.rest()),
        tuple(differences),
    )


def _characters(prompt: object) -> Iterator[str]:
    """Yield what version 4's prompts say of single characters."""
    listed = mapping(mapping(prompt).get("caption")).get("char_captions")
    items = cast("list[object]", listed)[:_MOST_CHARACTERS] if isinstance(listed, list) else []
    for item in items:
        if text := text_of(mapping(item).get("char_caption")):
            yield text


NOVELAI: Final = ImageReader(
    MADE_BY_NOVELAI,
    _read,
    ProgramMarks.of("", ("uc,sampler,noise_schedule", "signed_hash", "request_type,uc")),
)
