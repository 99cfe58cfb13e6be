"""Downloads from Civitai by the server: nothing unsafe kept, nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from promptengine.server.civitai import downloads as downloads_module
from tests.civitai.site import FakeSite
from tests.civitai.test_keep import CONTENT, EVIL, names
from tests.server.live import until
from tests.server.v1.civitai.asking import CIVITAI, NETWORKS, begin, ended, found, told


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
