"""What WebUI's clients rely on: the fourteen rules, each with a test or more."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from tests.server.conftest import Live
from tests.server.live import SMALL, Painter, client_of

TXT2IMG = "/sdapi/v1/txt2img"
IMG2IMG = "/sdapi/v1/img2img"


def ask(live: Live, path: str = TXT2IMG, **fields: Any) -> httpx.Response:
    return live.http.post(path, json={**SMALL, **fields})


def info_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text[:500]
    return json.loads(answer.json()["info"])


def in_base64(size: tuple[int, int] = (64, 64), color: str = "red") -> str:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_1_unknown_fields_do_nothing_and_are_not_echoed(live: Live) -> None:
    answer = ask(live, url="http://x", auth="user:secret", extra_images=[], frames=3)
    assert answer.status_code == 200
    assert "secret" not in answer.text
    assert "auth" not in answer.json()["parameters"]


def test_1_a_body_that_does_not_fit_is_not_echoed(live: Live) -> None:
    answer = ask(live, steps="hunter2", auth="user:secret")
    assert answer.status_code == 422
    assert set(answer.json()["detail"][0]) == {"loc", "msg", "type"}
    assert "hunter2" not in answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("header", ["", "Basic", "Basic Og==", "Bearer x", "Basic \xff"])
def test_2_nobody_needs_a_password_where_none_is_set(live: Live, header: str) -> None:
    headers = [(b"authorization", header.encode("latin-1"))]
    assert live.http.get("/sdapi/v1/options", headers=headers).status_code == 200


def test_3_images_are_bare_and_may_come_with_a_prefix(live: Live) -> None:
    image = ask(live).json()["images"][0]
    assert base64.b64decode(image, validate=True).startswith(b"\x89PNG")
    for sent in (in_base64(), f"data:image/png;base64,{in_base64()}"):
        assert ask(live, IMG2IMG, init_images=[sent]).status_code == 200


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.png", "https://x/", "file:///etc/passwd"])
def test_3_no_url_is_fetched(live: Live, url: str) -> None:
    answer = ask(live, IMG2IMG, init_images=[url])
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("Requests not allowed")


def test_4_numbers_may_be_sloppy(live: Live) -> None:
    sloppy: dict[str, Any] = {"steps": 2.9, "seed": "7", "cfg_scale": "7", "width": "64.0"}
    sloppy |= {"denoising_strength": None, "styles": ["", None], "hr_second_pass_steps": 12.5}
    sloppy |= {"subseed": "", "batch_size": None, "sampler_name": "", "restore_faces": None}
    answer = ask(live, **sloppy)
    info = info_of(answer)
    assert (info["seed"], info["steps"], info["width"]) == (7, 2, 64)
    assert answer.json()["images"] == ask(live).json()["images"]


def test_4_numbers_that_are_none_are_refused(live: Live) -> None:
    for steps in ("nan", "1e999", [], {}, "many", -1, 10**30, 0):
        assert ask(live, steps=steps).status_code == 422, steps


@pytest.mark.parametrize(
    "names",
    [
        {"sampler_name": "DPM++ 2M", "scheduler": "karras"},
        {"sampler_name": "DPM++ 2M", "scheduler": "Karras"},
        {"sampler_name": "dpm++ 2m karras", "scheduler": "automatic"},
        {"sampler_name": "DPM++ 2M Karras", "scheduler": "Automatic"},
        {"sampler_name": "k_dpmpp_2m_ka", "scheduler": None},
        {"sampler_index": "DPM++ 2M Karras", "scheduler": ""},
        {"sampler_name": "DPM++ 2M", "sampler_index": "Euler"},
        {"sampler_name": "DPM++ 2M Exponential", "scheduler": "karras"},
    ],
)
def test_5_samplers_have_many_names(live: Live, names: dict[str, Any]) -> None:
    usual = ask(live, sampler_name="DPM++ 2M Karras").json()["images"]
    pixels = [
        Image.open(io.BytesIO(base64.b64decode(image[0]))).tobytes()
        for image in (usual, ask(live, **names).json()["images"])
    ]
    assert pixels[0] == pixels[1]


def test_5_unknown_samplers_are_not_found(live: Live) -> None:
    answer = ask(live, sampler_name="Eulr")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("Sampler not found")
    assert "'Euler'" in answer.json()["detail"]
    assert ask(live, scheduler="karas").status_code == 404


def test_6_all_options_can_be_sent_back(live: Live) -> None:
    options = live.http.get("/sdapi/v1/options").json()
    assert {
        "sd_model_checkpoint",
        "sd_vae",
        "CLIP_stop_at_last_layers",
        "samples_format",
    } <= options.keys()
    for changes in (options, dict.fromkeys(options), {"no_such_option": 1}):
        answer = live.http.post("/sdapi/v1/options", json=changes)
        assert (answer.status_code, answer.json()) == (200, None)
    assert live.http.get("/sdapi/v1/options").json() == options


def test_6_models_have_many_names(live: Live) -> None:
    ask(live)
    title, name, digest = next(
        (m["title"], m["filename"], m["sha256"])
        for m in live.http.get("/sdapi/v1/sd-models").json()
        if m["model_name"] == "tiny"
    )
    # The other file has the same content, so a hash may mean either.
    for known in (digest, digest[:10], "tiny", "TINY", "tiny.safetensors", name, title):
        answer = live.http.post("/sdapi/v1/options", json={"sd_model_checkpoint": known})
        assert answer.status_code == 200, known
    answer = live.http.post("/sdapi/v1/options", json={"sd_model_checkpoint": "tinny"})
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "detail", "body", "errors"}
    assert "Model not found" in answer.json()["detail"]
    assert live.http.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == title


def test_6_a_value_that_cannot_be_used_changes_nothing(live: Live) -> None:
    changes = {"eta_ancestral": 0.5, "emphasis": "Loud"}
    assert live.http.post("/sdapi/v1/options", json=changes).status_code == 422
    assert live.http.get("/sdapi/v1/options").json()["eta_ancestral"] == 1


def test_7_nothing_runs_is_exactly_0(live: Live) -> None:
    answer = live.http.get("/sdapi/v1/progress").json()
    assert answer["progress"] == 0
    assert answer["state"]["job_count"] == 0
    keys = {"skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp"}
    assert answer["state"].keys() == keys | {"job_no", "sampling_step", "sampling_steps"}
    assert {"current_image", "textinfo", "eta_relative"} <= answer.keys()


def test_8_info_is_a_text_of_json_with_all_keys(live: Live) -> None:
    answer = ask(live, prompt="a cat <hypernet:hn-relu:0.5> <hypernet:nope:1>", batch_size=2)
    assert isinstance(answer.json()["info"], str)
    info = info_of(answer)
    types: dict[str, type | tuple[type, ...]] = {
        **dict.fromkeys(("prompt", "negative_prompt", "sampler_name", "sd_model_name"), str),
        **dict.fromkeys(("sd_model_hash", "job_timestamp", "version"), str),
        **dict.fromkeys(("seed", "subseed", "width", "height", "steps", "batch_size"), int),
        **dict.fromkeys(("seed_resize_from_w", "seed_resize_from_h", "clip_skip"), int),
        **dict.fromkeys(("all_prompts", "all_negative_prompts", "all_seeds"), list),
        **dict.fromkeys(("all_subseeds", "infotexts", "styles", "networks", "warnings"), list),
        **dict.fromkeys(("restore_faces", "is_using_inpainting_conditioning"), bool),
        "subseed_strength": float,
        "cfg_scale": float,
        "denoising_strength": (float, type(None)),
        "extra_generation_params": dict,
        "index_of_first_image": int,
        "face_restoration_model": (str, type(None)),
        "sd_vae_name": (str, type(None)),
        "sd_vae_hash": (str, type(None)),
    }
    assert all(isinstance(info[name], kind) for name, kind in types.items())
    assert len(info["infotexts"]) == len(info["all_seeds"]) == 2
    applied, skipped = info["networks"]
    assert (applied["name"], applied["applied"], applied["image_indexes"]) == (
        "hn-relu",
        True,
        [0, 1],
    )
    assert len(applied["sha256_10"]) == 10
    assert (skipped["applied"], skipped["reason"]) == (False, "not found")
    assert any("nope" in warning for warning in info["warnings"])


def test_9_a_slash_at_the_end_does_no_harm(live: Live) -> None:
    for path, body in (("options/", {}), ("txt2img/", SMALL)):
        answer = live.http.post(f"/sdapi/v1/{path}", json=body, follow_redirects=False)
        assert answer.status_code == 200
    assert live.http.get("/sdapi/v1/samplers/", follow_redirects=False).status_code == 200


def test_10_other_pages_may_ask_only_where_that_is_set(
    live: Live, empty_models: Path, painter: Painter
) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in live.http.get("/healthz", headers=asked).headers
    config = ServerConfig(
        models=empty_models,
        cors_origins=("https://a.example/", "https://b.example"),
        cors_origins_regex=r"https://.*\.c\.example",
        users=(("me", "word"),),
    )
    with client_of(create_app(config, [painter])) as http:
        for origin, allowed in (
            ("https://a.example", True),
            ("https://x.c.example", True),
            ("https://d.example", False),
        ):
            asked["Origin"] = origin
            answer = http.options("/sdapi/v1/options/", headers=asked)
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed


def test_11_errors_are_json(live: Live) -> None:
    for method, path, status in (
        ("GET", TXT2IMG, 405),
        ("GET", "/sdapi/v1/interrogate", 404),
        ("POST", "/sdapi/v1/interrogate", 404),
        ("GET", "/config", 404),
        ("GET", "/controlnet/model_list", 404),
    ):
        answer = live.http.request(method, path)
        assert answer.status_code == status
        assert answer.json().keys() == {"error", "detail", "body", "errors"}


def test_12_the_image_says_how_it_was_made(live: Live) -> None:
    answer = ask(live, prompt="a cat, red", seed=3)
    with Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0]))) as image:
        text = image.info["parameters"]
    assert text == info_of(answer)["infotexts"][0]
    assert text.splitlines()[-1].split(", ")[-1].startswith("Version")


@pytest.mark.parametrize(
    ("form", "start"), [("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("webp", b"RIFF")]
)
def test_13_the_format_can_be_chosen(live: Live, form: str, start: bytes) -> None:
    answer = ask(live, override_settings={"samples_format": form})
    assert base64.b64decode(answer.json()["images"][0]).startswith(start)


def test_14_scripts_that_are_not_here_are_refused(live: Live) -> None:
    assert ask(live, alwayson_scripts={}).status_code == 200
    assert ask(live, alwayson_scripts={"ADetailer": {}}).status_code == 200
    refused = ask(live, alwayson_scripts={"ControlNet": {"args": []}})
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "always on script ControlNet not found",
    )
    assert ask(live, script_name="None such").json()["detail"] == "Script 'None such' not found"


@pytest.mark.parametrize(
    ("name", "sent", "kept"),
    [
        ("CLIP_stop_at_last_layers", 2.0, 2),
        ("CLIP_stop_at_last_layers", "2", 2),
        ("eta_noise_seed_delta", "31337.0", 31337),
        ("eta_ancestral", "0.5", 0.5),
        ("jpeg_quality", 90.0, 90),
        ("jpeg_quality", "90", 90),
        ("sgm_noise_multiplier", "true", True),
    ],
)
def test_6_numbers_of_options_may_be_sloppy(
    live: Live, name: str, sent: object, kept: object
) -> None:
    before = live.http.get("/sdapi/v1/options").json()[name]
    try:
        assert live.http.post("/sdapi/v1/options", json={name: sent}).status_code == 200
        found = live.http.get("/sdapi/v1/options").json()[name]
        assert (found, type(found)) == (kept, type(kept))
    finally:
        live.http.post("/sdapi/v1/options", json={name: before})
    assert ask(live, override_settings={name: sent}).status_code == 200
    if name != "jpeg_quality":
        body = {**SMALL, "options": {name: sent}}
        assert live.http.post("/promptengine/v1/jobs", json=body).status_code == 202


def test_6_a_fraction_is_no_whole_number(live: Live) -> None:
    for sent in (1.5, "1.5", "many", True, "nan", [], 1e300):
        options = {"CLIP_stop_at_last_layers": sent}
        assert live.http.post("/sdapi/v1/options", json=options).status_code == 422, sent
