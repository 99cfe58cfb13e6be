"""WebUI's extras: images enlarged after they were made, as its API answers."""

from __future__ import annotations

import base64
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from PIL import Image

from promptengine.server.config import ServerConfig
from promptengine.server.errors import HTTPRefusal
from promptengine.server.sdapi.requests import Upscaling
from promptengine.server.sdapi.upscale import Enlarged, upscale_images
from promptengine.server.state import Service, open_service
from tests.conformance.upscaler_folders import (
    PARITY,
    golden_image,
    share_off,
    upscaler_cases,
    upscaler_registry,
    worst_level,
)


@pytest.fixture(scope="module")
def service(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    import torch

    torch.set_num_threads(1)
    models = tmp_path_factory.mktemp("models")
    upscaler_registry(models)
    config = ServerConfig(models=models, checkpoint=str(model_dir / "tiny-sd1.safetensors"))
    return open_service(config, runs=[])


def enlarged(service: Service, case: dict[str, Any]) -> Enlarged:
    fields = Upscaling.model_validate(case)
    sent = base64.b64encode((PARITY / "images" / case["image"]).read_bytes()).decode()
    before = service.settings.values()
    options = case.get("opts", {})
    service.settings.change(options)
    try:
        return upscale_images([sent], fields, service, threading.Event())
    finally:
        service.settings.change({name: before[name] for name in options})


@pytest.mark.parametrize("case", upscaler_cases("extras"))
def test_extras(service: Service, case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(HTTPRefusal, match=r"Upscaler not found: 'no-such'; .*Lanczos.*n3-"):
            enlarged(service, case)
        return
    answer = enlarged(service, case)
    assert (answer.html, answer.warnings) == (case["html_info"], [])
    with Image.open(BytesIO(base64.b64decode(answer.images[0]))) as image:
        image.load()
    assert image.mode == case["mode"]
    assert [image.height, image.width, len(image.getbands())] == case["shape"]
    told = {key: text for key, text in image.info.items() if key == "postprocessing"}
    assert told == case["png_text"]
    expected = golden_image("extras", case["id"], 0)
    if expected is not None:
        assert worst_level(image, expected) <= 1
        assert share_off(image, expected) < 0.001
