"""The page's own routes: small pictures of model files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response

from promptengine.files.images import read_image
from promptengine.registry.registry import Kind, preview
from promptengine.server.app import PAGE
from promptengine.server.errors import HTTPRefusal
from promptengine.server.state import Served

__all__ = ["router"]

_SIDE: Final = 320
_MOST_PIXELS: Final = 64_000_000

router = APIRouter(prefix=PAGE.rstrip("/"), include_in_schema=False)


@router.get("/preview/{kind}/{name:path}")
def card_picture(service: Served, kind: Kind, name: str) -> Response:
    """Give the preview of a file, scaled to the size of a card."""
    entry = service.registry.find(kind, name)
    path = None if entry is None else preview(entry)
    data = None if path is None else _small(path)
    if data is None:
        raise HTTPRefusal("no such preview", status=404)
    return Response(data, media_type="image/webp", headers={"Cache-Control": "no-cache"})


def _small(path: Path) -> bytes | None:
    """A picture's file scaled down; None where it cannot be read."""
    try:
        picture = read_image(path, most_pixels=_MOST_PIXELS).convert("RGB")
        picture.thumbnail((_SIDE, _SIDE))
        file = BytesIO()
        picture.save(file, format="WEBP", quality=82)
        return file.getvalue()
    except (OSError, ValueError):
        return None
