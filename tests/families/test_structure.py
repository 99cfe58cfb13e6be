"""What weights make, told from names and shapes: what is missing, what is left aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptengine.errors import CheckpointError
from promptengine.families import Shapes, grouped, read_structure, read_vae_structure
from tests.checkpoints.original import FAMILIES, tiny

PATH = Path("m.safetensors")
VAE = "first_stage_model."
STRANGERS = {
    "first_stage_model.loss.logvar": (),
    "first_stage_model.loss.discriminator.main.0.weight": (64, 3, 4, 4),
    "model.diffusion_model.something.weight": (3,),
    "model_ema.diffusion_modelout2weight": (3,),
    "double_blocks.0.img_attn.qkv.weight": (3, 3),
}


@pytest.fixture(scope="module")
def models() -> dict[str, Shapes]:
    return {
        family: {name: tuple(t.shape) for name, t in tiny(family).weights().items()}
        for family in FAMILIES
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_a_model_is_needed_and_nothing_else(
    family: str, models: dict[str, Shapes]
) -> None:
    shapes = models[family]
    structure = read_structure(shapes, family, PATH)
    assert structure.left_aside == ()
    unused = ("logit_scale", "position_ids") if family != "SD2" else ("logit_scale", "projection")
    for name in sorted(shapes)[::11]:
        less = {n: shape for n, shape in shapes.items() if n != name}
        if name.endswith(unused):
            assert read_structure(less, family, PATH).left_aside == ()
        else:
            with pytest.raises(CheckpointError, match=r"(has no weight|layers that no)"):
                read_structure(less, family, PATH)


@pytest.mark.parametrize("family", FAMILIES)
def test_strangers_are_left_aside_by_name(family: str, models: dict[str, Shapes]) -> None:
    tower = {
        "SD1": "cond_stage_model.transformer.vision_model.embeddings.class_embedding",
        "SD2": "cond_stage_model.model.visual.proj",
        "SDXL": "conditioner.embedders.1.model.visual.proj",
        "SDXL refiner": "conditioner.embedders.0.model.visual.proj",
    }[family]
    shapes = {**models[family], **STRANGERS, tower: (3,), "betas": (1000,), "v_pred": ()}
    structure = read_structure(shapes, family, PATH)
    assert set(structure.left_aside) == {*STRANGERS, tower}
    assert "first_stage_model.loss.* (2)" in grouped(structure.left_aside)
    assert tower in grouped([tower])


@pytest.mark.parametrize(
    "layer",
    [
        "model.diffusion_model.input_blocks.9.0.in_layers.0.weight",
        "model.diffusion_model.output_blocks.5.1.transformer_blocks.7.attn1.to_q.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.3.norm1.weight",
        "model.diffusion_model.label_emb.0.0.weight",
        "first_stage_model.decoder.up.0.attn.0.q.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.7.mlp.fc1.weight",
    ],
)
def test_layers_that_a_model_of_the_shape_has_not_are_refused(
    layer: str, models: dict[str, Shapes]
) -> None:
    shapes = {**models["SD1"], layer: (64, 64)}
    with pytest.raises(CheckpointError, match=r"has no weight|layers that no known model"):
        read_structure(shapes, "SD1", PATH)


def test_a_vae_is_blamed_itself_with_the_remedy(models: dict[str, Shapes]) -> None:
    other = Path("other.vae.pt")
    vae = {n: shape for n, shape in models["SD1"].items() if n.startswith(VAE)}
    assert read_vae_structure({**vae, f"{VAE}loss.x": (1,)}, other).left_aside == (f"{VAE}loss.x",)
    wide = {**vae, f"{VAE}decoder.conv_in.weight": (32, 16, 3, 3)}
    del wide[f"{VAE}post_quant_conv.weight"]
    less = {n: shape for n, shape in vae.items() if n != f"{VAE}quant_conv.weight"}
    model = {n: shape for n, shape in models["SD1"].items() if n not in vae}
    for broken, reason in ((wide, "16 latent channels"), (less, "quant_conv")):
        with pytest.raises(CheckpointError, match=rf"^other.vae.pt: the VAE .*{reason}.*--vae"):
            read_vae_structure(broken, other)
        with pytest.raises(CheckpointError, match=rf"^other.vae.pt: the VAE .*{reason}.*--vae"):
            read_structure(model | broken, "SD1", PATH, vae_path=other)
        with pytest.raises(CheckpointError, match=rf"^m.safetensors: its VAE .*{reason}.*--vae"):
            read_structure(model | broken, "SD1", PATH)
    assert read_structure(model, "SD1", PATH).facts["vae"] == {}
