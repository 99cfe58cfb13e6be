"""What goes wrong around a server, and that it goes on."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.sdapi import to_response as answering
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS
from tests.server.conftest import Live
from tests.server.live import SMALL, Painter, client_of, until

TXT2IMG = "/sdapi/v1/txt2img"


def told(live: Live, **fields: Any) -> dict[str, Any]:
    answer = live.http.post(TXT2IMG, json={**SMALL, **fields})
    assert answer.status_code == 200, answer.text[:300]
    return json.loads(answer.json()["info"])


def test_a_network_that_is_deleted_or_damaged_after_the_scan(live: Live) -> None:
    assert isinstance(live.config.models, Path)
    path = live.config.models / "hypernetworks" / "fleeting.pt"
    shutil.copy(NETWORKS / "hn-relu.pt", path)
    prompt = "a cat <hypernet:fleeting:1>"
    assert told(live, prompt=prompt)["networks"][0]["applied"]
    path.write_bytes(path.read_bytes()[:500])
    damaged = told(live, prompt=prompt)
    assert not damaged["networks"][0]["applied"]
    assert any("fleeting" in warning for warning in damaged["warnings"])
    path.unlink()
    gone = told(live, prompt=prompt)
    assert gone["networks"][0]["reason"] == "not found"
    assert told(live, prompt="a cat <hypernet:hn-relu:1>")["networks"][0]["applied"]


def test_a_checkpoint_that_is_damaged(live: Live) -> None:
    assert isinstance(live.config.models, Path)
    path = live.config.models / "Stable-diffusion" / "broken.safetensors"
    path.write_bytes(b"no tensors")
    try:
        overrides = {"sd_model_checkpoint": "broken"}
        answer = live.http.post(TXT2IMG, json={**SMALL, "override_settings": overrides})
        assert answer.status_code == 422
        assert answer.json()["error"] == "CheckpointError"
        assert told(live)["sd_model_name"] == "tiny"
    finally:
        path.unlink()
        live.service.registry.refresh()


def test_a_client_that_vanishes_takes_its_job_along(empty_models: Path, painter: Painter) -> None:
    app = create_app(ServerConfig(models=empty_models), [painter])
    queue = app.state.service.queue
    with client_of(app) as http:
        body = json.dumps(SMALL).encode()
        host, port = http.base_url.host, http.base_url.port
        assert port is not None
        head = (
            f"POST {TXT2IMG} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        )
        with socket.create_connection((host, port)) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: queue.running)
            job = queue.running[0]
        until(lambda: job.has_ended)
        assert job.state == "cancelled"
        painter.gate.set()
        assert http.post(TXT2IMG, json=SMALL).status_code == 200


def test_images_that_are_saved_need_no_client(
    tmp_path: Path, empty_models: Path, painter: Painter
) -> None:
    app = create_app(ServerConfig(models=empty_models, output=tmp_path), [painter])
    queue = app.state.service.queue
    with client_of(app) as http, ThreadPoolExecutor() as pool:
        impatient = httpx.Client(base_url=http.base_url, timeout=0.5)
        asked = pool.submit(impatient.post, TXT2IMG, json={**SMALL, "save_images": True})
        with pytest.raises(httpx.ReadTimeout):
            asked.result()
        impatient.close()
        painter.gate.set()
        until(lambda: list(tmp_path.rglob("*.png")))
        assert not queue.running


def _files_in(folder: Path) -> set[Path]:
    """Images, and what is left of some; not the list of them."""
    return {path for path in folder.rglob("*") if path.parent != folder}


@pytest.mark.parametrize("sends", [True, False])
def test_a_full_disk(live: Live, monkeypatch: pytest.MonkeyPatch, sends: bool) -> None:
    live.http.post(TXT2IMG, json={**SMALL, "save_images": True})
    before = _files_in(live.config.output)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(answering.Path, "write_bytes", full)
    body = {**SMALL, "save_images": True, "send_images": sends}
    answer = live.http.post(TXT2IMG, json=body)
    monkeypatch.undo()
    if sends:
        assert len(answer.json()["images"]) == 1
        assert "No space left" in json.loads(answer.json()["info"])["warnings"][0]
    else:
        assert answer.status_code == 507
        assert "No space left" in answer.json()["detail"]
    assert _files_in(live.config.output) == before
    assert told(live)["seed"] == 7


def test_a_job_that_fails_tells_nothing_of_the_inside(empty_models: Path, painter: Painter) -> None:
    painter.fails = ("a cat",)
    painter.gate.set()
    with client_of(create_app(ServerConfig(models=empty_models), [painter])) as http:
        answer = http.post(TXT2IMG, json=SMALL)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        assert http.post(TXT2IMG, json={**SMALL, "prompt": "a dog"}).status_code == 200


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    folder: Path, *more: str, patience_s: float = 60
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of its own that writes all it says into a log in a folder; yields it and its address."""
    port = free_port()
    arguments = ["--checkpoint", str(CHECKPOINT), "--config", str(CONFIG), "--device", "cpu"]
    arguments += ["--models", str(folder), "--port", str(port), *more]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "promptengine", "serve", *arguments], stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: process.poll() is not None or answers(url), patience_s)
        assert process.poll() is None, (folder / "log").read_text()
        yield process, url
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_process_ends_in_order(tmp_path: Path) -> None:
    with process(tmp_path, "--grace", "60") as (server, url), ThreadPoolExecutor() as pool:
        body = {**SMALL, "steps": 60, "width": 128, "height": 128}
        first = pool.submit(httpx.post, f"{url}{TXT2IMG}", json=body, timeout=100)
        until(lambda: httpx.get(f"{url}/healthz").json()["running"] == 1, 60)
        second = pool.submit(httpx.post, f"{url}{TXT2IMG}", json={**body, "steps": 61}, timeout=100)
        until(lambda: httpx.get(f"{url}/healthz").json()["waiting"] == 1, 60)
        server.send_signal(signal.SIGTERM)
        assert second.result().status_code == 503
        assert first.result().status_code == 200
        assert server.wait(60) in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    ended = [line for line in lines if line["event"] == "job ended"]
    assert {line["state"] for line in ended} == {"done", "cancelled"}
    assert all(line["job"] for line in ended)
    assert "a cat" not in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_half_written(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    saving = {**SMALL, "steps": 1, "save_images": True, "send_images": False}
    for seed in (1, 2):
        with process(tmp_path, "--output", str(outputs)) as (server, url):
            told = httpx.post(f"{url}{TXT2IMG}", json={**saving, "seed": seed}, timeout=60)
            assert told.status_code == 200
            with ThreadPoolExecutor() as pool:
                body = {**saving, "steps": 100, "n_iter": 4}
                lost = pool.submit(httpx.post, f"{url}{TXT2IMG}", json=body, timeout=60)
                until(lambda: httpx.get(f"{url}/healthz").json()["running"] == 1, 60)
                server.kill()
                with pytest.raises(httpx.TransportError):
                    lost.result()
    saved = [path for path in outputs.rglob("*") if path.is_file() and path.parent != outputs]
    assert sorted(path.name for path in saved) == ["00000-1.png", "00001-2.png"]
    for path in saved:
        with Image.open(path) as image:
            image.load()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        time.sleep(0.1)
        return False
