"""Every family from a single file: modules and whole generations, against diffusers itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from promptengine import Engine, GenerationRequest, ImageStart, Inpainting, Options
from promptengine.checkpoints.convert_keys import unet_weights, vae_weights
from promptengine.checkpoints.load import Checkpoint, open_checkpoint
from promptengine.checkpoints.vae_codec import image_to_tensor
from promptengine.families import UNET_PREFIX, VAE_PREFIX, Family
from promptengine.generation.model_inputs import (
    inpainting_channels,
    posterior_noise,
    size_conditioning,
)
from tests.checkpoints.diffusers_pipelines import noise_of, pipeline
from tests.checkpoints.original import FAMILIES, Original, tiny, write
from tests.conftest import CHECKPOINT

SIZE = 64
LEVELS = {"down_block_types": [""] * 4, "up_block_types": [""] * 4}


@pytest.fixture(scope="module")
def originals() -> dict[str, Original]:
    torch.set_num_threads(1)
    return {family: tiny(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def files(
    originals: dict[str, Original], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("families")
    stated = {"modelspec.prediction_type": "epsilon"}
    return {
        family: write(original.weights(), folder / f"{family}.safetensors", metadata=stated)
        for family, original in originals.items()
    }


def added(original: Original) -> dict[str, Tensor] | None:
    rest = {"SDXL": [64.0, 64.0], "SDXL refiner": [6.0]}.get(original.family)
    if rest is None:
        return None
    return {"text_embeds": torch.randn(1, 32), "time_ids": torch.tensor([[64.0, 64, 0, 0, *rest]])}


@pytest.mark.parametrize("family", FAMILIES)
def test_all_parts_compute_what_they_did_before_they_were_written(
    family: Family, originals: dict[str, Original], files: dict[str, Path]
) -> None:
    original, opened = originals[family], open_checkpoint(files[family])
    assert (opened.family, opened.prediction, opened.inpainting) == (family, "epsilon", False)
    torch.manual_seed(1)
    x, context = (
        torch.randn(1, 4, 8, 8),
        torch.randn(1, 77, original.unet.config.cross_attention_dim),
    )
    more = added(original)
    ours: Any = opened
    with torch.no_grad():
        answers = [
            unet(x, torch.tensor([500]), context, added_cond_kwargs=more).sample
            for unet in (ours.unet, original.unet)
        ]
        pictures = [vae.decode(x).sample for vae in (ours.vae, original.vae)]
        codes = [vae.encode(pictures[1]).latent_dist.mean for vae in (ours.vae, original.vae)]
        tokens = torch.randint(0, 49406, (2, 77))
        for found, written in zip(opened.text_encoders, original.encoders, strict=True):
            states = [m(tokens, output_hidden_states=True) for m in (found, written)]
            for one, other in zip(states[0].hidden_states, states[1].hidden_states, strict=True):
                torch.testing.assert_close(one, other)
            torch.testing.assert_close(states[0][0], states[1][0])
    for one, other in (answers, pictures, codes):
        torch.testing.assert_close(one, other)
    assert answers[0].std() > 0.01
    assert opened.scaling_factor == original.vae.config.scaling_factor


@pytest.mark.parametrize("family", [*FAMILIES, "golden"])
def test_names_are_those_of_diffusers_own_converter(
    family: str, files: dict[str, Path], originals: dict[str, Original]
) -> None:
    weights = load_file(CHECKPOINT if family == "golden" else files[family])
    one_per_level = family == "golden"
    config = {"layers_per_block": 1 if one_per_level else 2}
    if family.startswith("SDXL"):
        config |= {"addition_embed_type": "text_time"}
    unet = {name: t for name, t in weights.items() if name.startswith(UNET_PREFIX)}
    vae = {name: t for name, t in weights.items() if name.startswith(VAE_PREFIX)}
    pairs = (
        (
            unet_weights(weights, UNET_PREFIX, layers_per_block=config["layers_per_block"]),
            convert_ldm_unet_checkpoint(unet, config),
        ),
        (
            vae_weights(weights, VAE_PREFIX, levels=4),
            convert_ldm_vae_checkpoint(vae, LEVELS),
        ),
    )
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def start_noise(seed: int) -> Tensor:
    return torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))[None]


def generated(path: Path, *, negative: str = "", steps: int = 2, **options: Any) -> Tensor:
    engine = Engine.open(path, models=path.parent / "none", device="cpu", **options)
    request = GenerationRequest(
        prompt="a photo of a cat",
        negative_prompt=negative,
        seed=5,
        steps=steps,
        width=SIZE,
        height=SIZE,
        sampler="Euler",
        cfg_scale=7.0,
    )
    return engine.generate(request).latents


def expected(made: Any, *, negative: str | None, **more: Any) -> Tensor:
    return made(
        prompt="a photo of a cat",
        negative_prompt=negative,
        num_inference_steps=2,
        guidance_scale=7.0,
        output_type="latent",
        **noise_of(made, 5),
        **more,
    )[0]


WAYS = [(prediction, negative) for prediction in ("epsilon", "v") for negative in ("", "a dog")]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WAYS)
def test_a_whole_generation_is_that_of_diffusers(
    family: Family,
    way: tuple[str, str],
    originals: dict[str, Original],
    files: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Two Euler steps stand at the timesteps 999 and 0, where both schedules agree exactly."""
    prediction, negative = way
    stated = {"modelspec.prediction_type": prediction}
    path = write(load_file(files[family]), tmp_path / "model.safetensors", metadata=stated)
    name = {"v": "v_prediction"}.get(prediction, prediction)
    made = pipeline(originals[family], prediction=name)
    # No negative prompt is what diffusers calls an SDXL negative prompt of zeros.
    zeros = family.startswith("SDXL") and not negative
    other = expected(made, negative=None if zeros else negative)
    torch.testing.assert_close(generated(path, negative=negative), other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_inpainting_model_paints_as_in_diffusers(family: Family, tmp_path: Path) -> None:
    """A mask over everything and a gray image, which is what txt2img asks for."""
    original = tiny(family, channels=9)
    draw_modes(original.vae)
    path = write(original.weights(), tmp_path / "inpaint.safetensors")
    opened = open_checkpoint(path)
    assert (opened.inpainting, opened.prediction, opened.latent_channels) == (True, "epsilon", 4)
    options = {"image": torch.zeros(1, 3, SIZE, SIZE), "mask_image": torch.ones(1, 1, SIZE, SIZE)}
    made = pipeline(original, inpainting=True)
    other = expected(made, negative="a dog", strength=1.0, **options)
    torch.testing.assert_close(generated(path, negative="a dog"), other, atol=2e-4, rtol=1e-4)


def draw_modes(vae: Any) -> None:
    """Let a VAE's posterior have no spread, so that what is drawn from it is its mode."""
    convolution = vae.quant_conv
    convolution.weight[4:] = 0
    convolution.bias[4:] = -100.0


def checkpoint_of(family: Family, *, channels: int, folder: Path) -> Checkpoint:
    original = tiny(family, channels=channels)
    return open_checkpoint(write(original.weights(), folder / f"{family}.safetensors"))


def test_what_is_masked_is_gray_to_the_unet(tmp_path: Path) -> None:
    opened = checkpoint_of("SD1", channels=9, folder=tmp_path)
    vae: Any = opened.vae
    image = torch.rand(1, 3, SIZE, SIZE) * 2 - 1
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., :32] = 0.7
    found = inpainting_channels(opened, images=2, width=SIZE, height=SIZE, image=image, mask=mask)
    assert found is not None and found.shape == (2, 5, 8, 8)
    assert found[:, 0, :, :4].eq(1).all() and found[:, 0, :, 4:].eq(0).all()
    seen = image.clone()
    seen[..., :32] = 0
    with torch.no_grad():
        posterior = vae.encode(seen).latent_dist
    torch.testing.assert_close(found[1:, 1:], posterior.mean * 0.18215)
    noise = torch.randn(1, 4, 8, 8)
    drawn = inpainting_channels(
        opened, images=1, width=SIZE, height=SIZE, image=image, mask=mask, noise=noise
    )
    expected_latents = (posterior.mean + posterior.std * noise) * 0.18215
    torch.testing.assert_close(drawn[:, 1:], expected_latents)
    assert torch.equal(posterior_noise(3, 2, (4, 8, 8))[0], start_noise(3)[0])
    half = inpainting_channels(
        opened, images=1, width=SIZE, height=SIZE, image=image, mask=mask, mask_strength=0.0
    )
    with torch.no_grad():
        torch.testing.assert_close(half[:, 1:], vae.encode(image).latent_dist.mean * 0.18215)
    plain = checkpoint_of("SD1", channels=4, folder=tmp_path)
    assert inpainting_channels(plain, images=1, width=SIZE, height=SIZE) is None


