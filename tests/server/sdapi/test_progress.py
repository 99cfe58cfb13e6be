"""Progress, labels, full queues and joined batches as WebUI's clients see them."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from tests.server.conftest import Live
from tests.server.live import SMALL, Painter, client_of, until

TXT2IMG = "/sdapi/v1/txt2img"


def pixels(image: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))).astype(int)


def test_a_job_is_told_of_by_its_name(empty_models: Path, painter: Painter) -> None:
    app = create_app(ServerConfig(models=empty_models), [painter])
    with client_of(app) as http, ThreadPoolExecutor() as pool:
        first = pool.submit(http.post, TXT2IMG, json={**SMALL, "force_task_id": "task(a)"})
        until(lambda: http.get("/sdapi/v1/progress").json()["state"]["job"] == "task(a)")
        second = pool.submit(http.post, TXT2IMG, json={**SMALL, "n_iter": 3, "genkey": "KCPP1"})
        until(lambda: http.get("/internal/pending-tasks").json()["size"] == 1)
        assert http.get("/internal/pending-tasks").json()["tasks"] == ["KCPP1"]
        waiting = http.get("/sdapi/v1/progress", params={"genkey": "KCPP1"}).json()
        assert (waiting["progress"], waiting["state"]["job_count"]) == (0, 3)
        assert 0 < http.get("/sdapi/v1/progress").json()["progress"] < 1
        told = http.post("/internal/progress", json={"id_task": "task(a)"}).json()
        assert (told["active"], told["queued"], told["completed"]) == (True, False, False)
        told = http.post("/internal/progress", json={"id_task": "KCPP1"}).json()
        assert (told["active"], told["queued"]) == (False, True)
        http.post("/sdapi/v1/interrupt", params={"task_id": "KCPP1"})
        assert second.result().json()["images"] == []
        info = json.loads(second.result().json()["info"])
        assert (info["all_seeds"], info["warnings"]) == ([], ["stopped after 0 of 3 batches"])
        painter.gate.set()
        assert first.result().status_code == 200
        told = http.post("/internal/progress", json={"id_task": "task(a)"}).json()
        assert told["completed"]
        assert not http.post("/internal/progress", json={"id_task": "x"}).json()["completed"]
        assert http.get("/internal/ping").json() == {}


def test_the_image_of_a_step(empty_models: Path, painter: Painter) -> None:
    app = create_app(ServerConfig(models=empty_models), [painter])
    queue = app.state.service.queue
    with client_of(app) as http, ThreadPoolExecutor() as pool:
        painter.steps = 2
        asked = pool.submit(http.post, TXT2IMG, json=SMALL)
        until(lambda: queue.running)
        job = queue.running[0]
        # What a runner would report between two steps.
        queue._reporter([job])(1, 2, [Image.new("RGB", (8, 8), "red")])
        told = http.get("/sdapi/v1/progress").json()
        assert told["progress"] == 0.5
        assert told["state"]["sampling_step"] == 1
        assert pixels(told["current_image"]).shape == (32, 32, 3)
        quick = http.get("/sdapi/v1/progress", params={"skip_current_image": True}).json()
        assert quick["current_image"] is None
        shown = http.post("/internal/progress", json={"id_task": "", "live_preview": True}).json()
        assert not shown["active"]
        painter.gate.set()
        asked.result()


def test_a_full_queue_answers_503(empty_models: Path, painter: Painter) -> None:
    app = create_app(ServerConfig(models=empty_models, queue=2), [painter])
    queue = app.state.service.queue
    with client_of(app) as http, ThreadPoolExecutor() as pool:
        asked = [pool.submit(http.post, TXT2IMG, json={**SMALL, "steps": 3})]
        until(lambda: queue.running)
        asked += [pool.submit(http.post, TXT2IMG, json=SMALL) for _ in range(2)]
        until(lambda: len(queue.waiting) == 2)
        refused = http.post(TXT2IMG, json=SMALL)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json().keys() == {"error", "detail", "body", "errors"}
        assert http.post("/promptengine/v1/jobs", json={"prompt": "a"}).status_code == 503
        painter.gate.set()
        assert [one.result().status_code for one in asked] == [200] * 3


def test_a_stopping_server_answers_503(empty_models: Path, painter: Painter) -> None:
    app = create_app(ServerConfig(models=empty_models), [painter])
    queue = app.state.service.queue
    with client_of(app) as http, ThreadPoolExecutor() as pool:
        first = pool.submit(http.post, TXT2IMG, json=SMALL)
        until(lambda: queue.running)
        second = pool.submit(http.post, TXT2IMG, json={**SMALL, "steps": 3})
        until(lambda: queue.waiting)
        closing = pool.submit(queue.close, 10)
        assert second.result().status_code == 503
        painter.gate.set()
        closing.result()
        assert first.result().status_code == 200


@pytest.mark.parametrize("kind", ["different networks", "a list of prompts"])
def test_a_joined_batch_gives_the_images_that_each_gives_alone(live: Live, kind: str) -> None:
    prompts = [f"a cat <hypernet:{n}:0.{d}>" for n in ("hn-relu", "hn-mish") for d in (3, 8)]
    bodies = [{**SMALL, "prompt": p, "seed": 10 + n} for n, p in enumerate(prompts)]
    alone = [live.http.post(TXT2IMG, json=body).json()["images"][0] for body in bodies]
    if kind == "a list of prompts":
        answer = live.http.post(TXT2IMG, json={**SMALL, "prompt": prompts, "seed": 10})
        info = json.loads(answer.json()["info"])
        assert info["all_prompts"] == prompts
        assert info["all_seeds"] == [10, 11, 12, 13]
        assert [network["image_indexes"] for network in info["networks"]] == [[0], [1], [2], [3]]
        together = answer.json()["images"]
    else:
        together = _together(live, bodies)
    for one, other in zip(alone, together, strict=True):
        assert abs(pixels(one) - pixels(other)).max() <= 1


def _together(live: Live, bodies: list[dict[str, Any]]) -> list[str]:
    queue = live.service.queue
    with ThreadPoolExecutor() as pool, httpx.Client(base_url=live.url, timeout=120) as http:
        ahead = pool.submit(http.post, TXT2IMG, json={**SMALL, "steps": 40})
        until(lambda: queue.running)
        asked = [pool.submit(http.post, TXT2IMG, json=body) for body in bodies]
        until(lambda: len(queue.running) == len(bodies))
        answers = [one.result() for one in asked]
        ahead.result()
    assert all(answer.status_code == 200 for answer in answers)
    return [answer.json()["images"][0] for answer in answers]


def test_an_infotext_fills_what_is_not_given(live: Live) -> None:
    made = live.http.post(TXT2IMG, json={**SMALL, "prompt": "a (cat:1.2)", "sampler_name": "DDIM"})
    text = json.loads(made.json()["info"])["infotexts"][0]
    again = live.http.post(TXT2IMG, json={"infotext": text})
    assert again.json()["images"] == made.json()["images"]
    other = live.http.post(TXT2IMG, json={"infotext": text, "seed": 8, "steps": 1})
    info = json.loads(other.json()["info"])
    assert (info["seed"], info["steps"], info["prompt"]) == (8, 1, "a (cat:1.2)")


def test_styles_go_around_the_prompt(live: Live) -> None:
    answer = live.http.post(TXT2IMG, json={**SMALL, "styles": ["ink", "plain", "none such"]})
    info = json.loads(answer.json()["info"])
    assert info["prompt"] == "a cat, ink drawing, plain"
    assert info["negative_prompt"] == "color"
    assert info["styles"] == ["ink", "plain"]
    assert any("none such" in warning for warning in info["warnings"])


def test_networks_can_be_left_out(live: Live) -> None:
    plain = live.http.post(TXT2IMG, json=SMALL).json()
    tagged = {**SMALL, "prompt": "a cat<hypernet:hn-relu:1>", "disable_extra_networks": True}
    answer = live.http.post(TXT2IMG, json=tagged).json()
    assert (pixels(answer["images"][0]) == pixels(plain["images"][0])).all()
    assert json.loads(answer["info"])["networks"] == []


def test_the_setting_names_a_network(live: Live) -> None:
    overrides = {"sd_hypernetwork": "hn-relu", "extra_networks_default_multiplier": 0.5}
    answer = live.http.post(TXT2IMG, json={**SMALL, "override_settings": overrides})
    (network,) = json.loads(answer.json()["info"])["networks"]
    assert (network["name"], network["multiplier"], network["applied"]) == ("hn-relu", 0.5, True)
