"""Civitai for a server's clients: what it finds, small images of that, and what of it is here."""

from __future__ import annotations

import asyncio
import hmac
import io
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from promptengine.civitai.hashes import describe_hash, hashes_in, look_up
from promptengine.civitai.keep import file_name
from promptengine.civitai.previews import get_preview, small_image
from promptengine.civitai.shapes import FoundPage, VersionFile
from promptengine.civitai.site import Site, open_web
from promptengine.errors import DownloadError
from promptengine.kinds import ModelKind
from promptengine.registry.registry import Registry
from promptengine.server.civitai.downloads import Downloads, OpenWeb
from promptengine.server.errors import HTTPRefusal, ServerStopping

__all__ = ["Catalog"]

T = TypeVar("T")

_SIDE: Final = 320
_QUALITY: Final = 80
_TIMEOUT_S: Final = 20.0
_LONGEST_WAIT_S: Final = 5.0
_AT_ONCE: Final = 6
"""Questions that are asked at the same time; others of these threads wait for silent hosts."""

_ROOM: Final = 200
_MOST_PREVIEWS: Final = 5000
_LONGEST_URL: Final = 2000
_SLACK: Final = 1024
"""The site rounds sizes."""


class Catalog:
    """What a server's clients may ask of the site. Threads may share it.

    Args:
        registry: What is here.
        open_web: Opens what asks the site; by default the one, and by the token, that the environment names.

    Attributes:
        site: What is asked.
        downloads: The downloads.

    Raises:
        RequestError: The site or the token cannot be used.
    """

    def __init__(self, registry: Registry, open_web: OpenWeb = open_web) -> None:
        self._closing = threading.Event()
        self.site = Site(open_web(sleep=self._wait, timeout_s=_TIMEOUT_S))
        self.downloads = Downloads(registry, open_web)
        self._registry = registry
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="civitai")
        self._room = threading.BoundedSemaphore(_ROOM)
        self._secret = secrets.token_bytes(32)
        self._previews: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()
        self._decoding = threading.Lock()

    def close(self, grace_s: float) -> None:
        """Cancel the downloads, and answer nothing more.

        Args:
            grace_s: Seconds that the download in progress gets to notice.
        """
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.downloads.close(grace_s)
        self.site.web.close()

    def _wait(self, seconds: float) -> None:
        """Wait between tries, but not longer than a person does.

        Raises:
            DownloadError: It would be longer, or the server is stopping.
        """
        if seconds > _LONGEST_WAIT_S:
            raise DownloadError(f"the site asks to wait {seconds:.0f} seconds; try again then")
        if self._closing.wait(seconds):
            raise DownloadError("the server is stopping")

    async def ask(self, question: Callable[[], T]) -> T:
        """Ask on a thread that keeps no other route waiting.

        Args:
            question: What to do there.

        Raises:
            HTTPRefusal: 503, where too many wait for the site.
            Exception: Whatever the question raises.
        """
        if not self._room.acquire(blocking=False):
            message = "too many wait for Civitai; try again in a moment"
            raise HTTPRefusal(message, status=503, retry_after_s=5)
        try:
            future = self._pool.submit(question)
        except RuntimeError:
            self._room.release()
            raise ServerStopping() from None
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._room.release()

    def search(
        self, text: str, kind: ModelKind | None, *, limit: int, nsfw: bool, cursor: str
    ) -> FoundPage:
        """Return what the site finds.

        Args:
            text: What to look for.
            kind: Of the models; None for any.
            limit: The most to return.
            nsfw: Also what is not for all ages.
            cursor: What the page before this one leads on with; empty for the first.

        Raises:
            DownloadError: The site cannot be asked.
        """
        types = () if kind is None else kind.civitai_types
        return self.site.search(text.strip(), types, limit=limit, nsfw=nsfw, cursor=cursor)

    def name_preview(self, url: str) -> str | None:
        """Return a name by which an image that the site has named can be asked for; None for none that can."""
        if not url or len(url) > _LONGEST_URL:
            return None
        digest = hmac.digest(self._secret, url.encode("utf-8", "surrogatepass"), "sha256")
        name = digest.hex()[:40]
        with self._lock:
            self._previews[name] = url
            self._previews.move_to_end(name)
            while len(self._previews) > _MOST_PREVIEWS:
                self._previews.popitem(last=False)
        return name

    def preview(self, name: str) -> bytes:
        """Return a small image as WEBP.

        Args:
            name: Of :meth:`name_preview`: no other address is ever asked.

        Raises:
            HTTPRefusal: 404, for any other name.
            DownloadError: The image cannot be had, or is none.
        """
        with self._lock:
            url = self._previews.get(name)
        if url is None:
            raise HTTPRefusal("no such preview; search again", status=404)
        content = get_preview(self.site.web, url)
        # One at a time: what is decoded may take some hundred megabytes.
        with self._decoding:
            image, file = small_image(content, _SIDE), io.BytesIO()
            image.convert("RGB").save(file, "WEBP", quality=_QUALITY)
        return file.getvalue()

    def here(self, file: VersionFile, version: int, kind: ModelKind) -> str | None:
        """Return what a file of the site is called here; None where it is not here.

        Its SHA-256 decides. It is computed only of a file that has its name and size.

        Args:
            file: As the site tells of it.
            version: The id of its version.
            kind: Of the file.
        """
        if file.size is None or not file.sha256:
            return None
        name, digests = file_name(file, version, kind), self._registry.digests
        for entry in self._registry.current_entries(kind.name):
            if abs(entry.size - file.size) > _SLACK or entry.path.is_dir():
                continue
            try:
                named = entry.path.name == name
                digest = digests.of(entry.path) if named else digests.known(entry.path)
            except OSError:
                continue
            if digest == file.sha256:
                return entry.name
        return None

    def describe_hashes(self, entries: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what the hashes of an infotext belong to, a document for each.

        Args:
            entries: Of the infotext.

        Raises:
            DownloadError: The site cannot be asked.
        """
        found = look_up(self.site, hashes_in(entries), {})
        return [describe_hash(self.site, one, version) for one, version in found]
