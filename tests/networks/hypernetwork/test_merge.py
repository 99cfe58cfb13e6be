"""One hypernetwork that does what several do in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptengine import (
    Hypernetwork,
    HypernetworkSettings,
    RequestError,
    load_hypernetwork,
    save_hypernetwork,
)
from promptengine.networks.hypernetwork.merge import merge_hypernetworks
from tests.networks.builders import random_network

STRUCTURES = [(1, 2, 1), (1, 1.5, 2, 1), (1, 0.5, 1)]
PASSING = ["relu", "leakyrelu", "gelu", "silu", "swish", "hardswish"]
Use = tuple[Hypernetwork, float]


def network(
    activation: str, structure: Any = (1, 2, 1), seed: int = 0, **more: Any
) -> Hypernetwork:
    made = HypernetworkSettings(
        structure=structure,
        activation=activation,
        dropout_structure=(0,) * len(structure),
        **{"activate_output": False, **more},
    )
    return random_network([16, 24][: 1 + seed % 2], made, seed=seed, name=f"n{seed}")


def in_a_row(uses: list[Use], x: Tensor, part: str) -> Tensor:
    """What the tags do, in double precision."""
    x = x.double()
    for one, multiplier in uses:
        residual = one.part(x.shape[-1], part)
        if residual is not None:
            change = x
            for layer in residual.double().linear:
                change = layer(change)
            residual.float()
            x = x + multiplier * change
    return x


def assert_does_the_same(merged: Hypernetwork, uses: list[Use]) -> None:
    for width in merged.widths:
        for part in merged.settings.parts:
            x = torch.randn(7, width, generator=torch.Generator().manual_seed(width))
            wanted = in_a_row(uses, x, part)
            residual = merged.part(width, part)
            assert residual is not None
            off = (residual(x).double() - wanted).abs().max() / wanted.abs().max()
            assert off < 2e-5


@settings(max_examples=60)
@given(
    activation=st.sampled_from(PASSING),
    chain=st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from(STRUCTURES),
            st.booleans(),
            st.sampled_from([1.0, 0.7, -0.3, 0.0]),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_merged_networks_do_what_their_tags_do(
    activation: str, chain: list[tuple[bool, Any, bool, float]]
) -> None:
    uses = [
        (
            network(
                "linear" if linear else activation, structure, seed=number, activate_output=output
            ),
            multiplier,
        )
        for number, (linear, structure, output, multiplier) in enumerate(chain)
    ]
    assert_does_the_same(merge_hypernetworks(uses, name="c"), uses)


def test_networks_without_activation_need_one_layer() -> None:
    uses = [(network("linear", seed=seed), 0.5) for seed in range(3)]
    merged = merge_hypernetworks(uses, name="c")
    assert merged.settings.structure == (1, 1)
    assert merged.widths == (16, 24)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_of_merged_networks_can_be_read(tmp_path: Path, suffix: str) -> None:
    uses = [(network("relu", seed=1), 0.7), (network("relu", (1, 1.5, 2, 1), seed=2), 0.3)]
    merged = merge_hypernetworks(uses, name="c")
    save_hypernetwork(merged, tmp_path / f"c{suffix}")
    again = load_hypernetwork(tmp_path / f"c{suffix}")
    assert again.extra["merged_from"] == "n1:0.7 n2:0.3"
    assert again.sd_checkpoint == "0123456789"
    assert_does_the_same(again, uses)


def test_dropout_plays_no_part() -> None:
    dropping = HypernetworkSettings(
        activation="relu", activate_output=False, dropout_structure=(0, 0.3, 0)
    )
    uses = [(random_network([16], dropping), 0.5), (network("relu"), 0.5)]
    assert_does_the_same(merge_hypernetworks(uses, name="c"), uses)


def test_one_network_alone_may_have_any_activation() -> None:
    uses = [(network("tanh"), 0.4)]
    assert_does_the_same(merge_hypernetworks(uses, name="c"), uses)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"activation": "gelu"}, "'n1' has activation gelu, and 'n0' has relu"),
        ({"activation": "relu", "layer_norm": True}, "'n1' has layer norm"),
        ({"activation": "relu", "transform": "key,query"}, "transform key,query"),
    ],
)
def test_what_no_network_does_is_refused_with_the_reason(second: Any, said: str) -> None:
    uses = [(network("relu"), 0.5), (network(seed=1, **second), 0.5)]
    with pytest.raises(RequestError, match=said):
        merge_hypernetworks(uses, name="c")


def test_activations_that_nothing_passes_are_refused() -> None:
    for other in ("tanh", "linear"):
        uses = [(network("tanh"), 0.5), (network(other, seed=1), 0.5)]
        with pytest.raises(
            RequestError, match=r"'n[01]' has activation tanh, beside which nothing"
        ):
            merge_hypernetworks(uses, name="c")
    with pytest.raises(RequestError, match="at least one"):
        merge_hypernetworks([], name="c")


@pytest.mark.parametrize("factor", [0.3, 0.7, 1 / 3, 1.9])
def test_layers_of_any_size_are_merged(factor: float) -> None:
    settings = HypernetworkSettings(
        structure=(1, factor, 1), activation="relu", activate_output=False
    )
    widths = [10, 16, 25, 48, 320]
    uses = [(random_network(widths, settings, seed=seed), 0.1) for seed in range(3)]
    assert_does_the_same(merge_hypernetworks(uses, name="c"), uses)
