"""Token merging against its rules written out in NumPy, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn

from promptengine.networks.token_merging import (
    group_tokens,
    has_mergeable_tokens,
    merge_tokens,
)
from tests.networks.builders import TEXT, tiny_unet

Array = NDArray[np.float64]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On so small a model more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return tiny_unet()


def first_block(unet: nn.Module) -> Any:
    return unet.down_blocks[0].attentions[0].transformer_blocks[0]  # type: ignore[union-attr]


def run(unet: UNet2DConditionModel, rows: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 4, rows, columns, generator=generator)
    text = torch.randn(2, 5, TEXT, generator=generator)
    with torch.no_grad():
        return unet(x, 500, text).sample


def numbers(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def attended(attention: Any, x: Array) -> Array:
    """What an attention answers to the tokens of one image."""
    query, key, value = (
        x @ numbers(getattr(attention, name).weight).T for name in ("to_q", "to_k", "to_v")
    )
    heads = attention.heads
    width = query.shape[1] // heads
    parts: list[Array] = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = np.exp(query[:, own] @ key[:, own].T / np.sqrt(width))
        parts.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, own])
    out = attention.to_out[0]
    return np.concatenate(parts, axis=1) @ numbers(out.weight).T + numbers(out.bias)


def merged_by_hand(block: Any, x: Array, rows: int, columns: int, ratio: float) -> Array:
    """What a block's self-attention answers to one image whose tokens are merged."""
    centered = x - x.mean(axis=1, keepdims=True)
    normed = centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + block.norm1.eps)
    normed = normed * numbers(block.norm1.weight) + numbers(block.norm1.bias)
    targets = [
        row * columns + column
        for row in range(0, rows - 1, 2)
        for column in range(0, columns - 1, 2)
    ]
    nearest: dict[int, tuple[float, int]] = {}
    for token in set(range(rows * columns)) - set(targets):
        cosines = [
            float(x[token] @ x[to] / np.linalg.norm(x[token]) / np.linalg.norm(x[to]))
            for to in targets
        ]
        nearest[token] = max(cosines), targets[int(np.argmax(cosines))]
    ranked = sorted(nearest, key=lambda token: -nearest[token][0])
    into = {token: nearest[token][1] for token in ranked[: int(rows * columns * ratio)]}
    left = [token for token in range(rows * columns) if token not in into]
    members = {token: [token, *(one for one, to in into.items() if to == token)] for token in left}
    answer = attended(block.attn1, np.stack([normed[members[one]].mean(axis=0) for one in left]))
    return np.stack([answer[left.index(into.get(one, one))] for one in range(rows * columns)])


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("rows", "columns"), [(4, 6), (5, 7), (3, 2)])
def test_attention_sees_merged_tokens(
    unet: UNet2DConditionModel, rows: int, columns: int, ratio: float
) -> None:
    block = first_block(unet)
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(2, rows * columns, 16, generator=generator) * 3 + 1
    with torch.no_grad(), merge_tokens(unet, ratio, (rows, columns)):
        made = block.attn1(block.norm1(x))
    expected = [merged_by_hand(block, numbers(row), rows, columns, ratio) for row in x]
    np.testing.assert_allclose(numbers(made), np.stack(expected), rtol=1e-4, atol=1e-5)


def test_rows_of_a_batch_are_merged_alone() -> None:
    x = torch.randn(3, 35, 8, generator=torch.Generator().manual_seed(1))
    together = group_tokens(x, (5, 7), 0.5)
    for row in range(3):
        alone = group_tokens(x[row : row + 1], (5, 7), 0.5)
        assert together.moved[row].equal(alone.moved[0])
        assert together.into[row].equal(alone.into[0])
    assert len({tuple(row.tolist()) for row in together.moved}) == 3


@pytest.mark.parametrize("cells", [(1, 9), (9, 1), (1, 1)])
def test_a_single_row_has_no_targets_and_keeps_its_tokens(cells: tuple[int, int]) -> None:
    x = torch.randn(2, cells[0] * cells[1], 8)
    groups = group_tokens(x, cells, 0.9)
    assert groups.merge(x).equal(x)
    assert groups.unmerge(x).equal(x)


def test_most_tokens_that_vanish_are_all_but_the_targets() -> None:
    x = torch.randn(1, 16, 8)
    groups = group_tokens(x, (4, 4), 0.9)
    assert groups.moved.shape == (1, 12)
    assert groups.merge(x).shape == (1, 4, 8)
    assert groups.unmerge(groups.merge(x)).unique(dim=1).shape == (1, 4, 8)


def changed(unet: nn.Module) -> list[str]:
    return [name for name, module in unet.named_modules() if "forward" in vars(module)]


def test_only_full_resolution_is_touched_and_everything_is_restored(
    unet: UNet2DConditionModel,
) -> None:
    before = run(unet, 8, 6)
    with pytest.raises(KeyboardInterrupt), merge_tokens(unet, 0.5, (8, 6)):
        names = changed(unet)
        assert not torch.equal(run(unet, 8, 6), before)
        raise KeyboardInterrupt
    assert {name.split(".")[0] for name in names} == {"down_blocks", "up_blocks"}
    assert {name.split(".")[-1] for name in names} == {"norm1", "attn1"}
    assert changed(unet) == []
    assert torch.equal(run(unet, 8, 6), before)


def test_a_ratio_of_0_touches_nothing(unet: UNet2DConditionModel) -> None:
    before = run(unet, 7, 9)
    with merge_tokens(unet, 0.0, (7, 9)):
        assert changed(unet) == []
        assert torch.equal(run(unet, 7, 9), before)


def test_models_without_attention_at_full_resolution_are_known(
    unet: UNet2DConditionModel,
) -> None:
    assert has_mergeable_tokens(unet)
    coarse = UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=TEXT,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    assert not has_mergeable_tokens(coarse)
    with merge_tokens(coarse, 0.5, (8, 8)):
        assert changed(coarse) == []
