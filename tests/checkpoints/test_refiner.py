"""The SDXL refiner: what its UNet is told beside the text, and whole runs against diffusers' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptengine import Engine, GenerationRequest, HiresPass, ImageStart, Options
from promptengine.checkpoints.load import open_checkpoint
from promptengine.checkpoints.vae_codec import image_to_tensor
from promptengine.errors import CheckpointError, RequestError
from promptengine.generation.from_infotext import request_from_infotext
from tests.checkpoints.diffusers_pipelines import noise_of, pipeline
from tests.checkpoints.original import Original, tiny, write
from tests.networks.lora.builders import plain

SIZE = 64
REQUEST = GenerationRequest(
    prompt="a photo of a cat", seed=5, steps=4, width=SIZE, height=SIZE, sampler="Euler"
)


@pytest.fixture(scope="module")
def original() -> Original:
    torch.set_num_threads(1)
    return tiny("SDXL refiner")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("Lora", "Stable-diffusion", "embeddings"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def engine(original: Original, models: Path) -> Iterator[Engine]:
    path = write(original.weights(), models / "Stable-diffusion" / "refiner.safetensors")
    with Engine.open(path, models, device="cpu") as opened:
        yield opened


@contextmanager
def told(unet: Any) -> Iterator[list[dict[str, Tensor]]]:
    """What a UNet is told beside latents, timestep and text, call by call."""
    seen: list[dict[str, Tensor]] = []
    handle = unet.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(given["added_cond_kwargs"]), with_kwargs=True
    )
    try:
        yield seen
    finally:
        handle.remove()


def in_order(given: dict[str, Tensor]) -> list[Tensor]:
    """Rows by their scores: diffusers asks with the negative prompt first, an engine with it last."""
    order = given["time_ids"][:, -1].argsort()
    return [given["time_ids"][order], given["text_embeds"][order]]


@pytest.mark.parametrize("negative", ["", "a dog"])
@pytest.mark.parametrize("scores", [(6.0, 2.5), (9.0, 0.5)])
def test_img2img_is_that_of_diffusers(
    negative: str, scores: tuple[float, float], original: Original, engine: Engine
) -> None:
    """Four steps stand at whole timesteps; half of their strength is three of them in WebUI."""
    image = Image.radial_gradient("L").resize((SIZE, SIZE)).convert("RGB")
    options = Options(aesthetic_score=scores[0], negative_aesthetic_score=scores[1])
    request = replace(
        REQUEST,
        negative_prompt=negative,
        options=options,
        start=ImageStart(images=(image,), denoising_strength=0.5),
    )
    with told(engine.checkpoint.unet) as ours:
        found = engine.generate(request, encoder_noise=torch.zeros(1, 4, 8, 8))
    with torch.no_grad():
        mean = original.vae.encode(image_to_tensor(image)).latent_dist.mean
    made = pipeline(original)
    with told(original.unet) as theirs:
        expected = made(
            prompt=REQUEST.prompt,
            negative_prompt=negative or None,
            num_inference_steps=4,
            guidance_scale=REQUEST.cfg_scale,
            image=mean * original.vae.config.scaling_factor,
            strength=0.75,
            generator=torch.Generator().manual_seed(5),
            aesthetic_score=scores[0],
            negative_aesthetic_score=scores[1],
            output_type="latent",
        )[0]
    torch.testing.assert_close(found.latents, expected, atol=1e-4, rtol=1e-5)
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        for mine, its in zip(in_order(one), in_order(other), strict=True):
            torch.testing.assert_close(mine, its)
    low, high = sorted(scores)
    rows = [[64.0, 64.0, 0.0, 0.0, low], [64.0, 64.0, 0.0, 0.0, high]]
    assert in_order(ours[0])[0].tolist() == rows


def test_every_part_of_a_prompt_gets_the_prompts_score(engine: Engine) -> None:
    request = replace(REQUEST, prompt="a cat AND a dog:0.5", negative_prompt="b", steps=1)
    with told(engine.checkpoint.unet) as seen:
        engine.generate(request)
        engine.generate(replace(request, options=Options(batch_guidance=False)))
    assert seen[0]["time_ids"][:, -1].tolist() == [6.0, 6.0, 2.5]
    assert [one["time_ids"][:, -1].tolist() for one in seen[1:]] == [[6.0], [6.0], [2.5]]


def test_a_second_pass_is_told_its_own_size(engine: Engine) -> None:
    request = replace(REQUEST, steps=1, hires=HiresPass(scale=2.0))
    with told(engine.checkpoint.unet) as seen:
        engine.generate(request)
    sizes = [one["time_ids"][0].tolist() for one in seen]
    assert [sizes[0], sizes[-1]] == [[64, 64, 0, 0, 6], [128, 128, 0, 0, 6]]


def test_scores_are_written_where_they_differ_and_read_back(engine: Engine) -> None:
    usual = engine.generate(REQUEST)
    assert "score" not in usual.infotexts[0]
    options = Options.from_webui(
        {"sdxl_refiner_high_aesthetic_score": 9, "sdxl_refiner_low_aesthetic_score": 0.5}
    )
    other = engine.generate(replace(REQUEST, options=options))
    assert not torch.equal(other.latents, usual.latents)
    assert "Aesthetic score: 9.0, Negative aesthetic score: 0.5" in other.infotexts[0]
    again, left_out = request_from_infotext(other.infotexts[0], engine.registry)
    assert (again.options, left_out) == (options, ())
    assert torch.equal(engine.generate(again).latents, other.latents)


@pytest.mark.parametrize("name", ["high", "low"])
@pytest.mark.parametrize("score", [-0.1, 10.1, float("nan"), "good"])
def test_scores_out_of_range_are_refused(name: str, score: object) -> None:
    with pytest.raises(RequestError, match=f"sdxl_refiner_{name}_aesthetic_score is"):
        Options.from_webui({f"sdxl_refiner_{name}_aesthetic_score": score})


TE = "lora_te{}_text_model_encoder_layers_0_self_attn_q_proj"
ATTENTION = "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k"


def test_loras_reach_its_encoder_by_the_name_it_has_in_sdxl(engine: Engine, models: Path) -> None:
    files = {
        "second": plain(TE.format(2), 192, 192),
        "both": plain(TE.format(2), 192, 192) | plain(TE.format(1), 64, 64),
        "first": plain(TE.format(1), 192, 192),
        "alone": plain(TE.format(""), 192, 192),
        "unet": plain(ATTENTION, 128, 192),
        "base": plain(ATTENTION, 128, 2048) | plain(TE.format(2), 192, 192),
    }
    for name, tensors in files.items():
        save_file(tensors, models / "Lora" / f"{name}.safetensors")
    without = engine.generate(REQUEST).latents
    found = {
        name: engine.generate(replace(REQUEST, prompt=f"{REQUEST.prompt}<lora:{name}:1>"))
        for name in files
    }
    applied = {name for name, result in found.items() if result.networks[0].applied}
    assert applied == {"second", "both", "unet"}
    for name, result in found.items():
        assert torch.equal(result.latents, without) == (name not in applied)
    assert torch.equal(found["second"].latents, found["both"].latents)
    assert [one.message for one in found["both"].diagnostics] == [
        "1 of the 2 parts of LoRA 'both' have no place in this model"
    ]
    assert any("text of width 2048" in one.message for one in found["base"].diagnostics)


def test_embeddings_are_those_of_its_one_encoder(engine: Engine, models: Path) -> None:
    save_file({"emb_params": torch.randn(2, 192)}, models / "embeddings" / "fitting.safetensors")
    sdxl = {"clip_l": torch.randn(2, 64), "clip_g": torch.randn(2, 192)}
    save_file(sdxl, models / "embeddings" / "wider.safetensors")
    found = engine.generate(replace(REQUEST, prompt="fitting and wider"))
    assert 'TI hashes: "fitting:' in found.infotexts[0]
    assert ["'wider' is not applied" in d.message for d in found.diagnostics] == [True]


def test_it_becomes_a_pipeline_that_makes_the_same(engine: Engine) -> None:
    made = engine.to_pipeline()
    assert isinstance(made, StableDiffusionXLImg2ImgPipeline)
    assert made.text_encoder is None and made.tokenizer is None
    assert made.text_encoder_2 is engine.checkpoint.text_encoder
    made.set_progress_bar_config(disable=True)
    found = made(
        prompt=REQUEST.prompt,
        num_inference_steps=4,
        guidance_scale=REQUEST.cfg_scale,
        output_type="latent",
        **noise_of(made, 5),
    )[0]
    torch.testing.assert_close(engine.generate(REQUEST).latents, found, atol=2e-4, rtol=1e-4)
    with Engine.from_pipeline(made) as same:
        assert same.checkpoint.family == "SDXL refiner"


def test_a_vector_of_another_width_is_refused(original: Original, tmp_path: Path) -> None:
    """As of SDXL's own UNet beside the second encoder alone, which is told six numbers."""
    made = pipeline(original)
    made.register_modules(tokenizer_2=None)
    made.save_pretrained(tmp_path)
    assert open_checkpoint(tmp_path).family == "SDXL refiner"
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    name = "add_embedding.linear_1.weight"
    save_file(weights | {name: torch.zeros(len(weights[name]), 32 + 6 * 8)}, file)
    settings = tmp_path / "unet" / "config.json"
    config = json.loads(settings.read_text())
    settings.write_text(json.dumps({**config, "projection_class_embeddings_input_dim": 80}))
    with pytest.raises(CheckpointError, match=r"width 80 .* the SDXL refiner has 32 .* 5 times 8"):
        open_checkpoint(tmp_path)
