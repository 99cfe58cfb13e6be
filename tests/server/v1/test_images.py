"""Images that are kept: names by settings, and the list over them, whatever ids, searches and files say."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine.images.save import encode_image, save_image
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.image_index import INDEX
from promptengine.server.output_folder import BIN, OutputFolder
from tests.server.live import Painter, attacked, client_of, running, until
from tests.server.v1.test_routes import JOBS, SMALL, waited

IMAGES = "/promptengine/v1/images"
TXT2IMG = "/sdapi/v1/txt2img"
TEXT = "{prompt}\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 8x8, Version: test"


@contextmanager
def server(models: Path, output: Path, **options: Any) -> Iterator[httpx.Client]:
    """A client of a server whose images cost nothing; the list is whole."""
    painter = Painter()
    painter.gate.set()
    config = ServerConfig(models=models, output=output, **options)
    with client_of(create_app(config, [painter])) as http:
        until(lambda: not http.get(IMAGES).json()["scanning"])
        yield http


def listed(http: httpx.Client, **asked: Any) -> list[str]:
    return [image["id"] for image in http.get(IMAGES, params=asked).json()["images"]]


def put(path: Path, prompt: str = "a cat", age_s: float = 0) -> None:
    """Write an image as another program does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(Image.new("RGB", (8, 8), "red"), path, TEXT.format(prompt=prompt))
    then = time.time() - age_s
    os.utime(path, (then, then))


def result_of(http: httpx.Client, **form: Any) -> dict[str, Any]:
    job = http.post(JOBS, json={**SMALL, **form}).json()["id"]
    waited(http, job)
    return http.get(f"{JOBS}/{job}/result").json()


