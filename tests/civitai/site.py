"""A site on this machine that speaks as Civitai's API documents it, and a second host that it redirects to."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image


@dataclass
class Seen:
    """A request: where to, and with what."""

    path: str
    headers: dict[str, str]


@dataclass
class FakeSite:
    """What the site holds, and how it behaves.

    Attributes:
        url: Of itself.
        storage_url: Of the host that files lie on.
        files: Contents by the number of their version.
        documents: Versions by number.
        statuses: Answered first, one after the other: a status, and headers.
        cut: Bytes of content after which the storage breaks off; each is used once.
        ranges: Whether the storage knows ranges.
        etag: Of all files; empty for none.
        redirects: Where downloads are redirected to, in place of the storage.
        images: What the storage answers for an image, in place of one: a type and content.
        held_after: Bytes of a file after which the storage waits for ``gate``; 0 for no wait.
        gate: Lets files that are held go on.
        answers: Searches wait for it.
        seen: Requests to the site.
        stored: Requests to the storage.
    """

    url: str = ""
    storage_url: str = ""
    files: dict[int, bytes] = field(default_factory=dict)
    documents: dict[int, dict[str, Any]] = field(default_factory=dict)
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    ranges: bool = True
    etag: str = '"one"'
    redirects: dict[str, str] = field(default_factory=dict)
    images: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    held_after: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    answers: threading.Event = field(default_factory=threading.Event)
    seen: list[Seen] = field(default_factory=list)
    stored: list[Seen] = field(default_factory=list)

    def add(
        self,
        number: int,
        content: bytes,
        *,
        name: str = "ink.pt",
        type_: str = "Hypernetwork",
        **more: Any,
    ) -> dict[str, Any]:
        """Add a version with one file; the model's number is ten times its own."""
        digest = hashlib.sha256(content).hexdigest().upper()
        address = f"{self.url}/api/download/models/{number}"
        file: dict[str, Any] = {
            "id": number + 1,
            "name": name,
            "type": "Model",
            "sizeKB": len(content) / 1024,
            "metadata": {"format": "PickleTensor", "size": None, "fp": None},
            "pickleScanResult": "Success",
            "virusScanResult": "Success",
            "hashes": {"AutoV2": digest[:10], "SHA256": digest, "CRC32": "DAEE95B7"},
            "downloadUrl": address,
            "primary": True,
        }
        file |= more.pop("file", {})
        document: dict[str, Any] = {
            "id": number,
            "modelId": number * 10,
            "name": "v1.0",
            "description": "<p>Ink &amp; wash</p><p>at 0.8</p>",
            "baseModel": "SD 1.5",
            "createdAt": "2025-12-18T08:55:00.000Z",
            "trainedWords": ["ink wash", "sumi"],
            "stats": {"downloadCount": 7},
            "model": {"name": "Ink", "type": type_, "nsfw": False, "poi": False},
            "files": [file],
            "images": [
                {"url": f"{self.storage_url}/blue.jpeg", "nsfwLevel": 8, "type": "image"},
                {"url": f"{self.storage_url}/clip.mp4", "nsfwLevel": 1, "type": "video"},
                {"url": f"{self.storage_url}/red.jpeg", "nsfwLevel": 1, "type": "image"},
            ],
            "downloadUrl": address,
        } | more
        self.files[number], self.documents[number] = content, document
        return document


def _image(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1200, 800), color).save(buffer, "JPEG")
    return buffer.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: FakeSite

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def note(self, seen: list[Seen]) -> str:
        seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}))
        return urlsplit(self.path).path


class _Api(_Handler):
    def do_GET(self) -> None:
        path = self.note(self.site.seen)
        if self.site.statuses:
            status, headers = self.site.statuses.pop(0)
            self.send(status, b"", headers)
            return
        if path.startswith("/api/download/models/"):
            number = path.rpartition("/")[2]
            where = self.site.redirects.get(number, f"{self.site.storage_url}/files/{number}?sig=1")
            self.send(307, b"", {"Location": where})
            return
        found = self.answer(path)
        status = 404 if found is None else 200
        body = json.dumps({"error": "Model not found"} if found is None else found).encode()
        self.send(status, body, {"Content-Type": "application/json"})

    def answer(self, path: str) -> Any:
        documents = self.site.documents
        if path == "/api/v1/models":
            return self.found(parse_qs(urlsplit(self.path).query))
        if match := re.fullmatch(r"/api/v1/models/(\d+)", path):
            return self.model(int(match[1]) // 10)
        if match := re.fullmatch(r"/api/v1/model-versions/(\d+)", path):
            return documents.get(int(match[1]))
        if match := re.fullmatch(r"/api/v1/model-versions/by-hash/(\w+)", path):
            for document in documents.values():
                if any(match[1] in file["hashes"].values() for file in document["files"]):
                    return document
        return None

    def model(self, number: int) -> Any:
        document = self.site.documents.get(number)
        if document is None:
            return None
        versions = [{k: v for k, v in document.items() if k != "model"}]
        model = {
            "id": number * 10,
            "creator": {"username": "someone"},
            "stats": {"downloadCount": 7},
        }
        return model | document["model"] | {"modelVersions": versions}

    def found(self, asked: dict[str, list[str]]) -> Any:
        self.site.answers.wait(120)
        models = [self.model(number) for number in self.site.documents]
        wanted = asked.get("types")
        items = [m for m in models if wanted is None or m["type"] in wanted]
        text = asked.get("query", [""])[0].lower()
        items = [m for m in items if text in m["name"].lower()]
        start, limit = int(asked.get("cursor", ["0"])[0]), int(asked["limit"][0])
        end = start + limit
        more = {"nextCursor": str(end)} if end < len(items) else {}
        return {"items": items[start:end], "metadata": {"pageSize": limit, **more}}


class _Storage(_Handler):
    def do_GET(self) -> None:
        path = self.note(self.site.stored)
        if path.endswith(".jpeg"):
            kind, image = self.site.images.get(path) or ("image/jpeg", _image(path[1:-5]))
            self.send(200, image, {"Content-Type": kind})
            return
        content = self.site.files[int(path.rpartition("/")[2])]
        etag = {"ETag": self.site.etag} if self.site.etag else {}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", self.site.etag) == self.site.etag
        if asked is None or not self.site.ranges or not same:
            self.piece(200, content, {**etag})
        elif (start := int(asked[1])) >= len(content):
            self.send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        else:
            reach = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.piece(206, content[start:], {**etag, "Content-Range": reach})

    def piece(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.site.cut:
            content = content[: self.site.cut.pop(0)]
            self.close_connection = True
        if held := self.site.held_after:
            self.wfile.write(content[:held])
            self.wfile.flush()
            self.site.gate.wait(120)
            content = content[held:]
        with suppress(ConnectionError):
            self.wfile.write(content)


@contextmanager
def running() -> Generator[FakeSite]:
    """Serve both hosts."""
    site = FakeSite()
    site.answers.set()
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (kind,), {"site": site}))
        for kind in (_Api, _Storage)
    ]
    site.url, site.storage_url = (f"http://127.0.0.1:{s.server_address[1]}" for s in servers)
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        for server in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield site
    finally:
        for held in (site.gate, site.answers):
            held.set()
        for server in servers:
            server.shutdown()
            server.server_close()
