"""Searches of Civitai through the server: off unless they are wanted, bounded, and nothing but text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from promptengine import RequestError
from promptengine.civitai.web import TOKEN_VARIABLE
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from tests.civitai.site import FakeSite
from tests.civitai.test_keep import CONTENT
from tests.server.live import Painter, client_of
from tests.server.v1.civitai.asking import CIVITAI, TOKEN, found, preview


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
