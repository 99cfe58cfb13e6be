"""What those who run a server see, and its document."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from promptengine import errors
from promptengine.cli.main import main
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.errors import STATUSES, HTTPRefusal, status_of
from promptengine.server.jobs.worker import Device
from promptengine.server.observability import JsonLines
from promptengine.server.sdapi.routes import unload_checkpoint
from tests.server.conftest import Live
from tests.server.live import SMALL, Painter, client_of


def test_the_root_leads_somewhere(live: Live) -> None:
    for ask in (live.http.get, live.http.head):
        answer = ask("/", follow_redirects=True)
        assert (answer.status_code, answer.url.path) == (200, "/docs")


def test_counters(empty_models: Path, painter: Painter) -> None:
    painter.gate.set()
    with client_of(create_app(ServerConfig(models=empty_models), [painter])) as http:
        assert http.post("/sdapi/v1/txt2img", json={**SMALL, "batch_size": 3}).status_code == 200
        http.get("/made/up/path")
        told = http.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(told.text)
        for sample in family.samples
    }
    assert found["promptengine_images_total",] == 3
    assert found["promptengine_jobs_total", ("state", "done")] == 1
    assert found["promptengine_jobs_waiting",] == 0
    assert found["promptengine_jobs_running",] == 0
    assert not any("made/up" in str(key) for key in found)


def test_lines_of_the_log_are_json() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "job ended", None, None)
    record.facts = {"job": "a1", "path": Path("x")}
    line = json.loads(JsonLines().format(record))
    assert (line["event"], line["job"], line["level"]) == ("job ended", "a1", "info")


def test_every_error_has_a_status() -> None:
    assert {kind.__name__ for kind in STATUSES} == set(errors.__all__)
    assert status_of(errors.RequestError("x", field="y")) == 422
    assert status_of(RuntimeError()) == 500


def test_the_document_declares_what_routes_answer(live: Live) -> None:
    document = live.http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["responses"], path
            assert operation.get("description"), path
    txt2img = document["paths"]["/sdapi/v1/txt2img"]["post"]["responses"]
    assert {"200", "404", "409", "413", "422", "503"} <= txt2img.keys()


def test_without_the_extra_there_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("promptengine.cli.serve.find_spec", lambda name: None)
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == (
        "promptengine: error: promptengine serve needs the extra 'server': "
        "pip install 'promptengine[server]'\n"
    )


def test_civitai_needs_what_asks_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "promptengine.cli.serve.find_spec", lambda name: None if name == "httpx" else name
    )
    assert main(["serve", "--civitai"]) == 2
    assert capsys.readouterr().err == (
        "promptengine: error: --civitai needs the extra 'civitai': "
        "pip install 'promptengine[civitai]'\n"
    )


def test_mistakes_on_the_command_line_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (["--models", str(tmp_path)], "no checkpoint found"),
        (["--api-auth", "me"], "NAME:PASSWORD"),
    ):
        assert main(["serve", *arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("module", ["promptengine", "promptengine.cli.main", "promptengine.server"])
def test_the_server_is_loaded_when_it_is_needed(module: str) -> None:
    code = f"import sys, {module}; sys.exit('fastapi' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_models_memory_can_be_had_back(live: Live) -> None:
    before = live.http.post("/sdapi/v1/txt2img", json=SMALL).json()["images"]
    (device,) = live.service.devices
    with device.using(live.service.settings.model) as engine:
        unet = weakref.ref(engine.checkpoint.unet)
    del engine
    assert live.http.post("/sdapi/v1/unload-checkpoint").json() == {}
    assert unet() is None
    assert live.http.post("/sdapi/v1/txt2img", json=SMALL).json()["images"] == before
    assert live.http.post("/sdapi/v1/unload-checkpoint").status_code == 200
    assert live.http.post("/sdapi/v1/reload-checkpoint").json() == {}
    assert device._engine is not None
    elsewhere = replace(live.service, devices=())
    with pytest.raises(HTTPRefusal, match="replicas"):
        unload_checkpoint(elsewhere)


def test_the_default_device_is_unloaded_and_loaded_again(live: Live) -> None:
    auto = Device("auto", live.config, live.service.registry)
    auto.load(live.service.settings.model)
    auto.unload()
    for route in ("unload-checkpoint", "reload-checkpoint"):
        assert live.http.post(f"/sdapi/v1/{route}").json() == {}
