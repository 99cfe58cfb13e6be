"""Which names the server answers to, and whose pages may ask it.

A browser lends its place on the network to every page that it shows. What tells such a page from the
server's own are two headers that no page can choose: ``Host``, the name by which the server was reached,
and ``Origin``, where the page is from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from promptengine.errors import RequestError
from promptengine.server.config import ServerConfig
from promptengine.server.errors import refuse

__all__ = ["EVERY_ADDRESS", "Authority", "HostWall", "Hosts", "OriginWall", "Origins"]

EVERY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})
"""What ``--host`` is where the server listens at all addresses of its machine."""

_AUTHORITY: Final = re.compile(
    r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)(?::([0-9]{1,5}))?"
)
_LOCALHOST: Final = "localhost"
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_SECURE: Final[Mapping[str, str]] = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and perhaps a port, as URLs have them.

    Attributes:
        host: In lower case; an IPv6 address in its shortest form, with brackets.
        port: None where none is written.
    """

    host: str
    port: int | None

    @classmethod
    def read(cls, text: str) -> Authority | None:
        """Read it; None where the text is anything else, a name with a dot at its end included."""
        found = _AUTHORITY.fullmatch(text.lower()) if text.isascii() else None
        if found is None:
            return None
        host, port = found.group(1), found.group(2)
        if host.startswith("["):
            try:
                host = f"[{IPv6Address(host[1:-1])}]"
            except ValueError:
                return None
        return cls(host, None if port is None else int(port))

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address that it is; None for a name, and for an IPv4 address dressed up as IPv6."""
        try:
            address = ip_address(self.host.strip("[]"))
        except ValueError:
            return None
        return None if getattr(address, "ipv4_mapped", None) else address

    def at(self, scheme: str) -> tuple[str, int]:
        """Host and port, the scheme's own where none is written."""
        return self.host, _PORTS[scheme] if self.port is None else self.port


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names that a server answers to.

    Attributes:
        bound: What it listens at; None for all addresses of its machine.
        named: More, by which proxies and other machines reach it; at any port where none is written.
    """

    bound: Authority | None
    named: tuple[Authority, ...] = ()

    @classmethod
    def by(cls, config: ServerConfig) -> Hosts:
        """Return what a server's settings say.

        Raises:
            RequestError: A name that no client could ask for.
        """
        listens = config.host.partition("%")[0]
        bound = None if listens in EVERY_ADDRESS else _named(listens, "host")
        return cls(bound, tuple(_named(name, "allowed_hosts") for name in config.allowed_hosts))

    def allow(self, asked: Authority, scheme: str, port: int) -> bool:
        """Return whether a request is for this server.

        Args:
            asked: What the client calls the server.
            scheme: ``http`` or ``https``.
            port: That the server listens at.
        """
        host, asked_port = asked.at(scheme)
        if any(host == name.host and name.port in (None, asked_port) for name in self.named):
            return True
        address = asked.address
        # No page can have an address or this name resolved to another machine than the browser's user
        # means; which port of a container is published where, the server cannot know.
        if self.bound is None and (address is not None or host == _LOCALHOST):
            return True
        own = {_LOCALHOST} if self.bound is None else {_LOCALHOST, self.bound.host}
        return asked_port == port and (host in own or (address is not None and address.is_loopback))


def _named(text: str, option: str) -> Authority:
    # People write IPv6 addresses without the brackets that Host has.
    found = Authority.read(f"[{text}]" if text.count(":") > 1 and "[" not in text else text)
    if found is None or (found.port is not None and not 0 < found.port < 1 << 16):
        message = (
            f"--{option.replace('_', '-')} {text[:80]!r}: write NAME or NAME:PORT as browsers send "
            "them, [ADDRESS] for IPv6, xn--… for other letters than ASCII's"
        )
        raise RequestError(message, field=option)
    return found


@dataclass(frozen=True, slots=True)
class Origins:
    """The other origins whose pages may use the server.

    Attributes:
        named: Them; ``*`` is any.
        pattern: The same as a regular expression that the whole origin matches, or None.
    """

    named: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None

    @classmethod
    def by(cls, config: ServerConfig) -> Origins:
        """Return what a server's settings say.

        Raises:
            RequestError: The regular expression is none.
        """
        text = config.cors_origins_regex
        try:
            pattern = None if text is None else re.compile(text)
        except re.error as error:
            message = f"--cors-allow-origins-regex {text!r}: {error}"
            raise RequestError(message, field="cors_allow_origins_regex") from None
        return cls(frozenset(origin.rstrip("/") for origin in config.cors_origins), pattern)

    @property
    def any(self) -> bool:
        """Whether all are allowed."""
        return "*" in self.named

    def allow(self, origin: str) -> bool:
        """Return whether pages of an origin may ask."""
        matched = self.pattern is not None and self.pattern.fullmatch(origin) is not None
        return self.any or origin in self.named or matched


class HostWall:
    """Answers nobody who means another server: the name of an attacker's that was made to lead here.

    Args:
        app: What is behind it.
        hosts: The server's names.
        port: That the server listens at, where the connection does not tell.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, port: int) -> None:
        self._app = app
        self._hosts = hosts
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400 or 421."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = _all(scope, b"host")
        asked = Authority.read(given[0]) if len(given) == 1 else None
        if asked is None:
            await refuse(scope, send, 400, "write one Host header: the name of the server")
            return
        port = (scope.get("server") or (None, None))[1] or self._port
        if not self._hosts.allow(asked, _scheme(scope), port):
            message = (
                f"this server does not go by the name {given[0][:200]!r}; if people reach it so, start "
                f"it with --allowed-hosts {given[0][:200]}"
            )
            await refuse(scope, send, 421, message)
            return
        await self._app(scope, receive, send)


