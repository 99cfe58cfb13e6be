from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from promptengine.networks.hypernetwork.module import (
    ACTIVATIONS,
    Hypernetwork,
    HypernetworkSettings,
    ResidualNetwork,
)
from tests.networks.builders import RELU, random_network


def layer_names(settings: HypernetworkSettings, width: int = 8) -> list[str]:
    return [type(layer).__name__ for layer in ResidualNetwork(width, settings).linear]


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        (HypernetworkSettings(), "Linear Linear"),
        (HypernetworkSettings(activation="linear"), "Linear Linear"),
        (HypernetworkSettings(activation="relu"), "Linear ReLU Linear ReLU"),
        (RELU, "Linear ReLU Linear"),
        (HypernetworkSettings(layer_norm=True), "Linear LayerNorm Linear LayerNorm"),
        (
            HypernetworkSettings((1, 2, 2, 1), "swish", dropout_structure=(0, 0.5, 0, 0.1)),
            "Linear Hardswish Dropout Linear Hardswish Linear Hardswish Dropout",
        ),
        (
            HypernetworkSettings(activation="tanh", layer_norm=True, dropout_structure=(0, 0.1, 0)),
            "Linear Tanh LayerNorm Dropout Linear Tanh LayerNorm",
        ),
    ],
)
def test_layers_come_in_the_order_that_numbers_them(
    settings: HypernetworkSettings, layers: str
) -> None:
    assert layer_names(settings) == layers.split()


def test_hidden_widths_are_cut_to_whole_numbers() -> None:
    network = ResidualNetwork(10, HypernetworkSettings((1, 1.29, 1)))
    assert network.linear[0].weight.shape == (12, 10)


def test_activations_are_torchs_elementwise_ones() -> None:
    """Every activation of this torch that changes each element on its own has its name here."""
    elementwise = {"swish"}
    x = torch.randn(3, 4, 6)
    for name, activation in inspect.getmembers(nn.modules.activation, inspect.isclass):
        if activation.__module__ != "torch.nn.modules.activation":
            continue
        try:
            module = activation().eval()
            with torch.no_grad():
                whole = module(x)
                alone = torch.stack([module(part.reshape(1)) for part in x.flatten()])
        except (TypeError, RuntimeError, ValueError, IndexError, UserWarning):
            continue
        if whole.shape == x.shape and torch.allclose(whole.flatten(), alone.flatten(), atol=1e-6):
            elementwise.add(name.lower())
    assert set(ACTIVATIONS) == elementwise


def test_swish_is_hardswish() -> None:
    assert ACTIVATIONS["swish"] is nn.Hardswish


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"activation": "leaky_relu"}, "unknown activation 'leaky_relu'; did you mean leakyrelu"),
        ({"activation": "ReLU"}, "did you mean relu"),
        ({"activation": "softmax"}, "unknown activation"),
        ({"activation": "zzzzzz"}, "unknown activation 'zzzzzz'$"),
        ({"structure": (1,), "dropout_structure": (0,)}, "1 stages"),
        ({"structure": (1, 2, 2)}, "begin and end with 1"),
        ({"structure": (1, -2, 1)}, "impossible factor"),
        ({"structure": (1, float("nan"), 1)}, "impossible factor"),
        ({"structure": (1, float("inf"), 1)}, "impossible factor"),
        ({"structure": (1, 10**400, 1)}, "impossible factor"),
        ({"structure": (1, 2, 2, 1)}, "dropout structure has 3 stages, the layer structure 4"),
        ({"dropout_structure": (0, 1, 0)}, "outside 0 <= p < 1"),
        ({"dropout_structure": (0, float("nan"), 0)}, "outside 0 <= p < 1"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HypernetworkSettings(**wrong)  # type: ignore[arg-type]


def test_stages_without_or_with_absurdly_many_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="channels"):
        ResidualNetwork(4, HypernetworkSettings((1, 0.1, 1)))
    with pytest.raises(ValueError, match="channels"):
        ResidualNetwork(768, HypernetworkSettings((1, 100_000, 1)), device="meta")
    with pytest.raises(ValueError, match="width 0"):
        ResidualNetwork(0, HypernetworkSettings())
    with pytest.raises(ValueError, match="no layers"):
        Hypernetwork([], name="empty", settings=HypernetworkSettings())


def test_pairs_are_found_by_width() -> None:
    network = random_network([8, 4])
    assert network.widths == (8, 4)
    assert network.pair(5) is None
    pair = network.pair(4)
    assert pair is not None
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(pair.key(x, -0.5), x - 0.5 * pair.key.linear(x))
    assert not torch.equal(pair.key(x), pair.value(x))


def test_multiplier_zero_computes_nothing() -> None:
    network = random_network([4])
    for tensor in network.parameters():
        tensor.fill_(float("nan"))
    pair = network.pair(4)
    assert pair is not None
    x = torch.randn(2, 3, 4)
    assert pair.key(x, 0) is x
    assert pair.value(x, -0.0) is x
    assert pair.value(x, 1e-9).isnan().all()


def test_dropout_does_nothing_in_evaluation() -> None:
    network = random_network([8], HypernetworkSettings(dropout_structure=(0, 0.9, 0)))
    pair = network.pair(8)
    assert pair is not None
    x = torch.randn(2, 3, 8)
    assert torch.equal(pair.key(x), pair.key(x))


def test_a_cast_leaves_the_network_as_it_is() -> None:
    network = random_network([8])
    cpu = torch.device("cpu")
    assert network.cast_to(device=cpu, dtype=torch.float32) is network
    half = network.cast_to(device=cpu, dtype=torch.float16)
    assert {tensor.dtype for tensor in half.parameters()} == {torch.float16}
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    assert half.widths == network.widths


def test_building_takes_no_random_numbers_on_the_meta_device() -> None:
    before = torch.get_rng_state()
    Hypernetwork([8], name="a", settings=HypernetworkSettings(activation="prelu"), device="meta")
    assert torch.equal(before, torch.get_rng_state())
