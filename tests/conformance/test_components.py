"""CLIP, UNet (with and without hypernetworks) and VAE against WebUI's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from promptengine import Engine, inject_hypernetworks, load_hypernetwork
from promptengine.generation.cfg_denoiser import predict_noise, skips_resized_like_webui
from promptengine.generation.engine import decode_latents
from promptengine.text.conditioning import clip_text_model
from tests.conformance.golden import difference, table, tensors

TOLERANCE = 1e-4


@pytest.mark.parametrize(("clip_skip", "key"), [(1, "clip/last"), (2, "clip/skip2")])
def test_text_encoder(goldens: Path, engine: Engine, clip_skip: int, key: str) -> None:
    golden = tensors(goldens / "components.safetensors")
    model = clip_text_model(engine.checkpoint.text_encoder, clip_skip=clip_skip)
    (states,) = model(golden["clip/ids"]).states
    assert difference(states, golden[key]) <= TOLERANCE


def test_unet(goldens: Path, engine: Engine) -> None:
    golden = tensors(goldens / "components.safetensors")
    unet = engine.checkpoint.unet
    names = [
        key.removesuffix("/out")
        for key in golden
        if key.startswith("unet/") and key.endswith("/out")
    ]
    with torch.no_grad(), skips_resized_like_webui(unet):
        for name in names:
            inputs = (golden[f"{name}/{part}"] for part in ("x", "t", "context"))
            assert difference(predict_noise(unet, *inputs), golden[f"{name}/out"]) <= TOLERANCE, (
                name
            )


def test_unet_with_hypernetworks(goldens: Path, conformance_dir: Path, engine: Engine) -> None:
    golden = tensors(goldens / "components.safetensors")
    unet = engine.checkpoint.unet
    folder = conformance_dir / "webui" / "hypernetworks"
    for case in table(goldens / "components_unet_hn.json"):
        networks = [load_hypernetwork(folder / f"{name}.pt") for name in case["names"]]
        inputs = (golden[f"{case['inputs']}/{part}"] for part in ("x", "t", "context"))
        stack = list(zip(networks, case["multipliers"], strict=True))
        with torch.no_grad(), inject_hypernetworks(unet, stack):
            ours = predict_noise(unet, *inputs)
        assert difference(ours, golden[f"unet_hn/{case['index']}/out"]) <= TOLERANCE, case


def test_vae(goldens: Path, engine: Engine) -> None:
    golden = tensors(goldens / "components.safetensors")
    vae, scale = engine.checkpoint.vae, engine.checkpoint.scaling_factor
    for name in [key.removesuffix("/latent") for key in golden if key.endswith("/latent")]:
        with torch.no_grad():
            decoded = decode_latents(engine.checkpoint, golden[f"{name}/latent"])
            encoded = vae.encode(golden[f"{name}/image"]).latent_dist.mode() * scale
        assert difference(decoded, golden[f"{name}/decoded"]) <= TOLERANCE, name
        assert difference(encoded, golden[f"{name}/encoded_mode_scaled"]) <= TOLERANCE, name