class OriginWall:
    """Answers no pages but the server's own and those that may ask. Programs, which send no origin, pass.

    Args:
        app: What is behind it; what stands before it has looked at the server's name.
        origins: The others that may ask.
    """

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] in ("http", "websocket") and not self._allow(scope):
            message = (
                "a page of another origin asks; name its origin in --cors-allow-origins, and where "
                "this is the server's own page behind a proxy, let the proxy pass Host on"
            )
            await refuse(scope, send, 403, message)
            return
        await self._app(scope, receive, send)

    def _allow(self, scope: Scope) -> bool:
        given = _all(scope, b"origin")
        if not given:
            return self._origins.any or not _is_foreign(scope)
        if len(given) > 1:
            return False
        return _is_own(given[0], scope) or self._origins.allow(given[0])


def _is_own(origin: str, scope: Scope) -> bool:
    """Return whether an origin is the server that was asked.

    A proxy may speak TLS and not say so; a page that came without, though, never is the own page of a
    server that was reached with it.
    """
    scheme, _, rest = origin.partition("://")
    page, asked = Authority.read(rest), Authority.read(_all(scope, b"host")[0])
    if page is None or asked is None or scheme not in _PORTS:
        return False
    return scheme in ("https", _scheme(scope)) and page.at(scheme) == asked.at(scheme)


def _is_foreign(scope: Scope) -> bool:
    """Return whether a browser says that another site's page asks for more than to be left for this one."""
    site, mode, target = (
        (_all(scope, b"sec-fetch-" + name) or [""])[0] for name in (b"site", b"mode", b"dest")
    )
    visits = scope.get("method") in ("GET", "HEAD") and (mode, target) == ("navigate", "document")
    return site in ("cross-site", "same-site") and not visits


def _all(scope: Scope, name: bytes) -> list[str]:
    headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
    return [value.decode("latin-1") for key, value in headers if key == name]


def _scheme(scope: Scope) -> str:
    scheme: str = scope.get("scheme", "http")
    return _SECURE.get(scheme, scheme)
