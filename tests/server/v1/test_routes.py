"""Our own routes: prompts, networks, and jobs from submission to result."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine.server.app import create_app
from promptengine.server.config import Limits, ServerConfig
from tests.server.conftest import Live
from tests.server.live import Painter, client_of, until
from tests.server.sdapi.test_rules import in_base64

JOBS = "/promptengine/v1/jobs"
WHITE = in_base64(color="white")
SMALL = {"prompt": "a cat", "steps": 2, "width": 64, "height": 64, "seed": 7, "sampler": "Euler"}


def waited(http: httpx.Client, job: str) -> dict[str, Any]:
    until(lambda: http.get(f"{JOBS}/{job}").json()["state"] not in ("waiting", "running"), 60)
    return http.get(f"{JOBS}/{job}").json()


def test_a_prompt_is_read(live: Live) -> None:
    form = {"prompt": "# note\na (cat:1.2) AND b:0.5 <hypernet:hn-relu:0.8> <hypernet:hn-reul:1>"}
    told = live.http.post("/promptengine/v1/parse", json=form).json()
    assert told["text"] == "a (cat:1.2) AND b"
    assert told["networks"] == [{"kind": "hypernet", "name": "hn-relu", "multiplier": 0.8}]
    assert told["subprompts"][1]["weight"] == 0.5
    assert told["subprompts"][0]["schedule"][0]["attention"][1] == ["cat", 1.2]
    (unknown,) = told["diagnostics"]
    assert "did you mean 'hn-relu'" in unknown["message"]
    assert form["prompt"][unknown["start"] : unknown["end"]] == "<hypernet:hn-reul:1>"


def test_the_places_of_a_prompt_are_told(live: Live) -> None:
    form = {"prompt": "a (cat:1.2) " + "[x|y]" * 2_000}
    told = live.http.post("/promptengine/v1/parse", json={"prompt": "a (cat:1.2)"}).json()
    assert told["marks"] == [{"kind": "weight", "start": 3, "end": 6, "weight": 1.2}]
    # Where computing the schedule would cost too much, what the syntax says is told all the same.
    told = live.http.post("/promptengine/v1/parse", json={**form, "steps": 1000}).json()
    assert {mark["kind"] for mark in told["marks"]} == {"alternation"}


def test_an_extended_prompt_is_read(live: Live) -> None:
    form = {"prompt": "a <hypernet:hn-relu:0@0,1@1>", "steps": 4, "dialect": "extended"}
    told = live.http.post("/promptengine/v1/parse", json=form).json()
    assert len(told["multipliers"]["0"]) >= 4


def test_networks_are_listed_and_described(live: Live) -> None:
    every = live.http.get("/promptengine/v1/networks").json()
    assert {"hypernet", "checkpoint", "embedding"} <= {entry["kind"] for entry in every}
    some = live.http.get("/promptengine/v1/networks", params={"kind": "hypernet"}).json()
    assert {entry["kind"] for entry in some} == {"hypernet"}
    told = live.http.get("/promptengine/v1/networks/hypernet/hn-relu").json()
    assert told["safe"]
    assert told["layers"]
    assert len(told["sha256"]) == 64
    missing = live.http.get("/promptengine/v1/networks/hypernet/hn-rleu")
    assert missing.status_code == 404
    assert "did you mean" in missing.json()["detail"]
    assert live.http.get("/promptengine/v1/networks/sheep/a").status_code == 422
    assert live.http.get("/promptengine/v1/networks/hypernet/../../x").status_code == 404
    assert live.http.post("/promptengine/v1/networks/refresh").status_code == 204


@pytest.mark.parametrize(
    "text",
    [
        "(((a))) " * 2300 + "".join(f"[a:b:{step}]" for step in range(1, 140)),
        "[a|b] " + "(word:1.1) " * 1800,
        "[a:b <hypernet:hn-relu:0.5>:0.5]" * 600,
    ],
)
def test_a_prompt_whose_schedule_is_too_long_is_read_without_it(live: Live, text: str) -> None:
    form = {"prompt": text, "steps": 150}
    begin = time.process_time()
    answer = live.http.post("/promptengine/v1/parse", json=form)
    assert answer.status_code == 200
    assert time.process_time() - begin < 5
    assert len(answer.content) < 1 << 20
    told = answer.json()
    assert [part["schedule"] for part in told["subprompts"]] == [[]]
    assert told["diagnostics"][-1]["message"].startswith("the schedule is left out")
    assert "up to 200000 are told" in told["diagnostics"][-1]["hint"]
    short = live.http.post("/promptengine/v1/parse", json={**form, "steps": 1}).json()
    assert short["text"] == told["text"]
    assert short["networks"] == told["networks"]


def test_a_job_from_its_submission_to_its_result(live: Live) -> None:
    form = {**SMALL, "prompt": "a cat <hypernet:hn-relu:0.8>", "batch_size": 2, "batch_count": 2}
    answer = live.http.post(JOBS, json=form)
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert waited(live.http, job)["progress"] == 1
    result = live.http.get(f"{JOBS}/{job}/result").json()
    assert result["seeds"] == [7, 8, 9, 10]
    assert len(result["images"]) == len(result["infotexts"]) == 4
    assert result["networks"][0]["applied"]
    assert result["networks"][0]["image_indexes"] == [0, 1, 2, 3]
    assert result["timings"]["sample"] > 0
    again = live.http.get(f"{JOBS}/{job}/result").json()
    assert again["images"] == result["images"]


def test_a_job_from_a_image(live: Live) -> None:
    start = {"images": [in_base64()], "denoising_strength": 0.5}
    start["inpainting"] = {"mask": in_base64(color="white")}
    job = live.http.post(JOBS, json={**SMALL, "start": start}).json()["id"]
    assert waited(live.http, job)["state"] == "done"


def test_a_job_with_regions(live: Live) -> None:
    form = {
        **SMALL,
        "prompt": "a cat",
        "regions": [{"mask": WHITE, "prompt": "a dog<hypernet:hn-relu:1>"}],
    }
    job = live.http.post(JOBS, json=form).json()["id"]
    waited(live.http, job)
    result = live.http.get(f"{JOBS}/{job}/result").json()
    assert [(one["region"], one["applied"]) for one in result["networks"]] == [(1, True)]
    divided = {"prompt": "a ADDCOL b ADDROW c", "dialect": "extended", "region_ratios": "1,2,1;1"}
    job = live.http.post(JOBS, json={**SMALL, **divided}).json()["id"]
    assert waited(live.http, job)["state"] == "done"
    told = live.http.post(
        "/promptengine/v1/parse", json={"prompt": "q ADDCOMM a ADDCOL b", "dialect": "extended"}
    )
    assert told.json()["subprompts"][0]["regions"]["texts"] == ["q, a", "q, b"]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"regions": [{"mask": "!", "prompt": "a"}]}, "regions.mask", "Invalid encoded image"),
        (
            {"regions": [{"mask": "http://a/b", "prompt": "a"}]},
            "regions.mask",
            "never fetched|not allowed",
        ),
        ({"prompt": "a" + " ADDCOL b" * 2000}, "prompt", "2001 regions"),
        ({"prompt": "a ADDCOL b", "region_ratios": "1"}, "region_ratios", "2 regions"),
        ({"region_ratios": "x"}, "region_ratios", "numbers above 0"),
        (
            {"prompt": "a AND b", "regions": [{"mask": None, "prompt": "a"}]},
            "regions",
            "masks here",
        ),
    ],
)
def test_regions_that_cannot_be_had(
    live: Live, changes: dict[str, Any], field: str, words: str
) -> None:
    for one in changes.get("regions", ()):
        one["mask"] = one["mask"] or WHITE
    answer = live.http.post(JOBS, json={**SMALL, "prompt": "a", "dialect": "extended", **changes})
    assert answer.status_code in (400, 422)
    told = answer.json()
    assert re.search(words, json.dumps(told))
    assert field in json.dumps(told)


def test_a_job_with_a_second_pass(live: Live) -> None:
    hires = {"scale": 1.5, "steps": 1, "denoising_strength": 0.5}
    job = live.http.post(JOBS, json={**SMALL, "hires": hires}).json()["id"]
    assert waited(live.http, job)["state"] == "done"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"prompt": "<hypernet:hn-reul:1>"}, 404, "did you mean 'hn-relu'"),
        ({"prompt": "<hypernet:hn-relu:much>"}, 422, "column 1"),
        ({"sampler": "Eulr"}, 422, "did you mean 'Euler'"),
        ({"checkpoint": "tinny"}, 404, "Model not found"),
        ({"options": {"emphasiss": 1}}, 422, "emphasis"),
        ({"options": {"old_emphasis": 1}}, 422, "unknown option"),
        ({"hires": {"upscaler": "Best"}}, 404, "Upscaler not found"),
        ({"hires": {}, "start": {"images": ["AAAA"]}}, 422, "nvalid encoded image"),
        ({"width": 65}, 422, "multiple of 8"),
        ({"steps": 151}, 422, "steps"),
        ({"start": {"images": []}}, 422, "no image"),
        ({"sed": 1}, 422, "xtra"),
        ({"steps": 2.5}, 422, "integer"),
    ],
)
def test_what_cannot_be_met_is_refused_at_once(
    live: Live, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = live.http.post(JOBS, json={**SMALL, **fields})
    assert answer.status_code == status
    assert words in answer.text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"hires": {"scale": 0}}, "hires.scale"),
        ({"hires": {"upscaler": "nope"}}, "hires.upscaler"),
        ({"checkpoint": "nope"}, "checkpoint"),
        ({"vae": "nope"}, "vae"),
        ({"start": {"images": ["AAAA"]}}, "start.images"),
        (
            {"start": {"images": [in_base64()], "inpainting": {"mask": "AAAA"}}},
            "start.inpainting.mask",
        ),
        ({"prompt": "<hypernet:nope:1>"}, "prompt"),
    ],
)
def test_an_error_names_the_field_that_is_to_blame(
    live: Live, fields: dict[str, Any], field: str | None
) -> None:
    told = live.http.post(JOBS, json={**SMALL, **fields}).json()
    assert told.get("field") == field


def test_networks_may_be_missing_where_the_policy_says_so(live: Live) -> None:
    form = {**SMALL, "prompt": "<hypernet:nope:1>", "policy": "warn"}
    job = live.http.post(JOBS, json=form).json()["id"]
    assert waited(live.http, job)["state"] == "done"
    result = live.http.get(f"{JOBS}/{job}/result").json()
    assert result["networks"][0]["reason"] == "not found"
    assert "nope" in result["diagnostics"][0]["message"]


def test_a_network_that_does_not_fit_fails_its_job(live: Live) -> None:
    form = {**SMALL, "prompt": "<hypernet:hn-wrong-dims:1>"}
    job = live.http.post(JOBS, json=form).json()["id"]
    told = waited(live.http, job)
    assert told["state"] == "failed"
    answer = live.http.get(f"{JOBS}/{job}/result")
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "IncompatibleNetworkError",
        "detail": told["error"],
        "body": "",
        "errors": told["error"],
    }


def test_a_job_is_followed_and_cancelled(empty_models: Path, painter: Painter) -> None:
    app = create_app(ServerConfig(models=empty_models), [painter])
    with client_of(app) as http:
        first = http.post(JOBS, json=SMALL).json()
        until(lambda: http.get(f"{JOBS}/{first['id']}").json()["state"] == "running")
        second = http.post(JOBS, json=SMALL).json()
        assert http.get(f"{JOBS}/{second['id']}").json()["position"] == 0
        assert http.get(f"{JOBS}/{first['id']}/result").status_code == 409
        assert http.delete(f"{JOBS}/{second['id']}").json()["state"] == "cancelled"
        assert http.get(f"{JOBS}/{second['id']}/result").status_code == 409
        threading.Timer(0.2, painter.gate.set).start()
        events: list[tuple[str, dict[str, Any]]] = []
        with http.stream("GET", f"{JOBS}/{first['id']}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in stream.iter_lines():
                key, _, value = line.partition(": ")
                name = value if key == "event" else name
                if key == "data":
                    events.append((name, json.loads(value)))
        assert events[0][1]["state"] == "running"
        assert (events[-1][0], events[-1][1]["state"]) == ("ended", "done")
        seen = [told["progress"] for _, told in events]
        assert seen == sorted(seen)
        assert http.get(f"{JOBS}/nobody").status_code == 404


def test_events_show_the_steps(live: Live) -> None:
    job = live.http.post(JOBS, json={**SMALL, "steps": 20}).json()["id"]
    previews: list[str] = []
    with live.http.stream("GET", f"{JOBS}/{job}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                preview = json.loads(line.removeprefix("data: "))["preview"]
                previews += [preview] if preview else []
    assert previews
    assert base64.b64decode(previews[-1]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({"height": 64}, (512, 64)),
        ({"start": {"images": [in_base64()], "denoising_strength": 0.5}}, (64, 64)),
    ],
)
def test_without_a_size_it_is_the_checkpoints_or_the_images(
    live: Live, more: dict[str, Any], size: tuple[int, int]
) -> None:
    form = {"prompt": "a cat", "steps": 1, "sampler": "Euler", **more}
    answer = live.http.post(JOBS, json=form)
    assert answer.status_code == 202
    job = answer.json()["id"]
    queued = live.service.queue.find(job)
    assert queued is not None
    request = queued.work.requests[0]
    assert request.width is None
    waited(live.http, job)
    image = live.http.get(f"{JOBS}/{job}/result").json()["images"][0]
    with Image.open(io.BytesIO(base64.b64decode(image))) as opened:
        assert opened.size == size


def test_a_long_schedule_is_not_computed_before_its_turn(
    empty_models: Path, painter: Painter
) -> None:
    with client_of(create_app(ServerConfig(models=empty_models), [painter])) as http:
        text = "(((a))) " * 2300 + "".join(f"[a:b:{step}]" for step in range(1, 140))
        begin = time.process_time()
        answer = http.post(JOBS, json={**SMALL, "prompt": text, "steps": 150})
        assert answer.status_code == 202
        assert time.process_time() - begin < 5
        painter.gate.set()


def test_a_size_that_is_not_given_is_within_bounds_too(
    empty_models: Path, painter: Painter
) -> None:
    small = ServerConfig(models=empty_models, limits=Limits(pixels=256 * 256))
    with client_of(create_app(small, [painter])) as http:
        answer = http.post(JOBS, json={"prompt": "a cat"})
        assert answer.status_code == 422
        assert "512x512 is more than" in answer.json()["detail"]
