"""HTTP for hosts that are not trusted.

Only https is spoken; http only with this machine. Redirects are followed a few times, each one under the same
rules. A name is looked up once, and only public addresses are connected to, so that no host can send a request into
a private network; the host that the user named may be anywhere. The token goes to that host alone. Answers are
bounded. Proxies, ``.netrc`` and cookies play no part.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

import httpx

from promptengine.errors import DownloadError, RequestError
from promptengine.version import __version__

__all__ = ["TIMEOUT_S", "TOKEN_VARIABLE", "Web", "wait_before_retry"]

TOKEN_VARIABLE: Final = "CIVITAI_API_TOKEN"
"""Environment variable of the user's token."""

TIMEOUT_S: Final = 60.0
"""Seconds without an answer after which a host counts as silent."""

_CONNECT_S: Final = 15.0
_MOST_REDIRECTS: Final = 5
_MOST_ANSWER: Final = 16 << 20
_WAITS_S: Final = (1.0, 2.0, 4.0)
"""Before each further try."""

_LONGEST_WAIT_S: Final = 60.0
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Web:
    """Asks one site, and hosts that it redirects to. A context manager.

    Args:
        base: The site, such as ``https://civitai.com``.
        token: Of the user; empty for none.
        sleep: Waits for some seconds.
        timeout_s: Seconds without an answer after which a host counts as silent.

    Attributes:
        base: As given, without a slash at its end.
    """

    def __init__(
        self,
        base: str,
        token: str = "",
        *,
        sleep: Callable[[float], None] = time.sleep,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        try:
            self._origin = httpx.URL(base)
        except (httpx.InvalidURL, ValueError):
            raise RequestError(f"base_url is {base!r}, which is no URL", field="base_url") from None
        local = self._origin.host in _LOCAL_NAMES
        allowed = ("https", "http") if local else ("https",)
        if self._origin.scheme not in allowed or not self._origin.host:
            message = f"base_url is {base!r}; it must begin with https://"
            raise RequestError(message, field="base_url")
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            message = f"{TOKEN_VARIABLE} holds something else than a token; copy it again"
            raise RequestError(message, field="token")
        self.base = base.rstrip("/")
        self._token = token
        self._local = local
        self.sleep = sleep
        transport = _CheckedTransport(self._may_connect)
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        self._client = httpx.Client(transport=transport, trust_env=False, timeout=timeout)

    def __enter__(self) -> Web:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up on all hosts; nothing is asked any more."""
        self._client.close()

    @property
    def has_token(self) -> bool:
        """Whether there is one."""
        return bool(self._token)

    def _may_connect(self, host: str, address: _Address) -> bool:
        if host == self._origin.host:
            return True
        return (self._local and address.is_loopback) or _is_public(address)

    @contextmanager
    def stream(
        self, url: str, headers: Mapping[str, str] | None = None
    ) -> Generator[httpx.Response]:
        """Ask for an address, and follow redirects; the answer's content is not read yet.

        Args:
            url: Absolute.
            headers: To send, whichever host answers.

        Raises:
            DownloadError: An address that is not asked, or too many redirects.
            httpx.TransportError: The host cannot be reached, or the connection breaks.
        """
        place = self._checked(url)
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._client.send(self._request(place, headers or {}), stream=True)
            # A host sets cookies for itself alone, and none is wanted.
            self._client.cookies.clear()
            target = response.headers.get("location")
            if response.status_code not in _REDIRECTS or not target:
                try:
                    yield response
                finally:
                    response.close()
                return
            response.close()
            try:
                place = self._checked(str(place.join(target)))
            except (httpx.InvalidURL, ValueError):
                message = f"{place.host} redirects to something that is no address"
                raise DownloadError(message) from None
        raise DownloadError(f"{place.host} redirects more than {_MOST_REDIRECTS} times")

    def _request(self, place: httpx.URL, headers: Mapping[str, str]) -> httpx.Request:
        sent = {
            "User-Agent": f"promptengine/{__version__}",
            "Accept-Encoding": "identity",
            **headers,
        }
        here, there = self._origin, place
        same = (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
        if self._token and same:
            sent["Authorization"] = f"Bearer {self._token}"
        return self._client.build_request("GET", place, headers=sent)

    def _checked(self, url: str) -> httpx.URL:
        try:
            place = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            raise DownloadError("the site names an address that is none") from None
        if place.scheme == "https" and place.host:
            return place
        if place.scheme == "http" and self._local and place.host in _LOCAL_NAMES:
            return place
        told = f"{place.scheme or 'no scheme'}://{place.host}"
        raise DownloadError(f"{told} is not asked; only https is")

    def json(self, path: str, params: Mapping[str, str | list[str]] | None = None) -> Any:
        """Ask the site for a document; what passes by itself is tried again a few times.

        Args:
            path: Of the address, such as ``/api/v1/models/1``.
            params: Of the query.

        Returns:
            What the JSON holds, or None where the site knows no such thing (404).

        Raises:
            DownloadError: The site cannot be reached or answers with an error.
        """
        url = str(httpx.URL(self.base + path, params=params))
        for wait in (*_WAITS_S, None):
            try:
                with self.stream(url) as response:
                    if response.status_code not in _PASSING:
                        return self._document(response)
                    why, asked = self.refusal(response), response.headers.get("retry-after", "")
            except httpx.TransportError as error:
                why, asked = self.unreachable(error), ""
            wait_before_retry(self, why, asked, wait)
        raise AssertionError("the last try raises")

    def _document(self, response: httpx.Response) -> Any:
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise DownloadError(self.refusal(response))
        content = bytearray()
        for piece in response.iter_raw():
            content += piece
            if len(content) > _MOST_ANSWER:
                raise DownloadError(f"{self._origin.host} answers with more than is ever needed")
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            message = f"{self._origin.host} answers with something else than JSON; try again later"
            raise DownloadError(message) from None

    def refusal(self, response: httpx.Response) -> str:
        """Say what an answer's status means, with a remedy."""
        host, status = response.url.host, response.status_code
        if status in (401, 403):
            if self._token:
                return f"{host} refuses this ({status}): the token in {TOKEN_VARIABLE} does not allow it"
            return f"{host} refuses this ({status}): set {TOKEN_VARIABLE} to a token of your account there"
        if status == 429:
            return f"{host} is asked too often ({status}); wait some minutes"
        if status in (404, 410):
            return f"{host} has no such thing ({status})"
        return f"{host} answers with an error ({status}); try again later"

    def unreachable(self, error: httpx.TransportError) -> str:
        """Say why a host cannot be asked."""
        cause = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        what = f"broke the connection off ({cause})"
        if isinstance(error, httpx.TimeoutException):
            what = "takes too long to answer"
        elif isinstance(error, httpx.ConnectError):
            what = f"cannot be reached ({cause})"
        return f"{self._origin.host} {what}; try again later"


def wait_before_retry(web: Web, why: str, asked: str, wait: float | None) -> None:
    """Wait before a further try, as long as the host asks for.

    Args:
        web: What asks.
        why: What went wrong.
        asked: The host's ``Retry-After``, or empty.
        wait: Seconds to wait at least; None where no further try is left.

    Raises:
        DownloadError: There is none, or the host asks to wait too long.
    """
    seconds = float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 9 else 0.0
    if wait is None or seconds > _LONGEST_WAIT_S:
        later = f"; it asks to wait {seconds:.0f} seconds" if seconds else ""
        raise DownloadError(why + later)
    web.sleep(max(wait, seconds))


class _CheckedTransport(httpx.BaseTransport):
    """Looks names up once, and connects to what it has checked.

    Args:
        may_connect: Takes a host and one of its addresses.
    """

    def __init__(self, may_connect: Callable[[str, _Address], bool]) -> None:
        self._may_connect = may_connect
        self._inner = httpx.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        addresses = _lookup(host, port)
        if not all(self._may_connect(host, address) for address in addresses):
            raise DownloadError(f"{host} lies in a private network and is not asked")
        error: httpx.TransportError = httpx.ConnectError("no address")
        for address in addresses:
            # The name stays in the header and in what the certificate is checked for.
            there = httpx.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return self._inner.handle_request(there)
            except (httpx.ConnectError, httpx.ConnectTimeout) as failure:
                error = failure
        raise error

    def close(self) -> None:
        self._inner.close()


def _lookup(host: str, port: int) -> list[_Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise httpx.ConnectError(f"no host {host[:100]!r} is known") from None
    texts = dict.fromkeys(str(place[4][0]).partition("%")[0] for place in found)
    return [ipaddress.ip_address(text) for text in texts]


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return _is_public(inner)
        if address in _NAT64:
            return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
