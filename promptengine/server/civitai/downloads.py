"""Downloads that a server does at the request of its clients, one after another, in the background."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, Protocol

from promptengine.civitai.keep import Download, download, kind_of_type
from promptengine.civitai.shapes import ModelVersion, VersionFile
from promptengine.civitai.site import Reference, Site
from promptengine.civitai.web import Web
from promptengine.errors import PromptEngineError, RequestError
from promptengine.kinds import model_kinds
from promptengine.registry.registry import Registry
from promptengine.server.errors import HTTPRefusal, ServerStopping

__all__ = ["DownloadOrder", "DownloadState", "DownloadView", "Downloads"]

DownloadState = Literal["waiting", "downloading", "stopping", "done", "failed", "cancelled"]

_ROOM: Final = 32
_KEPT: Final = 100
_TOLD_S: Final = 0.1
"""Seconds between two words of how far a download is; it grows in quicker steps."""

_log = logging.getLogger("promptengine.server")


@dataclass(frozen=True, slots=True)
class DownloadOrder:
    """What is to be downloaded.

    Attributes:
        version: The id of a version of a model.
        file: The name of one of its files; empty for the one that is meant.
        nsfw: Whether its preview may be one that is not for all ages.
        overwrite: Whether another file of its name may be replaced.
    """

    version: int
    file: str = ""
    nsfw: bool = False
    overwrite: bool = False

    def is_same(self, other: DownloadOrder) -> bool:
        """Return whether both want the same file."""
        return (self.version, self.file) == (other.version, other.file)


@dataclass(frozen=True, slots=True)
class DownloadView:
    """Where a download is.

    Attributes:
        id: Not to be guessed.
        order: What was asked for.
        state: What it does.
        model: Names of the model and its version, once they are known.
        file: The file's name at the site, likewise.
        kind: Of the file, likewise.
        done: Bytes that are here.
        total: Bytes that there are to be; None where that is not known.
        path: The file, once it is whole and verified.
        network: What it is called in lists; empty where it has not been found there.
        fresh: Whether it was not there before.
        notes: What could not be laid beside it, and what the site's scans say.
        error: Why it failed; empty where it did not.
        taken: Whether it failed since another file has its name.
    """

    id: str
    order: DownloadOrder
    state: DownloadState = "waiting"
    model: str = ""
    file: str = ""
    kind: str | None = None
    done: int = 0
    total: int | None = None
    path: Path | None = None
    network: str = ""
    fresh: bool = False
    notes: tuple[str, ...] = ()
    error: str = ""
    taken: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether more will come."""
        return self.state in ("waiting", "downloading", "stopping")


class OpenWeb(Protocol):
    """Opens what asks the site."""

    def __call__(self, *, sleep: Callable[[float], None] = ..., timeout_s: float = ...) -> Web:
        """Return it.

        Args:
            sleep: Waits for some seconds between tries.
            timeout_s: Seconds without an answer after which a host counts as silent.
        """
        ...


class _CancelledError(Exception):
    """Nobody wants the file any more."""


