"""The real sizes of every family, as shapes alone, and what networks fit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promptengine import Engine, GenerationRequest
from promptengine.checkpoints.infer_config import infer_config
from promptengine.errors import IncompatibleNetworkError
from promptengine.networks.attention import attention_widths, explain_misfit
from promptengine.networks.hypernetwork.files import save_hypernetwork
from tests.checkpoints.full_size import FAMILY, WIDTHS, configured
from tests.checkpoints.original import Original, tiny, write
from tests.networks.builders import random_network

SHOWN = {
    "unet": (
        "in_channels",
        "out_channels",
        "block_out_channels",
        "down_block_types",
        "up_block_types",
        "layers_per_block",
        "cross_attention_dim",
        "attention_head_dim",
        "use_linear_projection",
        "addition_embed_type",
        "addition_time_embed_dim",
        "projection_class_embeddings_input_dim",
    ),
    "vae": ("block_out_channels", "layers_per_block", "latent_channels", "down_block_types"),
    "text": (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "hidden_act",
        "max_position_embeddings",
        "projection_dim",
    ),
}


@pytest.fixture(scope="module", params=["sd15", "sd2", "sdxl", "refiner"])
def model(request: pytest.FixtureRequest) -> tuple[str, Original]:
    return request.param, configured(request.param)


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def test_real_configurations_are_read_off_the_weights(model: tuple[str, Original]) -> None:
    name, original = model
    layout = infer_config(original.weights(), Path("m.safetensors"), metadata={})
    assert (layout.family, layout.left_aside) == (FAMILY[name], ())
    texts = [one for one in (layout.text_encoder, layout.text_encoder_2) if one]
    pairs: list[tuple[str, Any, Any]] = [
        ("unet", layout.unet, original.unet.config),
        ("vae", layout.vae, original.vae.config),
        *(
            ("text", *pair)
            for pair in zip(texts, (e.config for e in original.encoders), strict=True)
        ),
    ]
    for part, found, real in pairs:
        for key in SHOWN[part]:
            if key == "projection_dim" and name in ("sd15", "sd2"):
                continue
            assert plain(found.get(key)) == plain(getattr(real, key)), (part, key)
    depth = original.unet.config.transformer_layers_per_block
    assert layout.unet["transformer_layers_per_block"] == (
        list(depth) if name in ("sdxl", "refiner") else [1] * 4
    )
    assert bool(layout.text_encoder) == (name != "refiner")
    assert bool(layout.text_encoder_2) == (name in ("sdxl", "refiner"))


def test_networks_fit_by_width(model: tuple[str, Original]) -> None:
    name, original = model
    widths = attention_widths(original.unet)
    assert sorted(widths.all) == list(WIDTHS[name])
    for other, held in WIDTHS.items():
        reason = explain_misfit(widths, random_network(held))
        assert (reason is None) == (other == name)
        assert reason is None or str(widths.text) in reason


def test_a_network_acts_on_all_widths_of_sdxl(tmp_path: Path) -> None:
    path = write(tiny("SDXL").weights(), tmp_path / "sdxl.safetensors")
    (tmp_path / "hypernetworks").mkdir()
    for name, held in {
        "whole": (128, 192),
        "image": (128,),
        "text": (192,),
        "odd": (768, 128),
    }.items():
        network = random_network(held, name=name)
        save_hypernetwork(network, tmp_path / "hypernetworks" / f"{name}.safetensors")
    engine = Engine.open(path, models=tmp_path, device="cpu")

    def made(prompt: str) -> tuple[Any, tuple[bool, ...]]:
        request = GenerationRequest(prompt=prompt, seed=1, steps=2, width=64, height=64)
        result = engine.generate(request)
        return result.latents, tuple(report.applied for report in result.networks)

    images = [made(f"cat <hypernet:{name}:1>") for name in ("whole", "image", "text")]
    assert all(applied == (True,) for _, applied in images)
    latents = [made("cat")[0], *(latent for latent, _ in images)]
    for index, one in enumerate(latents):
        assert all((one - other).abs().max() > 1e-3 for other in latents[:index])
    misfitting, applied = made("cat <hypernet:odd:1>")
    assert applied == (False,) and misfitting.equal(latents[0])
    with pytest.raises(IncompatibleNetworkError, match="768"):
        engine.generate(
            GenerationRequest(
                prompt="cat <hypernet:odd:1>", steps=1, width=64, height=64, policy="strict"
            )
        )
