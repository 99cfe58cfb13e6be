"""Routes over the files of the models folder: listed for cards, looked into, previewed, and described by their user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from promptengine.errors import PromptEngineError, RequestError
from promptengine.files.images import read_image
from promptengine.images.read import read_image_info
from promptengine.images.save import save_image
from promptengine.inspection import inspect_file
from promptengine.kinds import NetworkKind, find_kind, model_kinds
from promptengine.prompt.serialize import well_formed
from promptengine.registry.registry import RegistryEntry, metadata, preview
from promptengine.registry.scan import is_image_name
from promptengine.registry.side_cars import (
    LARGEST_WEIGHT,
    MOST_TEXT,
    Card,
    SideCarError,
    lies_in,
    preview_place,
)
from promptengine.server.auth import BoundedRoute
from promptengine.server.errors import HTTPRefusal
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served, Service
from promptengine.server.v1.forms import StrictForm, Text
from promptengine.server.v1.images import Thumbnails
from promptengine.server.v1.routes import PREFIX
from promptengine.server.v1.schemas import KindName, NetworkDetail, NetworkEntry

__all__ = ["NetworkPage", "PreviewForm", "UserMetadataForm", "router"]

_LISTED_CHARACTERS: Final = 1000
"""Of texts that cards show the beginning of."""

_FRESH: Final = {"Cache-Control": "no-cache"}
_FOR_GOOD: Final = {"Cache-Control": "private, max-age=86400"}

router = APIRouter(
    prefix=PREFIX,
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)

_LongText = Annotated[Text, Field(max_length=MOST_TEXT)]


class NetworkPage(BaseModel):
    """A kind of files that has a page of cards.

    Attributes:
        kind: As lists spell it.
        label: What WebUI calls the page.
        noun: What one of its files is called.
        plural: Likewise, of several.
        tag: The word of the tag that names such a file in prompts; null where none does.
        in_text: Whether a file's bare name in a prompt is what uses it.
        folders: Where such files go, the first that wins a clash of names.
        civitai: Whether this server searches Civitai for such files.
    """

    kind: KindName
    label: str
    noun: str
    plural: str
    tag: str | None
    in_text: bool
    folders: list[str]
    civitai: bool


class UserMetadataForm(StrictForm):
    """What a user writes about a file; what is left out or null stays as it is."""

    description: _LongText | None = None
    sd_version: Annotated[Text, Field(max_length=100)] | None = None
    activation_text: _LongText | None = None
    preferred_weight: Annotated[float, Field(ge=-LARGEST_WEIGHT, le=LARGEST_WEIGHT)] | None = None
    negative_text: _LongText | None = None
    notes: _LongText | None = None


class PreviewForm(StrictForm):
    """The saved image that is to show what a file does, by its path below the output folder."""

    image: Annotated[Text, Field(max_length=1024)]


@router.get("/network-pages")
def pages(service: Served) -> list[NetworkPage]:
    """List the kinds of files that have a page of cards, and where such files go."""
    return [_page(service, name) for name, kind in model_kinds().items() if kind.page]


def _page(service: Service, name: str) -> NetworkPage:
    kind = find_kind(name)
    tag = _tag_word(name)
    return NetworkPage(
        kind=name,
        label=kind.page.title(),
        noun=kind.noun,
        plural=kind.plural,
        tag=tag,
        in_text=isinstance(kind, NetworkKind) and tag is None,
        folders=[service.shown.path(folder) for folder in service.registry.folders(name)],
        civitai=service.civitai is not None and bool(kind.civitai_types),
    )


@router.get("/networks", response_model=list[NetworkEntry])
def networks(service: Served, kind: KindName | None = None) -> Response:
    """List the files of the folders as they are now."""
    kinds = model_kinds() if kind is None else (kind,)
    told = [
        _entry(service, card)
        for each in kinds
        for card in service.cards.of(each, _listed(service, each))
    ]
    # Checking thousands of entries against their form would take longer than all the rest.
    return Json(told)


def _listed(service: Service, kind: str) -> Sequence[RegistryEntry]:
    """Return the files of a kind; images among them only where they are more than that."""
    entries, found = service.registry.current_entries(kind), find_kind(kind)
    if not (isinstance(found, NetworkKind) and found.needs_summary):
        return entries
    if not any(is_image_name(entry.path.name) for entry in entries):
        return entries
    words = service.words.words()
    known = {word.path for word in (*words.table.embeddings, *words.misfits)}
    return [one for one in entries if one.path in known or not is_image_name(one.path.name)]


@router.post("/networks/refresh", status_code=204, response_class=Response, response_model=None)
def refresh(service: Served) -> None:
    """Scan the folders again; files that come or go are noticed without it."""
    service.registry.refresh()


@router.get(
    "/networks/{kind}/{name:path}/preview",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}},
)
def show_preview(
    service: Served,
    request: Request,
    kind: KindName,
    name: str,
    v: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    r"""Give a small WEBP of a file's preview, at most 320 pixels wide and high.

    A slash of the name may be written as ``\``. With ``v``, which is the list's ``preview``, browsers keep it.
    """
    entry = _found(service, kind, name)
    path = preview(entry)
    try:
        # As with saved images, no link shows what lies elsewhere.
        if path is None or not lies_in(path, service.registry.folders(kind)):
            raise HTTPRefusal(f"{entry.name!r} has no preview", status=404)
        data = cast("Thumbnails", request.app.state.thumbnails).of(path)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"the preview of {entry.name!r} cannot be shown: {reason}"
        raise HTTPRefusal(message, status=409) from None
    return Response(data, media_type="image/webp", headers=_FOR_GOOD if v else _FRESH)


@router.put("/networks/{kind}/{name:path}/preview")
def replace_preview(service: Served, kind: KindName, name: str, form: PreviewForm) -> NetworkEntry:
    """Let a saved image show what a file does: ``NAME.png`` beside it is written, with the infotext."""
    entry = _found(service, kind, name)
    source = service.outputs.find(form.image)
    if source is None:
        refusal = HTTPRefusal(f"no image {form.image[:100]!r}", status=404)
        refusal.field = "image"
        raise refusal
    try:
        place = preview_place(entry, service.registry.folders(kind))
        image, info = read_image(source), read_image_info(source, hidden=False)
        save_image(image.convert("RGB"), place, info.original)
    except (SideCarError, OSError, ValueError, PromptEngineError) as error:
        raise _unwritable(service, "preview", entry, error) from None
    return _told(service, entry)


@router.put("/networks/{kind}/{name:path}/user-metadata")
def write_user_metadata(
    service: Served, kind: KindName, name: str, form: UserMetadataForm
) -> NetworkEntry:
    """Write what its user says of a file into WebUI's side-car ``NAME.json``; all else in it stays."""
    entry = _found(service, kind, name)
    fields = form.model_dump(exclude_none=True)
    try:
        service.cards.write(entry, fields, service.registry.folders(kind))
    except SideCarError as error:
        raise _unwritable(service, "user metadata", entry, error) from None
    return _told(service, entry)


