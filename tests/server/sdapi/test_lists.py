"""Routes beside making images that clients read, and texts that no JSON in UTF-8 can hold."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import httpx
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from promptengine.cli.main import main
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from tests.server.conftest import Live
from tests.server.live import SMALL, Painter, client_of

LONE = "\ud800"
THUMB = "/sd_extra_networks/thumb"
METADATA = "/sd_extra_networks/metadata"
TXT2IMG = "/sdapi/v1/txt2img"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with a LoRA, its preview, and what must not come out of them."""
    folder = tmp_path_factory.mktemp("lists")
    models = folder / "models"
    for name in ("Lora", "Stable-diffusion"):
        (models / name).mkdir(parents=True)
    (models / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    header = {"ss_tag_frequency": "{}", "ssmd_cover_images": "[]", "odd": "é"}
    save_file({"a": torch.zeros(1)}, models / "Lora" / "ink.safetensors", header)
    for form in ("png", "jpeg", "webp", "gif"):
        Image.new("RGB", (8, 8), "red").save(models / "Lora" / f"ink.{form}")
    (models / "Lora" / "text.png").write_text("<script>", encoding="utf-8")
    Image.new("RGB", (8, 8), "blue").save(folder / "outside.png")
    (models / "Lora" / "link.png").symlink_to(folder / "outside.png")
    (models / "Lora" / "away").symlink_to(folder)
    return models


@pytest.fixture(scope="module")
def http(models: Path) -> Iterator[httpx.Client]:
    with client_of(create_app(ServerConfig(models=models), [Painter()])) as http:
        yield http


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif"])
def test_a_preview_is_given_by_its_path(http: httpx.Client, models: Path, form: str) -> None:
    path = models / "Lora" / f"ink.{form}"
    answer = http.get(THUMB, params={"filename": str(path)})
    assert (answer.status_code, answer.content) == (200, path.read_bytes())
    assert answer.headers["content-type"] == f"image/{form}"
    assert http.get(THUMB, params={"filename": f"Lora/ink.{form}"}).content == path.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "/etc/passwd", "Lora/ink.safetensors", "Lora/text.png", "Lora/none.png"),
        *("Lora/../../outside.png", "../outside.png", "Lora/link.png", "Lora/away/outside.png"),
        *("Lora/ink.png\0", "Lora", "file:///etc/passwd", "x" * 5000, "{models}/../outside.png"),
    ],
)
def test_nothing_else_is_given(http: httpx.Client, models: Path, name: str) -> None:
    answer = http.get(THUMB, params={"filename": name.replace("{models}", str(models))})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "File not found"


def test_metadata_of_a_card(http: httpx.Client) -> None:
    told = http.get(METADATA, params={"page": "lora", "item": "ink"}).json()
    assert json.loads(told["metadata"]) == {"odd": "é", "ss_tag_frequency": "{}"}
    for page, item in (("lora", "none"), ("lora", "../ink"), ("none", "ink"), ("", "")):
        assert http.get(METADATA, params={"page": page, "item": item}).json() == {}


def test_lists_that_may_be_empty(http: httpx.Client) -> None:
    assert http.get("/sdapi/v1/extensions").json() == []
    assert http.get("/sdapi/v1/lycos").json() == http.get("/sdapi/v1/loras").json()
    assert "ink" in [one["name"] for one in http.get("/sdapi/v1/lycos").json()]
    assert http.post("/sdapi/v1/refresh-lycos").status_code == 200


def test_who_is_let_in_is_told(http: httpx.Client, models: Path) -> None:
    assert http.get("/login_check").json() is None
    config = ServerConfig(models=models, users=(("me", "word"),))
    with client_of(create_app(config, [Painter()])) as guarded:
        assert guarded.get("/login_check").status_code == 401
        assert guarded.get("/login_check", auth=("me", "word")).json() is None


def info_of(live: Live, **fields: Any) -> dict[str, Any]:
    answer = live.http.post(TXT2IMG, json={**SMALL, **fields})
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["info"])


@pytest.mark.parametrize(
    "arguments",
    [[{"enabled": False, "model": "x"}], [{"enabled": False}, {"enabled": False}], [False, 3]],
)
def test_scripts_that_are_off_are_ignored(live: Live, arguments: list[Any]) -> None:
    (warning,) = info_of(live, alwayson_scripts={"Odd": {"args": arguments}})["warnings"]
    assert warning == "always on script Odd not found; it is switched off, so nothing is missing"


@pytest.mark.parametrize(
    "script",
    [{"args": [{"enabled": False}, {"enabled": True}]}, {"args": [True]}, {"args": [{}]}, "x"],
)
def test_scripts_that_are_on_are_refused(live: Live, script: object) -> None:
    body = {**SMALL, "alwayson_scripts": {"Odd": script}}
    assert live.http.post(TXT2IMG, json=body).status_code == 422


def test_what_means_nothing_is_not_warned_of(live: Live) -> None:
    nothing: dict[str, Any] = {"hr_checkpoint_name": "Use same checkpoint", "styles": ["None"]}
    assert info_of(live, **nothing, refiner_checkpoint="None")["warnings"] == []
    something = {"restore_faces": True, "styles": ["none such"]}
    assert len(info_of(live, **something)["warnings"]) == 2