def test_an_inpainting_model_is_shown_the_image_around_the_mask(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    original = tiny("SD1", channels=9)
    draw_modes(original.vae)
    path = write(original.weights(), tmp_path / "inpaint.safetensors")
    engine = Engine.open(path, models=tmp_path / "none", device="cpu")
    image = Image.linear_gradient("L").resize((SIZE, SIZE)).convert("RGB")
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(255, (0, 0, 32, SIZE))
    start = ImageStart(images=(image,), inpainting=Inpainting(mask=mask, blur=(0, 0)))
    request = GenerationRequest(prompt="a", seed=5, steps=3, sampler="Euler", start=start)
    noise = torch.zeros(1, 4, 8, 8)
    shown = inpainting_channels(
        engine.checkpoint,
        images=1,
        width=SIZE,
        height=SIZE,
        image=image_to_tensor(image),
        mask=torch.from_numpy(np.asarray(mask, np.float32))[None, None] / 255,
    )
    seen: list[Tensor] = []
    unet: Any = engine.checkpoint.unet
    with watched(unet, seen):
        result = engine.generate(request, encoder_noise=noise)
    assert shown is not None and seen
    for x in seen:
        torch.testing.assert_close(x[:1, 4:], shown)
    assert "Conditional mask weight: 1.0" in result.infotexts[0]
    whole = replace(request, options=Options(mask_strength=0.0))
    assert not torch.equal(engine.generate(whole, encoder_noise=noise).latents, result.latents)
    latent = replace(start, images=(image.resize((32, 32)),), inpainting=None)
    latent = replace(request, start=replace(latent, resize_mode="latent"), width=SIZE, height=SIZE)
    assert engine.generate(latent).latents.shape == (1, 4, 8, 8)


@contextmanager
def watched(unet: Any, seen: list[Tensor]) -> Iterator[None]:
    """Keep what the UNet reads."""
    handle = unet.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    try:
        yield
    finally:
        handle.remove()


def test_sdxl_and_its_refiner_alone_are_told_sizes(tmp_path: Path) -> None:
    sdxl = checkpoint_of("SDXL", channels=4, folder=tmp_path)
    sizes = size_conditioning(sdxl, width=832, height=1216)
    assert sizes is not None
    assert sizes.tolist() == [1216, 832, 0, 0, 1216, 832]
    refiner = checkpoint_of("SDXL refiner", channels=4, folder=tmp_path)
    sizes = size_conditioning(refiner, width=832, height=1216, crop_top=1, crop_left=2)
    assert sizes is not None
    assert sizes.tolist() == [1216, 832, 1, 2]
    assert (
        size_conditioning(checkpoint_of("SD2", channels=4, folder=tmp_path), width=8, height=8)
        is None
    )


def test_native_sizes(tmp_path: Path) -> None:
    for family, prediction, size in (
        ("SD1", "epsilon", 512),
        ("SD1", "v", 512),
        ("SD2", "epsilon", 512),
        ("SD2", "v", 768),
        ("SDXL", "epsilon", 1024),
        ("SDXL refiner", "epsilon", 1024),
    ):
        stated = {"modelspec.prediction_type": prediction}
        path = write(tiny(family).weights(), tmp_path / "m.safetensors", metadata=stated)
        opened = open_checkpoint(path)
        assert (opened.prediction, opened.native_size) == (prediction, size)


def test_sd2_without_its_unused_layer_says_the_same(tmp_path: Path) -> None:
    """Known sizes only: of the real encoder's 24 layers some files keep 23."""
    from promptengine.families.structure import layers_read

    assert [layers_read(stored) for stored in (24, 23, 3)] == [23, 23, 2]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_a_diffusers_folder(
    family: Family,
    variant: str,
    originals: dict[str, Original],
    files: dict[str, Path],
    tmp_path: Path,
) -> None:
    made = pipeline(originals[family])
    # Tokenizers are our own; diffusers would write them into the folder.
    made.register_modules(tokenizer=None)
    if family.startswith("SDXL"):
        made.register_modules(tokenizer_2=None)
    made.save_pretrained(tmp_path, variant=variant.removeprefix(".") or None)
    assert bool(list(tmp_path.rglob(f"*{variant}.safetensors")))
    opened, single = open_checkpoint(tmp_path), open_checkpoint(files[family])
    assert (opened.family, opened.prediction) == (single.family, single.prediction)
    assert opened.native_size == 64
    torch.testing.assert_close(opened.noise_table.sigmas, single.noise_table.sigmas)
    pairs = zip(
        (opened.unet, opened.vae, *opened.text_encoders),
        (single.unet, single.vae, *single.text_encoders),
        strict=True,
    )
    for one, other in pairs:
        states = one.state_dict(), other.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_precision_of_file_and_model(
    dtype: torch.dtype, originals: dict[str, Original], tmp_path: Path
) -> None:
    weights = {n: t.to(dtype) for n, t in originals["SD2"].weights().items()}
    path = write(weights, tmp_path / "m.safetensors")
    for wanted in (torch.float32, torch.bfloat16):
        opened = open_checkpoint(path, dtype=wanted)
        for module in (opened.unet, opened.text_encoder):
            assert {tensor.dtype for tensor in module.parameters()} == {wanted}
        assert {tensor.dtype for tensor in opened.vae.parameters()} == {torch.float32}
    name = "time_embedding.linear_1.weight"
    held = dict(open_checkpoint(path, dtype=dtype).unet.named_parameters())[name]
    original = dict(originals["SD2"].unet.named_parameters())[name]
    assert torch.equal(held, original.to(dtype))
