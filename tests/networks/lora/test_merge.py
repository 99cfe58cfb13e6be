"""Changing a model's weights and changing them back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptengine.errors import (
    IncompatibleNetworkError,
    NetworkFormatError,
    PromptEngineError,
)
from promptengine.networks.lora.files import load_lora
from promptengine.networks.lora.merge import Application, Fit, exchange_weights, fit_lora, merge
from tests.networks.lora.builders import (
    MIDDLE,
    MIDDLE_PATH,
    checkpoint,
    model,
    module_at,
    plain,
    random,
    write_lora,
)

TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"
TO_KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"


def fitted(folder: Path, tensors: dict[str, Tensor]) -> Fit:
    return fit_lora(load_lora(write_lora(folder / "a.safetensors", tensors)), model())


def weights() -> list[Tensor]:
    parts = checkpoint().unet, checkpoint().text_encoder
    return [tensor.clone() for part in parts for tensor in part.state_dict().values()]


def outputs() -> tuple[Tensor, Tensor]:
    unet, text = checkpoint().unet, checkpoint().text_encoder
    with torch.no_grad():
        noise = unet(
            random(1, 4, 8, 8), torch.tensor([500.0]), random(1, 77, 48), return_dict=False
        )
        return noise[0], text(torch.arange(77)[None]).last_hidden_state


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_weights_change_within_the_block_only(tmp_path: Path) -> None:
    before, answers = weights(), outputs()
    use = Application(fitted(tmp_path, plain(MIDDLE, 128, 128) | plain(TEXT, 192, 48)))
    merged = merge([use])
    with exchange_weights(merged):
        inside = outputs()
        assert not torch.equal(inside[0], answers[0])
        assert not torch.equal(inside[1], answers[1])
    assert same(before, weights())
    assert all(map(torch.equal, outputs(), answers))
    with pytest.raises(ZeroDivisionError), exchange_weights(merged):
        raise ZeroDivisionError
    assert same(before, weights())


BLOCKS = {"oft_blocks": random(16, 8, 8), "alpha": torch.tensor(0.05)}
EVERY_KIND: dict[str, dict[str, Tensor]] = {
    "LoRA": {"lora_up.weight": random(128, 2), "lora_down.weight": random(2, 128)},
    "peft": {"lora_B.weight": random(128, 2), "lora_A.weight": random(2, 128)},
    "LoHa": {f"hada_w{n}_{x}": random(*((128, 2), (2, 128))[x == "b"]) for n in "12" for x in "ab"},
    "LoKr": {"lokr_w1": random(4, 4), "lokr_w2_a": random(32, 2), "lokr_w2_b": random(2, 32)},
    "IA3": {"weight": random(128), "on_input": torch.tensor(True)},
    "full": {"diff": random(128, 128), "diff_b": random(128)},
    "GLoRA": {
        **{"a1.weight": random(2, 128), "a2.weight": random(128, 2), "alpha": torch.tensor(1.0)},
        **{"b1.weight": random(2, 128), "b2.weight": random(128, 2)},
    },
    "OFT": BLOCKS,
    "old OFT": {"oft_diag": random(16, 8, 8)},
    "BOFT": BLOCKS | {"oft_blocks": random(3, 16, 8, 8), "rescale": random(128, 1)},
}


@pytest.mark.parametrize("extra", ["", "dora_scale", "bias"])
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_is_taken_out_bit_for_bit(tmp_path: Path, kind: str, extra: str) -> None:
    tensors = dict(EVERY_KIND[kind])
    if extra:
        tensors[extra] = random(*((1, 128) if extra == "dora_scale" else (128, 128)), seed=3)
    use = Application(fitted(tmp_path, {f"{MIDDLE}.{name}": t for name, t in tensors.items()}))
    module = module_at(MIDDLE_PATH)
    before, data = weights(), module.weight.data
    first, second = merge([use, use]), merge([use, use])
    assert same(before, weights())
    assert all(torch.equal(first[slot], second[slot]) for slot in first)
    with exchange_weights(first):
        assert not torch.equal(module.weight, data)
        assert module.weight.isfinite().all()
    assert module.weight.data_ptr() == data.data_ptr()
    assert same(before, weights())


def test_multipliers_are_for_their_part_and_uses_add_up(tmp_path: Path) -> None:
    lora = fitted(tmp_path, plain(MIDDLE, 128, 128) | plain(TEXT, 192, 48))
    merged = merge([Application(lora, text=0.5, unet=-0.25), Application(lora, text=0, unet=1.0)])
    for target, change in lora.modules:
        multiplier = 0.75 if target.part == "unet" else 0.5
        delta = change.tensors["lora_up.weight"] @ change.tensors["lora_down.weight"]
        (found,) = (tensor for slot, tensor in merged.items() if slot.module is target.module)
        torch.testing.assert_close(found, target.module.weight + multiplier * delta)
    # What no multiplier reaches is not touched at all.
    (only,) = merge([Application(lora, text=0, unet=1.0)])
    assert (only.module, only.name) == (module_at(MIDDLE_PATH), "weight")
    assert not Application(lora, text=0, unet=0).changes
    assert merge([]) == {}


def test_each_change_is_computed_on_the_one_before(tmp_path: Path) -> None:
    ia3 = {f"{MIDDLE}.weight": random(128), f"{MIDDLE}.on_input": torch.tensor(False)}
    first = fitted(tmp_path / "1", ia3)
    second = fitted(tmp_path / "2", plain(MIDDLE, 128, 128))
    weight = module_at(MIDDLE_PATH).weight
    delta = random(128, 2) @ random(2, 128, seed=1)
    rows = random(128)[:, None]
    (ia3_first,) = merge([Application(first), Application(second)]).values()
    (ia3_last,) = merge([Application(second), Application(first)]).values()
    torch.testing.assert_close(ia3_first, weight + weight * rows + delta)
    torch.testing.assert_close(ia3_last, (weight + delta) * (1 + rows))


def test_a_module_without_a_bias_has_one_for_a_while(tmp_path: Path) -> None:
    module = module_at(MIDDLE_PATH)
    assert module.bias is None
    bias = random(128)
    use = Application(fitted(tmp_path, {f"{MIDDLE}.diff_b": bias}), unet=0.5)
    keys = list(checkpoint().unet.state_dict())
    with exchange_weights(merge([use])):
        torch.testing.assert_close(module(torch.zeros(1, 128))[0], bias * 0.5)
    assert module.bias is None
    assert list(checkpoint().unet.state_dict()) == keys


def test_sums_are_rounded_once_to_the_models_dtype(tmp_path: Path) -> None:
    unet = checkpoint().unet
    weight = module_at(MIDDLE_PATH).weight
    original = weight.data
    lora = fitted(tmp_path, plain(MIDDLE, 128, 128))
    try:
        weight.data = original.half()
        (found,) = merge([Application(lora, unet=0.1)] * 3).values()
        assert found.dtype == torch.float16
        delta = random(128, 2) @ random(2, 128, seed=1) * 0.1
        base = original.half().float()
        assert torch.equal(found, (base + delta + delta + delta).half())
    finally:
        weight.data = original
    assert next(unet.parameters()).dtype == torch.float32


def test_the_rank_is_cut_by_use(tmp_path: Path) -> None:
    lora = fitted(tmp_path, plain(MIDDLE, 128, 128, rank=4))
    (cut,) = merge([Application(lora, ranks=1)]).values()
    up, down = random(128, 4), random(4, 128, seed=1)
    torch.testing.assert_close(cut, module_at(MIDDLE_PATH).weight + up[:, :1] @ down[:1])


def test_modules_that_the_model_lacks_are_listed_and_the_rest_is_used(tmp_path: Path) -> None:
    tensors = plain(MIDDLE, 128, 128) | plain("lora_unet_nowhere", 3, 3)
    tensors |= plain("lora_unet_conv_in", 7, 7)
    lora = fitted(tmp_path, tensors)
    assert [target.path for target, _ in lora.modules] == [MIDDLE_PATH]
    assert set(lora.unmatched) == {
        "diffusion_model_nowhere",
        "diffusion_model_input_blocks_0_0",
    }


@pytest.mark.parametrize(
    ("tensors", "message", "widths"),
    [
        (plain("lora_unet_nowhere", 3, 3), "none of its 1 modules", ((), ())),
        (plain(MIDDLE, 9, 9), "none of its 1 modules", ((), ())),
        (
            plain(MIDDLE, 128, 128) | plain(TO_KEY, 128, 768),
            "made for text of width 768, and this model reads text of width 48",
            ((768,), (48,)),
        ),
    ],
)
def test_loras_for_other_models_misfit(
    tmp_path: Path,
    tensors: dict[str, Tensor],
    message: str,
    widths: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    with pytest.raises(IncompatibleNetworkError, match=message) as caught:
        fitted(tmp_path, tensors)
    assert (caught.value.found, caught.value.needed) == widths


def test_changes_of_unknown_kind_are_refused_where_they_would_act(tmp_path: Path) -> None:
    unknown = {f"{MIDDLE}.mystery": random(2, 2)}
    with pytest.raises(NetworkFormatError, match=r"unknown kind \(mystery \[2, 2\]\)"):
        fitted(tmp_path, unknown)
    alone = {name: tensor for name, tensor in plain(MIDDLE, 128, 128).items() if "up" in name}
    with pytest.raises(NetworkFormatError, match=r"LoRA needs lora_down\.weight too; it is not"):
        fitted(tmp_path, alone)
    elsewhere = plain(MIDDLE, 128, 128) | {"lora_unet_nowhere.mystery": random(2, 2)}
    assert len(fitted(tmp_path, elsewhere).modules) == 1


NAMES = sorted(
    {
        *("lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "scale", "dora_scale"),
        *("bias", "oft_blocks", "oft_diag", "rescale", "lora_A.weight", "lora_B.weight"),
        *(f"{letter}{number}.weight" for letter in "ab" for number in "12"),
        *(f"hada_{w}" for w in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
        *(f"lokr_{w}" for w in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
        *("weight", "on_input", "diff", "diff_b", "w_norm", "b_norm", "x"),
    }
)
TARGETS = [
    MIDDLE,
    "lora_unet_conv_in",
    "lora_unet_mid_block_resnets_0_norm1",
    "lora_te_text_model_embeddings_token_embedding",
    "unet.conv_out",
]
shapes = st.lists(st.sampled_from([0, 1, 2, 3, 32]), max_size=3).map(tuple) | st.sampled_from(
    [
        *[(128, 2), (2, 128), (128, 128), (2, 2, 3, 3), (32, 4, 3, 3), (128,)],
        *[(1, 128), (128, 1), (32, 4, 4), (2, 32, 4, 4)],
    ]
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(TARGETS), st.sampled_from(NAMES)).map(".".join),
        st.tuples(shapes, st.sampled_from([torch.float32, torch.float16, torch.bool, torch.int64])),
        max_size=12,
    )
)
def test_any_tensors_are_used_or_refused_in_one_line(
    tmp_path: Path, contents: dict[str, tuple[tuple[int, ...], torch.dtype]]
) -> None:
    tensors = {name: torch.ones(shape, dtype=dtype) for name, (shape, dtype) in contents.items()}
    try:
        use = Application(fitted(tmp_path, tensors))
    except PromptEngineError as refusal:
        assert "\n" not in str(refusal)
        return
    with exchange_weights(merge([use, use])):
        assert len(use.fit.modules) + len(use.fit.unmatched) == len(use.fit.lora.modules)
