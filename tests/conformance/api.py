"""The cases of WebUI 1.10.1's API, read as the server reads a client's requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promptengine import GenerationRequest
from promptengine.registry.registry import Registry
from promptengine.server.config import Limits
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.options import ServerSettings
from promptengine.server.sdapi.requests import Text2Image
from promptengine.server.sdapi.to_request import parse_webui_request


def request_of(case: dict[str, Any], registry: Registry, checkpoint: Path) -> GenerationRequest:
    """The request of a txt2img case; settings that differ from the defaults go with it."""
    fields = {name: case[name] for name in case.keys() & Text2Image.model_fields.keys()}
    if "sampler" in case:
        fields["sampler_name"] = case["sampler"]
    overrides = {**case.get("opts", {}), **case.get("override_settings", {})}
    found = parse_webui_request(
        Text2Image.model_validate({**fields, "override_settings": overrides}),
        ServerSettings(registry, Model(checkpoint, "Automatic")),
        registry,
        [],
        Limits(),
    )
    (request,) = found.work.requests
    return request
