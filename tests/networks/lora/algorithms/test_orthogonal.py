"""OFT and BOFT against rotations written out row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptengine.networks.lora.delta import fault
from tests.networks.lora.builders import Array, close, delta_of, module_of, numbers, random


def rotations(blocks: Tensor, limit: float | None = None) -> Array:
    """Cayley's transform of each block; ``limit`` bounds the length of all together."""
    raw = numbers(blocks)
    skew = raw - np.swapaxes(raw, -1, -2)
    length = np.sqrt((skew**2).sum())
    if limit and length > limit:
        skew *= limit / length
    unit = np.eye(skew.shape[-1])
    return (unit + skew) @ np.linalg.inv(unit - skew)


@settings(deadline=None)
@given(
    count=st.integers(1, 4),
    size=st.integers(1, 4),
    into=st.integers(1, 4),
    kernel=st.sampled_from([0, 1, 3]),
    alpha=st.sampled_from([None, 0.0, 0.01, 100.0]),
    rescale=st.booleans(),
    spelling=st.sampled_from(["oft_blocks", "oft_diag"]),
)
def test_oft(
    *,
    count: int,
    size: int,
    into: int,
    kernel: int,
    alpha: float | None,
    rescale: bool,
    spelling: str,
) -> None:
    rows = count * size
    weight = random(rows, into, *[kernel] * (2 if kernel else 0), seed=2)
    tensors = {spelling: random(count, size, size, seed=1)}
    if alpha is not None:
        tensors["alpha"] = torch.tensor(alpha)
    turns = numbers(tensors[spelling])
    if spelling == "oft_blocks":
        turns = rotations(tensors[spelling], alpha and alpha * rows)
    before, after = numbers(weight), np.zeros(weight.shape)
    for block in range(count):
        for m in range(size):
            for n in range(size):
                after[block * size + m] += turns[block, n, m] * before[block * size + n]
    if rescale:
        tensors["rescale"] = random(rows, *[1] * (weight.ndim - 1), seed=7)
        after *= numbers(tensors["rescale"])
    close(delta_of("OFT", tensors, weight), after - before)


@settings(deadline=None)
@given(
    half=st.integers(1, 3),
    stages=st.integers(1, 3),
    times=st.integers(1, 2),
    kernel=st.sampled_from([0, 3]),
    alpha=st.sampled_from([0.0, 0.01]),
    rescale=st.booleans(),
)
def test_boft(
    *, half: int, stages: int, times: int, kernel: int, alpha: float, rescale: bool
) -> None:
    size = 2 * half
    rows = 2 ** (stages - 1) * size * times
    weight = random(rows, 3, *[kernel] * (2 if kernel else 0), seed=2)
    tensors = {
        "oft_blocks": random(stages, rows // size, size, size, seed=1),
        "alpha": torch.tensor(alpha),
    }
    turns = rotations(tensors["oft_blocks"], alpha * rows)
    before = numbers(weight)
    after = before.copy()
    for stage in range(stages):
        stride = 2**stage * half
        # The rows in the order in which blocks take them: pairs that lie a stride apart.
        order = [
            start + first + second * stride
            for start in range(0, rows, 2 * stride)
            for first in range(stride)
            for second in (0, 1)
        ]
        turned = np.zeros_like(after)
        for place, row in enumerate(order):
            block, inside = divmod(place, size)
            taken = order[block * size : (block + 1) * size]
            turned[row] = sum(
                turns[stage, block, inside, n] * after[source] for n, source in enumerate(taken)
            )
        after = turned
    if rescale:
        tensors["rescale"] = random(rows, *[1] * (weight.ndim - 1), seed=7)
        after *= numbers(tensors["rescale"])
    close(delta_of("BOFT", tensors, weight), after - before)


@pytest.mark.parametrize(("algorithm", "shape"), [("OFT", (4, 3, 3)), ("BOFT", (2, 6, 2, 2))])
def test_no_turn_changes_nothing(algorithm: str, shape: tuple[int, ...]) -> None:
    found = delta_of(algorithm, {"oft_blocks": torch.zeros(shape)}, random(12, 5))
    assert not np.any(found)


def test_half_precision_holds_for_what_is_turned_into_rotations() -> None:
    """WebUI takes the difference of blocks in the file's precision, and goes on in full precision."""
    blocks, weight = (random(3, 4, 4, seed=1) / 7).half(), random(12, 5)
    skew = (blocks - blocks.mT).float()
    assert not torch.equal(skew, blocks.float() - blocks.float().mT)
    # Half of a difference makes the same difference again.
    expected = delta_of("OFT", {"oft_blocks": skew / 2}, weight)
    close(delta_of("OFT", {"oft_blocks": blocks}, weight), expected)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.float8_e4m3fn])
def test_blocks_of_other_dtypes_are_full_precision(dtype: torch.dtype) -> None:
    blocks, weight = torch.ones(3, 4, 4).triu().to(dtype), random(12, 5)
    expected = delta_of("OFT", {"oft_blocks": blocks.float()}, weight)
    assert np.array_equal(delta_of("OFT", {"oft_blocks": blocks}, weight), expected)


@pytest.mark.parametrize("largest", [1.0, 1e3, 65504.0])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_large_numbers_still_make_rotations(largest: float, size: int) -> None:
    blocks = random(3, size, size, seed=size) * largest
    blocks = blocks.clamp(-largest, largest)
    weight = random(3 * size, 4)
    turned = delta_of("OFT", {"oft_blocks": blocks}, weight) + numbers(weight)
    assert np.sqrt((turned**2).sum()) == pytest.approx(float(weight.norm()), rel=0.1)


@pytest.mark.parametrize(
    ("algorithm", "tensors", "why"),
    [
        ("OFT", {"oft_blocks": (4, 3, 2)}, "its oft_blocks are [4, 3, 2]; they must be square"),
        ("OFT", {"oft_blocks": (4, 3)}, "its oft_blocks are [4, 3]; they must be square"),
        ("OFT", {"oft_diag": (5, 3, 3)}, "its oft_diag turn 5 times 3 rows"),
        ("OFT", {"oft_blocks": (4, 3, 3), "rescale": (5, 1)}, "its rescale is [5, 1]; it must be"),
        ("OFT", {"oft_blocks": (4, 3, 3), "rescale": (1, 12)}, "its rescale is [1, 12]; it must"),
        ("BOFT", {"oft_blocks": (2, 4, 3, 3)}, "of even size"),
        ("BOFT", {"oft_blocks": (0, 3, 4, 4)}, "of even size"),
        ("BOFT", {"oft_blocks": (2, 4, 4, 4)}, "its oft_blocks turn 4 times 4 rows"),
        ("BOFT", {"oft_blocks": (9, 6, 2, 2)}, "its 9 stages of oft_blocks are too many for 12"),
    ],
)
def test_what_does_not_fit_is_named(
    algorithm: str, tensors: dict[str, tuple[int, ...]], why: str
) -> None:
    module = module_of(algorithm, {name: torch.ones(shape) for name, shape in tensors.items()})
    found = fault(module, torch.zeros(12, 5))
    assert found is not None and why in found
