"""Routes that ask Civitai, where the server was started so: search, previews, downloads, and what hashes belong to.

All that makes the server ask anybody is a POST, which no page of another origin can send, or names what an
earlier search has found; no client names an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from promptengine.errors import RequestError
from promptengine.images.png_chunks import MOST_INFOTEXT
from promptengine.images.read import describe_text
from promptengine.kinds import find_kind
from promptengine.prompt.serialize import well_formed
from promptengine.server.auth import BoundedRoute
from promptengine.server.errors import HTTPRefusal
from promptengine.server.sdapi import responses
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served, Service
from promptengine.server.v1.forms import StrictForm, Text
from promptengine.server.v1.routes import PREFIX
from promptengine.server.v1.schemas import KindName

if TYPE_CHECKING:
    from promptengine.civitai.shapes import FoundModel
    from promptengine.kinds import ModelKind
    from promptengine.server.civitai.catalog import Catalog
    from promptengine.server.civitai.downloads import DownloadView

__all__ = [
    "CivitaiDownload",
    "CivitaiModel",
    "CivitaiPage",
    "CivitaiSearch",
    "DownloadForm",
    "HashedFile",
    "HashesForm",
    "router",
]

_MOST_ID: Final = (1 << 53) - 1
_HEADERS: Final = {"Cache-Control": "private, max-age=86400"}

router = APIRouter(
    prefix=f"{PREFIX}/civitai",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses={**ERRORS, 502: {"model": responses.Error}},
)


class CivitaiSearch(StrictForm):
    """What to look for.

    Attributes:
        text: Of the search; empty for anything.
        kind: Of the files; null for any.
        nsfw: Also what is not for all ages.
        limit: Models of a page.
        cursor: The ``next`` of the page before this one; empty for the first.
    """

    text: Annotated[Text, Field(max_length=200)] = ""
    kind: KindName | None = None
    nsfw: bool = False
    limit: Annotated[int, Field(ge=1, le=50)] = 20
    cursor: Annotated[Text, Field(max_length=500)] = ""


class CivitaiModel(BaseModel):
    """The newest version of a model that a search has found.

    Attributes:
        id: Of the model.
        version: Of its newest version; what a download names.
        name: Of the model.
        version_name: Of the version.
        type: What the site calls its kind.
        kind: The same as lists spell it; null where there is no folder for such files.
        base_model: What it was made for, in the site's words.
        creator: Who made it.
        downloads: How often it was downloaded; null where that is not said.
        terms: What its author asks of those who use it, as far as the site says so.
        file: The name of the file that is meant.
        bytes: Its size; null where that is not said.
        preview: Names an image to show, see ``GET previews/{name}``; null where there is none.
        page: Its address for people.
        network: What the very file is called here, by its SHA-256; null where it is not here.
        problem: Why it cannot be downloaded or used here; null where it can.
    """

    id: int
    version: int
    name: str
    version_name: str
    type: str
    kind: KindName | None
    base_model: str
    creator: str
    downloads: int | None
    terms: list[str]
    file: str
    bytes: int | None
    preview: str | None
    page: str
    network: str | None
    problem: str | None


class CivitaiPage(BaseModel):
    """Some models, in the site's order.

    Attributes:
        models: Those.
        next: Asks as ``cursor`` for those that follow; null behind the last.
    """

    models: list[CivitaiModel]
    next: str | None


class DownloadForm(StrictForm):
    """What to download into the folder of its kind.

    Attributes:
        version: Of a model.
        file: The name of one of its files; empty for the one that is meant.
        nsfw: Whether its preview may be one that is not for all ages.
        overwrite: Whether another file of its name may be replaced.
    """

    version: Annotated[int, Field(ge=1, le=_MOST_ID)]
    file: Annotated[Text, Field(max_length=1000)] = ""
    nsfw: bool = False
    overwrite: bool = False


class CivitaiDownload(BaseModel):
    """Where a download is.

    Attributes:
        id: Of the download.
        version: Of the model.
        state: ``waiting``, ``downloading``, ``stopping``, ``done``, ``failed`` or ``cancelled``.
        model: Names of the model and its version; empty where they are not known yet.
        file: Likewise of the file.
        kind: Of the file; null where it is not known yet.
        done: Bytes that are here.
        total: Bytes that there are to be; null where that is not known.
        folder: Where the file is, once it is whole, verified and safe; null before.
        network: What it is called in lists; null where it is in none.
        fresh: Whether it was not there before.
        notes: What could not be laid beside it, and what the site's scans say.
        error: Why it failed.
        taken: Whether it failed since another file has its name: ``overwrite`` would replace that.
    """

    id: str
    version: int
    state: str
    model: str
    file: str
    kind: KindName | None
    done: int
    total: int | None
    folder: str | None
    network: str | None
    fresh: bool
    notes: list[str]
    error: str | None
    taken: bool


class HashesForm(StrictForm):
    """An infotext, whose hashes are asked about."""

    infotext: Annotated[Text, Field(max_length=MOST_INFOTEXT)]


class HashedFile(BaseModel):
    """A file that an infotext names by its hash, and what that belongs to.

    Attributes:
        kind: Of the file, as far as it is known.
        name: As the infotext has it.
        digest: In lower case.
        model: Name of the model; null where the site does not know the hash, as all that follows.
        version: Name of the version.
        type: What the site calls its kind.
        base_model: What it was made for.
        page: Its address for people.
    """

    kind: str
    name: str
    digest: str
    model: str | None
    version: str | None
    type: str | None
    base_model: str | None
    page: str | None


@router.post("/search")
async def search(service: Served, form: CivitaiSearch) -> CivitaiPage:
    """Search models; those whose page or previews are not for all ages only with ``nsfw``."""
    catalog = _catalog(service)
    return await catalog.ask(lambda: _found(service, catalog, form))


def _found(service: Service, catalog: Catalog, form: CivitaiSearch) -> CivitaiPage:
    kind = None if form.kind is None else find_kind(form.kind)
    if kind is not None and not kind.civitai_types:
        raise RequestError(f"Civitai has no {kind.plural}", field="kind")
    page = catalog.search(form.text, kind, limit=form.limit, nsfw=form.nsfw, cursor=form.cursor)
    told = [_model(service, catalog, one, form.nsfw) for one in page.models]
    return CivitaiPage(models=told, next=page.next or None)


def _model(service: Service, catalog: Catalog, found: FoundModel, nsfw: bool) -> CivitaiModel:
    from promptengine.civitai.keep import files_of_kind, kind_of_type

    kind = kind_of_type(found.type)
    file = None if kind is None else next(iter(files_of_kind(found.files, kind)), None)
    image = next((one for one in found.images if one.safe or nsfw), None)
    told = {
        "id": found.id,
        "version": found.version,
        "name": found.name,
        "version_name": found.version_name,
        "type": found.type,
        "kind": None if kind is None else kind.name,
        "base_model": found.base_model,
        "creator": found.creator,
        "downloads": found.downloads,
        "terms": list(found.terms),
        "file": "" if file is None else file.name[:300],
        "bytes": None if file is None else file.size,
        "preview": None if image is None else catalog.name_preview(image.url),
        "page": catalog.site.page(found.id, found.version),
        "network": None
        if file is None or kind is None
        else catalog.here(file, found.version, kind),
        "problem": _problem(service, found, kind),
    }
    return CivitaiModel(**well_formed(told))


def _problem(service: Service, found: FoundModel, kind: ModelKind | None) -> str | None:
    """Return why a model is of no use here; None where it may be."""
    from promptengine.civitai.keep import family_of

    if kind is None:
        return f"models of the type {found.type[:60] or 'unknown'} cannot be used here"
    if not service.registry.folders(kind.name):
        return f"no folder is set for {kind.plural}"
    # Upscalers and VAEs serve more models than their authors name.
    bound = bool(kind.page) and found.base_model not in ("", "Other")
    if bound and not family_of(found.base_model):
        return f"it is for {found.base_model[:60]}; only Stable Diffusion 1, 2 and XL run here"
    return _file_problem(found, kind)


def _file_problem(found: FoundModel, kind: ModelKind) -> str | None:
    from promptengine.civitai.keep import files_of_kind

    file = next(iter(files_of_kind(found.files, kind)), None)
    if not found.version or file is None:
        return f"it has no file of {kind.plural} ({', '.join(kind.suffixes)})"
    if not file.sha256:
        return "the site tells no SHA-256 of its file, so that it cannot be verified"
    return None


@router.get(
    "/previews/{name}",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}},
)
async def preview(
    service: Served, name: Annotated[str, Path(pattern="^[0-9a-f]{40}$")]
) -> Response:
    """Give a small WEBP of an image that a search has named; the server gets it, and asks for no other address."""
    catalog = _catalog(service)
    data = await catalog.ask(lambda: catalog.preview(name))
    return Response(data, media_type="image/webp", headers=_HEADERS)


@router.post("/downloads", status_code=202)
def download(service: Served, form: DownloadForm) -> CivitaiDownload:
    """Download a file in the background; it is kept only if its SHA-256 is the site's and if it runs no code.

    What was cancelled or interrupted goes on where it stopped.
    """
    from promptengine.server.civitai.downloads import DownloadOrder

    return _told(service, _catalog(service).downloads.start(DownloadOrder(**form.model_dump())))


@router.get("/downloads")
def downloads(service: Served) -> list[CivitaiDownload]:
    """List the downloads since the server was started, in their order."""
    return [_told(service, view) for view in _catalog(service).downloads.views()]


@router.delete("/downloads/{id}")
def cancel(service: Served, id: str) -> CivitaiDownload:
    """End a download; what is here of its file stays for the next one."""
    view = _catalog(service).downloads.cancel(id)
    if view is None:
        raise HTTPRefusal(f"no download {id[:100]!r}", status=404)
    return _told(service, view)


@router.post("/hashes")
async def hashes(service: Served, form: HashesForm) -> list[HashedFile]:
    """Ask what the hashes in an infotext belong to."""
    catalog = _catalog(service)
    read = describe_text(form.infotext).infotext
    entries = {} if read is None else read.entries
    found = await catalog.ask(lambda: catalog.describe_hashes(entries))
    return [HashedFile(**well_formed(one)) for one in found]


def _catalog(service: Service) -> Catalog:
    """Return what may be asked.

    Raises:
        HTTPRefusal: 404, where nothing may.
    """
    if service.civitai is None:
        message = "this server does not ask Civitai; start it with --civitai"
        raise HTTPRefusal(message, status=404)
    return service.civitai


def _told(service: Service, view: DownloadView) -> CivitaiDownload:
    shown = service.shown
    told = {
        "id": view.id,
        "version": view.order.version,
        "state": view.state,
        "model": view.model,
        "file": view.file[:300],
        "kind": view.kind,
        "done": view.done,
        "total": view.total,
        "folder": None if view.path is None else shown.path(view.path.parent),
        "network": view.network or None,
        "fresh": view.fresh,
        "notes": [shown.text(note) for note in view.notes],
        "error": shown.text(view.error) or None,
        "taken": view.taken,
    }
    return CivitaiDownload(**well_formed(told))
