"""Generations with LoRAs against WebUI's, and the names of their modules."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine, GenerationRequest
from promptengine.networks.lora.keys import parse_name
from promptengine.plan import with_default_lora
from tests.conformance.golden import difference, folder, rows, table, tensors
from tests.conformance.test_txt2img import (
    LATENT_TOLERANCE,
    OPTIONS,
    request_of,
    without_own_keys,
)

SETTINGS = {"sd_lora", "extra_networks_default_multiplier", "lora_functional"}
"""WebUI's options that change the prompt, or nothing, before a request is made."""

RULES: list[tuple[str, Any]] = [
    ("high-resolution pass", lambda case: case.get("enable_hr")),
    ("image to image", lambda case: case.get("init_images")),
    ("another option", lambda case: case.get("opts", {}).keys() - OPTIONS.keys() - SETTINGS),
    ("textual inversion", lambda case: case["id"].endswith("bundle")),
    ("deviation: a LoRA keeps its own multiplier", lambda case: case["id"].endswith("same-twice")),
    ("deviation: sums are not rounded to float16", lambda case: case.get("quirk")),
]
"""Which cases are expected to fail."""

TABLE = folder() / "webui-2" / "goldens" / "lora.jsonl"


def marked(case: dict[str, Any]) -> Any:
    reasons = [reason for reason, applies in RULES if applies(case)]
    marks = [pytest.mark.xfail(reason=", ".join(reasons), run=False)] if reasons else []
    return pytest.param(case, id=case["id"], marks=marks)


CASES = [marked(case) for case in rows(TABLE)] if TABLE.is_file() else []


@cache
def golden(name: str) -> dict[str, Tensor]:
    return tensors(TABLE.with_name(f"{name}.safetensors"))


@pytest.fixture(scope="module")
def lora_engine(conformance_dir: Path, model_dir: Path) -> Engine:
    torch.set_num_threads(1)
    return Engine.open(
        model_dir / "tiny-sd1.safetensors",
        models={
            "hypernet": conformance_dir / "webui" / "hypernetworks",
            "lora": conformance_dir / "webui-2" / "loras",
        },
        config=model_dir / "diffusers_config",
        device="cpu",
    )


def lora_request(case: dict[str, Any]) -> GenerationRequest:
    options = case.get("opts", {})
    request = request_of({**case, "opts": {k: v for k, v in options.items() if k not in SETTINGS}})
    default = options.get("extra_networks_default_multiplier", 1.0)
    prompt = with_default_lora(request.prompt, options.get("sd_lora", "None"), default)
    return replace(request, prompt=prompt)


@pytest.mark.parametrize("case", CASES)
def test_generation(lora_engine: Engine, case: dict[str, Any]) -> None:
    result = lora_engine.generate(lora_request(case))
    d = difference(result.latents, golden("lora_latents")[case["id"]])
    print("DIFF", case["id"], d)
    assert d <= LATENT_TOLERANCE
    ours = [without_own_keys(text) for text in result.infotexts]
    assert ours == [without_own_keys(text) for text in case["infotexts"]]
    assert [
        [report.name, report.multiplier, report.unet_multiplier]
        for report in result.networks
        if report.lora_hash
    ] == [[name, te, unet] for _, name, te, unet, _ in case["networks"]["loras"]]


def test_names_of_all_modules_are_exact(conformance_dir: Path) -> None:
    names = table(conformance_dir / "webui-2" / "goldens" / "lora_key_mapping.json")
    read = {name: parse_name(f"{name}.lora_down.weight") for name in names}
    assert {name: found and found.module for name, found in read.items()} == names
