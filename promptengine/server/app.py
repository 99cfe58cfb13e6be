"""The application: routes, the layers around them, and errors as answers."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from promptengine.errors import (
    PromptEngineError,
    PromptSyntaxError,
    RequestError,
    UnknownNetworkError,
)
from promptengine.server import api_docs as documentation
from promptengine.server import observability
from promptengine.server.auth import BasicAuth, BodyLimit, SafeHeaders
from promptengine.server.config import ServerConfig
from promptengine.server.errors import HTTPRefusal, error_for, status_of
from promptengine.server.jobs.job import Run
from promptengine.server.openai import routes as openai
from promptengine.server.openai.errors import fault_of, openai_error, speaks_openai
from promptengine.server.openai.links import ImageLinks
from promptengine.server.origins import Hosts, HostWall, Origins, OriginWall
from promptengine.server.redact import below_root
from promptengine.server.sdapi import list_routes
from promptengine.server.sdapi import routes as sdapi
from promptengine.server.state import Service, open_service
from promptengine.server.v1.images import Thumbnails
from promptengine.server.v1.kept_jobs import restore_jobs
from promptengine.server.v1.routers import ROUTERS
from promptengine.server.v1.routes import PREFIX
from promptengine.version import __version__

__all__ = ["STUDIO", "create_app"]

STUDIO: Final = "/studio/"
"""Where the page is, if there is one; below it, paths are the page's own."""

_SUBPATH: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")

_ROUTERS: Final[Sequence[APIRouter]] = (
    sdapi.router,
    list_routes.router,
    sdapi.internal,
    *ROUTERS,
    openai.router,
    observability.router,
    documentation.router,
)

_BLAMING: Final = (RequestError, HTTPRefusal, PromptSyntaxError, UnknownNetworkError)
"""Errors that may say which field of a request they are about."""

_log = logging.getLogger("promptengine.server")


def create_app(config: ServerConfig, runs: Sequence[Run] | None = None) -> FastAPI:
    """Build the application of a server.

    Its jobs run as soon as it is built; they end when it is shut down.

    Args:
        config: The server's settings.
        runs: What makes the images, in place of the engines of the devices.

    Raises:
        CheckpointError: There is no checkpoint, none of the name, or it cannot be loaded.
        RequestError: There is no such device, or a setting cannot be used.
    """
    hosts, origins = Hosts.by(config), Origins.by(config)
    _check_subpath(config.subpath)
    service = open_service(config, runs)
    restore_jobs(service)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        yield
        await run_in_threadpool(service.close, config.grace_s)
        service.registry.digests.save()

    app = FastAPI(
        title="promptengine",
        description="Stable Diffusion with WebUI's prompts and hypernetworks.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.thumbnails = Thumbnails()
    app.state.links = ImageLinks(config.kept_bytes)
    for router in _ROUTERS:
        app.include_router(router)
    app.add_api_route("/", _entrance, methods=["GET", "HEAD"], include_in_schema=False)
    _add_errors(app)
    _add_layers(app, service, hosts, origins)
    return app


def _check_subpath(subpath: str) -> None:
    """Refuse a place that is none, or is one of the server's own: whose is a path below it?

    Raises:
        RequestError: It is such a place.
    """
    own = {
        STUDIO.rstrip("/"),
        *(getattr(one, "path", "") for part in _ROUTERS for one in part.routes),
    }
    if subpath and _SUBPATH.fullmatch(subpath) is None:
        message = f"--subpath {subpath[:80]!r}: write /NAME, or several of them"
        raise RequestError(message, field="subpath")
    if subpath and any(f"{path}/".startswith(f"{subpath}/") for path in own):
        message = f"--subpath {subpath}: the server's own paths begin so; choose another name"
        raise RequestError(message, field="subpath")


async def _entrance(request: Request) -> RedirectResponse:
    """Lead people to the page, or where there is none to the documentation of the routes."""
    places = {getattr(route, "path", "") for route in request.app.routes}
    place = STUDIO if STUDIO in places else documentation.DOCUMENTATION
    return RedirectResponse(f"{request.scope['root_path']}{place}")


def _add_layers(app: FastAPI, service: Service, hosts: Hosts, origins: Origins) -> None:
    """What stands around the routes; the last one added is met first."""
    config = service.config
    app.add_middleware(BodyLimit, limits=config.limits)
    if config.users:
        app.add_middleware(BasicAuth, users=config.users)
        _declare_passwords(app)
    app.add_middleware(_OneSpelling)
    if config.cors_origins or config.cors_origins_regex:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.rstrip("/") for origin in config.cors_origins],
            allow_origin_regex=config.cors_origins_regex,
            allow_methods=["*"],
            allow_headers=["*"],
            # Not with any origin: a browser would lend its passwords to every page.
            allow_credentials="*" not in config.cors_origins,
        )
    app.add_middleware(OriginWall, origins=origins)
    app.add_middleware(HostWall, hosts=hosts, port=config.port)
    app.add_middleware(_Subpath, subpath=config.subpath)
    app.add_middleware(SafeHeaders)
    app.add_middleware(observability.RequestTimer, metrics=service.metrics)


