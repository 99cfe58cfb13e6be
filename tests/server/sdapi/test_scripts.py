"""Scripts of WebUI's API: one job each, within the limits, with their images in WebUI's order."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from promptengine.infotext.read import read_infotext
from promptengine.request.request import GenerationRequest
from promptengine.scripts.script import (
    IMG2IMG,
    Script,
    ScriptArgument,
    ScriptArguments,
    ScriptContext,
    ScriptImage,
    ScriptOutput,
    ScriptRun,
    ScriptStep,
)
from promptengine.scripts.table import SCRIPTS, register_script
from tests.server.conftest import Live
from tests.server.live import SMALL, until
from tests.server.sdapi.test_rules import ask, in_base64, info_of

MATRIX: dict[str, Any] = {
    "script_name": "prompt matrix",
    "script_args": [False, False, "positive", "comma", 2],
}
FILE = "Prompts from file or textbox"
IMG2IMG_PATH = "/sdapi/v1/img2img"


def opened(image: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image)))


def _run_endless(
    request: GenerationRequest, arguments: ScriptArguments, _: ScriptContext
) -> ScriptRun:
    """One image after the other, as many as are asked for; how many only the run tells."""
    count = arguments["count"]
    assert isinstance(count, int)
    made: list[Any] = []
    for number in range(count):
        made += yield ScriptStep((replace(request, seed=request.seed + number),))
    last = made[-1]
    return ScriptOutput((ScriptImage(last.images[0], last.infotexts[0]),), tuple(made))


ENDLESS = Script("Endless", (ScriptArgument("count", "Count", 3),), IMG2IMG, _run_endless)


@pytest.fixture
def endless() -> Iterator[None]:
    with SCRIPTS.isolated():
        register_script(ENDLESS)
        yield


def test_a_matrix_is_one_job_with_its_grid_first(live: Live) -> None:
    answer = ask(live, **MATRIX, prompt="a cat|ink|snow")
    info = info_of(answer)
    grid, *singles = map(opened, answer.json()["images"])
    assert info["all_prompts"] == ["a cat", "a cat, ink", "a cat, snow", "a cat, ink, snow"]
    assert info["all_seeds"] == [7] * 4
    assert info["index_of_first_image"] == 1
    assert len(info["infotexts"]) == len(singles) + 1 == 5
    assert {single.size for single in singles} == {(64, 64)}
    assert grid.width == 48 + 2 * 64 + 2
    assert read_infotext(singles[3].info["parameters"]).prompt == "a cat, ink, snow"


def test_its_images_are_what_each_prompt_makes_alone(live: Live) -> None:
    answer = ask(live, **MATRIX, prompt="a cat|<hypernet:hn-relu:0.8>")
    plain = ask(live, prompt="a cat").json()["images"]
    tagged = ask(live, prompt="a cat, <hypernet:hn-relu:0.8>").json()["images"]
    expected = [opened(image).tobytes() for image in (*plain, *tagged)]
    assert [opened(image).tobytes() for image in answer.json()["images"][1:]] == expected
    assert expected[0] != expected[1]


def test_lines_are_prompts_and_flags(live: Live) -> None:
    text = '--prompt "a dog" --seed 9 --steps 3 --width 72\na fox\n--nonsense'
    answer = ask(live, script_name=FILE, script_args=[True, False, "end", text])
    info = info_of(answer)
    assert [opened(image).size for image in answer.json()["images"]] == [(72, 64), *[(64, 64)] * 2]
    assert info["all_prompts"] == ["a cat a dog", "a cat a fox", "a cat --nonsense"]
    assert info["all_seeds"] == [9, 8, 9]
    assert info["index_of_first_image"] == 0
    assert any("line 3" in warning for warning in info["warnings"])


def test_a_line_brings_another_checkpoint_which_is_gone_for_the_next_request(live: Live) -> None:
    text = '--prompt "a dog" --sd_model other\na fox'
    info = info_of(ask(live, script_name=FILE, script_args=[False, False, "start", text]))
    models = [read_infotext(one).entries["Model"] for one in info["infotexts"]]
    assert models == ["other", "other"]
    assert "Model: tiny" in info_of(ask(live))["infotexts"][0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({**MATRIX, "prompt": "|".join("abcdefghijklmnopqrstuvwxyz" * 2)}, "grid would have 2^51"),
        ({**MATRIX, "prompt": "a|b|c|d|e|f|g|h"}, "images of the script is 101"),
        ({"script_name": FILE, "script_args": [False, False, "start", "a\n" * 1000]}, "101"),
        (
            {"script_name": FILE, "script_args": [False, False, "start", "a\n" * 10**6]},
            "10000 lines",
        ),
        ({"script_name": FILE, "script_args": [0, 0, "end", "--prompt a --steps 900"]}, "steps is"),
        ({"script_name": FILE, "script_args": [0, 0, "end", "--prompt a --width 99999"]}, "line 1"),
        ({"script_name": FILE, "script_args": [0, 0, "end", "x" * 10**6]}, "100000 are the most"),
        ({"script_name": FILE, "script_args": [0, 0, "end", "y" * 50_000]}, "prompt is 50006"),
        ({"script_name": FILE, "script_args": [0, 0, "end", "--outpath_samples /etc"]}, "line 1"),
        ({"script_name": FILE, "script_args": [0, 0, "end", ""]}, "nothing to make"),
        ({**MATRIX, "script_args": [False, False, "both"]}, "positive, negative"),
        ({**MATRIX, "script_args": [1, 2, 3, 4, 5, 6, 7]}, "takes 5 arguments (got 7)"),
        ({**MATRIX, "prompt": ["a|b", "c"]}, "takes one prompt"),
        ({"script_name": "no such"}, "Script 'no such' not found"),
    ],
)
def test_too_much_is_refused_at_once(live: Live, fields: dict[str, Any], words: str) -> None:
    begun = time.monotonic()
    answer = ask(live, **fields)
    assert answer.status_code == 422
    assert words in answer.text
    assert "Traceback" not in answer.text
    assert time.monotonic() - begun < 20


@pytest.mark.usefixtures("endless")
def test_a_script_of_one_tab_is_refused_on_the_other(live: Live) -> None:
    answer = ask(live, script_name="Endless")
    assert answer.status_code == 422
    assert "for img2img and not for txt2img" in answer.text
    info = info_of(ask(live, IMG2IMG_PATH, init_images=[in_base64()], script_name="endless"))
    assert (info["all_seeds"], info["index_of_first_image"]) == ([9], 0)


@pytest.mark.usefixtures("endless")
def test_images_that_only_a_run_tells_of_are_counted_as_they_come(live: Live) -> None:
    limits, (device,) = live.config.limits, live.service.devices
    device.limits = replace(limits, total_images=2)
    try:
        answer = ask(live, IMG2IMG_PATH, init_images=[in_base64()], script_name="Endless")
    finally:
        device.limits = limits
    assert answer.status_code == 422
    assert "images of the script is 3" in answer.text


def test_an_interrupted_script_answers_with_what_it_made(live: Live) -> None:
    fields = {**SMALL, **MATRIX, "prompt": "a|b|c|d|e|f", "steps": 40, "genkey": "matrix"}
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(live.http.post, "/sdapi/v1/txt2img", json=fields)
        until(lambda: any(job.step > 40 for job in live.service.queue.running))
        told = live.http.get("/sdapi/v1/progress").json()
        live.http.post("/sdapi/v1/interrupt")
        answer = asked.result()
    assert 40 / (32 * 40) < told["progress"] < 1
    assert told["state"]["sampling_steps"] == 32 * 40
    assert told["current_image"]
    info = info_of(answer)
    assert 1 <= len(info["all_seeds"]) < 32
    assert info["index_of_first_image"] == 0
    assert any("stopped after" in warning for warning in info["warnings"])


@pytest.mark.parametrize(("given", "grids"), [({}, 1), ({"do_not_save_grid": True}, 0)])
def test_grids_are_saved_by_numbers_of_their_own(
    live: Live, given: dict[str, Any], grids: int
) -> None:
    seed = 4711 + grids
    info_of(ask(live, **MATRIX, prompt="a|b", seed=seed, save_images=True, **given))
    names = sorted(path.name for path in live.config.output.rglob(f"*-{seed}.png"))
    assert len([name for name in names if name.startswith("grid-")]) == grids
    assert len(names) == 2 + grids


def test_scripts_are_listed_with_their_arguments(live: Live) -> None:
    names = live.http.get("/sdapi/v1/scripts").json()
    assert {"prompt matrix", FILE.lower()} <= set(names["txt2img"]) <= set(names["img2img"])
    told = live.http.get("/sdapi/v1/script-info").json()
    (matrix,) = (s for s in told if s["name"] == "prompt matrix" and not s["is_img2img"])
    assert not matrix["is_alwayson"]
    assert [one["value"] for one in matrix["args"]] == [False, False, "positive", "comma", 0]
    margin = matrix["args"][4]
    assert (margin["label"], margin["minimum"], margin["maximum"], margin["step"]) == (
        *("Grid margins (px)", 0, 500),
        1,
    )
    assert matrix["args"][2]["choices"] == ["positive", "negative"]
    defaults = [one["value"] for one in matrix["args"]]
    fields: dict[str, Any] = {
        "script_name": matrix["name"],
        "script_args": defaults,
        "prompt": "a|b",
    }
    assert len(json.loads(ask(live, **fields).json()["info"])["all_seeds"]) == 2
