"""The cases of WebUI 1.10.1's API, read as the server reads a client's requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promptengine import GenerationRequest
from promptengine.registry.registry import Registry
from promptengine.server.base64_images import encode_base64
from promptengine.server.config import Limits
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.options import ServerSettings
from promptengine.server.sdapi.requests import Image2Image, Text2Image
from promptengine.server.sdapi.to_request import parse_webui_request
from tests.conformance.golden import folder


def encoded_image(name: str) -> str:
    """An image of the golden data as clients send it."""
    return encode_base64((folder() / "webui-3" / "images" / name).read_bytes())


def request_of(case: dict[str, Any], registry: Registry, checkpoint: Path) -> GenerationRequest:
    """The request of a case; settings that differ from the defaults go with it."""
    model = Image2Image if "init_images" in case else Text2Image
    fields = {name: case[name] for name in case.keys() & model.model_fields.keys()}
    if "init_images" in case:
        fields["init_images"] = [encoded_image(name) for name in case["init_images"]]
    if case.get("mask") is not None:
        fields["mask"] = encoded_image(case["mask"])
    if "sampler" in case:
        fields["sampler_name"] = case["sampler"]
    overrides = {**case.get("opts", {}), **case.get("override_settings", {})}
    found = parse_webui_request(
        model.model_validate({**fields, "override_settings": overrides}),
        ServerSettings(registry, Model(checkpoint, "Automatic")),
        registry,
        [],
        Limits(),
    )
    (request,) = found.work.requests
    return request
