"""Names of the original layout, hostile ones too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from promptengine import CheckpointError
from promptengine.checkpoints import load as checkpoint
from promptengine.checkpoints.build import read_weights
from promptengine.checkpoints.convert_keys import (
    clip_weights,
    open_clip_weights,
    unet_weights,
    vae_weights,
)
from promptengine.checkpoints.load import open_checkpoint
from promptengine.families import METADATA_KEY, UNET_PREFIX
from tests.checkpoints.original import tiny, write

PIECES = [
    *("input_blocks", "output_blocks", "middle_block", "encoder", "decoder", "mid", "up", "down"),
    *(
        "block_1",
        "attn_1",
        "downsample",
        "upsample",
        "conv",
        "op",
        "weight",
        "in_layers",
        "norm_out",
    ),
    *("transformer", "resblocks", "attn", "0", "1", "2", "-1", "²", "9" * 5000, "", "x"),
]
NAMES = st.lists(st.sampled_from(PIECES), max_size=7).map(".".join)


@given(st.sets(NAMES, max_size=8))
@example({"encoder.mid"})
def test_no_name_is_too_odd_and_none_is_lost(names: set[str]) -> None:
    weights = {f"p.{name}": torch.zeros(3, 1, 1, 1) for name in names}
    for renamed in (
        unet_weights(weights, "p.", layers_per_block=2),
        vae_weights(weights, "p.", levels=4),
        clip_weights(weights, "p."),
    ):
        assert len(renamed) == len(names)
    assert open_clip_weights(weights, "p.", layers=2) is not None


def test_open_clip_is_cut_in_three_and_its_later_layers_are_left_out() -> None:
    fused = torch.arange(18.0).reshape(6, 3)
    weights = {
        "p.transformer.resblocks.0.attn.in_proj_weight": fused,
        "p.transformer.resblocks.1.attn.in_proj_weight": fused,
        "p.text_projection": torch.ones(2, 5),
        "p.logit_scale": torch.ones(()),
        "q.ln_final.weight": torch.ones(2),
    }
    renamed = open_clip_weights(weights, "p.", layers=1)
    assert renamed.pop("text_projection.weight").shape == (5, 2)
    root = "encoder.layers.0.self_attn."
    assert list(renamed) == [f"{root}{part}_proj.weight" for part in "qkv"]
    assert all(torch.equal(t, c) for t, c in zip(renamed.values(), fused.chunk(3), strict=True))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return tiny("SD2").weights()


OPEN_CLIP = "cond_stage_model.model."
BROKEN: dict[str, dict[str, Tensor]] = {
    "unfit": {OPEN_CLIP + "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(2, 2)},
    "flat": {OPEN_CLIP + "token_embedding.weight": torch.zeros(3)},
    "scalar": {UNET_PREFIX + "out.2.weight": torch.zeros(())},
    "point": {"first_stage_model.encoder.mid.attn_1.q.weight": torch.zeros(32, 32, 0, 0)},
    "table": {"alphas_cumprod": torch.tensor([0.1, 0.9])},
    "first": {UNET_PREFIX + "input_blocks.0.0.weight": torch.zeros(64)},
    "latents": {"first_stage_model.post_quant_conv.weight": torch.zeros(16, 16, 1, 1)},
}


@pytest.mark.parametrize("name", BROKEN)
def test_odd_weights_are_one_clear_line(
    name: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    path = write({**weights, **BROKEN[name]}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"unet": {"attention_head_dim": 10**9}},
        {"unet": {"attention_head_dim": 0}},
        {"unet": {"norm_num_groups": 7}},
        {"unet": {"act_fn": "bang"}},
        {"unet": {"mid_block_type": "x"}},
        {"unet": {"reverse_transformer_layers_per_block": [[10**9]]}},
        {"unet": {"only_cross_attention": [3]}},
        {"vae": {"scaling_factor": "much"}},
        {"vae": {"scaling_factor": 0}},
        {"text_encoder": {"hidden_act": "bang"}},
        {"text_encoder": {"num_attention_heads": 0}},
        {"scheduler": {"num_train_timesteps": 10**12}},
        {"scheduler": {"beta_start": "x"}},
        {"scheduler": {"beta_start": None}},
        {"scheduler": {"prediction_type": ["v"]}},
    ],
    ids=json.dumps,
)
def test_odd_settings_are_one_clear_line(
    config: dict[str, Any], weights: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    save_file(weights, path, metadata={METADATA_KEY: json.dumps(config)})
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_needs_no_change_stays_in_the_file(
    weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No copy is made of weights whose precision is wanted: they are those mapped from the file."""
    path = write({n: t.half() for n, t in weights.items()}, tmp_path / "m.safetensors")
    mapped, metadata = read_weights(path)
    monkeypatch.setattr(checkpoint, "read_weights", lambda _path: (mapped, metadata))
    opened = open_checkpoint(path, dtype=torch.float16)
    spans = {(t.data_ptr(), t.data_ptr() + t.nbytes) for t in mapped.values()}
    for module in (opened.unet, opened.text_encoder):
        for name, parameter in module.named_parameters():
            place = parameter.data_ptr()
            assert any(begin <= place < end for begin, end in spans), name
    copied = {parameter.data_ptr() for parameter in opened.vae.parameters()}
    assert not copied & {begin for begin, _ in spans}
