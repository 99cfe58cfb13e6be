"""LoRA files: scales, layouts, bundled embeddings, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from promptengine.errors import NetworkFormatError, UnsupportedNetworkError
from promptengine.inspection import inspect_file
from promptengine.networks.lora.files import load_lora
from promptengine.networks.lora.keys import stable_diffusion_1_modules
from promptengine.networks.lora.kind import summarize_lora
from promptengine.networks.lora.unsupported import unsupported
from tests.networks.lora.builders import plain, random, write_lora

KOHYA = "lora_unet_mid_block_attentions_0_proj_in"
MODULE = "diffusion_model_middle_block_1_proj_in"
DIFFUSERS = "unet.mid_block.attentions.0.proj_in"
PEFT = "base_model.model.mid_block.attentions.0.proj_in"


def peft(prefix: str, *, rank: int = 2) -> dict[str, Tensor]:
    return {
        f"{prefix}.lora_B.weight": random(6, rank),
        f"{prefix}.lora_A.weight": random(rank, 5, seed=1),
    }


@pytest.mark.parametrize(
    ("extra", "scale"),
    [
        ({}, 1.0),
        ({"alpha": torch.tensor(3.0)}, 1.5),
        ({"alpha": torch.tensor([3])}, 1.5),
        ({"alpha": torch.tensor(3.0), "scale": torch.tensor(0.25)}, 0.25),
    ],
)
def test_scale_is_alpha_by_rank_unless_it_is_given(
    tmp_path: Path, extra: dict[str, Tensor], scale: float
) -> None:
    tensors = plain(KOHYA, 6, 5) | {f"{KOHYA}.{name}": value for name, value in extra.items()}
    lora = load_lora(write_lora(tmp_path / "a.safetensors", tensors))
    assert lora.modules[MODULE].scale == scale
    assert lora.modules[MODULE].rank == 2


def test_an_alpha_without_a_rank_means_nothing(tmp_path: Path) -> None:
    tensors = {f"{KOHYA}.diff": random(3, 3), f"{KOHYA}.alpha": torch.tensor(8.0)}
    tensors |= plain("lora_unet_conv_in", 3, 3, rank=0) | {
        "lora_unet_conv_in.alpha": torch.tensor(8.0)
    }
    lora = load_lora(write_lora(tmp_path / "a.safetensors", tensors))
    assert {module.scale for module in lora.modules.values()} == {1.0}


@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
@pytest.mark.parametrize("nested", [False, True])
def test_pickles_hold_the_same_as_safetensors(tmp_path: Path, suffix: str, nested: bool) -> None:
    tensors = plain(KOHYA, 6, 5)
    torch.save({"state_dict": tensors} if nested else tensors, tmp_path / f"a{suffix}")
    write_lora(tmp_path / "a.safetensors", tensors)
    pickled, plainly = load_lora(tmp_path / f"a{suffix}"), load_lora(tmp_path / "a.safetensors")
    assert pickled.modules.keys() == plainly.modules.keys() == {MODULE}
    for name, tensor in plainly.modules[MODULE].tensors.items():
        assert torch.equal(tensor, pickled.modules[MODULE].tensors[name])
    assert pickled.nbytes == plainly.nbytes == 4 * 2 * (6 + 5)


def test_the_file_may_vanish_once_it_is_read(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors", plain(KOHYA, 6, 5))
    lora = load_lora(path)
    path.write_bytes(b"")
    assert torch.equal(lora.modules[MODULE].tensors["lora_up.weight"], random(6, 2))


def test_pefts_configuration_says_the_scale(tmp_path: Path) -> None:
    tensors = peft(PEFT) | peft("base_model.model.conv_in") | peft("base_model.model.conv_out")
    path = write_lora(tmp_path / "adapter_model.safetensors", tensors)
    config = {"r": 2, "lora_alpha": 3, "alpha_pattern": {"attentions.0.proj_in": 8, "in": 99}}
    path.with_name("adapter_config.json").write_text(json.dumps(config))
    scales = {name: module.scale for name, module in load_lora(path).modules.items()}
    assert scales == {
        "unet_mid_block_attentions_0_proj_in": 4.0,
        "unet_conv_in": 1.5,
        "unet_conv_out": 1.5,
    }
    path.with_name("adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    assert load_lora(path).modules["unet_conv_in"].scale == pytest.approx(3 / 2**0.5)


@pytest.mark.parametrize(
    "config", [None, "", "[1]", "{", '{"r": 0, "lora_alpha": 3}', '{"r": "x", "lora_alpha": []}']
)
def test_without_a_usable_configuration_the_scale_is_1(tmp_path: Path, config: str | None) -> None:
    path = write_lora(tmp_path / "adapter_model.safetensors", peft(PEFT))
    if config is not None:
        path.with_name("adapter_config.json").write_text(config)
    (module,) = load_lora(path).modules.values()
    assert module.scale == (1.5 if config == '{"r": 0, "lora_alpha": 3}' else 1.0)


def test_diffusers_metadata_say_the_scale_of_each_part(tmp_path: Path) -> None:
    text = "text_encoder.text_model.encoder.layers.0.mlp.fc1"
    settings = {
        "unet.r": 2,
        "unet.lora_alpha": 6,
        "text_encoder.r": 2,
        "text_encoder.lora_alpha": 1,
    }
    path = write_lora(
        tmp_path / "a.safetensors",
        peft(DIFFUSERS) | peft(text),
        {"lora_adapter_metadata": json.dumps(settings)},
    )
    assert {name: module.scale for name, module in load_lora(path).modules.items()} == {
        "unet_mid_block_attentions_0_proj_in": 3.0,
        "transformer_text_model_encoder_layers_0_mlp_fc1": 0.5,
    }


def test_embeddings_come_along_by_their_word(tmp_path: Path) -> None:
    vectors = random(2, 48)
    tensors = {
        "bundle_emb.word.emb_params": vectors,
        "bundle_emb.other.string_to_param.*": vectors[0].clone(),
        "bundle_emb.other.step": torch.tensor(7),
    }
    lora = load_lora(write_lora(tmp_path / "a.safetensors", tensors))
    assert lora.modules == {}
    assert lora.ignored == ("bundle_emb.other.step",)
    assert torch.equal(lora.embeddings["word"]["emb_params"], vectors)
    assert torch.equal(lora.embeddings["other"]["emb_params"], vectors[0])


def test_embeddings_for_two_encoders_come_along_too(tmp_path: Path) -> None:
    both = {"clip_l": random(2, 48), "clip_g": random(2, 64)}
    tensors = {f"bundle_emb.word.{name}": tensor for name, tensor in both.items()}
    lora = load_lora(write_lora(tmp_path / "a.safetensors", tensors))
    assert lora.embeddings["word"].keys() == both.keys()
    assert all(torch.equal(lora.embeddings["word"][name], both[name]) for name in both)


def test_what_means_nothing_is_listed(tmp_path: Path) -> None:
    tensors = plain(KOHYA, 6, 5) | {"junk": random(1), f"{KOHYA}.mask": random(1)}
    lora = load_lora(write_lora(tmp_path / "a.safetensors", tensors))
    assert set(lora.ignored) == {"junk", f"{MODULE}.mask"}


@pytest.mark.parametrize(
    ("patterns", "scale"),
    [
        ({"proj_in": 8, "attentions.0.proj_in": 6}, 4.0),
        ({r"mid_block\.attentions\.\d+\.proj_(in|out)": 8}, 4.0),
        ({"mid.block.attentions.0.proj.in": 8}, 4.0),
        ({r".*\.proj_\w+": 6, "proj_in": 8}, 3.0),
        ({"roj_in": 8, "proj": 8, "attentions.0": 8, r"proj_in\.": 8}, 0.5),
        ({"proj_out|proj_in": 8}, 4.0),
    ],
)
def test_pefts_patterns_are_regular_expressions_and_the_first_holds(
    tmp_path: Path, patterns: dict[str, int], scale: float
) -> None:
    path = write_lora(tmp_path / "adapter_model.safetensors", peft(PEFT))
    # The rank is what the tensors show, whatever a pattern says of it.
    config = {"r": 7, "lora_alpha": 1, "rank_pattern": {"proj_in": 99}, "alpha_pattern": patterns}
    path.with_name("adapter_config.json").write_text(json.dumps(config))
    (module,) = load_lora(path).modules.values()
    assert module.scale == scale
    settings = {f"unet.{name}": value for name, value in config.items()}
    text = {"lora_adapter_metadata": json.dumps(settings)}
    path = write_lora(tmp_path / "a.safetensors", peft(DIFFUSERS), text)
    (module,) = load_lora(path).modules.values()
    assert module.scale == scale


def test_a_pattern_of_a_text_encoder_has_the_whole_path(tmp_path: Path) -> None:
    inner = "text_model.encoder.layers.0.mlp.fc1"
    settings = {"text_encoder_2.lora_alpha": 2, "text_encoder_2.alpha_pattern": {inner: 8}}
    text = {"lora_adapter_metadata": json.dumps(settings)}
    path = write_lora(tmp_path / "a.safetensors", peft(f"text_encoder_2.{inner}"), text)
    (module,) = load_lora(path).modules.values()
    assert module.scale == 4.0


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"(": 1}, "no usable regular expression"),
        ({"x" * 1001 + "*": 1}, "longer than 1000"),
        ({f"a{n}": 1 for n in range(5000)}, "5000 entries"),
        ({r"(?:\w|_|\.|[a-z])+[A-Z]": 1}, "takes too long"),
    ],
)
def test_patterns_that_cannot_be_used_are_named(
    tmp_path: Path, patterns: dict[str, int], message: str
) -> None:
    path = write_lora(tmp_path / "adapter_model.safetensors", peft(PEFT))
    path.with_name("adapter_config.json").write_text(json.dumps({"alpha_pattern": patterns}))
    with pytest.raises(NetworkFormatError, match=message):
        load_lora(path)


def test_weights_that_were_trained_whole_are_told_apart(tmp_path: Path) -> None:
    root = "base_model.model."
    whole = {
        f"{root}conv_in.weight": random(4, 4, 3, 3),
        f"{root}conv_out.modules_to_save.default.weight": random(4, 4),
        f"{root}mid_block.attentions.0.proj_in.base_layer.bias": random(6),
    }
    path = write_lora(tmp_path / "adapter_model.safetensors", peft(PEFT) | whole)
    lora = load_lora(path)
    assert list(lora.modules) == ["unet_mid_block_attentions_0_proj_in"]
    assert lora.ignored == ()
    assert set(lora.whole) == {
        "unet_conv_in.weight",
        "unet_conv_out.weight",
        "unet_mid_block_attentions_0_proj_in.bias",
    }
    only = write_lora(tmp_path / "only.safetensors", whole)
    with pytest.raises(NetworkFormatError, match="nothing but 3 whole weights"):
        load_lora(only)


OTHERS = {
    "BOFT in peft's form": (f"{PEFT}.boft_R", f"{PEFT}.boft_s"),
    "OFT in peft's form": (f"{PEFT}.oft_R.weight", f"{PEFT}.oft_r"),
    "VeRA": (f"{PEFT}.vera_lambda_b",),
    "a LoRA for Flux": (
        "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight",
        "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
        "diffusion_model.single_blocks.3.linear1.lora_A.weight",
    ),
    "a LoRA for Stable Diffusion 3": (
        "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight",
        "diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight",
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
    ),
    "a LoRA for Wan": ("diffusion_model.blocks.0.self_attn.q.lora_A.weight",),
    "a motion module": (
        "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight",
        "unet.down_blocks.0.motion_modules.0.proj_in.lora.down.weight",
    ),
}


@pytest.mark.parametrize("noun", OTHERS)
def test_what_cannot_be_applied_is_called_by_its_name(tmp_path: Path, noun: str) -> None:
    names = OTHERS[noun]
    groups = [names[:1], names[1:]] if len(names) > 1 else [names]
    for group in groups:
        tensors = plain(KOHYA, 6, 5) if KOHYA in group[0] else {}
        tensors |= {name: random(2, 2, 2) for name in group}
        path = write_lora(tmp_path / "a.safetensors", tensors)
        with pytest.raises(UnsupportedNetworkError, match="is not supported") as caught:
            load_lora(path)
        assert caught.value.noun.startswith(noun)
        assert summarize_lora(path).misfit == f"{caught.value.noun} is not supported"
        notes = inspect_file(path).notes
        assert any(caught.value.noun in note for note in notes)


def test_the_names_of_supported_modules_are_taken_for_nothing_else() -> None:
    modules = stable_diffusion_1_modules()
    assert unsupported(f"{name}.lora_down.weight" for name in modules) is None
    dotted = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"
    assert unsupported([dotted, f"base_model.model.{dotted.removeprefix('unet.')}"]) is None


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": torch.zeros(1)}, "no LoRA"),
        (
            {"encoder.conv_in.weight": torch.zeros(1), "decoder.conv_in.weight": torch.zeros(1)},
            "vae",
        ),
        (plain(KOHYA, 6, 5) | {f"{KOHYA}.alpha": torch.zeros(2)}, "must be a single number"),
        (plain(KOHYA, 6, 5) | {f"{KOHYA}.alpha": torch.tensor(float("nan"))}, "'alpha' holds NaN"),
        (plain(KOHYA, 6, 5) | {f"{KOHYA}.scale": torch.zeros(1, 2)}, r"not \[1, 2\]"),
        (
            {f"{KOHYA}.oft_blocks": torch.tensor([[[1.0, float("inf")], [0, 0]]])},
            f"{MODULE}: 'oft_blocks' holds NaN or infinity",
        ),
        (
            plain(KOHYA, 6, 5) | {f"{KOHYA}.dora_scale": torch.full((1, 5), float("nan")).half()},
            "'dora_scale' holds NaN or infinity",
        ),
        (
            {f"{KOHYA}.diff": torch.tensor([[1.0, -1e30]])},
            r"'diff' holds numbers up to 1e\+30; it must hold none beyond 65504",
        ),
        (plain(KOHYA, 6, 5) | {f"{KOHYA}.x": torch.zeros(2, dtype=torch.complex64)}, "complex64"),
        ({"bundle_emb.word.emb_params": torch.zeros(3, dtype=torch.int64)}, "no LoRA"),
        (
            {"bundle_emb.word.emb_params": torch.full((1, 3), float("inf"))},
            "bundle_emb.word: 'emb_params' holds NaN or infinity",
        ),
    ],
)
def test_files_that_are_no_lora_say_why(
    tmp_path: Path, tensors: dict[str, Tensor], message: str
) -> None:
    for name, write in (("a.safetensors", write_lora), ("a.pt", lambda p, t: torch.save(t, p))):
        write(tmp_path / name, tensors)
        with pytest.raises(NetworkFormatError, match=message) as found:
            load_lora(tmp_path / name)
        assert "\n" not in str(found.value)


def test_pickles_of_other_things_and_of_repeated_numbers_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(NetworkFormatError, match="holds a list"):
        load_lora(tmp_path / "a.pt")
    torch.save({f"{KOHYA}.diff": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "b.pt")
    with pytest.raises(NetworkFormatError, match="more numbers than the file holds"):
        load_lora(tmp_path / "b.pt")
