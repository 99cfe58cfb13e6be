"""SDXL's second text encoder: LoRAs reach it, in an engine and in an attached pipeline."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from promptengine import Engine, GenerationRequest, attach
from tests.checkpoints.diffusers_pipelines import pipeline
from tests.checkpoints.original import Original, tiny, write
from tests.networks.lora.builders import random

LAYER = "encoder.layers.{}."
MODULES = (
    *(LAYER + f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
    *(LAYER + name for name in ("mlp.fc1", "mlp.fc2")),
)
SPELLINGS = {
    "kohya": ("lora_te{}_text_model_", "lora_te2_text_projection", "lora_up", "lora_down", "_"),
    "diffusers": (
        "text_encoder{}.text_model.",
        "text_encoder_2.text_projection",
        "lora_B",
        "lora_A",
        ".",
    ),
    "comfyui": (
        "text_encoders.clip_{}.transformer.text_model.",
        "text_encoders.clip_g.transformer.text_projection",
        "lora_up",
        "lora_down",
        ".",
    ),
}
ENCODERS = {"kohya": ("1", "2"), "diffusers": ("", "_2"), "comfyui": ("l", "g")}
REQUEST = GenerationRequest(
    prompt="a cat", seed=5, steps=2, width=64, height=64, sampler="Euler", cfg_scale=2.0
)


@pytest.fixture(scope="module")
def original() -> Original:
    torch.set_num_threads(1)
    return tiny("SDXL")


def factors(original: Original, only: int | None = None) -> dict[tuple[int, str], Tensor]:
    """Rank-2 factors of every projection of both encoders, or of one, by its own names."""
    found: dict[tuple[int, str], Tensor] = {}
    for part, encoder in enumerate(original.encoders):
        own = {name.removeprefix("text_model."): m for name, m in encoder.named_modules()}
        names = [name.format(layer) for layer in (0, 1) for name in MODULES]
        for seed, name in enumerate([*names, "text_projection"]):
            if name in own and only in (None, part):
                rows, columns = own[name].weight.shape
                up, down = random(rows, 2, seed=seed), random(2, columns, seed=seed + 1)
                found[part, name] = torch.cat([up, down.T]) * 0.3
    return found


def spelled(original: Original, spelling: str, only: int | None = None) -> dict[str, Tensor]:
    prefix, projection, up, down, dot = SPELLINGS[spelling]
    tensors: dict[str, Tensor] = {}
    for (part, name), both in factors(original, only).items():
        layer = prefix.format(ENCODERS[spelling][part]) + name.replace(".", dot)
        root = projection if name == "text_projection" else layer
        rows = _rows(original, part, name)
        tensors[f"{root}.{up}.weight"] = both[:rows].clone()
        tensors[f"{root}.{down}.weight"] = both[rows:].T.contiguous()
    return tensors


def merged(original: Original, multiplier: float, only: int | None = None) -> Original:
    """The same model with the change in its weights."""
    copied = copy.deepcopy(original)
    for (part, name), both in factors(original, only).items():
        rows = _rows(original, part, name)
        own: Mapping[str, Any] = {
            n.removeprefix("text_model."): m for n, m in copied.encoders[part].named_modules()
        }
        own[name].weight.data += multiplier * both[:rows] @ both[rows:].T
    return copied


def _rows(original: Original, part: int, name: str) -> int:
    modules = dict(original.encoders[part].named_modules())
    return len((modules.get(name) or modules.get(f"text_model.{name}")).weight)


def opened(original: Original, folder: Path, models: Path) -> Engine:
    folder.mkdir()
    return Engine.open(write(original.weights(), folder / "m.safetensors"), models, device="cpu")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_lora_changes_both_text_encoders(
    spelling: str, original: Original, tmp_path: Path
) -> None:
    (tmp_path / "Lora").mkdir()
    for name, only in (("both", None), ("second", 1)):
        save_file(spelled(original, spelling, only), tmp_path / "Lora" / f"{name}.safetensors")
    engine = opened(original, tmp_path / "own", tmp_path)
    plain = engine.generate(REQUEST).latents
    for name, only in (("both", None), ("second", 1)):
        request = replace(REQUEST, prompt=f"a cat<lora:{name}:0.5>")
        found = engine.generate(request)
        assert [report.applied for report in found.networks] == [True]
        assert found.diagnostics == ()
        whole = opened(merged(original, 0.5, only), tmp_path / name, tmp_path)
        expected = whole.generate(REQUEST).latents
        torch.testing.assert_close(found.latents, expected, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found.latents, plain, atol=1e-2)
    assert torch.equal(engine.generate(REQUEST).latents, plain)


def test_a_lora_changes_both_text_encoders_of_an_attached_pipeline(
    original: Original, tmp_path: Path
) -> None:
    (tmp_path / "Lora").mkdir()
    save_file(spelled(original, "kohya"), tmp_path / "Lora" / "both.safetensors")
    engine = opened(original, tmp_path / "own", tmp_path)
    expected = engine.generate(replace(REQUEST, prompt="a cat<lora:both:0.5>", negative_prompt="b"))
    pipe = pipeline(original)
    attachment = attach(pipe, tmp_path)
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(5))[None]
    found = pipe(
        "a cat<lora:both:0.5>",
        negative_prompt="b",
        num_inference_steps=2,
        guidance_scale=2.0,
        height=64,
        width=64,
        latents=noise,
        output_type="latent",
    )[0]
    torch.testing.assert_close(found, expected.latents, atol=2e-4, rtol=1e-4)
    assert attachment.networks == (expected.networks,)


@pytest.mark.parametrize(("family", "second"), [("SD1", 6.475), ("SD2", 6.475), ("SDXL", 6.315)])
def test_align_your_steps_has_the_levels_of_the_models_family(
    family: str, second: float, tmp_path: Path
) -> None:
    engine = opened(tiny(family), tmp_path / "own", tmp_path)
    seen: list[float] = []
    unet: Any = engine.checkpoint.unet
    hook = unet.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[1].max())))
    engine.generate(replace(REQUEST, steps=11, scheduler="align_your_steps"))
    hook.remove()
    asked = engine.checkpoint.noise_table.timestep(torch.tensor([14.615, second]))
    assert list(dict.fromkeys(seen))[:2] == pytest.approx(asked.tolist(), rel=1e-4)
