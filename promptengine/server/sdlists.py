"""WebUI's routes that list what there is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response

from promptengine.inspection import file_metadata
from promptengine.registry import Kind
from promptengine.server import answers, listing
from promptengine.server.failures import Refusal
from promptengine.server.previews import preview_file
from promptengine.server.sdapi import ERRORS
from promptengine.server.service import Served

__all__ = ["router"]

_COMMON: Final[dict[str, Any]] = {
    "tags": ["WebUI"],
    "default_response_class": answers.Json,
    "responses": ERRORS,
}
_PAGES: Final[Mapping[str, Kind]] = {
    "lora": "lora",
    "hypernetworks": "hypernet",
    "textual inversion": "embedding",
    "checkpoints": "checkpoint",
}
"""WebUI's names of the pages that show model files as cards."""

_LONG: Final = "ssmd_cover_images"
"""What of metadata is pictures."""

_lists = APIRouter(prefix="/sdapi/v1", **_COMMON)
_page = APIRouter(**_COMMON)


@_lists.get("/sd-models")
def sd_models(service: Served) -> list[answers.Checkpoint]:
    """List checkpoints."""
    return listing.checkpoints(service)


@_lists.get("/sd-vae")
def sd_vae(service: Served) -> list[answers.Vae]:
    """List VAEs."""
    return listing.vaes(service)


@_lists.get("/samplers")
async def samplers() -> list[answers.Sampler]:
    """List samplers."""
    return listing.samplers()


@_lists.get("/schedulers")
async def schedulers() -> list[answers.Scheduler]:
    """List schedule types."""
    return listing.schedulers()


@_lists.get("/upscalers")
async def upscalers() -> list[answers.Upscaler]:
    """List what enlarges pictures."""
    return listing.upscalers()


@_lists.get("/latent-upscale-modes")
async def latent_upscale_modes() -> list[answers.Name]:
    """List what enlarges latents."""
    return listing.latent_upscalers()


@_lists.get("/hypernetworks")
def hypernetworks(service: Served) -> list[answers.Hypernetwork]:
    """List hypernetworks."""
    return listing.hypernetworks(service)


@_lists.get("/loras")
@_lists.get("/lycos")
def loras(service: Served) -> list[answers.Lora]:
    """List LoRAs."""
    return listing.loras(service)


@_lists.get("/embeddings")
def embeddings(service: Served) -> dict[str, dict[str, Any]]:
    """List words that stand for vectors."""
    return listing.embeddings(service)


@_lists.get("/prompt-styles")
def prompt_styles(service: Served) -> list[answers.PromptStyle]:
    """List styles."""
    return listing.styles(service)


@_lists.get("/scripts")
async def scripts() -> answers.Scripts:
    """List scripts, of which there are none."""
    return answers.Scripts(txt2img=[], img2img=[])


@_lists.get("/script-info")
@_lists.get("/face-restorers")
@_lists.get("/realesrgan-models")
@_lists.get("/extensions")
async def nothing() -> list[str]:
    """List what this server has none of."""
    return []


@_lists.post("/refresh-checkpoints")
@_lists.post("/refresh-loras")
@_lists.post("/refresh-lycos")
@_lists.post("/refresh-vae")
@_lists.post("/refresh-embeddings")
def refresh(service: Served) -> None:
    """Scan the folders again; files that come or go are noticed without it."""
    service.registry.refresh()


@_page.get("/sd_extra_networks/thumb", response_class=Response)
def thumb(service: Served, filename: str = "") -> Response:
    """Give the preview of a path below the models' folders."""
    found = preview_file(filename, service.config)
    if found is None:
        raise Refusal("File not found", status=404)
    data, kind = found
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type=kind, headers=headers)


@_page.get("/sd_extra_networks/metadata")
def metadata(service: Served, page: str = "", item: str = "") -> dict[str, str]:
    """Tell what the header of a card's file says, as a JSON text."""
    kind = _PAGES.get(page)
    entry = None if kind is None else service.registry.find(kind, item)
    told = {} if entry is None else dict(file_metadata(entry.path))
    told.pop(_LONG, None)
    return {"metadata": json.dumps(told, indent=4, ensure_ascii=False)} if told else {}


@_page.get("/login_check")
async def login_check() -> None:
    """Say that who asks is let in; others get no further than the password."""


router = APIRouter()
"""What lists, and what WebUI's page has beside its API."""

for part in (_lists, _page):
    router.include_router(part)