def _told(service: Service, entry: RegistryEntry) -> NetworkEntry:
    return NetworkEntry(**well_formed(_entry(service, service.cards.one(entry))))


def _unwritable(service: Service, what: str, entry: RegistryEntry, error: Exception) -> HTTPRefusal:
    reason = service.shown.text(str(getattr(error, "strerror", None) or error))
    return HTTPRefusal(f"the {what} of {entry.name!r} is left as it is: {reason}", status=409)


@router.get("/networks/{kind}/{name:path}")
def network(service: Served, kind: KindName, name: str) -> NetworkDetail:
    """Tell what a file holds, without running anything in it."""
    entry = _found(service, kind, name)
    if entry.path.is_dir():
        raise RequestError(f"{name!r} is a folder, which cannot be looked into", field="name")
    report = inspect_file(entry.path)
    card = service.cards.one(entry)
    told = {
        **_entry(service, card),
        "sha256": service.registry.digest(entry),
        "description": card.description,
        "user_notes": card.user.notes,
        "safe": report.safe,
        "format": report.format,
        "layers": list(report.layers),
        "metadata": dict(report.metadata),
        "notes": [service.shown.text(note) for note in report.notes],
        "user_metadata": _plain(metadata(entry)),
    }
    return NetworkDetail(**well_formed(told))


def _found(service: Service, kind: str, name: str) -> RegistryEntry:
    entry = service.registry.find(kind, name)
    if entry is None:
        raise service.registry.unknown(kind, name)
    return entry


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a side-car holds with numbers that JSON has no words for as texts."""
    return json.loads(json.dumps(document), parse_constant=str)


def _entry(service: Service, card: Card) -> dict[str, Any]:
    entry, user = card.entry, card.user
    return {
        "kind": entry.kind,
        "tag": _tag_word(entry.kind, entry.name),
        "name": entry.name,
        "aliases": list(entry.aliases),
        "path": service.shown.path(entry.path),
        "folder": entry.relative.rpartition("/")[0],
        "bytes": entry.size,
        "created": card.created,
        "modified": card.modified,
        "preview": card.preview,
        "sha256": service.registry.digests.known(entry.path),
        "description": card.description[:_LISTED_CHARACTERS],
        "activation_text": user.activation_text,
        "preferred_weight": user.preferred_weight,
        "negative_text": user.negative_text,
        "user_notes": user.notes[:_LISTED_CHARACTERS],
        "sd_version": user.sd_version,
        "problems": list(user.problems),
    }


def _tag_word(kind: str, name: str | None = None) -> str | None:
    """Return what opens the tag of a kind's files; None where there is none, or none can hold the name."""
    found = find_kind(kind)
    tag = found.tag if isinstance(found, NetworkKind) else None
    if tag is None or (name is not None and not tag.holds(name)):
        return None
    return tag.words[0]
