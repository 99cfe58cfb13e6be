"""A server that begins with settings and defaults of its own, such as those of a WebUI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promptengine.errors import RequestError
from promptengine.registry.registry import Registry
from promptengine.server.config import Limits
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.options import ServerSettings
from promptengine.server.v1.schemas import JobForm
from promptengine.server.v1.to_request import request_from_form
from tests.server.sdapi.test_rules import in_base64
from tests.server.v1.serving import server

SETTINGS = {
    "eta_noise_seed_delta": 31337,
    "comma_padding_backtrack": 5,
    "CLIP_stop_at_last_layers": 2,
    "samples_format": "webp",
}
DEFAULTS = {
    "steps": 28,
    "width": 64,
    "height": 64,
    "clip_skip": 2,
    "hires.scale": 1.5,
    "start.denoising_strength": 0.4,
    "start.inpainting.blur": (6, 6),
}
OPTIONS = {"settings": SETTINGS, "form_defaults": DEFAULTS}


def asked(empty_models: Path, **form: Any) -> Any:
    registry = Registry.open(empty_models)
    model = Model(empty_models / "Stable-diffusion" / "none.safetensors", "Automatic")
    settings = ServerSettings(registry, model, None, SETTINGS, DEFAULTS)
    made, _ = request_from_form(JobForm(prompt="a", **form), settings, registry, Limits())
    return made


def test_jobs_have_them_where_they_say_nothing_else(empty_models: Path) -> None:
    request = asked(empty_models)
    assert (request.steps, request.width, request.clip_skip) == (28, 64, 2)
    assert request.options.noise_seed_delta == 31337
    assert request.hires is None
    given = asked(empty_models, steps=20, clip_skip=1, options={"eta_noise_seed_delta": 0})
    assert (given.steps, given.clip_skip) == (20, 1)
    assert given.options.noise_seed_delta == 0
    assert given.options.comma_backtrack == 5
    assert asked(empty_models, hires={}).hires.scale == 1.5
    assert asked(empty_models, hires={"scale": 2.0}).hires.scale == 2.0
    images = {"images": [in_base64()], "inpainting": {"mask": in_base64(color="white")}}
    start = asked(empty_models, start=images).start
    assert (start.denoising_strength, start.inpainting.blur) == (0.4, (6, 6))


def test_clients_are_told_of_them(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path, **OPTIONS) as own:
        told = own.http.get("/promptengine/v1/fields").json()["properties"]
        assert told["steps"]["default"] == 28
        assert told["cfg_scale"]["default"] == 7.0
        assert told["hires"]["anyOf"][0]["properties"]["scale"]["default"] == 1.5
        start = told["start"]["anyOf"][0]["properties"]
        assert start["inpainting"]["anyOf"][0]["properties"]["blur"]["default"] == [6, 6]
        options = own.http.get("/sdapi/v1/options").json()
        assert {name: options[name] for name in SETTINGS} == SETTINGS


def test_an_image_is_made_again_as_its_text_says(empty_models: Path, tmp_path: Path) -> None:
    text = "a\nSteps: 5, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64"
    with server(empty_models, tmp_path, **OPTIONS) as own:
        told = own.http.post("/promptengine/v1/infotext", json={"infotext": text}).json()
        values = told["values"]
        assert (values["steps"], values["clip_skip"]) == (5, 1)
        assert values["options"]["eta_noise_seed_delta"] == 0
        assert "comma_padding_backtrack" not in values["options"]
    with server(empty_models, tmp_path / "usual") as usual:
        told = usual.http.post("/promptengine/v1/infotext", json={"infotext": text}).json()
        assert "eta_noise_seed_delta" not in told["values"]["options"]


def test_settings_that_cannot_be_used_are_refused(empty_models: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(RequestError, match="option samples_format is 'tiff'"),
        server(empty_models, tmp_path, settings={"samples_format": "tiff"}),
    ):
        pass
