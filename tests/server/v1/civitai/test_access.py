"""Who may have the server ask Civitai, and that nobody else has to wait for it."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import httpx
import pytest

from promptengine.civitai import web as web_module
from promptengine.server.app import create_app
from promptengine.server.civitai import catalog as catalog_module
from promptengine.server.civitai import downloads as downloads_module
from promptengine.server.config import ServerConfig
from promptengine.server.errors import HTTPRefusal
from tests.civitai.site import FakeSite
from tests.civitai.test_keep import CONTENT, weights
from tests.server.live import Painter, client_of, until
from tests.server.v1.civitai.asking import (
    CIVITAI,
    EVIL_PAGE,
    FOREIGN,
    NETWORKS,
    begin,
    ended,
    found,
    told,
)


def test_hidden_paths_stay_hidden(
    fake: FakeSite, models: Path, tmp_path: Path, painter: Painter
) -> None:
    config = ServerConfig(models=models, output=tmp_path / "out", civitai=True, hide_paths=True)
    fake.add(1, CONTENT)
    with client_of(create_app(config, [painter])) as http:
        (models / "hypernetworks").write_text("a file where the folder should be")
        told = ended(http, begin(http))
        assert "hypernetworks cannot be written" in told["error"]
        assert str(tmp_path) not in told["error"]
        (models / "hypernetworks").unlink()
        assert ended(http, begin(http))["folder"] == "hypernetworks"


def test_other_pages_can_do_none_of_it(http: httpx.Client, fake: FakeSite) -> None:
    fake.add(1, CONTENT)
    (model,) = found(http)
    asked = len(fake.seen)
    for headers in (EVIL_PAGE, {"Origin": "null"}, FOREIGN):
        for answer in (
            http.post(f"{CIVITAI}/search", json={"text": "ink"}, headers=headers),
            http.post(f"{CIVITAI}/downloads", json={"version": 1}, headers=headers),
            http.post(f"{CIVITAI}/hashes", json={"infotext": "a"}, headers=headers),
            http.delete(f"{CIVITAI}/downloads/x", headers=headers),
            http.get(f"{CIVITAI}/downloads", headers=headers),
            http.get(f"{CIVITAI}/previews/{model['preview']}", headers=headers),
        ):
            assert answer.status_code == 403
    evil = {"Host": "evil.example"}
    assert http.post(f"{CIVITAI}/search", json={}, headers=evil).status_code == 421
    text = {"Content-Type": "text/plain"}
    form = http.post(f"{CIVITAI}/downloads", content=b'{"version": 1}', headers=text)
    assert form.status_code == 422
    assert len(fake.seen) == asked and not fake.stored


def test_all_of_it_needs_the_password(
    fake: FakeSite, models: Path, tmp_path: Path, painter: Painter
) -> None:
    config = ServerConfig(
        models=models, output=tmp_path / "out", civitai=True, users=(("ann", "a"),)
    )
    app = create_app(config, [painter])
    with client_of(app) as http:
        for method, path in (
            ("POST", "search"),
            ("GET", f"previews/{'0' * 40}"),
            ("POST", "downloads"),
            ("GET", "downloads"),
            ("DELETE", "downloads/x"),
            ("POST", "hashes"),
        ):
            assert http.request(method, f"{CIVITAI}/{path}", json={}).status_code == 401
        assert http.post(f"{CIVITAI}/search", json={}, auth=("ann", "a")).status_code == 200
    with pytest.raises(HTTPRefusal, match="stopping"):
        app.state.service.civitai.downloads.start(downloads_module.DownloadOrder(1))


def test_a_silent_site_keeps_no_other_route_waiting(
    fake: FakeSite, config: ServerConfig, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_ROOM", 1)
    monkeypatch.setattr(catalog_module, "_TIMEOUT_S", 3.0)
    monkeypatch.setattr(web_module, "_WAITS_S", ())
    with client_of(create_app(config, [painter])) as http:
        fake.answers.clear()
        url = f"{http.base_url}{CIVITAI}/search"
        answers: list[httpx.Response] = []
        asks = threading.Thread(target=lambda: answers.append(httpx.post(url, json={}, timeout=60)))
        asks.start()
        until(lambda: fake.seen)
        busy = http.post(f"{CIVITAI}/search", json={})
        assert busy.status_code == 503 and "too many wait for Civitai" in busy.json()["detail"]
        begun = time.monotonic()
        assert http.get(NETWORKS).status_code == 200
        assert time.monotonic() - begun < 5
        asks.join(60)
        assert answers[0].status_code == 502
        assert "takes too long to answer" in answers[0].json()["detail"]


def test_a_server_that_stops_ends_its_downloads(
    fake: FakeSite, config: ServerConfig, models: Path, painter: Painter
) -> None:
    fake.add(1, weights(200_000))
    fake.held_after = 1000
    app = create_app(config, [painter])
    with client_of(app) as http:
        id_ = begin(http)
        until(lambda: told(http, id_)["done"] == 1000)
        app.state.service.civitai.close(0)
        assert http.post(f"{CIVITAI}/downloads", json={"version": 1}).status_code == 503
        assert http.post(f"{CIVITAI}/search", json={}).status_code == 503
        fake.gate.set()
        assert ended(http, id_)["state"] == "cancelled"
    assert not (models / "hypernetworks" / "ink.pt").exists()


def test_hashes_are_named(http: httpx.Client, fake: FakeSite) -> None:
    fake.add(1, CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()[:10]
    text = (
        "a cat <hypernet:ink:1>\nSteps: 2, Seed: 1, Size: 64x64, Model: m, Model hash: 0123456789, "
        f'Hypernet hashes: "ink: {digest}", Version: v1.10.1'
    )
    first, second = http.post(f"{CIVITAI}/hashes", json={"infotext": text}).json()
    assert first == {
        **{"kind": "checkpoint", "name": "m", "digest": "0123456789"},
        **dict.fromkeys(("model", "version", "type", "base_model", "page")),
    }
    assert (second["kind"], second["model"], second["type"]) == ("hypernet", "Ink", "Hypernetwork")
    assert second["page"] == f"{fake.url}/models/10?modelVersionId=1"
    assert http.post(f"{CIVITAI}/hashes", json={"infotext": "a cat"}).json() == []
    assert len(fake.seen) == 2
