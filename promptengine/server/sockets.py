"""Where the server listens, found out before anything large is loaded: addresses and certificates."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Collection
from typing import Any, Final

from promptengine.errors import RequestError
from promptengine.server.config import ServerConfig

__all__ = ["bound_sockets", "check_certificate", "hang_up"]

_MOST_PORTS: Final = 1 << 16
_LOOK_S: Final = 1.0


def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Take an address, so that nobody else can while models are loaded; it is not listened at yet.

    Args:
        host: A name or an address; several where the name has several.
        port: 0 lets the system pick one.

    Raises:
        RequestError: There is no such address, or it cannot be had.
    """
    if not 0 <= port < _MOST_PORTS:
        message = f"--port {port}: write a number from 0 to {_MOST_PORTS - 1}"
        raise RequestError(message, field="port")
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"--host {host}: {reason}", field="host") from None
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            if family in (socket.AF_INET, socket.AF_INET6):
                own = socket.socket(family, socket.SOCK_STREAM)
                sockets.append(own)
                _bind(own, (address[0], port, *address[2:]))
                port = own.getsockname()[1]
    except OSError as error:
        for own in sockets:
            own.close()
        message = f"--port {port}: {host or 'every address'} cannot be listened at there"
        raise RequestError(f"{message}: {error.strerror or error}", field="port") from None
    return sockets


def _bind(own: socket.socket, address: tuple[Any, ...]) -> None:
    if os.name == "posix":
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if own.family == socket.AF_INET6:
        # Its IPv4 twin has a socket of its own.
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    own.bind(address)


def check_certificate(config: ServerConfig) -> None:
    """Read certificate and key, if there are any.

    Raises:
        RequestError: One is missing or cannot be used.
    """
    certificate, key = config.tls_certfile, config.tls_keyfile
    if certificate is None:
        if key is not None:
            raise RequestError("--tls-keyfile needs --tls-certfile too", field="tls_certfile")
        return
    for option, path in (("--tls-certfile", certificate), ("--tls-keyfile", key)):
        if path is not None and not path.is_file():
            raise RequestError(f"{option}: no such file: {path}", field=option.strip("-"))

    def refuse() -> str:
        raise RequestError("--tls-keyfile: the key asks for a password; decrypt it", field="tls")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, refuse)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        message = f"--tls-certfile {certificate}: certificate and key cannot be used ({reason})"
        raise RequestError(message, field="tls_certfile") from None


async def hang_up(connections: Collection[Any], seconds: float) -> None:
    """Close connections on which no whole head of a request came within a time; runs for ever.

    uvicorn waits for one without end, both at first and after an answer once some of it is there.

    Args:
        connections: uvicorn's, as they come and go.
        seconds: The time.
    """
    loop, since = asyncio.get_running_loop(), dict[Any, float]()
    while True:
        now = loop.time()
        waiting = {one for one in tuple(connections) if _waits_for_a_head(one)}
        since = {one: since.get(one, now) for one in waiting}
        for one, start in since.items():
            if now - start > seconds:
                one.transport.close()
        await asyncio.sleep(min(_LOOK_S, seconds))


def _waits_for_a_head(connection: Any) -> bool:
    """Return whether a connection has no request under way, and none of uvicorn's own timers runs either."""
    if not hasattr(connection, "timeout_keep_alive_task"):
        return False
    cycle = connection.cycle
    ended = cycle is None or cycle.response_complete
    return ended and connection.timeout_keep_alive_task is None