class _Subpath:
    """Knows a path with the place where a proxy shows the server, and one that it was taken off."""

    def __init__(self, app: ASGIApp, subpath: str) -> None:
        self._app = app
        self._root = subpath

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._root and scope["type"] in ("http", "websocket"):
            scope["root_path"] = self._root
            if not f"{scope['path']}/".startswith(f"{self._root}/"):
                scope["path"] = self._root + scope["path"]
        await self._app(scope, receive, send)


class _OneSpelling:
    """Lets a path with a slash at its end mean the one without, also for requests from other pages,
    which browsers do not let follow a redirection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not (path := below_root(scope)).startswith(STUDIO):
            scope["path"] = scope.get("root_path", "") + (path.rstrip("/") or "/")
        await self._app(scope, receive, send)


def _declare_passwords(app: FastAPI) -> None:
    """Let the OpenAPI document say that names and passwords are asked for."""
    plain = app.openapi

    def with_passwords() -> dict[str, object]:
        described = plain()
        parts = cast("dict[str, object]", described.setdefault("components", {}))
        parts["securitySchemes"] = {"password": {"type": "http", "scheme": "basic"}}
        described["security"] = [{"password": []}]
        return described

    app.openapi = with_passwords


def _add_errors(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(PromptEngineError, _failed)
    app.add_exception_handler(Exception, _failed)


async def _unfit(request: Request, error: Exception) -> JSONResponse:
    """Return a body that does not fit: where and why, but not what it holds."""
    assert isinstance(error, RequestValidationError)
    if speaks_openai(below_root(request.scope)):
        return JSONResponse(openai_error(400, *fault_of(error.errors())), status_code=400)
    faults = [
        {"loc": [_part(part) for part in fault["loc"]], "msg": fault["msg"], "type": fault["type"]}
        for fault in error.errors()
    ]
    return JSONResponse({"detail": faults}, status_code=422)


def _part(part: object) -> str | int:
    return part if isinstance(part, int) else str(part)[:100]


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    status, content = error_for(
        request.scope, error.status_code, "HTTPException", str(error.detail)
    )
    return JSONResponse(content, status_code=status, headers=error.headers)


def _blamed(error: Exception) -> dict[str, str]:
    """Return which field of a request an error is about, where it is about one."""
    field = error.field if isinstance(error, _BLAMING) else ""
    return {"field": field} if field else {}


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """Return an error of the package's in its own words, any other one without them."""
    service: Service = request.app.state.service
    status = status_of(error)
    name, headers = type(error).__name__, dict[str, str]()
    if isinstance(error, PromptEngineError):
        detail = service.shown.text(str(error))
    else:
        _log.error("a request failed", exc_info=error)
        name, detail = "InternalError", "something went wrong in the server; its log says what"
    if isinstance(error, HTTPRefusal):
        name = HTTPException.__name__
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
    blamed = _blamed(error)
    status, content = error_for(request.scope, status, name, detail, blamed.get("field", ""))
    if below_root(request.scope).startswith(PREFIX):
        content |= blamed
    return JSONResponse(content, status_code=status, headers=headers)