@dataclass(slots=True, eq=False)
class Downloads:
    """Downloads in a thread of its own, in the order in which they were asked for. Threads may share it.

    Attributes:
        registry: Whose folders the files go to.
        open_web: Opens what asks the site, for one download.
    """

    registry: Registry
    open_web: OpenWeb
    _views: dict[str, DownloadView] = field(default_factory=dict[str, DownloadView])
    _cancels: dict[str, threading.Event] = field(default_factory=dict[str, threading.Event])
    _thread: threading.Thread | None = None
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def views(self) -> list[DownloadView]:
        """Return all that are known of, in their order; of those that have ended the last hundred."""
        with self._lock:
            return list(self._views.values())

    def start(self, order: DownloadOrder) -> DownloadView:
        """Have a file downloaded; one that is being downloaded is not taken up twice.

        Raises:
            HTTPRefusal: 503, where too many wait or the server is stopping.
        """
        with self._lock:
            if self._closed:
                raise ServerStopping()
            active = [view for view in self._views.values() if view.goes_on]
            for view in active:
                if view.state != "stopping" and view.order.is_same(order):
                    return view
            if len(active) >= _ROOM:
                message = f"{_ROOM} downloads wait; ask again when some are finished"
                raise HTTPRefusal(message, status=503, retry_after_s=60)
            view = DownloadView(secrets.token_urlsafe(12), order)
            self._views[view.id], self._cancels[view.id] = view, threading.Event()
            self._forget()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="downloads", daemon=True)
                self._thread.start()
            return view

    def cancel(self, id_: str) -> DownloadView | None:
        """End a download; what is here of it stays, and the next one of the file goes on from there.

        Returns:
            Where it is now; None where there is none of this id.
        """
        with self._lock:
            view = self._views.get(id_)
            if view is None or not view.goes_on:
                return view
            self._cancels[id_].set()
            state: DownloadState = "cancelled" if view.state == "waiting" else "stopping"
            self._views[id_] = replace(view, state=state)
            return self._views[id_]

    def close(self, grace_s: float) -> None:
        """Cancel all for good, and wait some seconds for the last one to notice."""
        with self._lock:
            self._closed, thread = True, self._thread
            known = list(self._views)
        for id_ in known:
            self.cancel(id_)
        if thread is not None:
            thread.join(grace_s)

    def _forget(self) -> None:
        """Forget the oldest of those that have ended; the caller holds the lock."""
        ended = [id_ for id_, view in self._views.items() if not view.goes_on]
        for id_ in ended[: max(len(ended) - _KEPT, 0)]:
            del self._views[id_], self._cancels[id_]

    def _work(self) -> None:
        while (view := self._next()) is not None:
            outcome = self._outcome(view)
            self._change(view.id, **outcome)
            facts = {"version": view.order.version, "state": outcome["state"]}
            _log.info("download ended", extra={"facts": facts})

    def _next(self) -> DownloadView | None:
        """Take up the next one that waits; where there is none, the thread ends."""
        with self._lock:
            view = next((one for one in self._views.values() if one.state == "waiting"), None)
            if view is None:
                self._thread = None
                return None
            self._views[view.id] = replace(view, state="downloading")
            return view

    def _change(self, id_: str, **some: object) -> None:
        with self._lock:
            self._views[id_] = replace(self._views[id_], **some)

    def _outcome(self, view: DownloadView) -> dict[str, object]:
        """Download a file; return what that changes."""
        try:
            made = self._downloaded(view)
            kind = kind_of_type(made.version.type)
            network = "" if kind is None else self._listed(kind.name, made.path)
        except _CancelledError:
            return {"state": "cancelled"}
        except Exception as error:  # noqa: BLE001 - whatever ends the thread must not end in silence
            return _failure(error)
        told = {"state": "done", "path": made.path, "network": network}
        return {**told, "fresh": made.fresh, "notes": made.notes}

    def _downloaded(self, view: DownloadView) -> Download:
        cancel, order = self._cancels[view.id], view.order
        told = 0.0

        def on_bytes(done: int, total: int | None) -> None:
            nonlocal told
            if cancel.is_set():
                raise _CancelledError
            if done == total or time.monotonic() - told >= _TOLD_S:
                told = time.monotonic()
                self._change(view.id, done=done, total=total)

        def on_version(version: ModelVersion, file: VersionFile) -> None:
            if cancel.is_set():
                raise _CancelledError
            kind = kind_of_type(version.type)
            model = " – ".join(filter(None, (version.model, version.name)))
            name = None if kind is None else kind.name
            self._change(view.id, model=model, file=file.name, kind=name, total=file.size)

        def sleep(seconds: float) -> None:
            if cancel.wait(seconds):
                raise _CancelledError

        with self.open_web(sleep=sleep) as web:
            return download(
                Site(web),
                Reference(version=order.version),
                {kind: self.registry.folders(kind) for kind in model_kinds()},
                name=order.file,
                force=order.overwrite,
                nsfw=order.nsfw,
                on_bytes=on_bytes,
                on_version=on_version,
            )

    def _listed(self, kind: str, path: Path) -> str:
        """Look at the folders again, and return what a new file is called there."""
        self.registry.refresh()
        entries = self.registry.entries(kind)
        return next((entry.name for entry in entries if entry.path == path), "")


def _failure(error: Exception) -> dict[str, object]:
    """Return what an error makes of a download."""
    taken = isinstance(error, RequestError) and error.field == "target"
    if taken:
        why = "another file of this name is in its folder; have it replaced, or rename it"
    elif isinstance(error, PromptEngineError):
        why = str(error)
    elif isinstance(error, OSError):
        why = error.strerror or "a file cannot be read or written"
    else:
        _log.error("a download failed", exc_info=error)
        why = "the download failed inside the server; its log says why"
    return {"state": "failed", "error": why, "taken": taken}
