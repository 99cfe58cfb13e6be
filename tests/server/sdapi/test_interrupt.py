"""Jobs that their clients end early: each answers with its images so far, whatever it shares a batch with."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine.server.jobs.job import Job
from tests.server.conftest import Live
from tests.server.live import SMALL, until

TXT2IMG = "/sdapi/v1/txt2img"
JOBS = "/promptengine/v1/jobs"
LONG = {**SMALL, "steps": 150, "width": 128, "height": 128}


def stepping(live: Live, found: Callable[[Job], bool] = lambda job: True) -> None:
    """Wait until a running job has made a step."""
    until(lambda: any(job.step > 1 and found(job) for job in live.service.queue.running))


def answer_when_interrupted(live: Live, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(live.http.post, path, json=body)
        stepping(live)
        live.http.post("/sdapi/v1/interrupt")
        answer = asked.result()
    assert answer.status_code == 200
    return answer.json()


def opened(image: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image)))


@pytest.mark.parametrize("kind", ["batch", "list", "hires", "img2img"])
def test_the_image_so_far(live: Live, kind: str) -> None:
    red = io.BytesIO()
    Image.new("RGB", (128, 128), "red").save(red, "PNG")
    start = base64.b64encode(red.getvalue()).decode()
    more: dict[str, dict[str, Any]] = {
        "batch": {"batch_size": 2, "n_iter": 2},
        "list": {"prompt": ["a cat", "a dog"]},
        "hires": {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.9, "n_iter": 2},
        "img2img": {"init_images": [start], "denoising_strength": 0.9, "batch_size": 2},
    }
    path = "/sdapi/v1/img2img" if kind == "img2img" else TXT2IMG
    told = answer_when_interrupted(live, path, {**LONG, **more[kind]})
    info = json.loads(told["info"])
    count = 1 if kind == "hires" else 2
    assert info["all_seeds"] == [7, 8][:count]
    assert len(info["infotexts"]) == count
    assert [opened(image).size for image in told["images"]] == [(128, 128)] * count
    assert "unfinished: ended after step" in info["warnings"][0]


def test_one_job_of_a_batch_is_interrupted(live: Live) -> None:
    body = {**SMALL, "steps": 60}
    alone = live.http.post(TXT2IMG, json={**body, "seed": 30}).json()["images"]
    with ThreadPoolExecutor() as pool, httpx.Client(base_url=live.url, timeout=120) as http:
        ahead = pool.submit(http.post, TXT2IMG, json={**LONG, "steps": 40})
        until(lambda: live.service.queue.running)
        ended = pool.submit(http.post, TXT2IMG, json={**body, "seed": 20, "force_task_id": "mine"})
        kept = pool.submit(http.post, TXT2IMG, json={**body, "seed": 30})
        ahead.result()
        stepping(live, lambda job: job.label == "mine")
        assert len(live.service.queue.running) == 2
        http.post("/sdapi/v1/interrupt", params={"task_id": "mine"})
        told = json.loads(ended.result().json()["info"])
        assert not kept.done()
        assert "unfinished: ended after step" in told["warnings"][0]
        assert told["all_seeds"] == [20]
        answer = kept.result().json()
    assert json.loads(answer["info"])["warnings"] == []
    difference = zip(opened(answer["images"][0]).tobytes(), opened(alone[0]).tobytes(), strict=True)
    assert max(abs(one - other) for one, other in difference) <= 1


def test_unfinished_images_are_not_saved(live: Live) -> None:
    before = set(live.config.output.glob("*"))
    told = answer_when_interrupted(live, TXT2IMG, {**LONG, "save_images": True})
    assert len(told["images"]) == 1
    assert "unfinished images are not saved" in json.loads(told["info"])["warnings"]
    assert set(live.config.output.glob("*")) == before


def test_our_own_jobs_are_skipped_and_interrupted(live: Live) -> None:
    job = live.http.post(JOBS, json={**LONG, "steps": 100, "batch_count": 3}).json()["id"]
    stepping(live)
    live.http.post(f"{JOBS}/{job}/skip")
    stepping(live, lambda job: job.batch == 1)
    live.http.post(f"{JOBS}/{job}/interrupt")
    until(lambda: live.http.get(f"{JOBS}/{job}").json()["state"] == "interrupted")
    result = live.http.get(f"{JOBS}/{job}/result").json()
    assert result["seeds"] == [7, 8]
    assert [opened(image).size for image in result["images"]] == [(128, 128)] * 2
    said = [one["message"] for one in result["diagnostics"]]
    assert [text.partition(":")[0] for text in said] == ["unfinished"] * 2
    assert live.http.post(f"{JOBS}/nobody/interrupt").status_code == 404
