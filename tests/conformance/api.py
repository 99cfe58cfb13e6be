"""The cases of WebUI 1.10.1's API, read as the server reads a client's requests."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from promptengine import GenerationRequest
from promptengine.registry.registry import Registry
from promptengine.server.config import Limits
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.options import ServerSettings
from promptengine.server.sdapi.requests import Image2Image, Text2Image
from promptengine.server.sdapi.to_request import parse_webui_request
from tests.conformance.golden import folder


def request_of(case: dict[str, Any], registry: Registry, checkpoint: Path) -> GenerationRequest:
    """The request of a case; settings that differ from the defaults are the server's."""
    return request_and_model(case, registry, checkpoint)[0]


def request_and_model(
    case: dict[str, Any], registry: Registry, checkpoint: Path
) -> tuple[GenerationRequest, Model]:
    """The request of a case, and the model that it chooses."""
    model = Image2Image if "init_images" in case else Text2Image
    fields = {name: case[name] for name in case.keys() & model.model_fields.keys()}
    if "sampler" in case:
        fields["sampler_name"] = case["sampler"]
    if "init_images" in case:
        fields["init_images"] = [encoded_image(name) for name in case["init_images"]]
    if case.get("mask") is not None:
        fields["mask"] = encoded_image(case["mask"])
    settings = ServerSettings(registry, Model(checkpoint, "Automatic"))
    settings.change(case.get("opts", {}))
    found = parse_webui_request(model.model_validate(fields), settings, registry, [], Limits())
    (request,), chosen = found.work.requests, found.work.model
    assert isinstance(chosen, Model)
    return request, chosen


def encoded_image(name: str) -> str:
    """An image of the golden data, as a client sends it."""
    return base64.b64encode((folder() / "webui-3" / "images" / name).read_bytes()).decode()
