"""Attached pipelines: the engine's latents, and nothing left behind."""

from __future__ import annotations

import copy
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    EDMEulerScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from torch import Tensor

from promptengine import Engine, GenerationRequest, PromptProcessor, attach, detach
from promptengine.errors import PromptEngineError, RequestError, UnknownNetworkError
from promptengine.families import Family
from promptengine.networks.hypernetwork.files import save_hypernetwork
from promptengine.request.options import Options
from tests.checkpoints.diffusers_pipelines import noise_of, pipeline
from tests.checkpoints.original import FAMILIES, Original, tiny, write
from tests.networks.builders import random_network, turned_values
from tests.networks.lora.builders import plain, write_lora

SIZE = 64
RUN: dict[str, Any] = {"num_inference_steps": 2, "height": SIZE, "width": SIZE}
PROMPTS = {
    "plain": "a photo of a cat",
    "weights and tags": "a (photo:1.4) of a [cat] <hypernet:ink:0.8>",
    "schedule": "a [dog:cat:0.5] <hypernet:ink:0.5><hypernet:flat:0.3>",
    "parts": "a cat :0.7 AND a dog :0.6 <hypernet:flat:1>",
    "long": "cat " * 100 + "BREAK dog",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    (folder / "hypernetworks").mkdir()
    from promptengine.networks.hypernetwork.module import HypernetworkSettings

    widths = [64, 128, 192]
    save_hypernetwork(random_network(widths), folder / "hypernetworks" / "ink.pt")
    flat = random_network(widths, HypernetworkSettings(), seed=1)
    save_hypernetwork(flat, folder / "hypernetworks" / "flat.safetensors")
    return folder


@pytest.fixture(scope="module")
def originals() -> dict[str, Original]:
    return {family: tiny(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def engines(
    originals: dict[str, Original], models: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Engine]:
    folder = tmp_path_factory.mktemp("checkpoints")
    stated = {"modelspec.prediction_type": "epsilon"}
    return {
        family: Engine.open(
            write(original.weights(), folder / f"{family}.safetensors", metadata=stated),
            models=models,
            device="cpu",
        )
        for family, original in originals.items()
    }


def latents(pipe: Any, prompt: Any, *seeds: int, scale: float = 2.0, **more: Any) -> Tensor:
    run = {
        "num_inference_steps": 2,
        **noise_of(pipe, *seeds),
        "guidance_scale": scale,
        "output_type": "latent",
    }
    return pipe(prompt, **run, **more)[0]


REQUEST = GenerationRequest(
    prompt="", seed=5, steps=2, width=SIZE, height=SIZE, sampler="Euler", cfg_scale=2.0
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", PROMPTS)
def test_an_attached_pipeline_gives_the_engines_latents(
    family: Family,
    case: str,
    originals: dict[str, Original],
    engines: dict[str, Engine],
    models: Path,
) -> None:
    request = replace(REQUEST, prompt=PROMPTS[case], negative_prompt="dog")
    expected = engines[family].generate(request)
    pipe = pipeline(originals[family])
    attachment = attach(pipe, models)
    found = latents(pipe, PROMPTS[case], 5, negative_prompt="dog")
    torch.testing.assert_close(found, expected.latents, atol=1e-4, rtol=1e-5)
    assert attachment.networks == (expected.networks,)


def test_the_prompts_of_a_batch_have_their_own_networks(
    originals: dict[str, Original], engines: dict[str, Engine], models: Path
) -> None:
    prompts = [PROMPTS["weights and tags"], PROMPTS["parts"], PROMPTS["long"]]
    pipe = pipeline(originals["SD1"])
    attach(pipe, models)
    found = latents(pipe, prompts, 5, 6, 7, 8, 9, 10, num_images_per_prompt=2)
    for index, prompt in enumerate(prompts):
        request = replace(REQUEST, prompt=prompt, seed=5 + 2 * index, batch_size=2)
        expected = engines["SD1"].generate(request).latents
        torch.testing.assert_close(found[2 * index : 2 * index + 2], expected, atol=1e-4, rtol=1e-5)


def test_the_prompts_of_a_batch_have_their_own_loras(
    originals: dict[str, Original], engines: dict[str, Engine], models: Path
) -> None:
    pipe = pipeline(originals["SD1"])
    path = "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"
    out, into = pipe.unet.get_submodule(path).weight.shape
    for name, seed in (("line", 1), ("dot", 2)):
        tensors = plain(f"lora_unet_{path.replace('.', '_')}", out, into, seed=seed)
        write_lora(models / "Lora" / f"{name}.safetensors", tensors)
    engines["SD1"].registry.refresh()
    prompts = [
        "a cat",
        "a cat<lora:line:2><hypernet:ink:0.8>",
        "a dog<lora:dot:1>",
        "a dog<lora:line:0@0,4@0.5>",
    ]
    attach(pipe, models, dialect="extended")
    found = latents(pipe, prompts, 5, 6, 7, 8)
    for index, prompt in enumerate(prompts):
        request = replace(REQUEST, prompt=prompt, seed=5 + index, dialect="extended")
        expected = engines["SD1"].generate(request)
        assert all(report.applied for report in expected.networks)
        torch.testing.assert_close(found[[index]], expected.latents, atol=1e-4, rtol=1e-5)
    detach(pipe)
    assert not any("forward" in vars(module) for module in pipe.unet.modules())


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_detached_is_as_never_attached(
    originals: dict[str, Original], models: Path, scale: float
) -> None:
    pipe = pipeline(originals["SD1"])
    before = latents(pipe, "a cat", 5, scale=scale)
    names = set(vars(pipe)), type(pipe), set(vars(pipe.unet))
    attach(pipe, models)
    assert isinstance(pipe, StableDiffusionPipeline)
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    networked = latents(pipe, "a cat <hypernet:ink:1>", 5, scale=scale)
    assert not torch.allclose(networked, before, atol=1e-2)
    none = latents(pipe, "a cat <hypernet:ink:0>", 5, scale=scale)
    torch.testing.assert_close(none, before, atol=1e-4, rtol=1e-5)
    with pytest.raises(PromptEngineError, match="attached already"):
        attach(pipe, models)
    with pytest.raises(RequestError, match="prompt_2"):
        pipe("a cat", prompt_2="a dog")
    detach(pipe)
    assert (set(vars(pipe)), type(pipe), set(vars(pipe.unet))) == names
    assert torch.equal(latents(pipe, "a cat", 5, scale=scale), before)
    with pytest.raises(PromptEngineError, match="not attached"):
        detach(pipe)


def test_a_block_detaches_at_its_end(originals: dict[str, Original], models: Path) -> None:
    pipe = pipeline(originals["SD1"])
    own = type(pipe)
    with pytest.raises(RuntimeError, match="inside"), attach(pipe, models) as attachment:
        assert attachment.processor.pipe is pipe
        assert type(pipe) is not own
        raise RuntimeError("inside")
    assert type(pipe) is own
    with attach(pipe, models):
        detach(pipe)
    assert type(pipe) is own


def test_a_scheduler_of_edms_noise_keeps_its_own_pace(
    originals: dict[str, Original], models: Path
) -> None:
    pipe = pipeline(originals["SD1"])
    pipe.scheduler = EDMEulerScheduler()
    before = latents(pipe, "a cat", 5)
    attach(pipe, models)
    torch.testing.assert_close(latents(pipe, "a cat", 5), before, atol=1e-4, rtol=1e-4)
    networked = latents(pipe, "a cat <hypernet:ink:1>", 5)
    assert not torch.allclose(networked, before, atol=1e-2)


def test_what_is_not_applied_is_said(originals: dict[str, Original], models: Path) -> None:
    pipe = pipeline(originals["SD1"])
    attachment = attach(pipe, models)
    with pytest.warns(UserWarning, match="unknown hypernetwork 'inkk'.*did you mean 'ink'"):
        latents(pipe, "a cat <hypernet:inkk:1>", 5)
    assert [report.applied for report in attachment.networks[0]] == [False]
    detach(pipe)
    attach(pipe, models, policy="strict")
    with pytest.raises(UnknownNetworkError):
        latents(pipe, "a cat <hypernet:inkk:1>", 5)


def test_diagnostics_are_left_out_by_their_codes(
    originals: dict[str, Original], models: Path
) -> None:
    pipe = pipeline(originals["SD1"])
    prompt = "a (cat:-1) <hypernet:inkk:1>"
    with attach(pipe, models), pytest.warns(UserWarning) as told:
        before = latents(pipe, prompt, 5)
    said = [str(one.message) for one in told if one.category is UserWarning]
    codes = {one.rpartition("[")[2].rstrip("]") for one in said}
    assert codes == {"negative-weight", "unknown-network"}
    with attach(pipe, models, ignored_diagnostics=["unknown-network"]) as attachment:
        with pytest.warns(UserWarning, match="negative-weight") as told:
            assert torch.equal(latents(pipe, prompt, 5), before)
        assert len([one for one in told if one.category is UserWarning]) == 1
        assert not attachment.networks[0][0].applied
    with pytest.raises(RequestError, match="did you mean 'unknown-network'"):
        attach(pipe, models, ignored_diagnostics=["unknown-netwrk"])
    strict = attach(pipe, models, policy="strict", ignored_diagnostics=["unknown-network"])
    with strict, pytest.raises(UnknownNetworkError):
        latents(pipe, prompt, 5)


def test_loras_of_the_pipelines_own_have_the_scale_of_the_call(
    originals: dict[str, Original], models: Path
) -> None:
    pipe = pipeline(copy.deepcopy(originals["SD1"]))
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    inject_adapter_in_model(config, pipe.text_encoder)
    ways = [{"cross_attention_kwargs": {"scale": scale}} for scale in (1.0, 0.3)]
    whole, part = (latents(pipe, "a cat", 5, **way) for way in ways)
    assert not torch.allclose(whole, part, atol=1e-4)
    with attach(pipe, models):
        for way, expected in zip(ways, (whole, part), strict=True):
            found = latents(pipe, "a cat", 5, **way)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_listed_timesteps_are_a_pipelines_steps(
    originals: dict[str, Original], models: Path
) -> None:
    pipe = pipeline(originals["SD1"])
    timesteps, prompt = [900, 600, 300, 100], "a [dog:cat:2]"
    with attach(pipe, models):
        listed = latents(pipe, "a [dog:cat:0.5]", 5, timesteps=timesteps)
        assert torch.equal(listed, latents(pipe, prompt, 5, timesteps=timesteps))
        assert not torch.equal(listed, latents(pipe, "a [dog:cat:1]", 5, timesteps=timesteps))


def test_a_pipeline_without_t5_has_no_setting_of_it(
    originals: dict[str, Original], models: Path
) -> None:
    with pytest.raises(RequestError, match="t5 is 'off', and StableDiffusionPipeline reads no T5"):
        attach(pipeline(originals["SD1"]), models, t5="off")


def test_embeddings_given_by_hand_pass_through(
    originals: dict[str, Original], models: Path
) -> None:
    pipe = pipeline(originals["SDXL"])
    given = PromptProcessor(pipe, models)("a (cat:1.3)", "a dog")
    assert {name: len(value) for name, value in given.items()} == {
        "prompt_embeds": 1,
        "negative_prompt_embeds": 1,
        "pooled_prompt_embeds": 1,
        "negative_pooled_prompt_embeds": 1,
    }
    before = latents(pipe, None, 5, **given)
    attach(pipe, models)
    assert torch.equal(latents(pipe, None, 5, **given), before)
    attached = latents(pipe, "a (cat:1.3)", 5, negative_prompt="a dog")
    torch.testing.assert_close(attached, before, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_attached_pipeline_subtracts_words(
    family: Family, originals: dict[str, Original], engines: dict[str, Engine], models: Path
) -> None:
    prompts = "a (cat:-1.3) <hypernet:ink:0.5>", "(dog:-1.1)"
    asked = replace(REQUEST, prompt=prompts[0], negative_prompt=prompts[1])
    options = Options(negative_weights="subtract")
    expected = engines[family].generate(replace(asked, options=options)).latents
    pipe = pipeline(originals[family])
    signs = torch.ones(2, 77)
    signs[0, 1] = signs[1, 2] = -1
    processor = PromptProcessor(pipe, models)
    above = [prompt.replace("-", "") for prompt in prompts]
    with turned_values(pipe.unet, [signs]), processor.networks(prompts[0]):
        by_hand = latents(pipe, None, 5, **processor(*above))
    torch.testing.assert_close(expected, by_hand, atol=1e-4, rtol=1e-5)
    with attach(pipe, models, negative_weights="subtract"):
        found = latents(pipe, prompts[0], 5, negative_prompt=prompts[1])
        several = latents(pipe, [prompts[0], "a cat"], 5, 6, negative_prompt=prompts[1])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(several[:1], expected, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(expected, engines[family].generate(asked).latents, atol=1e-2)


def test_embeddings_alone_scale_negative_words_and_say_so(
    originals: dict[str, Original], models: Path
) -> None:
    pipe = pipeline(originals["SD1"])
    scaled = PromptProcessor(pipe, models)("a (cat:-1.3)", "a dog")
    subtracts = PromptProcessor(pipe, models, negative_weights="subtract")
    with pytest.warns(UserWarning, match=r"scaled as in WebUI \(use promptengine.attach"):
        given = subtracts("a (cat:-1.3)", "a dog")
    assert all(torch.equal(given[name], scaled[name]) for name in scaled)
    with warnings.catch_warnings(action="error"):
        subtracts("a (cat:1.3)", "a dog")
    for refused in (PromptProcessor, attach):
        with pytest.raises(RequestError, match="negative_weights is 'turn'; it must be one of"):
            refused(pipe, models, negative_weights="turn")  # type: ignore[arg-type]
        with pytest.raises(
            RequestError, match="negative_weights is 'subtract', and dialect 'comfyui'"
        ):
            refused(pipe, models, dialect="comfyui", negative_weights="subtract")


def test_an_attached_pipeline_tells_of_the_option(
    originals: dict[str, Original], models: Path
) -> None:
    pipe = pipeline(originals["SD1"])
    with attach(pipe, models), pytest.warns(UserWarning, match="option negative_weights"):
        latents(pipe, "a (cat:-1.3)", 5)


def test_a_processor_holds_networks_in(
    originals: dict[str, Original], engines: dict[str, Engine], models: Path
) -> None:
    pipe = pipeline(originals["SD1"])
    processor = PromptProcessor(pipe, models)
    prompt = PROMPTS["weights and tags"]
    with processor.networks(prompt):
        found = latents(pipe, None, 5, **processor(prompt, "dog"))
    expected = engines["SD1"].generate(replace(REQUEST, prompt=prompt, negative_prompt="dog"))
    torch.testing.assert_close(found, expected.latents, atol=1e-4, rtol=1e-5)
    assert processor.reports == (expected.networks,)
    with pytest.raises(RequestError, match="AND"):
        processor("a cat AND a dog")


def test_other_pipelines_run(originals: dict[str, Original], models: Path) -> None:
    original = originals["SD1"]
    parts = {**pipeline(original).components, "requires_safety_checker": False}
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), "uint8"))
    control = ControlNetModel.from_unet(copy.deepcopy(original.unet))
    # A fresh ControlNet's last convolutions are zero, and so is what it says.
    for tensor in control.controlnet_mid_block.parameters():
        torch.nn.init.normal_(tensor)
    mask = Image.new("L", (SIZE, SIZE), 255)
    pipes: list[tuple[Any, dict[str, Any]]] = [
        (StableDiffusionImg2ImgPipeline(**parts), {"image": image, "strength": 1.0}),
        (StableDiffusionInpaintPipeline(**parts), {"image": image, "mask_image": mask}),
        (StableDiffusionControlNetPipeline(controlnet=control, **parts), {"image": image}),
    ]
    for pipe, more in pipes:
        pipe.set_progress_bar_config(disable=True)

        def run(prompt: str, pipe: Any = pipe, more: dict[str, Any] = more) -> Tensor:
            generator = torch.Generator().manual_seed(1)
            steps = {"num_inference_steps": 2, "output_type": "latent", "generator": generator}
            return pipe(prompt, negative_prompt="dog", guidance_scale=2.0, **steps, **more)[0]

        before = run("a cat")
        attach(pipe, models)
        torch.testing.assert_close(run("a cat"), before, atol=1e-4, rtol=1e-5)
        parts_alike = run("a cat :0.5 AND a cat :0.5")
        torch.testing.assert_close(parts_alike, before, atol=1e-3, rtol=1e-4)
        assert not torch.allclose(run("a cat <hypernet:ink:1>"), before, atol=1e-2)
        detach(pipe)
        assert torch.equal(run("a cat"), before)
        told = (
            pytest.warns(UserWarning, match="ControlNet")
            if hasattr(pipe, "controlnet")
            else nullcontext()
        )
        with attach(pipe, models, negative_weights="subtract"), told:
            assert not torch.allclose(run("a (cat:-1)"), before, atol=1e-2)


def test_what_is_no_such_pipeline_is_named() -> None:
    with pytest.raises(PromptEngineError, match="SimpleNamespace has no unet"):
        from types import SimpleNamespace

        attach(SimpleNamespace(_execution_device="cpu"))


def test_a_pipeline_reads_the_dialect_it_is_attached_with(
    originals: dict[str, Original], models: Path
) -> None:
    prompt = "a cat <hypernet:ink:0@0,1@0.5>"
    pipe = pipeline(originals["SD1"])
    with attach(pipe, models, dialect="extended") as attachment:
        pipe(prompt, generator=torch.Generator().manual_seed(1), output_type="latent", **RUN)
        ((report,),) = attachment.networks
        assert report.applied and len(report.multipliers) > 1
    with attach(pipe, models) as attachment, pytest.warns(UserWarning, match="not a finite number"):
        pipe(prompt, generator=torch.Generator().manual_seed(1), output_type="latent", **RUN)
        assert not attachment.networks[0][0].applied
    for refused in (
        lambda: attach(pipe, models, dialect="klingon"),
        lambda: PromptProcessor(pipe, models, dialect="klingon"),
    ):
        with pytest.raises(RequestError, match="dialect is 'klingon'; it must be one of"):
            refused()
