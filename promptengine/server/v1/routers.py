"""All routes of our own API, for the application and for the types of the page."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from promptengine.server.v1 import (
    civitai,
    images,
    infotext,
    language,
    networks,
    queue,
    routes,
    scripts,
    styles,
    training,
    upscale,
)

__all__ = ["ROUTERS"]

ROUTERS: Final[tuple[APIRouter, ...]] = (
    routes.router,
    queue.router,
    images.router,
    infotext.router,
    scripts.router,
    training.router,
    networks.router,
    styles.router,
    upscale.router,
    language.router,
    civitai.router,
)
"""In the order in which paths are looked up."""
