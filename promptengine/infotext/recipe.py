"""An infotext, turned into the request that makes its image again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from promptengine.errors import RequestError
from promptengine.infotext.block_presets import write_out_presets
from promptengine.infotext.draft import Draft, shown_value
from promptengine.infotext.fields import (
    DIRECT,
    FIELDS,
    INIT_IMAGE_FIELDS,
    OPTIONS,
    RECORDS,
    InfotextField,
)
from promptengine.infotext.find_files import (
    FileFinder,
    FileQuery,
    hash_list,
    listed_hashes,
)
from promptengine.infotext.novelai import MADE_BY_NOVELAI
from promptengine.infotext.other_programs import program_of
from promptengine.infotext.read import Infotext
from promptengine.infotext.recipe_networks import (
    rename_networks,
    take_old_networks,
    take_resources,
    take_skipped,
)
from promptengine.infotext.schedule_types import (
    AUTOMATIC,
    is_joined,
    means_plain_list,
    named_schedule,
    split_name,
)
from promptengine.infotext.webui import first_pass_size, implied_labels, size_of
from promptengine.infotext.write import OTHER_NODES
from promptengine.kinds import NETWORK_KINDS, VAE
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.dialects import WEBUI, written_dialect
from promptengine.registry.registry import Kind, Registry, RegistryEntry
from promptengine.request.request import GenerationRequest
from promptengine.validation import check_type

__all__ = ["Recipe", "recipe_from_infotext", "without"]

_SIZE_STEP: Final = 8
_SYNTAX: Final = "Prompt syntax"

_FURTHER_MODELS: Final[Mapping[str, str]] = {
    "Refiner": "the image is made without it",
    "Hires checkpoint": "the first pass's makes the second pass too",
}
"""Labels of checkpoints beside the first one, and what happens where a file is missing."""

_TITLE: Final = re.compile(r"(.*) \[([0-9A-Fa-f]{8,64})\]")

_OLD_SCHEDULES: Final = frozenset({"karras", "exponential", "polyexponential"})
"""Until 1.8 the schedule was a setting for both passes, in lower case."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes an image again.

    Attributes:
        request: For one image.
        checkpoint: The model's file, or None where the infotext names none or it is not here.
        vae: Likewise.
        options: WebUI's settings that the infotext names or implies, by WebUI's names of them, such
            as ``randn_source``. ``randn_source`` is there whenever the infotext has parameters:
            where it does not name the source of its noise, that was a GPU, so ``NV``.
        fields: What a request of WebUI's API would hold beside what ``request`` does, such as
            ``hr_scale`` or ``mask_blur``.
        diagnostics: All that is not in the above: keys that are not understood, values that cannot
            be used, and files that are missing, differ or have another name here.
    """

    request: GenerationRequest
    checkpoint: RegistryEntry | None
    vae: RegistryEntry | None
    options: Mapping[str, object]
    fields: Mapping[str, object]
    diagnostics: tuple[Diagnostic, ...]


def recipe_from_infotext(infotext: Infotext, registry: Registry) -> Recipe:
    """Work out what makes the image of an infotext again.

    What cannot be used of an infotext is left out, and a diagnostic says so.
    Files are looked up by their hash first and then by their name, which reads the files that the
    infotext names and, where the hash is another one, all of that kind.

    Args:
        infotext: As read.
        registry: Where the files are.

    Raises:
        RequestError: The text is no infotext: it is empty, or another program's notes in JSON, which
            the message names.
    """
    check_type("infotext", infotext, Infotext)
    check_type("registry", registry, Registry)
    _refuse_other_texts(infotext)
    infotext, written_out = write_out_presets(infotext, registry.block_presets())
    draft = Draft(
        finder=FileFinder(registry),
        request=GenerationRequest(
            prompt=infotext.prompt, negative_prompt=infotext.negative_prompt, policy="warn"
        ),
        left=dict(infotext.entries),
        had_parameters=bool(infotext.entries),
        diagnostics=[*written_out],
    )
    if dialect := written_dialect(draft.left.get(_SYNTAX, "")):
        draft.set(dialect=dialect.name)
    implied = implied_labels({**draft.left, "Prompt": infotext.prompt})
    draft.left = {**{label: str(value) for label, value in implied.items()}, **draft.left}
    hashes = _take_hashes(draft)
    checkpoint = _take_file(draft, "checkpoint", "Model", hashes.pop("model", ""))
    vae = _take_file(draft, "vae", "VAE", hashes.pop("vae", ""))
    _take_further_models(draft)
    _take_direct(draft)
    kind = _take_sampler(draft)
    _take_size(draft)
    _take_hires(draft, kind)
    take_old_networks(draft)
    take_resources(draft)
    _take_old_emphasis(draft)
    take_skipped(draft)
    _take_labels(draft, OPTIONS, draft.options)
    _take_labels(draft, FIELDS, draft.fields)
    _note_start_image(draft)
    _note_other_nodes(draft)
    rename_networks(draft, hashes)
    _report_rest(draft, infotext)
    return Recipe(
        request=draft.request,
        checkpoint=checkpoint,
        vae=vae,
        options=draft.options,
        fields=draft.fields,
        diagnostics=tuple(dict.fromkeys(draft.diagnostics)),
    )


def _refuse_other_texts(infotext: Infotext) -> None:
    if infotext.entries:
        return
    if not infotext.prompt and not infotext.negative_prompt:
        raise RequestError("the infotext is empty", field="infotext")
    if program := program_of({"": infotext.prompt}):
        message = f"this is metadata of {program}; it is no infotext of WebUI's"
        hint = "read it as a file, or give the prompt and settings themselves"
        raise RequestError(f"{message}: {hint}", field="infotext")


def _take_hashes(draft: Draft) -> dict[str, str]:
    """Return all hashes by ``kind:name``, and ``model`` and ``vae`` alone, as Civitai's programs have them."""
    found = listed_hashes(draft.left.get("Hashes", "{}"))
    if found is None:
        draft.refuse("Hashes", draft.left["Hashes"], "not a JSON object")
    found = found or {}
    for kind in NETWORK_KINDS.values():
        for name, digest in hash_list(draft.left.get(kind.infotext.hashes, "")).items():
            found[f"{kind.name}:{name}"] = digest
    return found


