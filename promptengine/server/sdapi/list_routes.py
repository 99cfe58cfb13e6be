"""WebUI's routes that list what there is."""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import APIRouter, Response

from promptengine.inspection import file_metadata
from promptengine.kinds import model_kinds
from promptengine.server.errors import HTTPRefusal
from promptengine.server.sdapi import lists, responses
from promptengine.server.sdapi.previews import preview_file
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served

__all__ = ["router"]

_COMMON: Final[dict[str, Any]] = {
    "tags": ["WebUI"],
    "default_response_class": responses.Json,
    "responses": ERRORS,
}
_LONG: Final = "ssmd_cover_images"
"""What of metadata is images."""

_lists = APIRouter(prefix="/sdapi/v1", **_COMMON)
_page = APIRouter(**_COMMON)


@_lists.get("/sd-models")
def sd_models(service: Served) -> list[lists.Checkpoint]:
    """List checkpoints."""
    return lists.checkpoints(service)


@_lists.get("/sd-vae")
def sd_vae(service: Served) -> list[lists.Vae]:
    """List VAEs."""
    return lists.vaes(service)


@_lists.get("/samplers")
async def samplers() -> list[lists.Sampler]:
    """List samplers."""
    return lists.samplers()


@_lists.get("/schedulers")
async def schedulers() -> list[lists.Scheduler]:
    """List schedule types."""
    return lists.schedulers()


@_lists.get("/upscalers")
def upscalers(service: Served) -> list[lists.Upscaler]:
    """List what enlarges images."""
    return lists.upscalers(service)


@_lists.get("/latent-upscale-modes")
async def latent_upscale_modes() -> list[lists.Name]:
    """List what enlarges latents."""
    return lists.latent_upscalers()


@_lists.get("/hypernetworks")
def hypernetworks(service: Served) -> list[lists.Hypernetwork]:
    """List hypernetworks."""
    return lists.hypernetworks(service)


@_lists.get("/loras")
@_lists.get("/lycos")
def loras(service: Served) -> list[lists.Lora]:
    """List LoRAs."""
    return lists.loras(service)


@_lists.get("/embeddings")
def embeddings(service: Served) -> dict[str, dict[str, Any]]:
    """List words that stand for vectors."""
    return lists.embeddings(service)


@_lists.get("/prompt-styles")
def prompt_styles(service: Served) -> list[lists.PromptStyle]:
    """List styles."""
    return lists.styles(service)


@_lists.get("/scripts")
async def scripts() -> responses.Scripts:
    """List scripts."""
    return responses.Scripts(
        txt2img=lists.script_names("txt2img"), img2img=lists.script_names("img2img")
    )


@_lists.get("/script-info")
async def script_info() -> list[lists.ScriptInfo]:
    """List scripts with their arguments."""
    return lists.scripts()


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
        raise HTTPRefusal("File not found", status=404)
    data, kind = found
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type=kind, headers=headers)


@_page.get("/sd_extra_networks/metadata")
def metadata(service: Served, page: str = "", item: str = "") -> dict[str, str]:
    """Tell what the header of a card's file says, as a JSON text."""
    kinds = [kind for kind in model_kinds().values() if page and kind.page == page]
    entry = service.registry.find(kinds[0].name, item) if kinds else None
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
