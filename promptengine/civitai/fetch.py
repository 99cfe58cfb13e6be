"""Gets a file piece by piece: what was interrupted goes on where it stopped, and only what was promised is kept.

A file grows as ``.NAME.DIGEST.part`` beside its place. Beside that, ``….part.etag`` remembers which file of the
server it is a part of, so that ``If-Range`` lets a server whose file has changed begin anew. Servers without ranges
do that always. In the end the SHA-256 decides, whatever happened on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from promptengine.civitai.web import Web, wait_before_retry
from promptengine.errors import DownloadError
from promptengine.files.hashing import sha256

__all__ = ["MOST_BYTES", "Wanted", "fetch_file", "part_of"]

MOST_BYTES: Final = 64 << 30
"""Of one file, where the site does not say how large it is."""

_SLACK: Final = 1024
"""The site rounds sizes."""

_TRIES: Final = 5
"""In a row that bring nothing new."""

_LONGEST_WAIT_S: Final = 8.0
_MOST_ETAG: Final = 1024
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})

OnBytes = Callable[[int, "int | None"], None]
"""Takes how many bytes are here and how many there are to be, where that is known."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that a site promises.

    Attributes:
        url: Where it is.
        sha256: Of its content, in lower case.
        size: Bytes, nearly; None where it is not said.
    """

    url: str
    sha256: str
    size: int | None

    @property
    def most(self) -> int:
        """Bytes above which it is not what was promised."""
        return MOST_BYTES if self.size is None else self.size + _SLACK


class _Broken(Exception):
    """The connection ended before the file did, or the server is busy; ``asked`` is its ``Retry-After``."""

    def __init__(self, why: str, asked: str = "") -> None:
        super().__init__(why)
        self.asked = asked


def part_of(target: Path, digest: str) -> Path:
    """Return where a file grows before it is whole."""
    return target.with_name(f".{target.name}.{digest[:12]}.part")


def fetch_file(web: Web, wanted: Wanted, target: Path, on_bytes: OnBytes | None = None) -> Path:
    """Get a file, or what is missing of it.

    Args:
        web: What asks.
        wanted: What for.
        target: Where it is to be in the end; nothing is written there.
        on_bytes: Told as it grows.

    Returns:
        Where it is: see :func:`part_of`.

    Raises:
        DownloadError: It is not what was promised, which removes it, or it cannot be had now; then what there is of
            it stays, and the next call goes on.
    """
    part = part_of(target, wanted.sha256)
    download = _Download(web, wanted, part, on_bytes or (lambda _done, _total: None))
    if _size(part) > wanted.most:
        download.forget()
    resumed = _size(part) > 0
    while True:
        download.finish()
        if _digest(part) == wanted.sha256:
            return part
        download.forget()
        if not resumed:
            message = "the file's SHA-256 is not the one that the site tells; it was removed. Try again later"
            raise DownloadError(message)
        # What was here may have been a part of something else.
        resumed = False


@dataclass(slots=True)
class _Download:
    web: Web
    wanted: Wanted
    part: Path
    on_bytes: OnBytes

    @property
    def _etag(self) -> Path:
        return self.part.with_name(f"{self.part.name}.etag")

    def forget(self) -> None:
        """Remove what there is."""
        for path in (self.part, self._etag):
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Ask until everything is here.

        Raises:
            DownloadError: It cannot be had.
        """
        failures = 0
        while True:
            before = _size(self.part)
            try:
                self._ask(before)
                return
            except httpx.TransportError as error:
                broken = _Broken(self.web.unreachable(error))
            except _Broken as error:
                broken = error
            except OSError as error:
                message = f"{self.part.parent} cannot be written: {error.strerror or error}"
                raise DownloadError(f"{message}; once it can, the next download goes on") from None
            here = _size(self.part)
            failures = 0 if here > before else failures + 1
            wait = None if failures >= _TRIES else min(2.0 ** (failures - 1), _LONGEST_WAIT_S)
            kept = (
                f"; {here} bytes are here, and the next download goes on from there" if here else ""
            )
            wait_before_retry(self.web, f"{broken}{kept}", broken.asked, wait)

    def _ask(self, have: int) -> None:
        headers: dict[str, str] = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            if etag := self._known_etag():
                headers["If-Range"] = etag
        with self.web.stream(self.wanted.url, headers) as response:
            status = response.status_code
            if status in _PASSING:
                raise _Broken(self.web.refusal(response), response.headers.get("retry-after", ""))
            if status == 416 and have:
                self._past_end(response, have)
            elif status == 206 and have:
                self._go_on(response, have)
            elif status == 200:
                self._begin(response)
            else:
                raise DownloadError(self.web.refusal(response))

    def _past_end(self, response: httpx.Response, have: int) -> None:
        """Take it that all is here where the server says so; else begin anew."""
        if response.headers.get("content-range", "") != f"bytes */{have}":
            self.forget()
            raise _Broken(f"{response.url.host} has another file now")

    def _go_on(self, response: httpx.Response, have: int) -> None:
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if found is None or int(found[1]) != have:
            self.forget()
            raise _Broken(f"{response.url.host} answers with another part than the one asked for")
        total = None if found[3] == "*" else int(found[3])
        self._receive(response, have, total)

    def _begin(self, response: httpx.Response) -> None:
        if response.headers.get("content-type", "").startswith("text/html"):
            host = response.url.host
            token = "" if self.web.has_token else "; perhaps it wants a token"
            raise DownloadError(f"{host} answers with a page in place of the file{token}")
        length = response.headers.get("content-length", "")
        total = (
            int(length) if length.isascii() and length.isdecimal() and len(length) < 19 else None
        )
        etag = response.headers.get("etag", "")
        self.forget()
        # A weak one stands for files that are alike, not the same.
        if etag.startswith('"') and len(etag) <= _MOST_ETAG and etag.isascii():
            self._etag.write_text(etag, encoding="ascii")
        self._receive(response, 0, total)

    def _receive(self, response: httpx.Response, have: int, total: int | None) -> None:
        most = self.wanted.most
        if total is not None and total > most:
            self.forget()
            raise DownloadError(
                f"the file has {total} bytes, and the site tells of {most - _SLACK}"
            )
        with self.part.open("ab", buffering=0) as file:
            for piece in response.iter_raw():
                have += len(piece)
                if have > most:
                    break
                _write(file.write, piece)
                self.on_bytes(have, total or self.wanted.size)
        if have > most:
            self.forget()
            raise DownloadError(
                f"the file has more bytes than the {most - _SLACK} that the site tells"
            )
        if total is not None and have < total:
            raise _Broken(f"{response.url.host} broke off after {have} of {total} bytes")

    def _known_etag(self) -> str:
        try:
            etag = self._etag.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""
        return etag if etag.isprintable() and len(etag) <= _MOST_ETAG else ""


def _write(write: Callable[[memoryview], int | None], piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[write(left) or 0 :]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise DownloadError(f"{path.parent} cannot be read: {error.strerror or error}") from None
