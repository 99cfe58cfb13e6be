"""WebUI's routes that list what there is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from promptengine.server import answers, listing
from promptengine.server.sdapi import ERRORS
from promptengine.server.service import Served

__all__ = ["router"]

router = APIRouter(prefix="/sdapi/v1", tags=["WebUI"], responses={500: ERRORS[500]})


@router.get("/sd-models")
def sd_models(service: Served) -> list[answers.Checkpoint]:
    """List checkpoints."""
    return listing.checkpoints(service)


@router.get("/sd-vae")
def sd_vae(service: Served) -> list[answers.Vae]:
    """List VAEs."""
    return listing.vaes(service)


@router.get("/samplers")
async def samplers() -> list[answers.Sampler]:
    """List samplers."""
    return listing.samplers()


@router.get("/schedulers")
async def schedulers() -> list[answers.Scheduler]:
    """List schedule types."""
    return listing.schedulers()


@router.get("/upscalers")
async def upscalers() -> list[answers.Upscaler]:
    """List what enlarges pictures."""
    return listing.upscalers()


@router.get("/latent-upscale-modes")
async def latent_upscale_modes() -> list[answers.Name]:
    """List what enlarges latents."""
    return listing.latent_upscalers()


@router.get("/hypernetworks")
def hypernetworks(service: Served) -> list[answers.Hypernetwork]:
    """List hypernetworks."""
    return listing.hypernetworks(service)


@router.get("/loras")
def loras(service: Served) -> list[answers.Lora]:
    """List LoRAs."""
    return listing.loras(service)


@router.get("/embeddings")
def embeddings(service: Served) -> dict[str, dict[str, Any]]:
    """List words that stand for vectors."""
    return listing.embeddings(service)


@router.get("/prompt-styles")
def prompt_styles(service: Served) -> list[answers.PromptStyle]:
    """List styles."""
    return listing.styles(service)


@router.get("/scripts")
async def scripts() -> answers.Scripts:
    """List scripts, of which there are none."""
    return answers.Scripts(txt2img=[], img2img=[])


@router.get("/script-info")
@router.get("/face-restorers")
@router.get("/realesrgan-models")
async def nothing() -> list[str]:
    """List what this server has none of."""
    return []


@router.post("/refresh-checkpoints")
@router.post("/refresh-loras")
@router.post("/refresh-vae")
@router.post("/refresh-embeddings")
def refresh(service: Served) -> None:
    """Scan the folders again; files that come or go are noticed without it."""
    service.registry.refresh()
