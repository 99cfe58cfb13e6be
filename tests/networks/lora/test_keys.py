"""Names of tensors, in every layout that trainers write."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptengine.networks.lora.keys import (
    original_name,
    parse_name,
    stable_diffusion_1_modules,
)
from tests.networks.lora.builders import model

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
UNET = "unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1"
TEXT = "transformer_text_model_encoder_layers_3"
LAYER = "encoder.layers.3"


@pytest.mark.parametrize(
    ("name", "module", "tensor"),
    [
        # kohya and LyCORIS, by diffusers paths and by original ones
        (
            "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight",
            "diffusion_model_input_blocks_1_1_proj_in",
            "lora_up.weight",
        ),
        (
            "lora_unet_input_blocks_1_1_proj_in.hada_w1_a",
            "diffusion_model_input_blocks_1_1_proj_in",
            "hada_w1_a",
        ),
        ("lora_unet_nonsense.alpha", "diffusion_model_nonsense", "alpha"),
        ("lora_te_text_model_encoder_layers_3_mlp_fc1.alpha", f"{TEXT}_mlp_fc1", "alpha"),
        ("lora_te1_text_model_encoder_layers_3_mlp_fc1.alpha", f"{TEXT}_mlp_fc1", "alpha"),
        (
            "lora_te2_text_model_encoder_layers_3_mlp_fc1.alpha",
            "transformer_2_text_model_encoder_layers_3_mlp_fc1",
            "alpha",
        ),
        # peft's names behind kohya's prefixes, and kohya's OFT, by original paths only
        (
            "lora_unet_mid_block_attentions_0_proj_in.lora_A.weight",
            "diffusion_model_middle_block_1_proj_in",
            "lora_down.weight",
        ),
        (
            "lora_te_text_model_encoder_layers_3_mlp_fc1.lora_B.weight",
            f"{TEXT}_mlp_fc1",
            "lora_up.weight",
        ),
        (
            "oft_unet_input_blocks_1_1_proj_in.oft_blocks",
            "diffusion_model_input_blocks_1_1_proj_in",
            "oft_blocks",
        ),
        (
            "oft_unet_mid_block_attentions_0_proj_in.alpha",
            "diffusion_model_mid_block_attentions_0_proj_in",
            "alpha",
        ),
        (
            f"unet.{ATTENTION}.to_q.lora_magnitude_vector",
            f"{UNET}_to_q",
            "lora_magnitude_vector",
        ),
        (
            f"base_model.model.{ATTENTION}.to_q.lora_magnitude_vector.default.weight",
            f"{UNET}_to_q",
            "lora_magnitude_vector",
        ),
        # peft's own
        (f"base_model.model.{ATTENTION}.to_q.lora_A.weight", f"{UNET}_to_q", "lora_down.weight"),
        (
            f"base_model.model.{ATTENTION}.to_out.0.lora_B.weight",
            f"{UNET}_to_out_0",
            "lora_up.weight",
        ),
        (f"base_model.model.{ATTENTION}.to_q.hada_w1_a", f"{UNET}_to_q", "hada_w1_a"),
        (
            f"base_model.model.text_model.{LAYER}.self_attn.q_proj.lora_A.default.weight",
            f"{TEXT}_self_attn_q_proj",
            "lora_down.weight",
        ),
        (f"base_model.model.{LAYER}.mlp.fc1.lora_A.weight", f"{TEXT}_mlp_fc1", "lora_down.weight"),
        # diffusers, from the newest to the oldest
        (f"unet.{ATTENTION}.to_k.lora_A.weight", f"{UNET}_to_k", "lora_down.weight"),
        (f"unet.{ATTENTION}.to_k.lora.up.weight", f"{UNET}_to_k", "lora_up.weight"),
        (f"unet.{ATTENTION}.to_k.alpha", f"{UNET}_to_k", "alpha"),
        (
            f"unet.{ATTENTION}.processor.to_out_lora.down.weight",
            f"{UNET}_to_out_0",
            "lora_down.weight",
        ),
        (f"{ATTENTION}.processor.to_v_lora.up.weight", f"{UNET}_to_v", "lora_up.weight"),
        (
            f"text_encoder.text_model.{LAYER}.self_attn.to_out_lora.up.weight",
            f"{TEXT}_self_attn_out_proj",
            "lora_up.weight",
        ),
        (
            f"text_encoder.text_model.{LAYER}.mlp.fc2.lora_linear_layer.down.weight",
            f"{TEXT}_mlp_fc2",
            "lora_down.weight",
        ),
        (
            f"text_encoder_2.text_model.{LAYER}.mlp.fc2.lora_A.weight",
            "transformer_2_text_model_encoder_layers_3_mlp_fc2",
            "lora_down.weight",
        ),
        # original paths with dots
        (
            "diffusion_model.input_blocks.1.1.proj_in.lora_down.weight",
            "diffusion_model_input_blocks_1_1_proj_in",
            "lora_down.weight",
        ),
    ],
)
def test_layouts(name: str, module: str, tensor: str) -> None:
    found = parse_name(name)
    assert found is not None
    assert (found.module, found.tensor) == (module, tensor)


@pytest.mark.parametrize(
    "name", ["", "a", "model.diffusion_model.out.2.weight", "conv_in", "unet."]
)
def test_other_names_are_none_of_a_loras(name: str) -> None:
    assert parse_name(name) is None


@settings(deadline=None)
@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(
            [
                "lora_unet_",
                "unet.",
                "down_blocks",
                "_9_",
                "99999",
                ".",
                "_",
                "to_q",
                "lora_A.weight",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_any_text_is_read_or_refused_without_an_error(name: str) -> None:
    found = parse_name(name)
    assert found is None or (found.module and found.tensor)


def test_original_names_count_blocks() -> None:
    assert original_name("down_blocks_1_resnets_0_conv1") == "input_blocks_4_0_in_layers_2"
    assert (
        original_name("down_blocks_1_resnets_0_conv1", layers=1) == "input_blocks_3_0_in_layers_2"
    )
    assert original_name("up_blocks_0_upsamplers_0_conv") == "output_blocks_2_1_conv"
    # In SDXL the first level of the way up has attention, the last one none.
    assert original_name("up_blocks_0_upsamplers_0_conv", plain_up={2}) == "output_blocks_2_2_conv"
    assert original_name("encoder_layers_0") is None


def test_both_names_of_every_module_of_a_unet_lead_to_it() -> None:
    found = model()
    by_path = {name: target for name, target in found.items() if name.startswith("unet_")}
    by_original = {n: target for n, target in found.items() if n.startswith("diffusion_model_")}
    assert len(by_path) == len(by_original) > 200
    assert {target.path for target in by_path.values()} == {t.path for t in by_original.values()}
    # Every module's own name is its original one, not its diffusers one.
    assert not [name for name in by_original if "blocks_" in name and "resnets" in name]


def test_the_list_of_stable_diffusion_1_modules_is_as_long_as_it_should_be() -> None:
    names = stable_diffusion_1_modules()
    assert "diffusion_model_middle_block_1_transformer_blocks_0_attn2_to_k" in names
    assert "transformer_text_model_encoder_layers_11_mlp_fc2" in names
    assert "transformer_text_model_encoder_layers_12_mlp_fc2" not in names
    assert "diffusion_model_input_blocks_10_1_proj_in" not in names