@pytest.mark.parametrize(
    "name", ["no-such", "../../../etc/passwd", "/etc/passwd", "C:\\x", "x" * 9999]
)
@pytest.mark.parametrize(
    ("field", "called"),
    [("refiner_checkpoint", "refiner"), ("hr_checkpoint_name", "hires.checkpoint")],
)
def test_unknown_models_are_refused_by_name(live: Live, name: str, field: str, called: str) -> None:
    answer = live.http.post(TXT2IMG, json={**SMALL, "enable_hr": True, field: name})
    assert answer.status_code == 422
    assert f"{called} is {name[:20]!r}"[:20] in answer.text.replace("\\\\", "\\")
    assert "is no checkpoint here" in answer.text


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"script_name": LONE}, 422),
        ({"alwayson_scripts": {LONE: {"args": [1]}}}, 422),
        ({"alwayson_scripts": {LONE: {"args": [False]}}}, 200),
        ({"override_settings": {LONE: 1}}, 200),
        ({"override_settings": {"samples_format": LONE}}, 422),
        ({"sampler_name": LONE}, 404),
        ({"styles": [LONE], "prompt": LONE, "comments": {LONE: LONE}}, 200),
    ],
)
def test_lone_surrogates_do_no_harm(live: Live, fields: dict[str, Any], status: int) -> None:
    headers = {"Content-Type": "application/json"}
    body = json.dumps({**SMALL, **fields})
    assert live.http.post(TXT2IMG, content=body, headers=headers).status_code == status


def test_texts_of_images_may_hold_lone_surrogates(live: Live) -> None:
    own = {"version": 1, "prompt": LONE, "negative_prompt": "", "entries": [], "strays": []}
    chunks, file = PngInfo(), io.BytesIO()
    chunks.add_itxt("promptengine", json.dumps({**own, "trailing": ""}))
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=chunks)
    sent = base64.b64encode(file.getvalue()).decode()
    answer = live.http.post("/sdapi/v1/png-info", json={"image": sent})
    assert answer.status_code == 200
    assert "\ufffd" in answer.json()["info"]


def test_names_of_files_need_no_utf_8(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models / "Lora" / os.fsdecode(b"odd\xff.safetensors")
    try:
        save_file({"a": torch.zeros(1)}, str(models / "Lora" / "plain.safetensors"))
        (models / "Lora" / "plain.safetensors").rename(path)
    except OSError:
        pytest.skip("names are UTF-8 here")
    path.with_suffix(".json").write_text(json.dumps({"notes": LONE}), encoding="ascii")
    with client_of(create_app(ServerConfig(models=models), [Painter()])) as http:
        for route in ("/sdapi/v1/loras", "/promptengine/v1/networks?kind=lora"):
            answer = http.get(route)
            assert answer.status_code == 200
            assert "odd\ufffd" in [one["name"] for one in answer.json()]
    main(["networks", "--json", "--models", str(models)])
    told = capsys.readouterr().out
    assert "odd\\ufffd" in told
    assert "\\udcff" not in told
    path.unlink()


def test_what_is_told_of_a_file_is_utf_8(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "word.pt"
    torch.save({"string_to_param": {"*": torch.zeros(1, 768)}, "name": LONE}, path)
    assert main(["inspect", "--json", str(path)]) == 0
    told = capsys.readouterr().out
    assert "\\ufffd" in told
    assert json.dumps(json.loads(told), ensure_ascii=False).encode()


def test_a_list_is_a_route_and_what_it_gives() -> None:
    """Two files: the form of each list's entries stands with what makes them."""
    from fastapi.routing import APIRoute
    from pydantic import BaseModel

    from promptengine.server.sdapi import list_routes, lists

    forms = {
        item
        for route in list_routes._lists.routes
        if isinstance(route, APIRoute) and get_origin(route.response_model) is list
        for item in get_args(route.response_model)
        if isinstance(item, type) and issubclass(item, BaseModel)
    }
    assert len(forms) >= 9
    assert {form.__module__ for form in forms} == {lists.__name__}


def test_a_refiner_takes_over_and_is_told_of(live: Live) -> None:
    asked = {
        "prompt": "a cat<hypernet:hn-relu:1>",
        "steps": 3,
        "sampler_name": "Euler",
        "refiner_checkpoint": "other",
        "refiner_switch_at": 0.5,
        "override_settings": {"refiner_switch_by_sample_steps": True},
    }
    info = info_of(live, **asked)
    assert info["warnings"] == []
    (text,) = info["infotexts"]
    assert "Refiner switch by sampling steps: True, Refiner: other [" in text
    assert ", Refiner switch at: 0.5," in text
    told = [(one["pass"], one["applied"]) for one in info["networks"]]
    assert told == [("first", True), ("refiner", False)]


def test_settings_of_refiners_are_among_the_options(live: Live) -> None:
    options = live.http.get("/sdapi/v1/options").json()
    usual = {
        "hires_fix_refiner_pass": "second pass",
        "refiner_switch_by_sample_steps": False,
        "hires_fix_use_firstpass_conds": False,
    }
    assert {name: options[name] for name in usual} == usual
