"""The nodes together: WebUI's golden latents within the stand-in, and what reports say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine.errors import PromptEngineError, RequestError, UnknownNetworkError
from promptengine.integrations.comfyui.levels import webui_levels
from promptengine.integrations.comfyui.nodes import (
    NODE_CLASS_MAPPINGS,
    LoadHypernetwork,
    WebUIPrompt,
    WebUISampler,
)
from promptengine.request.samplers import find_sampler
from tests.conformance.golden import difference, folder, rows, tensors
from tests.conformance.test_txt2img import bare_name
from tests.integrations.comfyui.stand_in import (
    CLIP,
    KSAMPLER,
    CFGGuider,
    ModelPatcher,
    sample_euler,
)
from tests.public_surface import ROOT

GOLDENS = folder() / "webui" / "goldens"
CASES = {case["id"]: case for case in rows(GOLDENS / "txt2img.jsonl")}
EXACT, STOCHASTIC = 1e-4, 1e-3
"""Tolerances of final latents: of samplers that draw no noise, and of those that do."""


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return tensors(GOLDENS / "txt2img_latents.safetensors")


def generated(model: ModelPatcher, clip: CLIP, case: dict[str, Any], **more: Any) -> Tensor:
    """The latents of a case as a graph of the nodes and SamplerCustomAdvanced makes them."""
    label = bare_name(case["sampler"]) or "Automatic"
    sampler = find_sampler(case["sampler"], label)
    settings = {"steps": case["steps"], "denoise": 1.0, "seed": case["seed"], **more}
    patched, run, sigmas, noise = WebUISampler().make(
        model, sampler.name, sampler.scheduler, **settings
    )
    patched, positive, negative, _, _ = WebUIPrompt().read(
        patched, clip, case["prompt"], case["negative_prompt"], case["steps"], sampler=run
    )
    return sampled(patched, positive, negative, run, sigmas, noise, case)


def sampled(  # noqa: PLR0917 - the sockets of a graph
    model: Any,
    positive: Any,
    negative: Any,
    run: Any,
    sigmas: Tensor,
    noise: Any,
    case: dict[str, Any],
) -> Tensor:
    guider = CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(case["cfg_scale"])
    images = case.get("batch_size", 1)
    latent = torch.zeros(images, 4, case["height"] // 8, case["width"] // 8)
    first = noise.generate_noise({"samples": latent})
    return guider.sample(first, latent, run, sigmas, noise.seed)


WANTED = [
    *(
        "smp-euler-8",
        "smp-euler-a-8",
        "smp-dpmpp-2m-karras-8",
        "smp-dpmpp-sde-karras-8",
        "smp-heun-8",
    ),
    *("smp-ddim-8", "smp-lms-karras-8", "smp-unipc-8", "smp-plms-8", "smp-dpm2-a-karras-8"),
    *("smp-dpmpp-2s-a-karras-8", "smp-dpmpp-2m-sde-karras-8", "smp-dpmpp-3m-sde-karras-8"),
    *(
        "smp-dpm-fast-8",
        "smp-restart-8",
        "size-64x128",
        "cfg1-euler",
        "hn-three",
        "hn-second-order",
    ),
    *(
        "hn-unipc",
        "hn-unknown",
        "hn-in-negative",
        "hn-batch2",
        "pr-sched-heun-8",
        "pr-sched-ddim-8",
    ),
    *("pr-alt-dpmpp-sde-8", "pr-AND3-euler-8", "pr-emph-euler-8", "pr-ti-euler-8", "pr-long-both"),
    *("pr-and-in-neg", "pr-break", "pr-and-long", "pr-cfg1-and", "pr-alt-neg", "pr-batchmean-heun"),
    *("batch2-dpm2-a", "seed-big", "steps-1"),
]
"""One case of each kind; those of eight steps are quick."""


def draws(case: dict[str, Any]) -> bool:
    return any(word in case["sampler"] for word in (" a", "SDE", "fast", "LCM", "Restart"))


@pytest.mark.parametrize("name", WANTED)
def test_latents_are_webuis(
    name: str, model: ModelPatcher, clip: CLIP, golden: dict[str, Tensor]
) -> None:
    case = CASES[name]
    found = generated(model, clip, case)
    # Three parts at scale 7, or one step from the highest level, magnify the last digits.
    tolerance = 2 * EXACT if name in ("pr-AND3-euler-8", "steps-1") else EXACT
    assert difference(found, golden[name]) <= (STOCHASTIC if draws(case) else tolerance)


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
    assert difference(generated(loaded, clip, bare), golden[case["id"]]) <= EXACT
    same, told = LoadHypernetwork().load(model, "hn-relu.pt", 0.0)
    assert same is model
    assert "not applied" in told
    with pytest.raises(PromptEngineError, match="holds no 'gone"):
        LoadHypernetwork().load(model, "gone.pt", 1.0)


@pytest.fixture
def read(model: ModelPatcher, clip: CLIP) -> Any:
    return lambda prompt, **more: WebUIPrompt().read(model, clip, prompt, "", 8, **more)


def test_the_report_says_what_was_applied(read: Any) -> None:
    prompt = "a [cat:dog:0.5] AND fox <hypernet:hn-relu:0.8> <hypernet:gone:1> <hypernet:hn-mish:0>"
    report = read(prompt)[3]
    assert "prompt: 2 parts, 3 texts over 8 calls" in report
    assert "hypernet 'hn-relu': applied at 0.8" in report
    assert "hypernet 'gone': not applied, not found" in report
    assert "hypernet 'hn-mish': not applied, multiplier is 0" in report
    assert "schedules count 8 steps, one call each" in report


def test_schedules_of_multipliers_are_told_call_by_call(read: Any) -> None:
    report = read("a cat <hypernet:hn-relu:0@0,1@0.5>", dialect="extended")[3]
    assert (
        "hypernet 'hn-relu': applied at 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1 over the calls"
        in report
    )


def test_loras_reach_model_and_text_encoder(read: Any, model: ModelPatcher) -> None:
    patched, positive, _, report, _ = read("a cat <lora:lo-kohya:0.7>")
    assert "lora 'lo-kohya': applied at 0.7" in report
    assert patched.patches
    assert not model.patches
    assert not torch.equal(positive[0][0], read("a cat")[1][0][0])


def test_what_comfyui_cannot_do_with_a_lora_is_told(read: Any) -> None:
    report = read("a cat <lora:lo-kohya:1@0,0@0.5>", dialect="extended")[3]
    assert "lora 'lo-kohya': not applied, LoRAs cannot change over the steps in ComfyUI" in report
    with pytest.raises(RequestError, match="cannot change over the steps"):
        read("a cat <lora:lo-kohya:1@0,0@0.5>", dialect="extended", policy="strict")


def test_a_strict_policy_refuses_what_is_unknown(read: Any) -> None:
    with pytest.raises(UnknownNetworkError):
        read("a cat <hypernet:gone:1>", policy="strict")


def test_regions_are_refused(read: Any) -> None:
    with pytest.raises(RequestError, match="no regions"):
        read("a cat ADDCOL a dog", dialect="extended")


def test_foreign_objects_are_refused_with_a_remedy(
    read: Any, model: ModelPatcher, clip: CLIP
) -> None:
    with pytest.raises(RequestError, match="connect SIGMAS too"):
        read("a cat", sampler=KSAMPLER(sample_euler))
    model.model_options["sampler_calc_cond_batch_function"] = print
    with pytest.raises(PromptEngineError, match="another node already decides"):
        read("a cat")
    clip.tokenize = lambda _: {"t5xxl": []}  # type: ignore[method-assign]
    del model.model_options["sampler_calc_cond_batch_function"]
    with pytest.raises(PromptEngineError, match="has the encoders t5xxl"):
        read("a cat")


def test_a_sampler_needs_the_model_that_comes_with_it(model: ModelPatcher, clip: CLIP) -> None:
    case = CASES["smp-euler-8"]
    _, run, sigmas, noise = WebUISampler().make(model, "Euler", "Automatic", 8, 1.0, 1)
    guided, positive, negative, _, _ = WebUIPrompt().read(model, clip, "a", "", 8, sampler=run)
    with pytest.raises(PromptEngineError, match="needs the MODEL that the same node gives"):
        sampled(guided, positive, negative, run, sigmas, noise, case)


def test_settings_that_a_sampler_has_not_are_refused(model: ModelPatcher) -> None:
    with pytest.raises(RequestError, match="LMS takes no eta"):
        WebUISampler().make(model, "LMS", "Automatic", 8, 1.0, 1, eta=0.5)
    with pytest.raises(RequestError, match="unknown sampler"):
        WebUISampler().make(model, "Eulr", "Automatic", 8, 1.0, 1)
    with pytest.raises(PromptEngineError, match="leaves DDIM nothing to do"):
        WebUISampler().make(model, "DDIM", "Automatic", 8, 0.1, 1)


def test_levels_are_exchanged_once_and_in_a_clone(model: ModelPatcher) -> None:
    patched = webui_levels(model)
    assert not model.object_patches
    again = webui_levels(patched)
    assert again.object_patches == patched.object_patches
    sigma = torch.tensor([0.5])
    levels = patched.get_model_object("model_sampling")
    assert float(levels.timestep(sigma)) % 1 != 0
    assert float(model.model.model_sampling.timestep(sigma)) % 1 == 0


def test_nodes_declare_what_they_take_and_give() -> None:
    for node in NODE_CLASS_MAPPINGS.values():
        declared = node.INPUT_TYPES()
        assert declared["required"]
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        assert callable(getattr(node, node.FUNCTION))


def test_the_example_fits_the_nodes(model: ModelPatcher, clip: CLIP) -> None:
    graph = json.loads((ROOT / "examples" / "comfyui_workflow.json").read_text(encoding="utf-8"))
    results: dict[str, Any] = {"1": (model, clip)}
    for number, step in sorted(graph.items()):
        kind = NODE_CLASS_MAPPINGS.get(step["class_type"])
        if kind is None:
            continue
        given = {
            name: results[value[0]][value[1]] if isinstance(value, list) else value
            for name, value in step["inputs"].items()
        }
        declared = kind.INPUT_TYPES()
        assert given.keys() <= declared["required"].keys() | declared["optional"].keys()
        results[number] = getattr(kind(), kind.FUNCTION)(**given)
    assert results.keys() == {"1", "2", "3"}
    assert "prompt: 1 part, 2 texts over 20 calls" in results["3"][3]
