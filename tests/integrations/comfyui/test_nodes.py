"""The nodes together: what they take, what reports say, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from promptengine.errors import PromptEngineError, RequestError, UnknownNetworkError
from promptengine.integrations.comfyui.levels import webui_levels
from promptengine.integrations.comfyui.nodes import (
    NODE_CLASS_MAPPINGS,
    LoadHypernetwork,
    WebUIPrompt,
    WebUISampler,
)
from tests.integrations.comfyui.graphs import CASES, sampled
from tests.integrations.comfyui.stand_in import CLIP, KSAMPLER, ModelPatcher, loaded, sample_euler


def test_what_is_not_loaded_is_told(model: ModelPatcher) -> None:
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


def test_what_another_clone_put_into_the_model_is_held_on_to(model: ModelPatcher) -> None:
    """ComfyUI leaves a clone's changes in the model that all clones share until another one is loaded."""
    patched = webui_levels(model)
    with loaded(patched, model.model.diffusion_model):
        other = webui_levels(ModelPatcher(model.model))
    assert other.object_patches == patched.object_patches
    assert len(other.object_patches) > 1


def test_nodes_declare_what_they_take_and_give() -> None:
    for node in NODE_CLASS_MAPPINGS.values():
        declared = node.INPUT_TYPES()
        assert declared["required"]
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        assert callable(getattr(node, node.FUNCTION))
