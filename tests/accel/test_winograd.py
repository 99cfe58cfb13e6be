"""Tests of convolutions with fewer products: the same numbers as the plain sum, and no less exact."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from promptengine.accel import onednn, winograd


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5)),
    after=st.integers(1, 9),
    bias=st.booleans(),
    last=st.booleans(),
    at_once=st.sampled_from([1, 40, 200, 1 << 19]),
)
def test_numbers_are_those_of_the_sum(
    shape: tuple[int, int, int, int], after: int, bias: bool, last: bool, at_once: int
) -> None:
    batch, before, lines, columns = shape
    x = numbers(batch, before, 2 * lines, 2 * columns)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight, added = numbers(after, before, 3, 3, seed=1), numbers(after, seed=2) if bias else None
    kept = x.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_NUMBERS_AT_ONCE", at_once)
        patch.setattr(winograd, "_WEIGHTS_AT_ONCE", at_once)
        found = winograd.convolve(x, winograd.transformed(weight), added, winograd.Workspace())
    assert torch.allclose(found, functional.conv2d(x, weight, added, padding=1), atol=1e-4)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, kept)


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="has no oneDNN to ask")
def test_processors_with_wider_instructions_ask_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = numbers(2, 16, 8, 8), numbers(24, 16, 3, 3, seed=1)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch, "bmm", None)
    with torch.no_grad():
        found = winograd.convolve(x, winograd.transformed(weight), None, winograd.Workspace())
    assert torch.allclose(found, functional.conv2d(x, weight, padding=1), atol=1e-4)


def test_results_are_as_exact_as_the_sums() -> None:
    x, weight = numbers(2, 320, 16, 16), numbers(320, 320, 3, 3, seed=1)
    exact = functional.conv2d(x.double(), weight.double(), padding=1)
    found = winograd.convolve(x, winograd.transformed(weight), None, winograd.Workspace())
    assert error(found, exact) < 1.5 * error(functional.conv2d(x, weight, padding=1), exact)


def test_results_outlive_the_workspace() -> None:
    workspace = winograd.Workspace()
    weight = winograd.transformed(numbers(8, 8, 3, 3))
    first = winograd.convolve(numbers(1, 8, 8, 8), weight, None, workspace)
    kept = first.clone()
    winograd.convolve(numbers(2, 8, 16, 16, seed=3), weight, None, workspace)
    winograd.convolve(numbers(1, 8, 4, 4, seed=4), weight, None, workspace)
    assert torch.equal(first, kept)


def test_workspaces_serve_in_and_out_of_inference_mode() -> None:
    workspace, weight = winograd.Workspace(), winograd.transformed(numbers(8, 8, 3, 3))
    x = numbers(1, 8, 8, 8)
    with torch.inference_mode():
        inside = winograd.convolve(x, weight, None, workspace)
    with torch.no_grad():
        outside = winograd.convolve(x, weight, None, workspace)
    with torch.inference_mode():
        assert torch.equal(winograd.convolve(x, weight, None, workspace), inside)
    assert torch.equal(inside, outside)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(256, 256, 1),
        nn.Conv2d(256, 256, 3),
        nn.Conv2d(256, 256, 3, padding=1, stride=2),
        nn.Conv2d(256, 256, 3, padding=2, dilation=2),
        nn.Conv2d(256, 256, 3, padding=1, groups=2),
        nn.Conv2d(256, 256, 3, padding="same"),
        nn.Conv2d(256, 256, (3, 1), padding=1),
        nn.Conv2d(4, 256, 3, padding=1),
        nn.Conv2d(256, 256, 3, padding=1, dtype=torch.bfloat16),
    ],
    ids=str,
)
def test_other_convolutions_do_not_suit(layer: nn.Conv2d) -> None:
    assert not winograd.suits(layer)
    assert winograd.suits(nn.Conv2d(256, 256, 3, padding=1))


def test_it_pays_for_many_squares() -> None:
    assert winograd.pays(torch.Size((2, 320, 8, 8)))
    for shape in ((1, 320, 8, 8), (2, 320, 7, 16), (2, 320, 16, 7), (320, 16, 16)):
        assert not winograd.pays(torch.Size(shape))
