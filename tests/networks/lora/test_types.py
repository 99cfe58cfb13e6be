"""What a file holds, told from names and shapes."""

from __future__ import annotations

from promptengine.networks.lora.types import summarize, whole_tensors


def lora(name: str, rank: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.lora_up.weight": (8, rank), f"{name}.lora_down.weight": (rank, into)}


def test_a_summary_counts_modules_by_part_kind_and_rank() -> None:
    attention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0"
    found = summarize(
        lora(f"{attention}_attn2_to_k", 8, 768)
        | lora(f"{attention}_attn1_to_k", 4, 320)
        | lora("lora_te_text_model_encoder_layers_0_mlp_fc1", 4, 768)
        | {"lora_unet_conv_out.diff": (4, 320, 3, 3), "junk": (3,)}
        | {"bundle_emb.word.string_to_param.*": (2, 768), "bundle_emb.word.name": ()}
    )
    assert found.lines() == (
        "UNet: 3 modules, LoRA of rank 4, 8, full",
        "text encoder: 1 module, LoRA of rank 4",
    )
    assert found.base_model == "Stable Diffusion 1"
    assert found.words == ("word",)
    assert found.foreign == ()


def test_a_summary_names_every_algorithm() -> None:
    block = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to"
    found = summarize(
        lora(f"{block}_k", 4, 320)
        | {f"{block}_k.dora_scale": (1, 320), f"{block}_k.bias": (320, 320)}
        | {f"{block}_q.oft_blocks": (8, 40, 40), f"{block}_v.oft_blocks": (3, 8, 40, 40)}
        | {f"{block}_out_0.{name}.weight": (4, 320) for name in ("a1", "a2", "b1", "b2")}
        | {f"{block}_out_0.alpha": ()}
    )
    assert found.lines() == ("UNet: 4 modules, LoRA (DoRA) of rank 4, OFT, BOFT, GLoRA of rank 4",)
    assert (found.misfit, found.whole, found.foreign) == (None, 0, ())


def test_a_bias_is_a_part_of_kohyas_changes_and_a_weight_of_its_own_in_pefts() -> None:
    names = {"lora_up.weight", "lora_down.weight", "bias"}
    assert whole_tensors(names, kohya=True) == set()
    assert whole_tensors(names, kohya=False) == {"bias"}
    assert whole_tensors({"bias", "alpha"}, kohya=True) == {"bias"}
    assert whole_tensors({"weight", "bias"}, kohya=True) == {"weight", "bias"}
    assert whole_tensors({"weight", "on_input", "bias"}, kohya=True) == set()


def test_metadata_say_what_a_lora_was_made_for_before_its_widths() -> None:
    shapes = lora("lora_unet_input_blocks_4_1_transformer_blocks_9_attn2_to_k", 8, 2048)
    assert summarize(shapes).base_model == "SDXL"
    assert (
        summarize(shapes, {"ss_base_model_version": "sdxl_base_v1-0"}).base_model
        == "sdxl_base_v1-0"
    )
    # What another family has is not missed in Stable Diffusion 1.
    assert summarize(shapes).foreign == ()
    assert summarize(lora("lora_unet_nowhere", 1, 1)).foreign == ("diffusion_model_nowhere",)
    assert summarize({}).lines() == ()
