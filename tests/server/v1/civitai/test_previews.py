"""Previews of Civitai's through the server: small, and no way to ask anybody else."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import httpx
import pytest
from PIL import Image

from promptengine import DownloadError
from promptengine.civitai import previews as previews_module
from promptengine.civitai.web import Web
from promptengine.registry.registry import Registry
from promptengine.server.civitai import catalog as catalog_module
from promptengine.server.civitai.catalog import Catalog
from promptengine.server.errors import HTTPRefusal
from tests.civitai.site import FakeSite
from tests.civitai.test_keep import CONTENT
from tests.server.v1.civitai.asking import CIVITAI, found, preview


def test_previews_are_small_and_for_all_ages(http: httpx.Client, fake: FakeSite) -> None:
    fake.add(1, CONTENT)
    (model,) = found(http)
    answer = preview(http, model)
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == "WEBP" and max(image.size) == 320
        assert image.getpixel((5, 5))[0] > 200, "the blue one is not for all ages"
    (seen,) = fake.stored
    assert "authorization" not in seen.headers
    (model,) = found(http, nsfw=True)
    assert "nsfw=true" in fake.seen[-1].path
    with Image.open(io.BytesIO(preview(http, model).content)) as image:
        assert image.getpixel((5, 5))[2] > 200
    fake.documents[1]["images"] = fake.documents[1]["images"][:1]
    assert found(http)[0]["preview"] is None


def test_only_what_a_search_has_found_is_shown(http: httpx.Client, fake: FakeSite) -> None:
    fake.add(1, CONTENT)
    (model,) = found(http)
    name, url = model["preview"], f"{fake.storage_url}/red.jpeg"
    digest = hashlib.sha256(url.encode()).hexdigest()[:40]
    for wrong in (
        *("0" * 40, digest, name[::-1], name.upper(), name + "0", name[:-1], "..%2f" + name),
        *(
            url,
            url.replace("/", "%2F"),
            "http:%2F%2F169.254.169.254%2F",
            "file:%2F%2F%2Fetc%2Fpasswd",
        ),
        *(f"{'0' * 40}?url={url}", f"{'0' * 40}?preview={name}"),
    ):
        answer = http.get(f"{CIVITAI}/previews/{wrong}")
        assert answer.status_code in (404, 422), wrong
    assert not fake.stored
    assert http.get(f"{CIVITAI}/previews/{name}").status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        *("http://192.168.0.1/x.png", "https://192.168.0.1/x.png", "https://[fd00::1]/x.png"),
        *("https://169.254.169.254/latest/meta-data", "https://[::ffff:10.0.0.1]/x", "https://0/x"),
        *("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "//10.0.0.1/x", "x"),
        *("data:image/png;base64,AAAA", "http://[", "https:///x", "https://user@10.0.0.1/x"),
    ],
)
def test_a_site_cannot_have_the_server_ask_others(
    http: httpx.Client, fake: FakeSite, url: str
) -> None:
    fake.add(1, CONTENT, images=[{"url": url, "nsfwLevel": 1, "type": "image"}])
    (model,) = found(http)
    answer = preview(http, model)
    assert answer.status_code == 502, answer.text
    detail = answer.json()["detail"]
    assert any(one in detail for one in ("is not asked", "private network", "that is none"))
    assert not fake.stored


def test_previews_lead_to_no_service_of_this_machine(fake: FakeSite, models: Path) -> None:
    """Beside a site that is elsewhere, this machine is a private network as well."""
    catalog = Catalog(Registry.open(models), lambda **how: Web("https://civitai.com", **how))
    port = fake.storage_url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]"):
        for scheme in ("http", "https"):
            name = catalog.name_preview(f"{scheme}://{host}:{port}/red.jpeg")
            assert name is not None
            with pytest.raises(DownloadError, match=r"private network|only https"):
                catalog.preview(name)
    assert not fake.stored
    catalog.close(0)


def test_what_previews_are_told_of_is_bounded(
    fake: FakeSite, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_MOST_PREVIEWS", 3)
    catalog = Catalog(Registry.open(models))
    assert catalog.name_preview("https://a.example/" + "x" * 2000) is None
    named = [catalog.name_preview(f"{fake.storage_url}/{color}.jpeg") for color in ("red", "blue")]
    assert named == [
        catalog.name_preview(f"{fake.storage_url}/{color}.jpeg") for color in ("red", "blue")
    ], "browsers keep what has the same name"
    for number in range(3):
        catalog.name_preview(f"https://a.example/{number}")
    with pytest.raises(HTTPRefusal, match="search again"):
        catalog.preview(str(named[0]))
    catalog.close(0)


BOMB = io.BytesIO()


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/html", b"<script>alert(1)</script>"),
        ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        ("image/png", b"<script>alert(1)</script>"),
        ("image/png", b""),
        ("image/png", BOMB.getvalue()),
        ("application/octet-stream", CONTENT),
    ],
)
def test_a_preview_that_is_none_is_not_passed_on(
    http: httpx.Client, fake: FakeSite, kind: str, content: bytes
) -> None:
    fake.add(1, CONTENT)
    fake.images["/red.jpeg"] = kind, content
    answer = preview(http, found(http)[0])
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/json"
    assert b"alert" not in answer.content


def test_a_preview_is_bounded(
    http: httpx.Client, fake: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(1, CONTENT)
    (model,) = found(http)
    for limit, most in (("_MOST_BYTES", 1000), ("_MOST_S", -1.0)):
        with monkeypatch.context() as patch:
            patch.setattr(previews_module, limit, most)
            answer = preview(http, model)
            assert answer.status_code == 502 and "than any preview" in answer.json()["detail"]
