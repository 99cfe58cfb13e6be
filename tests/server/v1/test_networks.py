"""Files of the models folder over our own API: lists for cards, previews, and what their user writes about them."""

from __future__ import annotations

import errno
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine.images.read import read_image_info
from promptengine.images.save import save_image
from promptengine.registry import side_cars
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.image_index import INDEX
from promptengine.server.v1 import networks
from tests.conftest import NETWORKS as HYPERNETWORKS
from tests.server.live import Painter, client_of
from tests.server.v1.test_images import TEXT, put
from tests.text.textual_inversion.builders import vectors

NETWORKS = "/promptengine/v1/networks"
PAGES = "/promptengine/v1/network-pages"
HYPERNETWORK = HYPERNETWORKS / "hn-relu.pt"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    for name in ("Stable-diffusion", "hypernetworks/style", "Lora", "embeddings"):
        (folder / name).mkdir(parents=True)
    (folder / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    for name in ("ink.pt", "style/ink.pt", "style/neon.pt"):
        shutil.copy(HYPERNETWORK, folder / "hypernetworks" / name)
    return folder


@pytest.fixture
def http(models: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    painter = Painter()
    painter.gate.set()
    config = ServerConfig(models=models, output=tmp_path / "out")
    put(tmp_path / "out" / "a.png")
    with client_of(create_app(config, [painter])) as http:
        yield http


def listed(http: httpx.Client, kind: str = "hypernet") -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in http.get(NETWORKS, params={"kind": kind}).json()}


def test_entries_have_what_cards_show(http: httpx.Client, models: Path) -> None:
    side = {"activation text": "ink wash", "preferred weight": 0.65, "notes": "n" * 2000}
    (models / "hypernetworks" / "ink.json").write_text(json.dumps(side))
    Image.new("RGB", (8, 8)).save(models / "hypernetworks" / "style" / "neon.preview.png")
    found = listed(http)
    assert list(found) == ["ink", "style/ink", "neon"]
    ink, neon = found["ink"], found["neon"]
    assert (ink["folder"], neon["folder"], found["style/ink"]["folder"]) == ("", "style", "style")
    assert (ink["activation_text"], ink["preferred_weight"]) == ("ink wash", 0.65)
    assert ink["user_notes"] == "n" * 1000
    assert ink["preview"] is None
    assert neon["preview"] > 0
    modified = (models / "hypernetworks" / "ink.pt").stat().st_mtime
    assert ink["modified"] == pytest.approx(modified, abs=1e-3)
    detail = http.get(f"{NETWORKS}/hypernet/ink").json()
    assert detail["user_notes"] == "n" * 2000
    assert detail["notes"] != detail["user_notes"]
    assert detail["user_metadata"] == side


def test_pages_are_webuis(http: httpx.Client) -> None:
    pages = {one["label"]: one for one in http.get(PAGES).json()}
    assert set(pages) == {"Textual Inversion", "Hypernetworks", "Checkpoints", "Lora"}
    assert [(one["tag"], one["in_text"]) for one in pages.values()].count((None, True)) == 1
    assert pages["Hypernetworks"]["tag"] == "hypernet"
    assert pages["Hypernetworks"]["folders"][0].endswith("models/hypernetworks")


def test_a_name_that_no_tag_can_hold_has_none(http: httpx.Client, models: Path) -> None:
    (models / "hypernetworks" / "a<b.pt").write_bytes(b"x")
    found = listed(http)
    assert (found["a<b"]["tag"], found["ink"]["tag"]) == (None, "hypernet")


def test_images_that_are_no_embeddings_are_not_listed(http: httpx.Client, models: Path) -> None:
    import torch

    torch.save(
        {"string_to_param": {"*": vectors(1, 48)}, "name": "sketchy"},
        models / "embeddings" / "sketchy.pt",
    )
    Image.new("RGB", (8, 8)).save(models / "embeddings" / "photo.png")
    assert list(listed(http, "embedding")) == ["sketchy"]


def test_a_preview_is_a_small_image(http: httpx.Client, models: Path) -> None:
    folder = models / "hypernetworks"
    Image.new("RGB", (800, 400), "red").save(folder / "ink.jpg")
    Image.new("RGB", (8, 8), "blue").save(folder / "style" / "ink.webp")
    answer = http.get(f"{NETWORKS}/hypernet/ink/preview")
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["cache-control"] == "no-cache"
    with Image.open(io.BytesIO(answer.content)) as opened:
        assert opened.size == (320, 160)
    # A slash of the name, as it is and as a backslash.
    for name in ("style/ink", "style%2Fink", "style%5Cink"):
        answer = http.get(f"{NETWORKS}/hypernet/{name}/preview", params={"v": "1"})
        assert answer.headers["cache-control"] == "private, max-age=86400"
        with Image.open(io.BytesIO(answer.content)) as opened:
            assert opened.size == (8, 8)
    assert http.get(f"{NETWORKS}/hypernet/neon/preview").status_code == 404
    assert http.get(f"{NETWORKS}/hypernet/nobody/preview").status_code == 404


@pytest.mark.parametrize(
    "content", [b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n" + b"x" * 99]
)
def test_a_preview_that_is_no_image_is_refused(
    http: httpx.Client, models: Path, content: bytes
) -> None:
    (models / "hypernetworks" / "ink.png").write_bytes(content)
    answer = http.get(f"{NETWORKS}/hypernet/ink/preview")
    assert answer.status_code == 409
    assert "cannot be shown" in answer.json()["detail"]


def test_no_link_shows_what_lies_elsewhere(
    http: httpx.Client, models: Path, tmp_path: Path
) -> None:
    (models / "hypernetworks" / "ink.png").symlink_to(tmp_path / "out" / "a.png")
    assert http.get(f"{NETWORKS}/hypernet/ink/preview").status_code == 404


def test_what_a_user_writes_is_webuis_side_car(http: httpx.Client, models: Path) -> None:
    side = models / "hypernetworks" / "style" / "ink.json"
    side.write_text(json.dumps({"mine": {"deep": [1]}, "description": "old", "notes": "kept"}))
    form = {
        "description": "Pen\n& ink",
        "activation_text": "ink, wash",
        "preferred_weight": 0.5,
        "negative_text": "color",
        "sd_version": "SD1",
    }
    url = f"{NETWORKS}/hypernet/style%5Cink/user-metadata"
    told = http.put(url, json=form).json()
    assert (told["description"], told["preferred_weight"]) == ("Pen\n& ink", 0.5)
    assert listed(http)["style/ink"] == told
    assert json.loads(side.read_bytes()) == {
        "mine": {"deep": [1]},
        "description": "Pen\n& ink",
        "notes": "kept",
        "activation text": "ink, wash",
        "preferred weight": 0.5,
        "negative text": "color",
        "sd version": "SD1",
    }
    assert listed(http)["ink"]["description"] == ""


@pytest.mark.parametrize(
    "form",
    [
        {"path": "/etc/passwd"},
        {"notes": 1},
        {"notes": "x" * 10_001},
        {"preferred_weight": 1e9},
        {"preferred_weight": "Infinity"},
        {"preferred_weight": [0.5]},
        ["notes"],
    ],
)
def test_a_form_that_does_not_fit_is_refused(http: httpx.Client, models: Path, form: Any) -> None:
    answer = http.put(f"{NETWORKS}/hypernet/ink/user-metadata", json=form)
    assert answer.status_code == 422
    assert not list(models.rglob("*.json"))


@pytest.mark.parametrize(
    "name",
    [
        *("..", "../ink", "%2E%2E%2Fink", "..%5C..%5Cout%5Ca", "%2Fetc%2Fpasswd", "ink.json"),
        *("ink%00", "style", "", "%F0%9F%98%80" * 400, "ink%0A", ".", "~", "C:%5Cink"),
    ],
)
def test_hostile_names_write_nothing(http: httpx.Client, tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    for end, form in (("user-metadata", {"notes": "a"}), ("preview", {"image": "a.png"})):
        answer = http.put(f"{NETWORKS}/hypernet/{name}/{end}", json=form)
        assert answer.status_code in (307, 404, 405)
        assert str(tmp_path) not in answer.text
    assert [one for one in sorted(tmp_path.rglob("*")) if INDEX not in one.name] == [
        one for one in before if INDEX not in one.name
    ]


def test_a_link_is_not_written_through(http: httpx.Client, models: Path) -> None:
    side = models / "hypernetworks" / "ink.json"
    side.symlink_to(models / "Stable-diffusion" / "none.safetensors")
    answer = http.put(f"{NETWORKS}/hypernet/ink/user-metadata", json={"notes": "a"})
    assert answer.status_code == 409
    assert "ink.json is a link" in answer.json()["detail"]
    assert (models / "Stable-diffusion" / "none.safetensors").read_bytes() == b""


def test_a_folder_that_cannot_be_written_says_so(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(side_cars, "atomic_write", denied)
    answer = http.put(f"{NETWORKS}/hypernet/neon/user-metadata", json={"notes": "a"})
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith("neon.json cannot be written: Permission denied")
    monkeypatch.setattr(networks, "save_image", lambda _image, path, _text: denied(path))
    answer = http.put(f"{NETWORKS}/hypernet/neon/preview", json={"image": "a.png"})
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith("is left as it is: Permission denied")


def test_two_writers_lose_nothing(http: httpx.Client, models: Path) -> None:
    keys = ("description", "activation_text", "negative_text", "notes")

    def write(key: str) -> None:
        url = f"{NETWORKS}/hypernet/ink/user-metadata"
        assert http.put(url, json={key: key}).status_code == 200

    threads = [threading.Thread(target=write, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = json.loads((models / "hypernetworks" / "ink.json").read_bytes())
    assert sorted(told.values()) == sorted(keys)


def test_a_saved_image_becomes_the_preview(
    http: httpx.Client, models: Path, tmp_path: Path
) -> None:
    folder = models / "hypernetworks"
    Image.new("RGB", (8, 8), "blue").save(folder / "ink.webp")
    before = listed(http)["ink"]["preview"]
    told = http.put(f"{NETWORKS}/hypernet/ink/preview", json={"image": "a.png"}).json()
    assert told["preview"] is not None
    assert told["preview"] != before
    infotext = read_image_info(folder / "ink.png").infotext
    assert infotext is not None
    assert str(infotext).startswith("a cat\nSteps: 2")
    with Image.open(folder / "ink.png") as opened:
        assert opened.getpixel((0, 0)) == (255, 0, 0)
    save_image(Image.new("RGB", (8, 8), "lime"), tmp_path / "out" / "b.jpg", TEXT)
    http.put(f"{NETWORKS}/hypernet/ink/preview", json={"image": "b.jpg"}).raise_for_status()
    with Image.open(folder / "ink.png") as opened:
        assert opened.format == "PNG"
        assert opened.getpixel((0, 0))[1] > 200  # type: ignore[index]


@pytest.mark.parametrize("image", ["", "b.png", "../models/x.png", "/etc/passwd", "a.png\0"])
def test_only_a_saved_image_becomes_a_preview(http: httpx.Client, models: Path, image: str) -> None:
    answer = http.put(f"{NETWORKS}/hypernet/ink/preview", json={"image": image})
    assert (answer.status_code, answer.json()["field"]) == (404, "image")
    assert not list(models.rglob("*.png"))


def test_hostile_side_cars_are_told_and_hurt_nobody(http: httpx.Client, models: Path) -> None:
    folder = models / "hypernetworks"
    (folder / "ink.json").write_text('{"x": NaN, "y": 1e999, "notes": "\\ud800", "description": 7}')
    (folder / "style" / "neon.json").write_text("[" * 50_000)
    found = listed(http)
    assert found["ink"]["user_notes"] == "\N{REPLACEMENT CHARACTER}"
    assert "'description' is ignored" in found["ink"]["problems"][0]
    assert found["neon"]["problems"] == ["neon.json is ignored: it holds no JSON object"]
    detail = http.get(f"{NETWORKS}/hypernet/ink")
    assert detail.status_code == 200
    assert detail.json()["user_metadata"]["x"] == "NaN"
