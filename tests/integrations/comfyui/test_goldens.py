"""WebUI's golden latents, made by the nodes within the stand-in.

The suite runs one case of each kind. To run all that the nodes can ask for, which takes minutes, set
``PROMPTENGINE_ALL_GOLDENS=1``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest
from torch import Tensor

from promptengine.integrations.comfyui.nodes import LoadHypernetwork, WebUIPrompt, WebUISampler
from tests.conformance.golden import difference, tensors
from tests.conformance.test_sched import TABLE as SCHEDULES
from tests.conformance.test_txt2img import ADAPTIVE_TOLERANCE
from tests.integrations.comfyui.graphs import (
    CASES,
    GOLDENS,
    new_cases,
    run_case,
    sampled,
    settings_of,
)
from tests.integrations.comfyui.stand_in import CLIP, KSAMPLER, ModelPatcher, sample_euler

EXACT, STOCHASTIC = 1e-4, 1e-3
"""Tolerances of final latents: of samplers that draw no noise, and of those that do."""

MAGNIFIED = (
    *("pr-AND3-euler-8", "em-ignore-neg", "ts-plms-7"),
    *("sc-dpmpp2m-beta", "sc-euler-ays-3", "sm-heun-beta"),
)
"""Where three parts at scale 7, or steps that lean on those before, magnify the last digits of single
precision, as one step from the highest level does: there WebUI's own latents are 1.1e-4 away from those of
a UNet in double precision."""

ONE_OF_EACH = (
    *("smp-euler-8", "smp-euler-a-8", "smp-dpmpp-2m-karras-8", "smp-dpmpp-sde-karras-8"),
    *("smp-heun-8", "smp-ddim-8", "smp-lms-karras-8", "smp-unipc-8", "smp-plms-8"),
    *("smp-dpm2-a-karras-8", "smp-dpmpp-2s-a-karras-8", "smp-dpmpp-2m-sde-karras-8"),
    *("smp-dpmpp-3m-sde-karras-8", "smp-dpm-fast-8", "smp-restart-8", "cfg1-euler", "hn-three"),
    *("hn-unipc", "hn-unknown", "hn-in-negative", "hn-batch2"),
    *("pr-sched-heun-8", "pr-sched-ddim-8", "pr-alt-dpmpp-sde-8", "pr-AND3-euler-8"),
    *("pr-emph-euler-8", "pr-ti-euler-8", "pr-long-both", "pr-and-in-neg", "pr-break"),
    *("pr-cfg1-and", "pr-alt-neg", "batch2-dpm2-a"),
    *("seed-big", "steps-1", "size-64x128", "size-96x64", "size-72x88", "smp-euler-8-nonsq"),
    *("var-batch2", "opt-clipskip2"),
    "opt-sched-exp",
)
"""One case of each kind; those of eight steps are quick."""

EVERY = bool(os.environ.get("PROMPTENGINE_ALL_GOLDENS"))
KNOWN = {**CASES, **(new_cases() if EVERY else {})}
WANTED = [name for name in KNOWN if settings_of(KNOWN[name])] if EVERY else ONE_OF_EACH


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    new = tensors(SCHEDULES.with_name("sched_latents.safetensors")) if EVERY else {}
    return {**tensors(GOLDENS / "txt2img_latents.safetensors"), **new}


def draws(case: Mapping[str, Any]) -> bool:
    return any(word in case["sampler"] for word in (" a", "SDE", "fast", "LCM", "Restart"))


def tolerance(case: Mapping[str, Any]) -> float:
    if case["sampler"] == "DPM adaptive":
        return ADAPTIVE_TOLERANCE
    if draws(case) or "eta" in str(case.get("opts", "")):
        return STOCHASTIC
    if case["steps"] == 1:
        return 3 * EXACT
    return 2 * EXACT if case["id"] in MAGNIFIED else EXACT


@pytest.mark.parametrize("name", WANTED)
def test_latents_are_webuis(
    name: str, model: ModelPatcher, clip: CLIP, golden: dict[str, Tensor]
) -> None:
    case = KNOWN[name]
    found = run_case(model, clip, case).latents
    assert difference(found, golden[name]) <= tolerance(case)


def test_sizes_of_comfyuis_own_are_others(
    model: ModelPatcher, clip: CLIP, golden: dict[str, Tensor]
) -> None:
    """What the exchanged upsamplers are for."""
    case = CASES["size-72x88"]
    patched, sampler, sigmas, noise = WebUISampler().make(
        model, "Euler", "Automatic", case["steps"], 1.0, case["seed"]
    )
    for name in [name for name in patched.object_patches if name != "model_sampling"]:
        del patched.object_patches[name]
    guided, positive, negative, _, _ = WebUIPrompt().read(
        patched, clip, case["prompt"], case["negative_prompt"], case["steps"], sampler=sampler
    )
    found = sampled(guided, positive, negative, sampler, sigmas, noise, case)
    assert difference(found, golden[case["id"]]) > 0.1


def test_stock_samplers_give_webuis_latents_with_the_exchanged_levels(
    model: ModelPatcher, clip: CLIP, golden: dict[str, Tensor]
) -> None:
    case = CASES["smp-euler-8"]
    patched, _, sigmas, noise = WebUISampler().make(
        model, "Euler", "Automatic", 8, 1.0, case["seed"]
    )
    differences: list[float] = []
    for own in (patched, model):
        guided, positive, negative, _, _ = WebUIPrompt().read(
            own, clip, case["prompt"], case["negative_prompt"], 8
        )
        found = sampled(guided, positive, negative, KSAMPLER(sample_euler), sigmas, noise, case)
        differences.append(difference(found, golden["smp-euler-8"]))
    assert differences[0] <= EXACT
    # Without them: whole timesteps, and a little too much noise.
    assert differences[1] > 10 * EXACT


def test_a_loaded_hypernetwork_acts_with_any_prompt(
    model: ModelPatcher, clip: CLIP, golden: dict[str, Tensor]
) -> None:
    case = CASES["hn-hn-swish-ln-0.5"]
    loaded, told = LoadHypernetwork().load(model, "hn-swish-ln.pt", 0.5)
    assert told == "hypernetwork 'hn-swish-ln.pt' is applied at 0.5"
    bare = {**case, "prompt": case["prompt"].replace("<hypernet:hn-swish-ln:0.5>", "")}
    assert bare["prompt"] != case["prompt"]
    assert difference(run_case(loaded, clip, bare).latents, golden[case["id"]]) <= EXACT
