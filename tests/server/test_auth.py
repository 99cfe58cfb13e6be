"""Who gets in, how much may be asked for, and what stays inside."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine.errors import RequestError
from promptengine.server.app import create_app
from promptengine.server.auth import read_users
from promptengine.server.config import Limits, ServerConfig
from tests.server.conftest import Live
from tests.server.live import SMALL, Painter, client_of
from tests.server.sdapi.test_rules import in_base64

TXT2IMG = "/sdapi/v1/txt2img"
IMG2IMG = "/sdapi/v1/img2img"


def test_users_may_have_colons_in_their_passwords() -> None:
    assert read_users(["a:b:c", "", "d:e, f "], "x") == (("a", "b:c"), ("d", "e, f "))
    for wrong in (["a"], ["a:"], [":b"], ["a:b", "c"], [""], []):
        with pytest.raises(RequestError, match="secrets: write NAME:PASSWORD"):
            read_users(wrong, "secrets")


def test_passwords_let_in(empty_models: Path, painter: Painter) -> None:
    config = ServerConfig(models=empty_models, users=(("me", "a:b"), ("you", "ö")))
    with client_of(create_app(config, [painter])) as http:
        for name, word in (("me", "a:b"), ("you", "ö")):
            token = base64.b64encode(f"{name}:{word}".encode()).decode()
            for scheme in ("Basic", "basic"):
                headers = {"Authorization": f"{scheme} {token}"}
                assert http.get("/sdapi/v1/options", headers=headers).status_code == 200
        for header in ("", "Basic", "Basic !", "Basic bWU6eA==", "Bearer bWU6YTpi", "Basic bWU="):
            answer = http.get("/sdapi/v1/options", headers={"Authorization": header})
            assert answer.status_code == 401
            assert answer.json()["detail"] == "Incorrect username or password"
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
        for path in ("/openapi.json", "/docs", "/metrics", "/promptengine/v1/networks", "/nothing"):
            assert http.get(path).status_code == 401, path
        assert http.get("/healthz").status_code == 200
        told = http.get("/metrics", auth=("me", "a:b")).text
        assert 'path="/sdapi/v1/options",status="200"' in told
        described = http.get("/openapi.json", auth=("me", "a:b")).json()
        assert described["security"] == [{"password": []}]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"steps": 1000}, "steps"),
        ({"batch_size": 1000}, "images"),
        ({"n_iter": 1000}, "batches"),
        ({"batch_size": 16, "n_iter": 90}, "images"),
        ({"width": 100_000}, "pixels"),
        ({"width": 7}, "width"),
        ({"height": -8}, "height"),
        ({"prompt": "a" * 20_001}, "characters"),
        ({"negative_prompt": "a" * 20_001}, "characters"),
        ({"prompt": ["a"] * 17}, "prompts"),
        ({"prompt": []}, "prompts"),
        ({"enable_hr": True, "hr_scale": 99}, "pixels"),
        ({"enable_hr": True, "hr_resize_x": 50_000}, "pixels"),
        ({"enable_hr": True, "hr_second_pass_steps": 999}, "steps"),
        ({"cfg_scale": 1e9}, "cfg_scale"),
        ({"seed": -5}, "seed"),
        ({"override_settings": {"eta_ancestral": "much"}}, "eta_ancestral"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 0}}, "CLIP_stop"),
    ],
)
def test_too_much_is_refused(live: Live, fields: dict[str, Any], word: str) -> None:
    answer = live.http.post(TXT2IMG, json={**SMALL, **fields})
    assert answer.status_code == 422
    assert answer.json().keys() == {"error", "detail", "body", "errors"}
    assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    "sent",
    ["", "AAAA", "not base64!", "data:image/png;base64,", "iVBORw0KGgo=", "x" * 1000, "\0", "ä"],
)
def test_images_that_are_none_are_refused(live: Live, sent: str) -> None:
    answer = live.http.post(IMG2IMG, json={**SMALL, "init_images": [sent]})
    assert answer.status_code in (404, 422)
    assert "nvalid encoded image" in answer.text or "Init image not found" in answer.text
    assert live.http.post("/sdapi/v1/png-info", json={"image": sent}).status_code in (404, 422)


def test_a_decompression_bomb_is_refused_unopened(live: Live) -> None:
    file = io.BytesIO()
    Image.new("1", (60_000, 60_000)).save(file, format="PNG")
    bomb = base64.b64encode(file.getvalue()).decode()
    for path, body in (
        (IMG2IMG, {**SMALL, "init_images": [bomb]}),
        (IMG2IMG, {**SMALL, "init_images": [in_base64()], "mask": bomb}),
        ("/sdapi/v1/extra-single-image", {"image": bomb}),
    ):
        answer = live.http.post(path, json=body)
        assert answer.status_code == 422
        assert "pixels" in answer.json()["detail"] or "cannot be read" in answer.json()["detail"]


def test_img2img_without_a_image(live: Live) -> None:
    answer = live.http.post(IMG2IMG, json=SMALL)
    assert (answer.status_code, answer.json()["detail"]) == (404, "Init image not found")


def test_long_bodies_are_refused(empty_models: Path, painter: Painter) -> None:
    config = ServerConfig(models=empty_models, limits=Limits(body_bytes=1000))

    def pieces() -> Any:
        for _ in range(50):
            yield b" " * 100

    with client_of(create_app(config, [painter])) as http:
        headers = {"content-type": "application/json"}
        for body in (b" " * 5000, pieces()):
            answer = http.post(TXT2IMG, content=body, headers=headers)
            assert answer.status_code == 413
            assert "1000 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("depth", [40, 3000, 200_000])
def test_deep_json_is_refused(live: Live, depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        body = '{"prompt": "a", "x": ' + opening * depth + "1" + closing * depth + "}"
        answer = live.http.post(TXT2IMG, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        assert answer.json()


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '"a"', "1e9999", '{"steps": ' + "9" * 5000 + "}"]
)
def test_bodies_that_are_no_requests_are_refused(live: Live, body: str) -> None:
    answer = live.http.post(TXT2IMG, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


def test_texts_that_no_file_can_hold_do_no_harm(live: Live) -> None:
    body = json.dumps({**SMALL, "prompt": "a \ud800 cat \0 \u202e"})
    assert "\\ud800" in body
    answer = live.http.post(TXT2IMG, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200


def test_paths_can_be_hidden(live: Live, tmp_path: Path, painter: Painter) -> None:
    models = live.config.models
    config = ServerConfig(models=models, checkpoint="tiny", hide_paths=True, output=tmp_path)
    with client_of(create_app(config, [painter])) as http:
        for path in ("sd-models", "hypernetworks", "loras", "embeddings", "options", "sd-vae"):
            text = http.get(f"/sdapi/v1/{path}").text
            assert str(models) not in text
            assert str(Path(str(models)).parent) not in text
        shown = http.get("/sdapi/v1/hypernetworks").json()[0]["path"]
        assert shown == "hypernetworks/hn-dropout.pt"
        assert str(models) not in http.get("/promptengine/v1/networks").text


def test_images_are_saved_in_the_output_folder_only(live: Live) -> None:
    before = set(live.config.output.rglob("*.png"))
    fields = {**SMALL, "save_images": True, "send_images": False, "batch_size": 2}
    answer = live.http.post(TXT2IMG, json={**fields, "outpath_samples": "/tmp/elsewhere"})
    assert answer.json()["images"] == []
    new = sorted(path.name for path in set(live.config.output.rglob("*.png")) - before)
    assert [name.partition("-")[2] for name in new] == ["7.png", "8.png"]
    assert not Path("/tmp/elsewhere").exists()


def test_a_checkpoint_is_never_a_path_of_a_clients(live: Live, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"")
    for name in (str(tmp_path / "x.safetensors"), "../x", "/etc/passwd"):
        for setting in ("sd_model_checkpoint", "sd_vae"):
            answer = live.http.post(TXT2IMG, json={**SMALL, "override_settings": {setting: name}})
            assert answer.status_code == 404


def test_no_body_is_logged(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        live.http.post(
            TXT2IMG, json={**SMALL, "prompt": "a wholly private cat", "auth": "u:secret"}
        )
        live.http.post(TXT2IMG, json={**SMALL, "steps": "private"})
    text = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "private" not in text
    assert "secret" not in text


def test_options_stay_the_requests_own(live: Live) -> None:
    before = live.http.get("/sdapi/v1/options").json()
    fields: dict[str, Any] = {"override_settings": {"CLIP_stop_at_last_layers": 2, "nonsense": 1}}
    answer = live.http.post(TXT2IMG, json={**SMALL, **fields})
    info = json.loads(answer.json()["info"])
    assert info["clip_skip"] == 2
    assert any("nonsense" in warning for warning in info["warnings"])
    assert answer.json()["parameters"]["override_settings"] == {"CLIP_stop_at_last_layers": 2}
    assert live.http.get("/sdapi/v1/options").json() == before


def test_x_process_time_is_on_every_reply(live: Live) -> None:
    for path in ("/healthz", "/nothing", "/sdapi/v1/txt2img"):
        answer: httpx.Response = live.http.get(path)
        assert float(answer.headers["X-Process-Time"]) >= 0
