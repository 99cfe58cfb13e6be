"""What a file holds, told from names and shapes."""

from __future__ import annotations

import pytest

from promptengine.networks.lora.types import module_kind, module_rank, summarize, unused_tensors


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({"lora_up.weight", "lora_down.weight"}, "LoRA"),
        ({"lora_up.weight"}, None),
        ({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}, "LoHa"),
        ({"hada_w1_a", "hada_w1_b", "hada_w2_a"}, None),
        ({"lokr_w1", "lokr_w2_a", "lokr_w2_b"}, "LoKr"),
        ({"lokr_w1_a", "lokr_w1_b", "lokr_w2"}, "LoKr"),
        ({"lokr_w1"}, None),
        ({"weight", "on_input"}, "IA3"),
        ({"weight"}, None),
        ({"diff"}, "full"),
        ({"diff_b"}, "full"),
        ({"w_norm", "b_norm"}, "norm"),
        ({"oft_blocks", "alpha"}, None),
    ],
)
def test_kinds(names: set[str], kind: str | None) -> None:
    assert module_kind(names) == kind
    if kind:
        assert unused_tensors(kind, {*names, "alpha", "mask"}) == {"mask"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shapes", "rank"),
    [
        ({"lora_up.weight": (9, 4), "lora_down.weight": (4, 7)}, 4),
        ({"lora_up.weight": (9, 4), "lora_down.weight": ()}, None),
        ({"hada_w1_a": (9, 3), "hada_w1_b": (3, 7), "hada_w2_a": (9, 5), "hada_w2_b": (5, 7)}, 3),
        ({"lokr_w1_a": (3, 2), "lokr_w1_b": (2, 3), "lokr_w2_a": (3, 5), "lokr_w2_b": (5, 3)}, 5),
        ({"lokr_w1_a": (3, 2), "lokr_w1_b": (2, 3), "lokr_w2": (3, 3)}, 2),
        ({"lokr_w1": (3, 3), "lokr_w2": (3, 3)}, None),
        ({"diff": (3, 3)}, None),
    ],
)
def test_ranks(shapes: dict[str, tuple[int, ...]], rank: int | None) -> None:
    kind = module_kind(shapes)
    assert kind is not None
    assert module_rank(kind, shapes) == rank


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
