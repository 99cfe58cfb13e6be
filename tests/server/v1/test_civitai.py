"""Civitai through the server: off unless it is wanted, and then no way to ask anybody else or to keep what is unsafe."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine import DownloadError, RequestError
from promptengine.civitai import previews as previews_module
from promptengine.civitai import web as web_module
from promptengine.civitai.site import BASE_VARIABLE
from promptengine.civitai.web import TOKEN_VARIABLE, Web
from promptengine.registry.registry import Registry
from promptengine.server.app import create_app
from promptengine.server.civitai import catalog as catalog_module
from promptengine.server.civitai import downloads as downloads_module
from promptengine.server.civitai.catalog import Catalog
from promptengine.server.config import ServerConfig
from promptengine.server.errors import HTTPRefusal
from tests.civitai.site import FakeSite, running
from tests.civitai.test_keep import CONTENT, EVIL, names, weights
from tests.server.live import Painter, client_of, until

CIVITAI = "/promptengine/v1/civitai"
NETWORKS = "/promptengine/v1/networks"
TOKEN = "s3cret-token-of-the-server"
EVIL_PAGE = {"Origin": "https://evil.example"}
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    with running() as site:
        monkeypatch.setenv(BASE_VARIABLE, site.url)
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        yield site


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "Stable-diffusion").mkdir(parents=True)
    (folder / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def config(models: Path, tmp_path: Path) -> ServerConfig:
    return ServerConfig(models=models, output=tmp_path / "out", civitai=True)


@pytest.fixture
def http(fake: FakeSite, config: ServerConfig, painter: Painter) -> Iterator[httpx.Client]:
    with client_of(create_app(config, [painter])) as http:
        yield http
        fake.gate.set()


def found(http: httpx.Client, text: str = "ink", **form: Any) -> list[dict[str, Any]]:
    answer = http.post(f"{CIVITAI}/search", json={"text": text, **form})
    assert answer.status_code == 200, answer.text
    assert TOKEN not in answer.text
    return answer.json()["models"]


def begin(http: httpx.Client, version: int = 1, **form: Any) -> str:
    answer = http.post(f"{CIVITAI}/downloads", json={"version": version, **form})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def told(http: httpx.Client, id_: str) -> dict[str, Any]:
    answer = http.get(f"{CIVITAI}/downloads")
    assert TOKEN not in answer.text
    return next(one for one in answer.json() if one["id"] == id_)


def ended(http: httpx.Client, id_: str) -> dict[str, Any]:
    until(lambda: told(http, id_)["state"] not in ("waiting", "downloading", "stopping"), 30)
    return told(http, id_)


def preview(http: httpx.Client, model: dict[str, Any]) -> httpx.Response:
    return http.get(f"{CIVITAI}/previews/{model['preview']}")


def test_nothing_is_asked_unless_the_server_is_started_so(
    fake: FakeSite, models: Path, tmp_path: Path, painter: Painter
) -> None:
    config = ServerConfig(models=models, output=tmp_path / "out")
    with client_of(create_app(config, [painter])) as http:
        pages = http.get("/promptengine/v1/network-pages").json()
        assert {page["civitai"] for page in pages} == {False}
        for answer in (
            http.post(f"{CIVITAI}/search", json={"text": "ink"}),
            http.get(f"{CIVITAI}/previews/{'0' * 40}"),
            http.post(f"{CIVITAI}/downloads", json={"version": 1}),
            http.get(f"{CIVITAI}/downloads"),
            http.delete(f"{CIVITAI}/downloads/x"),
            http.post(f"{CIVITAI}/hashes", json={"infotext": "a"}),
        ):
            assert answer.status_code == 404
            assert answer.json()["detail"] == (
                "this server does not ask Civitai; start it with --civitai"
            )
    assert not fake.seen and not fake.stored


def test_a_token_that_is_none_stops_the_start_unshown(
    fake: FakeSite, config: ServerConfig, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, f"{TOKEN} and more")
    with pytest.raises(RequestError, match="something else than a token") as caught:
        create_app(config, [painter])
    assert TOKEN not in str(caught.value)


def test_a_search_tells_what_cards_show(http: httpx.Client, fake: FakeSite) -> None:
    asks = {"allowNoCredit": False, "allowCommercialUse": ["Image", "Rent"]}
    fake.add(1, CONTENT, model={"name": "Ink", "type": "Hypernetwork", **asks})
    fake.add(2, CONTENT, type_="LORA", name="ink.safetensors")
    pages = {page["kind"]: page for page in http.get("/promptengine/v1/network-pages").json()}
    assert pages["hypernet"]["civitai"] is True
    (model,) = found(http, kind="hypernet")
    assert fake.seen[0].path.endswith("?query=ink&limit=20&nsfw=false&types=Hypernetwork")
    assert fake.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
    named = model.pop("preview")
    assert len(named) == 40 and fake.storage_url not in named
    assert model == {
        "id": 10,
        "version": 1,
        "name": "Ink",
        "version_name": "v1.0",
        "type": "Hypernetwork",
        "kind": "hypernet",
        "base_model": "SD 1.5",
        "creator": "someone",
        "downloads": 7,
        "terms": ["credit its creator", "commercial use: Image, Rent"],
        "file": "ink.pt",
        "bytes": len(CONTENT),
        "page": f"{fake.url}/models/10?modelVersionId=1",
        "network": None,
        "problem": None,
    }
    assert [one["kind"] for one in found(http)] == ["hypernet", "lora"]
    assert found(http, "")[0]["name"] == "Ink"
    assert "query" not in fake.seen[-1].path


def test_pages_follow_each_other(http: httpx.Client, fake: FakeSite) -> None:
    for number in range(1, 6):
        fake.add(number, CONTENT)
    asked, cursor = [], ""
    while cursor is not None:
        form = {"text": "ink", "limit": 2, "cursor": cursor}
        page = http.post(f"{CIVITAI}/search", json=form).json()
        asked.append([one["version"] for one in page["models"]])
        cursor = page["next"]
    assert asked == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"type_": "Poses"}, "models of the type Poses cannot be used here"),
        ({"name": "ink.zip"}, "it has no file of hypernetworks (.pt, "),
        ({"files": []}, "it has no file of hypernetworks"),
        ({"baseModel": "Flux.1 D"}, "it is for Flux.1 D; only Stable Diffusion 1, 2 and XL"),
        ({"file": {"hashes": {"AutoV2": "0123456789"}}}, "tells no SHA-256"),
        ({"type_": "Upscaler", "name": "x.pth", "baseModel": "Flux.1 D"}, None),
    ],
)
def test_what_is_of_no_use_here_says_why(
    http: httpx.Client, fake: FakeSite, more: dict[str, Any], said: str | None
) -> None:
    fake.add(1, CONTENT, **more)
    (model,) = found(http)
    assert model["problem"] is None if said is None else said in model["problem"]


def test_what_the_site_says_is_only_text(http: httpx.Client, fake: FakeSite) -> None:
    document = fake.add(1, CONTENT, model={"name": "\ud800<b>\x00", "type": ["x"]})
    document |= {"baseModel": 7, "images": [{"url": "\ud800"}, 5], "files": "none"}
    (model,) = found(http, "")
    assert model["name"] == "\ufffd<b>\x00" or "\ud800" not in model["name"]
    assert model["problem"] == "models of the type unknown cannot be used here"
    assert preview(http, model).status_code == 502
    fake.documents[1] = {"id": 1, "model": {"name": "a"}, "modelVersions": 5}
    assert found(http, "a")[0]["version"] == 1


@pytest.mark.parametrize(
    "form",
    [
        {"text": "a" * 201},
        {"kind": "poses"},
        {"limit": 0},
        {"limit": 51},
        {"cursor": "x" * 501},
        {"url": "https://evil.example"},
    ],
)
def test_searches_are_bounded(http: httpx.Client, fake: FakeSite, form: dict[str, Any]) -> None:
    assert http.post(f"{CIVITAI}/search", json={"text": "ink", **form}).status_code == 422
    assert not fake.seen


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([(401, {})], "refuses this (401): the token in CIVITAI_API_TOKEN does not allow it"),
        ([(429, {"Retry-After": "30"})], "the site asks to wait 30 seconds; try again then"),
        ([(418, {})], "answers with an error (418)"),
        ([(302, {"Location": "file:///etc/passwd"})], "is not asked; only https is"),
        ([(302, {"Location": "http://10.0.0.1/"})], "is not asked; only https is"),
    ],
)
def test_a_site_with_troubles_is_told(
    http: httpx.Client, fake: FakeSite, statuses: list[Any], said: str
) -> None:
    fake.statuses = statuses
    answer = http.post(f"{CIVITAI}/search", json={"text": "ink"})
    assert answer.status_code == 502
    assert said in answer.json()["detail"] and TOKEN not in answer.text


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
Image.new("1", (8000, 8000)).save(BOMB, "PNG")


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


def test_a_download_lands_among_the_cards(http: httpx.Client, fake: FakeSite, models: Path) -> None:
    fake.add(1, CONTENT)
    assert http.get(NETWORKS, params={"kind": "hypernet"}).json() == []
    done = ended(http, begin(http))
    folder = models / "hypernetworks"
    assert done.pop("id")
    assert done == {
        "version": 1,
        "state": "done",
        "model": "Ink – v1.0",
        "file": "ink.pt",
        "kind": "hypernet",
        "done": len(CONTENT),
        "total": len(CONTENT),
        "folder": str(folder),
        "network": "ink",
        "fresh": True,
        "notes": [],
        "error": None,
        "taken": False,
    }
    assert names(folder) == {"ink.pt", "ink.json", "ink.civitai.info", "ink.preview.png"}
    assert (folder / "ink.pt").read_bytes() == CONTENT
    (card,) = http.get(NETWORKS, params={"kind": "hypernet"}).json()
    assert (card["name"], card["activation_text"]) == ("ink", "ink wash, sumi")
    assert card["preview"] is not None
    assert found(http)[0]["network"] == "ink"
    assert ended(http, begin(http))["fresh"] is False
    (folder / "ink.pt").write_bytes(CONTENT[:-1] + b"x")
    assert found(http)[0]["network"] is None, "another file of its name and size is another file"


def test_a_cancelled_download_goes_on_where_it_stopped(
    http: httpx.Client, fake: FakeSite, models: Path
) -> None:
    fake.add(1, CONTENT)
    fake.held_after = 1000
    first = begin(http)
    until(lambda: told(http, first)["done"] == 1000)
    assert told(http, first)["state"] == "downloading"
    assert begin(http) == first, "it is not downloaded twice at once"
    second = begin(http, version=2)
    assert told(http, second)["state"] == "waiting"
    assert http.delete(f"{CIVITAI}/downloads/{second}").json()["state"] == "cancelled"
    assert http.delete(f"{CIVITAI}/downloads/{first}").json()["state"] == "stopping"
    fake.held_after = 0
    fake.gate.set()
    assert ended(http, first)["state"] == "cancelled"
    left = names(models / "hypernetworks")
    assert left and all(name.startswith(".ink.pt.") for name in left)
    assert http.get(NETWORKS, params={"kind": "hypernet"}).json() == []
    assert ended(http, begin(http))["state"] == "done"
    assert fake.stored[1].headers["range"].startswith("bytes=")
    assert (models / "hypernetworks" / "ink.pt").read_bytes() == CONTENT
    assert http.delete(f"{CIVITAI}/downloads/{first}").json()["state"] == "cancelled"
    assert http.delete(f"{CIVITAI}/downloads/nothing").status_code == 404


def test_a_broken_download_goes_on_by_itself(http: httpx.Client, fake: FakeSite) -> None:
    fake.add(1, CONTENT)
    fake.cut = [700]
    assert ended(http, begin(http))["state"] == "done"
    assert fake.stored[1].headers["range"] == "bytes=700-"


@pytest.mark.parametrize(
    "promised",
    [
        (CONTENT, {"file": {"hashes": {"SHA256": "0" * 64}}}, "SHA-256 is not the one"),
        (CONTENT, {"file": {"sizeKB": 1}}, "and the site tells of"),
        (EVIL["zip"], {}, "ink.pt is not kept: it asks to run code"),
        (EVIL["plain"], {"name": "ink.safetensors"}, "is not kept"),
        (b"<html>", {}, "is not kept"),
        (CONTENT, {"type_": "Poses"}, "there are folders for"),
    ],
)
def test_what_is_not_as_promised_is_never_kept(
    http: httpx.Client,
    fake: FakeSite,
    models: Path,
    promised: tuple[bytes, dict[str, Any], str],
) -> None:
    content, more, said = promised
    fake.add(1, content, **more)
    told = ended(http, begin(http))
    assert told["state"] == "failed" and said in told["error"]
    assert told["folder"] is told["network"] is None and told["taken"] is False
    assert names(models) == {"Stable-diffusion/none.safetensors"}
    assert not Path("/tmp/never").exists()


def test_another_file_is_replaced_only_where_that_is_asked_for(
    http: httpx.Client, fake: FakeSite, models: Path
) -> None:
    fake.add(1, CONTENT, name="../../../ink.pt")
    path = models / "hypernetworks" / "ink.pt"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    told = ended(http, begin(http))
    assert told["state"] == "failed" and told["taken"] is True
    assert "another file of this name" in told["error"] and "--force" not in told["error"]
    assert path.read_bytes() == b"mine"
    assert ended(http, begin(http, overwrite=True))["state"] == "done"
    assert path.read_bytes() == CONTENT


def test_another_file_of_a_version_can_be_named(
    http: httpx.Client, fake: FakeSite, models: Path
) -> None:
    document = fake.add(1, CONTENT)
    document["files"].append({**document["files"][0], "name": "small.pt", "primary": False})
    assert ended(http, begin(http, file="small.pt"))["network"] == "small"
    told = ended(http, begin(http, file="../../etc/passwd"))
    assert "the version has no file '../../etc/passwd'" in told["error"]


@pytest.mark.parametrize(
    "form",
    [
        {"version": 0},
        {"version": 2**53},
        {"version": "../1"},
        {"version": 1, "url": "https://evil.example/x.pt"},
        {"version": 1, "folder": "/etc"},
        {"version": 1, "file": "x" * 1001},
        {},
    ],
)
def test_downloads_name_nothing_but_versions(
    http: httpx.Client, fake: FakeSite, form: dict[str, Any]
) -> None:
    assert http.post(f"{CIVITAI}/downloads", json=form).status_code == 422
    assert not fake.seen


def test_downloads_that_wait_are_bounded(
    http: httpx.Client, fake: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads_module, "_ROOM", 2)
    monkeypatch.setattr(downloads_module, "_KEPT", 1)
    fake.add(1, CONTENT)
    fake.held_after = 10
    ids = [begin(http, version=number) for number in (1, 2)]
    answer = http.post(f"{CIVITAI}/downloads", json={"version": 3})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "60"
    fake.gate.set()
    assert [ended(http, id_)["state"] for id_ in ids] == ["done", "failed"]
    last = begin(http, version=4)
    assert [one["id"] for one in http.get(f"{CIVITAI}/downloads").json()][-1] == last
    assert ids[0] not in {one["id"] for one in http.get(f"{CIVITAI}/downloads").json()}


def test_a_fault_of_the_servers_own_is_told_without_its_words(
    http: httpx.Client, fake: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret words of the machine")

    monkeypatch.setattr(downloads_module, "download", broken)
    told = ended(http, begin(http))
    assert told["error"] == "the download failed inside the server; its log says why"
    monkeypatch.undo()


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
