"""The documentation of the routes as pages, with all that they load from this server."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from promptengine.server.errors import HTTPRefusal

__all__ = ["DOCUMENTATION", "router"]

DOCUMENTATION: Final = "/docs"

_ASSETS: Final[Mapping[str, tuple[str, str]]] = {
    "swagger-ui-bundle.js": ("fastapi_offline", "static"),
    "swagger-ui.css": ("fastapi_offline", "static"),
    "redoc.standalone.js": ("fastapi_offline", "static"),
    "favicon.png": ("fastapi_offline", "static"),
    "docs.js": ("promptengine.server", ""),
}
"""Files by the packages and folders in which they lie."""

_MARK: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_OWN_MARK: Final = b"docs/favicon.png"
"""Redoc would load an image from elsewhere, for which it has no setting."""

_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_PAGE: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>promptengine: {title}</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="icon" href="{assets}/favicon.png">{head}</head><body>{body}</body></html>'
)
_SWAGGER_HEAD: Final = '<link rel="stylesheet" href="{assets}/swagger-ui.css">'
_SWAGGER: Final = (
    '<div id="swagger-ui" data-address="{root}/openapi.json"></div>'
    '<script src="{assets}/swagger-ui-bundle.js"></script><script src="{assets}/docs.js"></script>'
)
_REDOC: Final = (
    '<redoc spec-url="{root}/openapi.json"></redoc>'
    '<script src="{assets}/redoc.standalone.js"></script>'
)

router = APIRouter(include_in_schema=False)


@router.api_route(DOCUMENTATION, methods=["GET", "HEAD"])
async def swagger(request: Request) -> HTMLResponse:
    """Show the routes, to be tried."""
    return _page(request, "the API, to be tried", _SWAGGER, _SWAGGER_HEAD)


@router.api_route("/redoc", methods=["GET", "HEAD"])
async def redoc(request: Request) -> HTMLResponse:
    """Show the routes, to be read."""
    return _page(request, "the API", _REDOC)


def _page(request: Request, title: str, body: str, head: str = "") -> HTMLResponse:
    root = escape(request.scope.get("root_path", ""))
    places = {"root": root, "assets": f"{root}{DOCUMENTATION}"}
    html = _PAGE.format(
        title=title, head=head.format(**places), body=body.format(**places), **places
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY})


@router.get(f"{DOCUMENTATION}/{{name}}")
def asset(name: str) -> Response:
    """Give a file that these pages load."""
    if name not in _ASSETS:
        raise HTTPRefusal("no such file", status=404)
    package, folder = _ASSETS[name]
    data = (files(package) / folder / name).read_bytes().replace(_MARK, _OWN_MARK)
    kind = _TYPES[name[name.rindex(".") :]]
    return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})
