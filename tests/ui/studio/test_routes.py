"""The page's files over HTTP: what is sent with them, and that nothing else can be had."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.ui.studio.routes import POLICY, add_studio
from tests.ui.studio.conftest import models_in


def client(models: Path, **settings: object) -> Iterator[TestClient]:
    config = ServerConfig(models=models, checkpoint="none", **settings)
    app = create_app(config, runs=[lambda *_arguments: []])
    add_studio(app)
    yield TestClient(app, base_url=f"http://127.0.0.1:{config.port}", follow_redirects=False)
    app.state.service.queue.close(1)


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[TestClient]:
    yield from client(models_in(tmp_path / "models"))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[TestClient]:
    settings = {"users": (("ann", "secret"),), "subpath": "/sd"}
    yield from client(models_in(tmp_path / "models"), **settings)


def assets(http: TestClient) -> list[str]:
    return re.findall(r'(?:href|src)="(app-[^"]+)"', http.get("/studio/").text)


def test_the_page_is_locked_and_asked_for_again(plain: TestClient) -> None:
    answer = plain.get("/studio/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in answer.text
    assert "<style" not in answer.text
    assert "style=" not in answer.text


def test_files_with_hashes_are_kept_for_ever(plain: TestClient) -> None:
    names = assets(plain)
    assert sorted(name.rpartition(".")[2] for name in names) == ["css", "js"]
    for name in names:
        answer = plain.get(f"/studio/{name}")
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"
        assert plain.head(f"/studio/{name}").headers["content-length"]
        bare = plain.get(f"/studio/{name}", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in bare.headers
        assert bare.content == answer.content
        assert b"sourceMappingURL" not in bare.content


def test_licenses_of_what_is_bundled_are_there(plain: TestClient) -> None:
    answer = plain.get("/studio/licenses.txt")
    assert answer.headers["cache-control"] == "no-cache"
    for name in ("@codemirror/view", "preact", "style-mod"):
        assert f"{name} " in answer.text


def test_the_page_is_small(plain: TestClient) -> None:
    sent = [plain.get(f"/studio/{name}") for name in ["", *assets(plain)]]
    assert sum(int(one.headers["content-length"]) for one in sent) <= 250_000


@pytest.mark.parametrize(
    "path",
    [
        *("../routes.py", "..%2froutes.py", "%2e%2e/routes.py", "..%5croutes.py", "routes.py"),
        *("/etc/passwd", "%2fetc%2fpasswd", "src/main.tsx", "package.json", "index.html/", "a\0b"),
    ],
)
def test_no_other_file_can_be_had(plain: TestClient, path: str) -> None:
    answer = plain.get("/studio/" + path.replace("\0", "%00"))
    assert answer.status_code in (404, 307)
    assert "import" not in answer.text
    assert "root:" not in answer.text


def test_the_entrance_leads_here_where_there_is_no_other_page(plain: TestClient) -> None:
    assert plain.get("/").headers["location"] == "/studio/"
    assert plain.get("/studio").headers["location"] == "/studio/"


def test_passwords_and_a_place_below_another(guarded: TestClient) -> None:
    for path in ("/studio/", "/sd/studio/", "/studio/index.html", "/studio/nothing"):
        assert guarded.get(path).status_code == 401
    guarded.auth = ("ann", "secret")
    assert guarded.get("/sd/studio").headers["location"] == "/sd/studio/"
    for prefix in ("", "/sd"):
        assert guarded.get(f"{prefix}/studio/").status_code == 200
        assert guarded.get(f"{prefix}/studio/{assets(guarded)[0]}").status_code == 200


def test_other_sites_do_not_get_it(plain: TestClient) -> None:
    assert plain.get("/studio/", headers={"host": "evil.example"}).status_code == 421
    assert plain.get("/studio/", headers={"origin": "http://evil.example"}).status_code == 403
