"""The route that reads infotexts: what an image says, and the fields of a job that makes it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel

from promptengine.errors import ImageError, RequestError
from promptengine.generation.from_infotext import apply_recipe
from promptengine.images.png_chunks import MOST_INFOTEXT
from promptengine.images.read import (
    describe_hidden,
    describe_text,
    describe_texts,
    read_image_info,
)
from promptengine.images.save import KEYWORD, OWN_KEYWORD
from promptengine.infotext.read import Infotext
from promptengine.infotext.recipe import Recipe, recipe_from_infotext
from promptengine.infotext.webui import webui_fields
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.serialize import diagnostic_document, well_formed
from promptengine.request.fields import ApiField, Entry, LeftOut, fields_of
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import UNTOLD_SETTINGS, Options
from promptengine.request.request import GenerationRequest
from promptengine.request.samplers import split_sampler
from promptengine.request.schedulers import AUTOMATIC, find_scheduler
from promptengine.server.auth import BoundedRoute
from promptengine.server.base64_images import base64_image_texts, decode_base64
from promptengine.server.errors import HTTPRefusal
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served, Service
from promptengine.server.v1.forms import StrictForm, Text
from promptengine.server.v1.routes import PREFIX
from promptengine.server.v1.schemas import DiagnosticForm

__all__ = ["InfotextForm", "ReadInfotext", "router"]

_MOST_NOTES: Final = 100
_MOST_TEXTS: Final = 50
_MOST_CHARACTERS: Final = 20_000
_LARGEST_EXACT: Final = 2**53
"""Up to which every whole number is one that JavaScript can hold."""

_USUAL_INPAINTING: Final[Mapping[str, object]] = {
    own.name: own.default
    for own in fields_of(Inpainting)
    if isinstance(own.spec.entry, Entry) and own.name != "blur"
}

router = APIRouter(
    prefix=f"{PREFIX}/infotext",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


class InfotextForm(StrictForm):
    """One of three: a text, an image in base64, or the id of an image of the output folder."""

    infotext: Text | None = None
    image: str | None = None
    saved: Text | None = None


class ReadInfotext(BaseModel):
    """What an image or a text says of how an image was made.

    Attributes:
        infotext: As WebUI writes it; empty where there is none.
        source: Where it was: a keyword of the image's file, or empty.
        parameters: What WebUI reads in it, by WebUI's labels, defaults filled in.
        values: The fields of a job that makes the image again, as far as that can be had here. Whole numbers
            of more than 53 bits are text. Of ``start`` it has what the infotext says; ``checkpoint`` and
            ``vae`` are there where their files are; ``options`` are those that are not at their defaults.
            A text without parameters gives prompts alone.
        notes: What could not be taken over, and what is not as it was.
        texts: What else the file says, by keyword; long texts are cut.
    """

    infotext: str
    source: str
    parameters: dict[str, str | int | bool]
    values: dict[str, Any]
    notes: list[DiagnosticForm]
    texts: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Found:
    """What was sent, as far as it was found to be text."""

    infotext: Infotext | None
    text: str = ""
    source: str = ""
    texts: Mapping[str, str] | None = None
    program: str = ""
    remarks: tuple[Diagnostic, ...] = ()


@router.post("")
def read_sent_infotext(service: Served, form: InfotextForm) -> ReadInfotext:
    """Read an infotext, or what an image says; nothing is generated, and no model is loaded."""
    found = _found(service, form)
    recipe, notes = _recipe(service, found)
    values: dict[str, Any] = {}
    if recipe is not None:
        request, left_out = apply_recipe(recipe, registry=service.registry)
        notes += left_out
        assert found.infotext is not None
        usual = service.settings.usual
        values = _values(recipe, request, usual, whole=bool(found.infotext.entries))
    others = list((found.texts or {}).items())[:_MOST_TEXTS]
    told = ReadInfotext(
        infotext=found.text,
        source=found.source,
        parameters={} if recipe is None else webui_fields(found.text),
        values=values,
        notes=_told(service, notes),
        texts={keyword[:100]: text[:_MOST_CHARACTERS] for keyword, text in others},
    )
    return ReadInfotext.model_validate(well_formed(told.model_dump()))


def _found(service: Service, form: InfotextForm) -> _Found:
    """Return what was sent.

    Raises:
        RequestError: It is nothing, more than one thing, too long, or no image.
        HTTPRefusal: 404, where no image has the id.
    """
    match form.infotext, form.image, form.saved:
        case str(text), None, None:
            return _text(text)
        case None, str(image), None:
            return _image(image)
        case None, None, str(id_):
            return _saved(service, id_)
        case _:
            raise RequestError("give one of infotext, image and saved", field="infotext")


def _text(text: str) -> _Found:
    if len(text) > MOST_INFOTEXT:
        message = f"infotext has {len(text)} characters; {MOST_INFOTEXT} are read"
        raise RequestError(message, field="infotext")
    if not text.strip():
        raise RequestError("infotext is empty; give the text of an image", field="infotext")
    said = describe_text(text)
    written = text if said.image is None else str(said.infotext)
    return _Found(said.infotext, written, program=said.program, remarks=said.remarks)


def _image(image: str) -> _Found:
    found = base64_image_texts(image)
    if found is None:
        message = "the file is no image of the kinds PNG, JPEG, WEBP and GIF"
        raise RequestError(message, field="image")
    said = describe_texts(found)
    if said.infotext is None:
        said = describe_hidden(BytesIO(decode_base64(image)), found, said)
    if said.infotext is None:
        return _Found(None, texts=found.texts, program=said.program)
    if said.image is not None:
        written, others = str(said.infotext), found.texts
    else:
        used = (KEYWORD, OWN_KEYWORD, said.source)
        others = {word: text for word, text in found.texts.items() if word not in used}
        written = "" if said.source == OWN_KEYWORD else found.texts.get(said.source, "")
        written = written or str(said.infotext)
    return _Found(said.infotext, written, said.source, others, said.program, said.remarks)


def _saved(service: Service, id_: str) -> _Found:
    path = service.outputs.find(id_)
    if path is None:
        raise HTTPRefusal(f"no image {id_[:100]!r}", status=404)
    try:
        info = read_image_info(path)
    except ImageError as error:
        message = str(error).replace(f"{path}: ", "")
        raise RequestError(f"image {id_[:100]!r}: {message}", field="saved") from None
    except OSError as error:
        message = f"image {id_[:100]!r} cannot be read: {error.strerror or 'it is gone'}"
        raise HTTPRefusal(message, status=409) from None
    text = "" if info.infotext is None else str(info.infotext)
    return _Found(info.infotext, text, info.source, info.texts, info.program, info.remarks)


def _recipe(service: Service, found: _Found) -> tuple[Recipe | None, list[Diagnostic]]:
    """Return what makes the image again, and what is to be said; None for no infotext."""
    if found.infotext is None and found.program:
        message = f"this is metadata of {found.program}, which is not read"
        hint = "set prompt and settings by hand"
        return None, [kinds.OTHER_PROGRAM(message, None, hint)]
    if found.infotext is None:
        return None, [kinds.NO_INFOTEXT("this image does not say how it was made")]
    most = service.config.limits.prompt_characters
    longest = max(len(found.infotext.prompt), len(found.infotext.negative_prompt))
    if longest > most:
        message = f"a prompt of {longest} characters is not read; {most} are allowed here"
        return None, [kinds.UNREADABLE_INFOTEXT(message)]
    try:
        recipe = recipe_from_infotext(found.infotext, service.registry)
    except RequestError as error:
        return None, [kinds.UNREADABLE_INFOTEXT(str(error))]
    return recipe, [*found.remarks, *recipe.diagnostics]


def _values(
    recipe: Recipe, request: GenerationRequest, usual: Mapping[str, object], *, whole: bool
) -> dict[str, Any]:
    """Return the fields of a job, as the module's answer has them.

    Args:
        recipe: Of the infotext.
        request: That the recipe makes.
        usual: Options by WebUI's names that a job has which says none.
        whole: Whether the infotext has parameters, without which it says nothing but prompts.
    """
    values: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
    }
    if not whole:
        return values
    for own in fields_of(GenerationRequest):
        if not isinstance(own.spec.entry, LeftOut):
            values[own.name] = _plain(getattr(request, own.name))
    values |= _named(request.sampler, request.scheduler)
    values |= {"hires": _hires(request.hires), "start": _start(recipe)}
    values["options"] = _options(request.options, usual)
    if recipe.checkpoint is not None:
        values["checkpoint"] = recipe.checkpoint.name
    vae = recipe.options.get("sd_vae") if recipe.vae is None else recipe.vae.name
    return values if vae is None else {**values, "vae": vae}


def _options(options: Options, usual: Mapping[str, object]) -> dict[str, object]:
    """Return the options that a job has to say: those that are not as usual, if the infotext can tell them."""
    default = Options().to_webui()
    return {
        name: value
        for name, value in options.to_webui().items()
        if value != {**default, **usual}[name]
        and (value != default[name] or name not in UNTOLD_SETTINGS)
    }


def _named(sampler: str, scheduler: str) -> dict[str, str]:
    """Return sampler and schedule type by the names that lists of them have."""
    found, ending = split_sampler(sampler)
    kind = find_scheduler(scheduler) or ending
    return {"sampler": found.name, "scheduler": AUTOMATIC if kind is None else kind.name}


def _hires(hires: HiresPass | None) -> dict[str, Any] | None:
    if hires is None:
        return None
    values = {own.name: _plain(getattr(hires, own.name)) for own in fields_of(HiresPass)}
    if hires.sampler:
        named = _named(hires.sampler, hires.scheduler or AUTOMATIC)
        is_said = hires.scheduler or named["scheduler"] != AUTOMATIC
        return {**values, **named} if is_said else {**values, "sampler": named["sampler"]}
    if hires.scheduler:
        kind = find_scheduler(hires.scheduler)
        values["scheduler"] = AUTOMATIC if kind is None else kind.name
    return values


def _start(recipe: Recipe) -> dict[str, Any] | None:
    """Return what an infotext says of the treatment of an image that was started from."""
    start, inpainting = (_treatment(owner, recipe.fields) for owner in (ImageStart, Inpainting))
    if inpainting:
        # What is at its default is not written; but no blur is not written either.
        start["inpainting"] = {**_USUAL_INPAINTING, **inpainting}
    return start or None


def _treatment(owner: type, fields: Mapping[str, object]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for own in fields_of(owner):
        api = own.spec.api
        if not (isinstance(own.spec.entry, Entry) and isinstance(api, ApiField)):
            continue
        if api.defaults.keys() & fields.keys():
            theirs = (fields.get(name, usual) for name, usual in api.defaults.items())
            found[own.name] = _plain(api.read(*theirs))
    return found


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, and JavaScript can hold it."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    large = isinstance(value, int) and abs(value) > _LARGEST_EXACT
    return str(value) if large else value


def _told(service: Service, notes: Iterable[Diagnostic]) -> list[DiagnosticForm]:
    """Return remarks without paths of the machine; of very many the first."""
    every = list(dict.fromkeys(notes))
    shown = every[:_MOST_NOTES]
    if len(every) > len(shown):
        shown.append(kinds.REMARKS_LEFT_OUT(f"{len(every) - len(shown)} more remarks are left out"))
    told: list[DiagnosticForm] = []
    for one in shown:
        document = diagnostic_document(one)
        for name in ("message", "hint"):
            document[name] = service.shown.text(document[name])
        told.append(DiagnosticForm(**document))
    return told
