"""The server's process: it listens, and ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING

from promptengine.errors import RequestError
from promptengine.server.config import ServerConfig
from promptengine.server.jobs.job import Run
from promptengine.server.observability import JsonLines
from promptengine.server.sockets import bound_sockets, check_certificate, hang_up

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from promptengine.server.state import Service

    Extend = Callable[[FastAPI], None]

__all__ = ["serve", "server_of"]

_log = logging.getLogger("promptengine.server")

_SWITCH_S = 0.0005
_LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(config: ServerConfig, extend: Extend | None = None) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    Then nothing new is taken, what waits is answered with 503, and what runs may finish within the
    configuration's grace.

    Args:
        config: The server's settings.
        extend: Adds to the application before it is served.

    Raises:
        CheckpointError: There is no checkpoint, none of the name, or it cannot be loaded.
        RequestError: A setting cannot be used: the address is taken, there is no such device, or there
            cannot be so many replicas.
    """
    from promptengine.server.app import create_app

    check_certificate(config)
    sockets = bound_sockets(config.host, config.port)
    with ExitStack() as stack:
        for own in sockets:
            stack.enter_context(own)
        runs = stack.enter_context(_replicas(config))
        _listen(config, create_app(config, runs), extend, sockets)


def _replicas(config: ServerConfig) -> AbstractContextManager[Sequence[Run] | None]:
    """Return what makes the images in other processes; None where this one does."""
    if not config.replicas:
        return nullcontext()
    from promptengine.server.jobs.ray import replica_runs

    # Ray has something to say while it starts.
    _log_to_stderr()
    return replica_runs(config)


def _listen(
    config: ServerConfig, app: FastAPI, extend: Extend | None, sockets: list[socket.socket]
) -> None:
    """Answer requests until the process is told to end."""
    if extend is not None:
        extend(app)
    _log_to_stderr()
    if config.host not in _LOCAL and not config.users:
        _log.warning("anybody who reaches this address may use the server; see --api-auth")
    server_of(config, app).run(sockets)


def server_of(config: ServerConfig, app: FastAPI) -> uvicorn.Server:
    """Return what answers for an application, once it is run with the sockets to listen at.

    Args:
        config: The server's settings.
        app: Of :func:`promptengine.server.app.create_app`.
    """
    import uvicorn

    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        ssl_certfile=config.tls_certfile,
        ssl_keyfile=config.tls_keyfile,
        log_config=None,
        access_log=False,
        server_header=False,
        # Above what clients and proxies keep idle connections for, so that they close them first.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(config.grace_s) + 5,
    )
    server = uvicorn.Server(settings)
    usual_startup, usual_shutdown = server.startup, server.shutdown
    watches: list[asyncio.Task[None]] = []

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        try:
            await usual_startup(sockets)
        except OSError as error:
            # Two that take an address at the same time learn of each other only now.
            message = f"--port {config.port}: {error.strerror or error}"
            raise RequestError(message, field="port") from None
        connections = server.server_state.connections
        watches.append(asyncio.create_task(hang_up(connections, config.limits.send_s)))
        # Requests are answered meanwhile.
        watches.append(asyncio.create_task(asyncio.to_thread(_warm_up, service)))
        for own in sockets or ():
            _log.info("Uvicorn running on %s", _address(config, own))

    async def shutdown(sockets: list[socket.socket] | None = None) -> None:
        # uvicorn waits for open requests first, and these wait for their jobs.
        closing = asyncio.create_task(asyncio.to_thread(service.close, config.grace_s))
        await usual_shutdown(sockets)
        await closing
        for watch in watches:
            watch.cancel()

    service = app.state.service
    server.startup, server.shutdown = startup, shutdown
    # A thread that waits for the interpreter gets it after this time; the loop that answers clients
    # waits at every read and write while another thread makes images.
    sys.setswitchinterval(_SWITCH_S)
    return server


def _warm_up(service: Service) -> None:
    """Read what the first keys in a prompt would wait for."""
    service.vocabulary.warm_up()
    # What is here by now stays: the collector would stop all threads to look at it again and again.
    gc.collect()
    gc.freeze()


def _address(config: ServerConfig, own: socket.socket) -> str:
    """Return where a socket is reached, as browsers write it."""
    scheme = "http" if config.tls_certfile is None else "https"
    host, port = own.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{config.subpath}"


def _log_to_stderr() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler.formatter, JsonLines) for handler in root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
    logging.getLogger("promptengine").setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.INFO)