def _take_file(draft: Draft, kind: Kind, label: str, listed_hash: str) -> RegistryEntry | None:
    """Return the file of ``Model`` and ``Model hash``, or ``VAE`` and ``VAE hash``."""
    name = draft.left.pop(label, "")
    digest = draft.left.pop(f"{label} hash", listed_hash).lower()
    if not name and not digest:
        return None
    # "None" and "Automatic" are what WebUI calls having none, and the one beside the checkpoint.
    if kind == VAE.name and name in ("None", "Automatic"):
        draft.options["sd_vae"] = name
        return None
    entry, remarks = draft.finder.find(FileQuery(kind, name, digest))
    draft.diagnostics += remarks
    return entry


def _take_further_models(draft: Draft) -> None:
    """Let the refiner and the second pass's checkpoint name files that are here."""
    for label, without in _FURTHER_MODELS.items():
        value = draft.left.pop(label, "")
        if not value or value.startswith("Use same "):
            continue
        titled = _TITLE.fullmatch(value)
        name, digest = (titled[1], titled[2].lower()) if titled else (value, "")
        entry, remarks = draft.finder.find(FileQuery("checkpoint", name, digest))
        if entry is None:
            draft.say(
                kinds.MISSING_FILE,
                f"{label}: {shown_value(value)} is not in the models folder; {without}",
            )
        else:
            draft.diagnostics += remarks
            draft.left[label] = entry.name
    if "Refiner" not in draft.left:
        draft.left.pop("Refiner switch at", None)


def _take_direct(draft: Draft) -> None:
    for key, label in DIRECT.items():
        value = draft.left.pop(key, None)
        if value is None:
            continue
        try:
            why = draft.set(**{label.name: label.read(value)})
        except ValueError as error:
            why = str(error)
        if why:
            draft.refuse(key, value, why)


def _take_sampler(draft: Draft) -> str:
    """Return the sampler, and the schedule of its steps, which 1.9 and later write by itself.

    Returns:
        The schedule type as written.
    """
    sampler = draft.left.pop("Sampler", "")
    kind = draft.left.pop("Schedule type", "")
    if kind.lower() in AUTOMATIC:
        plain = means_plain_list(draft.left.get("Version", ""), kind)
        scheduler = named_schedule(sampler, plain=plain)
        if scheduler and plain:
            message = f"before WebUI 1.9 {sampler} alone meant the plain list of levels"
            draft.say(kinds.SETTING_CHANGED, f"{message}, so the scheduler is {scheduler}")
    else:
        scheduler, (sampler, _) = kind, split_name(sampler)
    for name, value in (("sampler", sampler), ("scheduler", scheduler)):
        if value and (why := draft.set(**{name: value})):
            draft.say(kinds.SETTING_LEFT_OUT, without(name, value, why))
    if sampler == "DDIM" and "Eta" in draft.left:
        # In 2022 there was one key for both etas.
        draft.left.setdefault("Eta DDIM", draft.left.pop("Eta"))
    return kind


def without(name: str, value: str, why: str) -> str:
    """Say that the default takes the place of a sampler or schedule type that is not here.

    Args:
        name: ``sampler`` or ``scheduler``, which the command line's option is called too.
        value: What was asked for.
        why: What is wrong with it.
    """
    default = getattr(GenerationRequest(prompt=""), name)
    label = {"sampler": "Sampler", "scheduler": "Schedule type"}[name]
    told = f"{label}: {shown_value(value)} cannot be used ({why})"
    return f"{told}; {default} is used, or what --{name} says"


def _take_size(draft: Draft) -> None:
    value = draft.left.pop("Size", None)
    first_pass = draft.left.pop("First pass size", None)
    if value is None:
        return
    size = size_of(value)
    if size is not None and first_pass is not None:
        width, height = size
        size = first_pass_size(size_of(first_pass), size)
        draft.fields |= {"enable_hr": True, "hr_resize_x": width, "hr_resize_y": height}
    if size is None:
        draft.refuse("Size", value, "not width x height")
        return
    width, height = (side - side % _SIZE_STEP for side in size)
    if why := draft.set(width=width, height=height):
        draft.refuse("Size", value, why)
    elif (width, height) != size:
        message = f"size {size[0]}x{size[1]} makes an image of {width}x{height}"
        draft.say(kinds.SETTING_CHANGED, message)


