"""Every kind of LoRA file against WebUI 1.10: merged weights and final latents."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine
from promptengine.networks.load import NetworkCache, load_networks
from promptengine.networks.lora.merge import exchange_weights, merge, targets
from promptengine.prompt import parse
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.request.plan import make_plan
from tests.conformance.golden import device, difference, folder, rows, tensors
from tests.conformance.test_txt2img import LATENT_TOLERANCE, request_of, without_own_keys

TABLE = folder() / "webui-3" / "goldens" / "lora3.jsonl"
WEIGHT_TOLERANCE = 1e-5
HALF_TOLERANCE = 1e-3
"""Of files in half precision, whose numbers WebUI computes with as they are."""

DEVIATIONS = {
    "lo3-dora-out": "deviation: a DoRA scale for each output means what LyCORIS means",
    "lo3-glora-new-shapes": "deviation: GLoRA of LyCORIS 3 and later works",
    "lo3-functional-dora-lora": "deviation: functional LoRAs keep DoRA",
    "lo3-peft-dotted": "deviation: diffusers' names are read",
}
"""Why cases are expected to fail, by what their names begin with; the parity page explains each."""


def marked(value: Any, name: str) -> Any:
    reasons = [why for start, why in DEVIATIONS.items() if name.startswith(start)]
    marks = [pytest.mark.xfail(reason=", ".join(reasons), strict=True)] if reasons else []
    return pytest.param(value, id=name, marks=marks)


ROWS = {case["id"]: case for case in rows(TABLE)} if TABLE.is_file() else {}
CASES = [marked(case, name) for name, case in ROWS.items()]


@cache
def golden(name: str) -> dict[str, Tensor]:
    return tensors(TABLE.with_name(f"{name}.safetensors"))


MERGED = [marked(name, name) for name in sorted(golden("lora3_merged"))] if TABLE.is_file() else []


@pytest.fixture(scope="module")
def engine_3(conformance_dir: Path, model_dir: Path) -> Engine:
    torch.set_num_threads(1)
    return Engine.open(
        model_dir / "tiny-sd1.safetensors",
        models={
            "hypernet": conformance_dir / "webui" / "hypernetworks",
            "embedding": conformance_dir / "webui" / "embeddings",
            "lora": conformance_dir / "webui-3" / "loras",
        },
        config=model_dir / "diffusers_config",
        device=device(),
        dtype="float32",
    )


def comparable(infotext: str) -> str:
    """An infotext without what has other tests: how version 1.10 writes schedules and CFG scales."""
    text = re.sub(r"Schedule type: \w+, ", "", without_own_keys(infotext))
    return re.sub(r"(CFG scale: \d+)\.0,", r"\1,", text)


@pytest.mark.parametrize("case", CASES)
def test_generation(engine_3: Engine, case: dict[str, Any]) -> None:
    result = engine_3.generate(request_of(case))
    assert difference(result.latents, golden("lora3_latents")[case["id"]]) <= LATENT_TOLERANCE
    assert [*map(comparable, result.infotexts)] == [*map(comparable, case["infotexts"])]
    used = [
        [report.name, report.multiplier, report.unet_multiplier]
        for report in result.networks
        if report.lora_hash
    ]
    assert used == [[name, te, unet] for _, name, te, unet, _ in case["networks"]["loras"]]


@pytest.mark.parametrize("name", MERGED)
def test_merged_weights(engine_3: Engine, name: str) -> None:
    case, _, layer = name.partition("/")
    parts = engine_3.checkpoint
    model = targets(parts.unet, *parts.text_encoders)
    prompt = ScheduledPrompt(parse(ROWS[case]["prompt"]), 5)
    plan = make_plan(prompt, parse("", negative=True), engine_3.registry, policy="strict")
    cache = NetworkCache(parts.unet, *parts.text_encoders)
    loaded = load_networks(plan, engine_3.registry, cache, policy="strict")
    with exchange_weights(merge(loaded.loras.at(0))), loaded.encoding(0, parts.journal):
        ours = model[layer].module.weight.detach().clone()
    expected = golden("lora3_merged")[name]
    tolerance = HALF_TOLERANCE if "fp16" in case else WEIGHT_TOLERANCE
    assert difference(ours.reshape(expected.shape), expected) <= tolerance


def test_functional_loras_are_the_same(engine_3: Engine) -> None:
    """WebUI leaves DoRA out of plain LoRAs where it applies them beside the weights; ours does not."""
    case = ROWS.get("lo3-functional-dora-lora") or pytest.skip("no such case in this folder")
    latents = engine_3.generate(request_of(case)).latents
    assert difference(latents, golden("lora3_latents")["lo3-dora-lora-1"]) <= LATENT_TOLERANCE
