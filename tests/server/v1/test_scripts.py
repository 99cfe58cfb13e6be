"""Scripts in our own API: told with their arguments, counted, refused by field, and run as jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from promptengine.scripts.script import BOTH_TABS, Script, ScriptArgument
from promptengine.scripts.table import SCRIPTS, register_script
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from tests.server.conftest import Live
from tests.server.live import Painter, client_of
from tests.server.sdapi.test_rules import in_base64
from tests.server.sdapi.test_scripts import opened
from tests.server.v1.test_routes import JOBS, SMALL, waited

SCRIPTS_PATH = "/promptengine/v1/scripts"
MATRIX = "Prompt matrix"
PLOT = "X/Y/Z plot"


@pytest.fixture
def http(empty_models: Path, tmp_path: Path, painter: Painter) -> Iterator[httpx.Client]:
    """A client of a server whose images cost nothing."""
    painter.gate.set()
    config = ServerConfig(models=empty_models, output=tmp_path)
    with client_of(create_app(config, [painter])) as client:
        yield client


def with_script(name: str, **arguments: Any) -> dict[str, Any]:
    return {**SMALL, "script": {"name": name, "arguments": arguments}}


def asked(http: httpx.Client, form: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(JOBS, json=form)
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    waited(http, job)
    return http.get(f"{JOBS}/{job}/result").json()


def axes_of(http: httpx.Client, tab: str = "txt2img") -> dict[str, dict[str, Any]]:
    return {axis["title"]: axis for axis in http.get(SCRIPTS_PATH).json()["axes"][tab]}


def test_scripts_are_told_as_they_are_declared(http: httpx.Client) -> None:
    told = {one["name"]: one for one in http.get(SCRIPTS_PATH).json()["scripts"]}
    assert list(told)[-3:] == [MATRIX, "Prompts from file or textbox", PLOT]
    assert told["Loopback"]["tabs"] == ["img2img"]
    assert told[MATRIX]["tabs"] == ["txt2img", "img2img"]
    matrix = {one["name"]: one for one in told[MATRIX]["arguments"]}
    assert matrix["joint"]["choices"] == ["comma", "space"]
    assert (matrix["joint"]["control"], matrix["at_start"]["control"]) == ("choice", "checkbox")
    assert (matrix["margin"]["minimum"], matrix["margin"]["maximum"]) == (0, 500)
    plot = {one["name"]: one for one in told[PLOT]["arguments"]}
    assert (plot["y_type"]["control"], plot["y_values"]["control"]) == ("axis", "values")
    assert plot["y_values"]["axis"] == "y_type"
    assert not {"csv_mode", "x_values_dropdown"} & set(plot)
    (upscaler,) = (one for one in told["SD upscale"]["arguments"] if one["name"] == "upscaler")
    assert "Lanczos" in upscaler["choices"]
    assert "Latent" not in upscaler["choices"]


def test_what_is_declared_is_told(http: httpx.Client) -> None:
    with SCRIPTS.isolated():
        glow = ScriptArgument("glow", "Glow", 0.5, 0, 9, help="how much it glows")
        register_script(Script("Glowing", (glow,), BOTH_TABS, SCRIPTS[MATRIX].run))
        told = {one["name"]: one for one in http.get(SCRIPTS_PATH).json()["scripts"]}
    (argument,) = told["Glowing"]["arguments"]
    assert argument == {
        **{"name": "glow", "label": "Glow", "help": "how much it glows", "type": "number"},
        **{"control": "number", "default": 0.5, "minimum": 0, "maximum": 9, "choices": []},
        "axis": None,
    }


def test_every_known_value_of_an_axis_can_be_used(live: Live) -> None:
    hires = {"scale": 1.0, "upscaler": "Latent", "denoising_strength": 0.5}
    axes = axes_of(live.http)
    assert "none" in axes_of(live.http, "txt2img")["VAE"]["choices"][1].lower()
    assert axes["Checkpoint name"]["choices"] == ["other", "tiny"]
    assert axes["RNG source"]["choices"] == ["CPU", "NV", "GPU"]
    assert axes["SGM noise multiplier"]["choices"] == ["True", "False"]
    assert "Karras" in axes["Schedule type"]["choices"]
    assert axes["Steps"]["type"] == "integer"
    assert axes["CFG Scale"]["type"] == "number"
    picked = [axis for axis in axes.values() if axis["choices"]]
    assert len(picked) == 10
    for axis in picked:
        form = with_script(PLOT, x_type=axis["number"], x_values=", ".join(axis["choices"]))
        answer = live.http.post(f"{SCRIPTS_PATH}/count", json={**form, "hires": hires})
        assert answer.json() == {"images": len(axis["choices"])}, axis["title"]


def test_axes_that_cannot_be_honored_are_not_offered(http: httpx.Client) -> None:
    assert not {"Styles", "Face restore", "FP8 mode", "Image CFG Scale"} & set(axes_of(http))
    own, other = axes_of(http), axes_of(http, "img2img")
    assert "Hires steps" in own.keys() - other.keys()
    assert "Cond. Image Mask Weight" in other.keys() - own.keys()
    # Places differ from tab to tab.
    assert own["Size"]["number"] != other["Size"]["number"]


def test_a_matrix_is_a_job_with_its_grid(http: httpx.Client, tmp_path: Path) -> None:
    result = asked(http, {**with_script("prompt MATRIX", margin=2), "prompt": "a cat|ink|snow"})
    assert result["grids"] == [True, False, False, False, False]
    grid, *singles = map(opened, result["images"])
    assert {single.size for single in singles} == {(64, 64)}
    assert grid.width > 2 * 64
    prompts = [text.split("\n")[0] for text in result["infotexts"]]
    assert prompts == ["a cat", "a cat", "a cat, ink", "a cat, snow", "a cat, ink, snow"]
    names = [id_.rpartition("/")[2] for id_ in result["saved"]]
    assert names == ["grid-00000-7.png", *(f"0000{number}-7.png" for number in range(4))]
    assert all((tmp_path / id_).is_file() for id_ in result["saved"])


def test_a_plot_makes_its_images_and_says_what_it_was(http: httpx.Client) -> None:
    axes = axes_of(http)
    form = with_script(
        PLOT,
        x_type=axes["Steps"]["number"],
        x_values="2-3",
        y_type=axes["CFG Scale"]["number"],
        y_values="4, 5.5, 7",
        include_lone_images=True,
    )
    count = http.post(f"{SCRIPTS_PATH}/count", json=form).json()
    result = asked(http, form)
    assert count == {"images": 6}
    assert result["grids"] == [True, *[False] * 6]
    assert "Script: X/Y/Z plot, X Type: Steps, X Values: 2-3" in result["infotexts"][0]
    steps = [text.split("Steps: ")[1][0] for text in result["infotexts"][1:]]
    assert steps == ["2", "3"] * 3


def test_a_scripts_notes_are_warnings(http: httpx.Client) -> None:
    form = with_script("Prompts from file or textbox", text="a fox\n--nonsense")
    assert any("line 2" in text for text in asked(http, form)["warnings"])


def test_scripts_of_images_start_from_them(http: httpx.Client) -> None:
    form = with_script("Loopback", loops=2)
    refused = http.post(JOBS, json=form)
    assert (refused.status_code, refused.json()["field"]) == (422, "script.name")
    result = asked(http, {**form, "start": {"images": [in_base64()]}})
    assert result["grids"].count(True) <= 1
    assert result["grids"].count(False) == 2
    # Counting needs no image to be sent, and what only a run tells is not guessed.
    path = f"{SCRIPTS_PATH}/count"
    assert http.post(path, json={**form, "tab": "img2img"}).json() == {"images": None}
    number = axes_of(http, "img2img")["Denoising"]["number"]
    plot = with_script(PLOT, x_type=number, x_values="0.1, 0.2")
    unsized = {name: value for name, value in plot.items() if name not in ("width", "height")}
    assert http.post(path, json={**unsized, "tab": "img2img"}).json() == {"images": 2}


@pytest.mark.parametrize(
    ("name", "arguments", "field", "words"),
    [
        ("no such", {}, "script.name", "unknown script 'no such'"),
        (MATRIX, {"joint": "and"}, "script.arguments.joint", "must be one of comma, space"),
        (MATRIX, {"margin": 501}, "script.arguments.margin", "must be from 0 to 500"),
        (MATRIX, {"margin": 10**400}, "script.arguments.margin", "must be a whole number"),
        (MATRIX, {"margin": [1]}, "script.arguments.margin", "must be a whole number"),
        (MATRIX, {"glow": 1}, "script.arguments", "has no argument 'glow'"),
        (PLOT, {"x_type": 99}, "script.arguments.x_type", "from 0 to"),
        (PLOT, {"x_type": 4, "x_values": "many"}, "script.arguments.x_values", "no whole number"),
        (PLOT, {"z_type": 4, "z_values": "0"}, "script.arguments.z_values", "steps is 0"),
        (PLOT, {"x_type": 4, "x_values": "1-9999999"}, "script.arguments.x_values", "1000 values"),
        (PLOT, {"x_type": 4, "x_values": "1-150"}, "script", "images of the script is 101"),
        (PLOT, {"x_type": 4, "x_values": "900"}, "steps", "1 to 150 are allowed"),
        (PLOT, {"x_type": 4}, "script.arguments", "nothing to make"),
        (PLOT, {"y_values": {"a": []}}, "script.arguments.y_values", "must be a text"),
        ("Prompts from file or textbox", {"text": ""}, "script.arguments", "nothing to make"),
        (
            "Prompts from file or textbox",
            {"text": "--outpath_samples /etc"},
            "script.arguments.text",
            "line 1",
        ),
        (
            "Prompts from file or textbox",
            {"text": "a\n" * 10**6},
            "script.arguments.text",
            "10000 lines",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    http: httpx.Client, name: str, arguments: dict[str, Any], field: str, words: str
) -> None:
    begun = time.monotonic()
    form = with_script(name, **arguments)
    answer = http.post(JOBS, json=form)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]
    assert answer.json()["field"] == field
    if "nothing to make" not in words:
        told = http.post(f"{SCRIPTS_PATH}/count", json=form)
        assert (told.status_code, told.json()) == (422, answer.json())
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "script",
    ["matrix", [], {"arguments": {}}, {"name": MATRIX, "args": []}, {"name": 1}, {"name": None}],
)
def test_forms_of_another_shape_are_refused(http: httpx.Client, script: Any) -> None:
    answer = http.post(JOBS, json={**SMALL, "script": script})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", "script"]


def test_words_that_are_no_text_cost_nothing(http: httpx.Client) -> None:
    text = b'{"prompt": "a", "width": 64, "height": 64, "steps": 2, "script": {"name": '
    text += b'"Prompts from file or textbox", "arguments": {"text": "a \\ud800 fox"}}}'
    answer = http.post(JOBS, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert waited(http, job)["state"] == "done"
    (infotext,) = http.get(f"{JOBS}/{job}/result").json()["infotexts"]
    assert infotext.startswith("a \ufffd fox")


def test_the_tiny_model_makes_a_matrix(live: Live) -> None:
    result = asked(live.http, {**with_script(MATRIX), "prompt": "a cat|<hypernet:hn-relu:0.8>"})
    plain = asked(live.http, {**SMALL, "prompt": "a cat"})
    assert opened(result["images"][1]).tobytes() == opened(plain["images"][0]).tobytes()
    assert result["networks"][0]["image_indexes"] == [2]