def _take_hires(draft: Draft, kind: str) -> None:
    """What only makes sense together: the second pass, and its size in one value.

    Args:
        draft: To be filled.
        kind: The first pass's schedule type as written.
    """
    if draft.left.keys() & {"Hires upscale", "Hires upscaler", "Hires resize"}:
        draft.fields["enable_hr"] = True
    value = draft.left.pop("Hires resize", None)
    size = None if value is None else size_of(value)
    if size is not None:
        draft.fields |= dict(zip(("hr_resize_x", "hr_resize_y"), size, strict=True))
    elif value is not None:
        draft.refuse("Hires resize", value, "not width x height")
    for key in ("Hires sampler", "Hires schedule type"):
        if draft.left.get(key, "").startswith("Use same "):
            del draft.left[key]
    _fill_hires_schedule(draft, kind)


def _fill_hires_schedule(draft: Draft, kind: str) -> None:
    """Name the schedule type of the second pass where its sampler is named without one.

    Since 1.9 it is then the one that the first pass asks for, ``kind``; before it was that of the
    sampler's name.
    """
    sampler = draft.left.get("Hires sampler", "")
    if not sampler or "Hires schedule type" in draft.left:
        return
    if kind in _OLD_SCHEDULES:
        draft.left["Hires schedule type"] = kind
    elif means_plain_list(draft.left.get("Version", ""), kind) and not is_joined(sampler):
        draft.left["Hires schedule type"] = named_schedule(sampler, plain=True) or "Automatic"


def _take_old_emphasis(draft: Draft) -> None:
    """This program's own key for the emphasis of WebUI's first versions, with the mode."""
    if mode := draft.left.pop("Old emphasis", ""):
        draft.options |= {"use_old_emphasis_implementation": True, "emphasis": mode}


def _take_labels(
    draft: Draft, labels: Mapping[str, InfotextField], into: dict[str, object]
) -> None:
    for key in tuple(draft.left):
        if key not in labels:
            continue
        value = draft.left.pop(key)
        try:
            into[labels[key].name] = labels[key].read(value)
        except (ValueError, KeyError, OverflowError):
            draft.refuse(key, value)
    if labels is OPTIONS and draft.had_parameters:
        draft.options.setdefault("randn_source", "NV")


def _note_start_image(draft: Draft) -> None:
    """Say so where an image was made from others, which no infotext holds."""
    if draft.left.pop("Regions", ""):
        draft.say(
            kinds.MISSING_IMAGE,
            "this image has regions, whose masks its text does not hold; give them again",
        )
    changed = draft.left.keys() & (INIT_IMAGE_FIELDS.keys() | {"Init image hash"})
    strength = "denoising_strength" in draft.fields and "enable_hr" not in draft.fields
    _take_labels(draft, INIT_IMAGE_FIELDS, draft.fields)
    if changed or strength:
        # A strength alone may be what an extension writes, or the rest of a second pass.
        made = "was" if changed else "may have been"
        draft.say(
            kinds.MISSING_IMAGE,
            f"this image {made} made from another one (img2img), which its text does not hold",
        )


def _note_other_nodes(draft: Draft) -> None:
    """Say so where nodes of ComfyUI's that no infotext can ask for had a part in an image."""
    if changes := draft.left.pop(OTHER_NODES, ""):
        message = "other nodes of ComfyUI's had a part in this image, so that it will differ"
        draft.say(kinds.OTHER_PROGRAM, f"{message}: {shown_value(changes)}")


def _report_rest(draft: Draft, infotext: Infotext) -> None:
    told = {label for kind in NETWORK_KINDS.values() for label in kind.infotext.records}
    # An image that is read with its dialect comes with a verdict of its own.
    if draft.left.get("Version") == MADE_BY_NOVELAI and _SYNTAX not in draft.left:
        draft.say(
            kinds.OTHER_PROGRAM,
            "made by NovelAI, whose models and prompt rules are its own; it will differ",
        )
    for key, value in draft.left.items():
        if key == _SYNTAX and written_dialect(value) is None:
            draft.say(
                kinds.SETTING_LEFT_OUT,
                f"prompt syntax {shown_value(value)} is not known; {WEBUI} is used",
            )
        elif key not in RECORDS | told:
            draft.say(
                kinds.UNKNOWN_ENTRY,
                f"the key {key!r} is not understood and is left out: {shown_value(value)}",
            )
    for stray in infotext.strays:
        draft.say(
            kinds.UNKNOWN_ENTRY,
            f"{shown_value(stray)} among the parameters is not understood and is left out",
        )
    if infotext.trailing:
        draft.say(
            kinds.UNKNOWN_ENTRY,
            f"text after the parameters is left out: {shown_value(infotext.trailing)}",
        )
