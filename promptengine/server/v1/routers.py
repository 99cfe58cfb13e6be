"""All routes of our own API, for the application and for the types of the page."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from promptengine.server.v1 import (
    images,
    infotext,
    networks,
    queue,
    routes,
    scripts,
    styles,
    training,
    upscale,
    words,
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
    words.router,
)
"""In the order in which paths are looked up."""
