"""The server's process: it listens, and ends in order."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from promptengine.server.config import ServerConfig
from promptengine.server.jobs import Run
from promptengine.server.operations import JsonLines

if TYPE_CHECKING:
    from fastapi import FastAPI

    Extend = Callable[[FastAPI], Callable[[], None]]

__all__ = ["serve"]

_log = logging.getLogger("promptengine.server")

_SWITCH_S = 0.0005
_LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(config: ServerConfig, extend: Extend | None = None) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    Then nothing new is taken, what waits is answered with 503, and what runs may finish within the
    configuration's grace.

    Args:
        config: The server's settings.
        extend: Adds to the application before it is served, and returns what to call in the loop when
            the server begins to stop.

    Raises:
        CheckpointError: There is no checkpoint, none of the name, or it cannot be loaded.
        RequestError: There is no such device, or there cannot be so many replicas.
        OSError: The address cannot be listened at.
    """
    from promptengine.server.app import create_app

    # A thread that waits for the interpreter gets it after this time; the loop that answers clients
    # waits at every read and write while another thread makes pictures.
    sys.setswitchinterval(_SWITCH_S)
    with _replicas(config) as runs:
        _listen(config, create_app(config, runs), extend)


def _replicas(config: ServerConfig) -> AbstractContextManager[Sequence[Run] | None]:
    """What makes the pictures in other processes; None where this one does."""
    if not config.replicas:
        return nullcontext()
    from promptengine.server.replicas import replica_runs

    # Ray has something to say while it starts.
    _log_to_stderr()
    return replica_runs(config)


def _listen(config: ServerConfig, app: FastAPI, extend: Extend | None) -> None:
    """Answer requests until the process is told to end."""
    import uvicorn

    on_stop = None if extend is None else extend(app)
    _log_to_stderr()
    if config.host not in _LOCAL and not config.users:
        _log.warning("anybody who reaches this address may use the server; see --api-auth")
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Above what clients and proxies keep idle connections for, so that they close them first.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(config.grace_s) + 5,
    )
    server = uvicorn.Server(settings)
    usual = server.shutdown

    async def shutdown(sockets: list[socket.socket] | None = None) -> None:
        # uvicorn waits for open requests first, and these wait for their jobs.
        if on_stop is not None:
            on_stop()
        closing = asyncio.create_task(asyncio.to_thread(queue.close, config.grace_s))
        await usual(sockets)
        await closing

    queue = app.state.service.queue
    server.shutdown = shutdown
    server.run()


def _log_to_stderr() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler.formatter, JsonLines) for handler in root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
    logging.getLogger("promptengine").setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.INFO)
