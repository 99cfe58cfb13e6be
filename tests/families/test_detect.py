"""Families told by names and shapes alone, and what is refused, by its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.families import (
    Family,
    Shapes,
    describe_foreign,
    detect_family,
    foreign_family,
    input_channels,
)

UNET = "model.diffusion_model."
FIRST = UNET + "input_blocks.0.0.weight"
CLIP = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
OPEN_CLIP = "cond_stage_model.model.ln_final.weight"
XL = (
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
    "conditioner.embedders.1.model.ln_final.weight",
)
REFINER = "conditioner.embedders.0.model.ln_final.weight"


def shapes(*names: str, channels: int = 4) -> Shapes:
    return {FIRST: (320, channels, 3, 3), **dict.fromkeys(names, (1,))}


@pytest.mark.parametrize(
    ("names", "family"),
    [((CLIP,), "SD1"), ((OPEN_CLIP,), "SD2"), (XL, "SDXL"), ((REFINER,), "SDXL refiner")],
)
@pytest.mark.parametrize("channels", [4, 9])
def test_families_by_their_text_encoders(
    names: tuple[str, ...], family: Family, channels: int
) -> None:
    found = shapes(*names, channels=channels)
    assert (detect_family(found), describe_foreign(found)) == (family, None)
    assert input_channels(found) == channels


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ([UNET + "joint_blocks.0.x"], "Stable Diffusion 3"),
        ([UNET + "double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["model.diffusion_model.transformer_blocks.0.attn.to_q.weight"], "diffusion transformer"),
        (["single_transformer_blocks.0.attn.to_q.weight"], "Flux"),
        (["t_block.1.weight", "blocks.0.attn.qkv.weight"], "PixArt"),
        (["adaln_single.linear.weight", "transformer_blocks.0.attn1.to_q.weight"], "PixArt"),
        (["clip_txt_mapper.weight"], "Stable Cascade"),
        ([UNET + "clip_mapper.weight"], "Stable Cascade"),
        (["mlp_t5.0.weight"], "HunyuanDiT"),
        (["model.mlp_t5.0.weight"], "HunyuanDiT"),
        (["double_layers.0.attn.w1q.weight"], "AuraFlow"),
        ([UNET + "double_layers.0.attn.w1q.weight"], "AuraFlow"),
        (["joint_transformer_blocks.0.x", "single_transformer_blocks.0.x"], "AuraFlow"),
        (["head.modulation", "blocks.0.self_attn.q.weight"], "Wan"),
        ([UNET + "head.modulation"], "Wan"),
        (["noise_refiner.0.attention.qkv.weight", "cap_embedder.1.weight"], "Z-Image"),
        ([UNET + "cap_embedder.1.weight"], "Z-Image"),
        ([UNET + "encoder_hid_proj.weight", FIRST], "Kolors"),
        (["down_blocks.0.x", "encoder_hid_proj.weight"], "Kolors"),
        (["encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"], "T5"),
        (["text_model.encoder.layers.0.mlp.fc1.weight"], "a CLIP text encoder alone"),
        (["input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight"], "a UNet alone"),
        (["down_blocks.0.motion_modules.0.temporal_transformer.x"], "a motion module"),
        ([FIRST, CLIP, UNET + "out.2.scale_weight"], "scaled fp8"),
        ([FIRST, CLIP, "scaled_fp8"], "scaled fp8"),
        ([FIRST, CLIP, UNET + "out.2.weight.absmax"], "bitsandbytes"),
        ([FIRST, CLIP, "control_model.input_blocks.0.0.weight"], "ControlNet"),
        ([FIRST, OPEN_CLIP, "depth_model.model.x"], "depth"),
        ([FIRST, "embedder.model.visual.x"], "unCLIP"),
        ([FIRST, "cond_stage_model.roberta.x"], "AltDiffusion"),
        ([FIRST], "without its text encoder"),
        ([UNET + "out.2.weight", CLIP], "input_blocks.0.0.weight"),
        (["down_blocks.0.x", "time_embedding.linear_1.weight"], "diffusers"),
        (["lora_unet_x.lora_down.weight"], "a LoRA"),
        (["first_stage_model.decoder.conv_in.weight"], "a VAE"),
        (["clip_l"], "an embedding"),
        (["nothing"], "no UNet"),
        ([], "no UNet"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(names: list[str], named: str) -> None:
    found = dict.fromkeys(names, (320, 4, 3, 3))
    assert detect_family(found) is None
    assert named in (describe_foreign(found) or "")


def test_what_a_merge_left_in_a_whole_checkpoint_makes_it_no_other_family() -> None:
    strangers = "double_blocks.0.x", "transformer_blocks.0.x", "text_model.encoder.layers.0.x"
    assert detect_family(shapes(CLIP, *strangers)) == "SD1"
    added = {UNET + "label_emb.0.0.weight": (1280, 5632)}
    assert foreign_family(dict(shapes(*XL)) | added) == "Kolors"


@pytest.mark.parametrize(("channels", "named"), [(8, "InstructPix2Pix"), (7, "7 channels")])
def test_other_inputs_of_the_unet_are_refused(channels: int, named: str) -> None:
    found = shapes(CLIP, channels=channels)
    assert detect_family(found) is None and named in (describe_foreign(found) or "")


PIECES = st.sampled_from(
    [FIRST, CLIP, OPEN_CLIP, *XL, REFINER, "double_blocks.0", "x", "encoder.x"]
)


@given(st.dictionaries(PIECES | st.text(), st.lists(st.integers(0, 9), max_size=5)))
def test_any_names_and_shapes_get_a_family_or_a_reason(found: dict[str, list[int]]) -> None:
    assert (detect_family(found) is None) == bool(describe_foreign(found))
    assert foreign_family(found) is None or detect_family(found) is None