def test_images_of_jobs_are_kept(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as http:
        told = result_of(http, batch_size=2)
        day = time.strftime("%Y-%m-%d")
        assert told["saved"] == [f"{day}/00000-7.png", f"{day}/00001-8.png"]
        assert told["warnings"] == []
        (second, first) = http.get(IMAGES).json()["images"]
        assert (first["id"], first["name"]) == (told["saved"][0], "00000-7.png")
        assert (first["width"], first["height"]) == (64, 64)
        assert first["infotext"].startswith("a cat\nSteps: 2")
        assert second["time"] == pytest.approx(time.time(), abs=60)
        answer = http.get(f"{IMAGES}/{first['id']}")
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.content == (tmp_path / first["id"]).read_bytes()
        small = http.get(f"{IMAGES}/{first['id']}/thumbnail")
        assert small.headers["content-type"] == "image/webp"
        with Image.open(io.BytesIO(small.content)) as opened:
            assert opened.size == (64, 64)
        known = {"If-None-Match": small.headers["etag"]}
        again = http.get(f"{IMAGES}/{first['id']}/thumbnail", headers=known)
        assert (again.status_code, again.content) == (304, b"")


def test_a_job_that_nobody_asks_about_is_kept_too(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as http:
        http.post(JOBS, json=SMALL)
        until(lambda: listed(http))


def test_a_job_that_ends_while_the_server_stops_is_kept(
    empty_models: Path, tmp_path: Path, painter: Painter
) -> None:
    config = ServerConfig(models=empty_models, output=tmp_path)
    app = create_app(config, [painter])
    with attacked(app, config) as port:
        httpx.post(f"http://127.0.0.1:{port}{JOBS}", json=SMALL).raise_for_status()
        until(lambda: painter.batches)
        threading.Timer(1, painter.gate.set).start()
    assert [path.name for path in tmp_path.rglob("*.png")] == ["00000-7.png"]


@pytest.mark.parametrize(("save", "form"), [(False, {}), (True, {"save": False})])
def test_nothing_is_kept_where_somebody_says_so(
    empty_models: Path, tmp_path: Path, save: bool, form: dict[str, Any]
) -> None:
    with server(empty_models, tmp_path / "out", save=save) as http:
        assert result_of(http, **form)["saved"] == [None]
        assert listed(http) == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_costs_no_image(empty_models: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with server(empty_models, tmp_path / "out") as http:
        told = result_of(http)
        assert len(told["images"]) == 1
        assert told["saved"] == [None]
        assert told["warnings"][0].startswith("an image could not be saved: ")


def test_names_follow_the_settings(empty_models: Path, tmp_path: Path) -> None:
    body = {**SMALL, "sampler_name": "Euler", "save_images": True, "prompt": "../a/b: <c>"}
    patterns = {
        "directories_filename_pattern": "[model_name]/[prompt_words]",
        "samples_filename_pattern": "[steps]-[prompt_spaces]-[generation_number]",
    }
    with server(empty_models, tmp_path) as http:
        http.post(TXT2IMG, json={**body, "override_settings": patterns}).raise_for_status()
        assert listed(http) == ["none/a b c/00000-2-.._a_b_ _c_.png"]
        assert http.post("/sdapi/v1/options", json={"save_to_dirs": False}).is_success
        http.post(TXT2IMG, json={**body, "batch_size": 2}).raise_for_status()
        assert listed(http, limit=2) == ["00001-8.png", "00000-7.png"]
        for name, value in [
            ("save_to_dirs", "perhaps"),
            ("samples_filename_pattern", "x" * 1000),
            ("directories_filename_pattern", 5),
            ("directories_max_prompt_words", 0),
        ]:
            refused = http.post("/sdapi/v1/options", json={name: value})
            assert refused.status_code == 422
            assert name in refused.json()["detail"]
        assert http.get("/sdapi/v1/options").json()["samples_filename_pattern"] == ""


@pytest.mark.parametrize(
    "id_",
    [
        *("../secret.png", "%2e%2e/secret.png", "..%2fsecret.png", "%2e%2e%2fsecret.png"),
        *("x/../../secret.png", "x/..%2f..%2fsecret.png", "{above}/secret.png", "%2fetc%2fpasswd"),
        *("//etc/passwd", "a.png%00", "x%00.png", "%00", ".", "..", "%2e", "x", "x/", "x//a.png"),
        *("link.png", "away/secret.png", "inner.png", "text.png", "note.txt", "pipe.png"),
        *(INDEX, f"{BIN}/a.png", ".hidden.png", "x/.hidden/a.png", "a.png/", "\\..\\secret.png"),
        *("ü" * 300 + ".png", "x/" * 600 + "a.png", "%ff%fe.png", "thumbnail", "a.png/thumbnail/"),
    ],
)
@pytest.mark.parametrize("end", ["", "/thumbnail"])
def test_no_id_leads_out_of_the_folder(folder: httpx.Client, id_: str, end: str) -> None:
    above = folder.params["above"].lstrip("/")
    url = f"{IMAGES}/{id_.format(above=above)}{end}"
    answer = folder.get(url)
    if answer.status_code == 200:
        # Clients clear ``..`` away by themselves, and slashes at the end mean nothing.
        assert answer.headers["content-type"] in ("application/json", "image/png", "image/webp")
        assert answer.url.path.rstrip("/").removesuffix("/thumbnail") in (IMAGES, f"{IMAGES}/a.png")
    else:
        assert answer.status_code in (400, 404, 405, 409)
    assert b"secret" not in answer.content.replace(b"secret.png", b"")
    refused = folder.delete(url)
    assert refused.status_code in (204, 400, 404, 405, 409)


@pytest.fixture
def folder(empty_models: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A server whose folder has links out of it, and files that only look like images."""
    output = tmp_path / "out"
    put(output / "a.png")
    for hidden in (".hidden.png", "x/.hidden/a.png", f"{BIN}/a.png"):
        put(output / hidden)
    put(tmp_path / "secret.png", "secret")
    (output / "link.png").symlink_to(tmp_path / "secret.png")
    (output / "away").symlink_to(tmp_path)
    (output / "inner.png").symlink_to(output / INDEX)
    (output / "text.png").write_text("secret")
    (output / "note.txt").write_text("secret")
    os.mkfifo(output / "pipe.png")
    with server(empty_models, output) as http:
        http.params = httpx.QueryParams({"above": str(tmp_path)})
        assert listed(http) == ["a.png"]
        yield http
    assert (tmp_path / "secret.png").exists()


def test_many_are_listed_by_pages(empty_models: Path, tmp_path: Path) -> None:
    data = encode_image(Image.new("RGB", (8, 8)), "png", TEXT.format(prompt="a cat"))
    (tmp_path / "day").mkdir()
    for number in range(2000):
        path = tmp_path / "day" / f"{number:05}-1.png"
        path.write_bytes(data)
        # Some of the same time.
        os.utime(path, (number // 3, number // 3))
    begin = time.monotonic()
    with server(empty_models, tmp_path) as http:
        assert time.monotonic() - begin < 30
        seen: list[str] = []
        cursor, slowest = "", 0.0
        while cursor is not None:
            begin = time.monotonic()
            told = http.get(IMAGES, params={"limit": 150, "before": cursor}).json()
            slowest = max(slowest, time.monotonic() - begin)
            seen += [image["id"] for image in told["images"]]
            cursor = told["next"]
        every = [f"day/{number:05}-1.png" for number in reversed(range(2000))]
        assert seen == every
        assert slowest < 2
        told = http.get(IMAGES, params={"limit": 3, "offset": 1500, "search": "cat"}).json()
        assert [image["id"] for image in told["images"]] == every[1500:1503]
        assert told["total"] == 2000
        told = http.get(IMAGES, params={"offset": 2000, "search": "dog"}).json()
        assert (told["images"], told["total"], told["next"]) == ([], 0, None)
        assert len(listed(http, search="cat", limit=200)) == 200


@pytest.mark.parametrize(
    "asked",
    [
        *(
            {"offset": -1},
            {"offset": "x"},
            {"limit": 0},
            {"limit": 1000},
            {"limit": "x"},
            {"before": "x"},
            {"before": "W10"},
        ),
        *({"before": "bm90IGpzb24"}, {"before": "[" * 3000}, {"search": "x" * 501}),
    ],
)
def test_questions_that_are_none_are_refused(
    empty_models: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    with server(empty_models, tmp_path) as http:
        assert http.get(IMAGES, params=asked).status_code == 422


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("cat", "acg"),
        ("CAT meadow", "a"),
        ("mead", "a"),
        ("100%", "b"),
        ("%", "b"),
        ("_", "c"),
        ("big_cat", "c"),
        ("bigxcat", ""),
        ('"', "d"),
        ("'", "e"),
        ("a'b\"c", ""),
        ("don't", "e"),
        ("漢字", "f"),
        ("\\", "g"),
        # Three words, none of which is an operator.
        ('" OR "cat', ""),
        ("cat* NEAR(", ""),
        ("infotext:cat", ""),
        ("nothing", ""),
        ("\0cat", "acg"),
        ("  ", "abcdefg"),
    ],
)
def test_searches_mean_what_they_say(searched: httpx.Client, search: str, found: str) -> None:
    names = sorted(Path(id_).stem for id_ in listed(searched, search=search))
    assert "".join(names) == found


PROMPTS = {
    "a": "a cat on a meadow",
    "b": "a 100% dog",
    "c": "a big_cat",
    "d": 'a "dog"',
    "e": "don't",
    "f": "大漢字画",
    "g": "a \\cat",
}


@pytest.fixture(scope="module")
def searched(empty_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("searched")
    for name, prompt in PROMPTS.items():
        put(folder / f"{name}.png", prompt)
    with server(empty_models, folder) as http:
        yield http


def test_deleted_images_come_back(empty_models: Path, tmp_path: Path) -> None:
    put(tmp_path / "day" / "00004-7.png", age_s=10)
    put(tmp_path / "old.png", age_s=20)
    one = f"{IMAGES}/day/00004-7.png"
    with server(empty_models, tmp_path) as http:
        assert http.delete(one).status_code == 204
        assert http.delete(one).status_code == 404
        assert http.get(one).status_code == 404
        assert listed(http) == ["old.png"]
        assert (tmp_path / BIN / "day" / "00004-7.png").exists()
        assert http.post(f"{one}/restore").status_code == 204
        assert http.post(f"{one}/restore").status_code == 404
        assert listed(http, search="cat") == ["day/00004-7.png", "old.png"]
        http.delete(one)
        put(tmp_path / "day" / "00004-7.png", "another")
        assert http.post(f"{one}/restore").status_code == 409
        assert http.delete(one).status_code == 409
    # A number in the bin is not given again.
    (tmp_path / "day" / "00004-7.png").unlink()
    assert OutputFolder(tmp_path).save(b"", ("day",), "7", ".png") == "day/00005-7.png"


def test_files_that_vanish_are_not_listed(empty_models: Path, tmp_path: Path) -> None:
    for number in range(5):
        put(tmp_path / f"{number}.png", age_s=number)
    with server(empty_models, tmp_path) as http:
        (tmp_path / "0.png").unlink()
        (tmp_path / "2.png").unlink()
        assert listed(http, limit=2, offset=1) == ["1.png", "3.png"]
        assert listed(http, limit=2) == ["1.png", "3.png"]
        assert listed(http) == ["1.png", "3.png", "4.png"]


def test_another_start_finds_what_is_new_and_what_is_gone(
    empty_models: Path, tmp_path: Path
) -> None:
    with server(empty_models, tmp_path) as http:
        (kept,) = result_of(http)["saved"]
        (gone,) = result_of(http)["saved"]
    (tmp_path / gone).unlink()
    put(tmp_path / "theirs" / "photo.JPG", "theirs", age_s=3600)
    put(tmp_path / "theirs" / "photo.webp", "theirs", age_s=7200)
    with server(empty_models, tmp_path) as http:
        assert listed(http) == [kept, "theirs/photo.JPG", "theirs/photo.webp"]
        assert listed(http, search="theirs") == ["theirs/photo.JPG", "theirs/photo.webp"]
        assert result_of(http)["saved"] == [gone]


@pytest.mark.parametrize("damage", ["garbage", "cut", "version", "tables"])
def test_a_damaged_list_is_made_anew(
    empty_models: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "a.png")
    with server(empty_models, tmp_path) as http:
        assert listed(http) == ["a.png"]
    index = tmp_path / INDEX
    content = index.read_bytes()
    if damage == "garbage":
        index.write_bytes(b"no database" * 1000)
    elif damage == "cut":
        index.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    else:
        with sqlite3.connect(index) as db:
            db.execute("PRAGMA user_version = 99" if damage == "version" else "DROP TABLE images")
        db.close()
    with server(empty_models, tmp_path) as http:
        assert listed(http) == ["a.png"]
        assert listed(http, search="cat") == ["a.png"]
    assert "made anew" in caplog.text


def test_a_list_that_is_damaged_while_the_server_runs(empty_models: Path, tmp_path: Path) -> None:
    painter = Painter()
    app = create_app(ServerConfig(models=empty_models, output=tmp_path), [painter])
    images = app.state.service.images
    put(tmp_path / "a.png")
    images.start()
    until(lambda: not images.scanning)
    with running(app) as url, httpx.Client(base_url=url) as http:
        assert listed(http) == ["a.png"]
        with sqlite3.connect(tmp_path / INDEX) as db:
            db.execute("DROP TABLE images")
        db.close()
        http.get(IMAGES)
        until(lambda: listed(http) == ["a.png"])


def test_threads_get_names_of_their_own(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    others = OutputFolder(tmp_path)
    ids: list[str] = []

    def save(to: OutputFolder) -> None:
        for _ in range(20):
            ids.append(to.save(b"x", ("day",), "7", ".png"))

    threads = [threading.Thread(target=save, args=(to,)) for to in (folder, folder, others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 60
    assert sorted(path.name for path in (tmp_path / "day").iterdir()) == [
        f"{number:05}-7.png" for number in range(60)
    ]


def test_a_folder_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = OutputFolder(tmp_path)
    put(tmp_path / "00041-1.png")
    assert folder.save(b"x", (), "7", ".png") == "00042-7.png"

    def refuse(*_: object) -> None:
        raise AssertionError("looked through again")

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert folder.save(b"x", (), "7", ".png") == "00043-7.png"
    monkeypatch.undo()


def test_a_link_in_the_folder_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "day").symlink_to(tmp_path)
    with pytest.raises(OSError, match="leads out"):
        OutputFolder(tmp_path / "out").save(b"x", ("day",), "7", ".png")


def test_thumbnails_of_damaged_images_are_refused(empty_models: Path, tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    with server(empty_models, tmp_path) as http:
        (tmp_path / "a.png").write_bytes(whole[:-30])
        answer = http.get(f"{IMAGES}/a.png/thumbnail")
        assert answer.status_code == 409
        assert "a damaged image" in json.dumps(answer.json())


def test_passwords_guard_the_images(empty_models: Path, tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    config = ServerConfig(models=empty_models, output=tmp_path, users=(("me", "word"),))
    with client_of(create_app(config, [Painter()])) as http:
        for path in ("", "/a.png", "/a.png/thumbnail"):
            assert http.get(f"{IMAGES}{path}").status_code == 401
        assert http.delete(f"{IMAGES}/a.png").status_code == 401
        assert http.get(f"{IMAGES}/a.png", auth=("me", "word")).status_code == 200
