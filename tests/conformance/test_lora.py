"""Generations with LoRAs against WebUI's, and the names of their modules."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from promptengine import Engine
from promptengine.kinds import LORA
from promptengine.networks.lora.keys import parse_name
from promptengine.prompt import parse
from tests.conformance.golden import device, difference, folder, rows, table, tensors
from tests.conformance.test_txt2img import (
    LATENT_TOLERANCE,
    assert_tells_the_same,
    is_number,
    request_of,
)

TABLE = folder() / "webui-2" / "goldens" / "lora.jsonl"
LORAS = folder() / "webui-2" / "loras"


def named(case: dict[str, Any]) -> list[str]:
    """The names of all LoRAs that WebUI used."""
    return [name for _, name, *_ in case["networks"]["loras"]]


def repeats(case: dict[str, Any]) -> bool:
    return len(set(named(case))) < len(named(case))


def mixes_numbers(case: dict[str, Any]) -> bool:
    """Whether a LoRA's multiplier is no number and another tag's is."""
    tags = [tag for tag in parse(case["prompt"]).tags if tag.kind in LORA.words]
    good = [all(map(is_number, tag.arguments[1:3])) for tag in tags if "=" not in str(tag)]
    return set(good) == {True, False}


RULES: list[tuple[str, Any]] = [
    ("deviation: a LoRA keeps its own multiplier", repeats),
    ("deviation: good tags beside a bad one apply", mixes_numbers),
    ("deviation: sums are not rounded to float16", lambda case: case.get("quirk")),
]
"""Which cases are expected to fail."""


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
        device=device(),
        dtype="float32",
    )


def without_brought_words(infotext: str) -> str:
    """An infotext without the words that LoRA files bring: WebUI lists them since version 1.10."""
    return re.sub(r', TI hashes: "\w+: lo-[\w-]+"', "", infotext)


@pytest.mark.parametrize("case", CASES)
def test_generation(lora_engine: Engine, case: dict[str, Any]) -> None:
    noise = golden("lora_intermediate").get(f"{case['id']}/encode_eps")
    encoder_noise = noise if "init_images" in case else None
    result = lora_engine.generate(request_of(case), encoder_noise=encoder_noise)
    assert difference(result.latents, golden("lora_latents")[case["id"]]) <= LATENT_TOLERANCE
    for ours, theirs in zip(result.infotexts, case["infotexts"], strict=True):
        assert_tells_the_same(without_brought_words(ours), theirs)
    assert len(result.images) == len(case["infotexts"])
    assert [
        [report.name, report.multiplier, report.unet_multiplier]
        for report in result.networks
        if report.lora_hash
    ] == [[name, te, unet] for _, name, te, unet, _ in case["networks"]["loras"]]
    for index, image in enumerate(result.images):
        expected = golden("lora_images").get(f"{case['id']}/uint8/{index}")
        if expected is not None:
            off = (torch.from_numpy(np.array(image)).int() - expected.int()).abs()
            assert off.max() <= 1
            assert (off > 0).float().mean() < 0.02


def test_a_lora_named_twice_differs_in_nothing_but_its_multipliers(lora_engine: Engine) -> None:
    """WebUI takes the last multiplier for all uses; given those, our image is its own."""
    for case in rows(TABLE):
        if not repeats(case) or case.get("enable_hr") or case.get("init_images"):
            continue
        request = request_of(case)
        text = re.sub("<lora:[^>]*>", "", request.prompt)
        used = "".join(
            f"<lora:{name}:{te}:{unet}>" for _, name, te, unet, _ in case["networks"]["loras"]
        )
        latents = lora_engine.generate(replace(request, prompt=text + used)).latents
        assert difference(latents, golden("lora_latents")[case["id"]]) <= LATENT_TOLERANCE


def test_names_of_all_modules_are_exact(conformance_dir: Path) -> None:
    names = table(conformance_dir / "webui-2" / "goldens" / "lora_key_mapping.json")
    read = {name: parse_name(f"{name}.lora_down.weight") for name in names}
    assert {name: found and found.module for name, found in read.items()} == names
