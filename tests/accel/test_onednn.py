"""Tests of what oneDNN computes in torch's place: the same numbers, and never from weights that are no more."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from promptengine.accel import onednn
from promptengine.accel.onednn import (
    OneDNNLinear,
    PackedConv2d,
    PointConv2d,
    linear,
    pack_conv_weights,
    use_onednn,
)

PLENTY = 1 << 30
TYPES = [
    pytest.param(
        dtype,
        marks=pytest.mark.skipif(not onednn._knows(dtype), reason=f"{dtype} is not quick here"),
    )
    for dtype in (torch.float32, torch.bfloat16)
]


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def layers(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(4, 32, 3, padding=1),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(64, 8, 1),
    )
    return made.to(dtype).requires_grad_(False)


def close(one: Tensor, other: Tensor) -> bool:
    precise = one.dtype is torch.float32
    return torch.allclose(
        one, other, rtol=1e-5 if precise else 2e-2, atol=1e-5 if precise else 2e-2
    )


@given(
    rows=st.lists(st.integers(0, 5), max_size=3),
    before=st.integers(1, 40),
    after=st.integers(1, 40),
    bias=st.booleans(),
    turned=st.booleans(),
)
def test_products_are_torchs(
    rows: list[int], before: int, after: int, bias: bool, turned: bool
) -> None:
    x, weight = numbers(*rows, before), numbers(after, before, seed=1)
    if turned:
        x, weight = x.mT.contiguous().mT if x.ndim > 1 else x, weight.T.contiguous().T
    added = numbers(after, seed=2) if bias else None
    with torch.no_grad():
        assert close(linear(x, weight, added), functional.linear(x, weight, added))


def test_products_of_other_kinds_are_torchs_own() -> None:
    weight = numbers(3, 4).requires_grad_()
    linear(numbers(2, 4), weight).sum().backward()
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    with torch.no_grad():
        double = linear(numbers(2, 4).double(), numbers(3, 4).double())
        assert double.dtype is torch.float64
        with pytest.raises(RuntimeError):
            linear(numbers(2, 4), numbers(3, 4).double())


@pytest.mark.parametrize("dtype", TYPES)
def test_models_compute_the_same_and_are_as_before_afterwards(dtype: torch.dtype) -> None:
    model = nn.Sequential(layers(dtype), nn.Flatten(), nn.Linear(8 * 30, 5).to(dtype))
    x = numbers(2, 4, 10, 12, dtype=dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kinds = [type(layer) for layer in model.modules()]
    with torch.no_grad():
        expected = model(x)
        packed = pack_conv_weights(model, room=PLENTY)
        with pytest.raises(KeyError), use_onednn(model, packed=packed):
            convolutions: Any = model[0]
            changed = [type(layer) for layer in (*convolutions, model[2])]
            point = PointConv2d if dtype is torch.float32 else nn.Conv2d
            assert changed == [PackedConv2d, PackedConv2d, point, OneDNNLinear]
            assert close(model(x), expected)
            raise KeyError
        assert torch.equal(model(x), expected)
    assert [type(layer) for layer in model.modules()] == kinds
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    copy.deepcopy(model)


def exchanged(layer: nn.Conv2d) -> None:
    layer.weight.data = layer.weight.data * 2


def edited(layer: nn.Conv2d) -> None:
    with torch.no_grad():
        layer.weight.mul_(2)


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="not quick here")
@pytest.mark.parametrize("change", [exchanged, edited])
def test_other_weights_count_at_once(change: Any) -> None:
    model, x = layers(), numbers(1, 4, 8, 8)
    layer: Any = model[0]
    kept = layer.weight.data
    packed = pack_conv_weights(model, room=PLENTY)
    with torch.no_grad(), use_onednn(packed=packed):
        before = layer(x)
        change(layer)
        bias = layer.bias[:, None, None]
        assert close(layer(x) - bias, 2 * (before - bias))
        if change is exchanged:
            layer.weight.data = kept
            assert torch.equal(layer(x), before)


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="not quick here")
def test_packed_convolutions_have_gradients_and_edges() -> None:
    model, plain = layers(), layers()
    with use_onednn(model, packed=pack_conv_weights(model, room=PLENTY)):
        x = numbers(1, 4, 8, 8).requires_grad_()
        model(x).sum().backward()
        given = x.grad
        x.grad = None
        plain(x).sum().backward()
        assert given is not None and x.grad is not None and close(given, x.grad)
        first: Any = (model[0], plain[0])
        for layer in first:
            layer.padding_mode = "circular"
        with torch.no_grad():
            assert close(model(x), plain(x))


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="not quick here")
def test_weights_are_ordered_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of another size they would be read at a tenth of the speed on some processors."""
    model, ordered = layers(), []
    reorder = torch.ops.mkldnn._reorder_convolution_weight

    def reordering(*arguments: Any) -> Tensor:
        ordered.append(arguments[-1])
        return reorder(*arguments)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_convolution_weight", reordering)
    with torch.no_grad():
        expected = {size: model(numbers(1, 4, size, size)) for size in (8, 16)}
        packed = pack_conv_weights(model, room=PLENTY)
        for size in (8, 8, 16, 16, 8):
            with use_onednn(packed=packed):
                assert close(model(numbers(1, 4, size, size)), expected[size])
    first = [shape for shape in ordered if shape[1] == 4]
    assert first == [[1, 4, 8, 8], [1, 4, 16, 16], [1, 4, 8, 8]]
    assert len(ordered) == 6


def test_what_does_not_gain_stays() -> None:
    whole, small = layers(), sum(layer.weight.nbytes for layer in layers())
    for model, room in (
        (layers(torch.float64), PLENTY),
        (layers().to("meta"), PLENTY),
        (whole, small),
        (whole, None),
    ):
        assert pack_conv_weights(model, room=room) == {}


def wide() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(4, 256, 3, padding=1),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(256, 256, 1),
        nn.Conv2d(256, 256, 3, padding=1, bias=False),
    )
    return made.requires_grad_(False)


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="not quick here")
@pytest.mark.parametrize(("height", "width"), [(8, 16), (7, 9), (2, 2)])
def test_wide_convolutions_compute_the_same_at_every_size(height: int, width: int) -> None:
    model, x = wide(), numbers(2, 4, height, width)
    with torch.no_grad():
        expected = model(x)
        with use_onednn(model, packed=pack_conv_weights(model, room=PLENTY)):
            assert close(model(x), expected)


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="not quick here")
@pytest.mark.parametrize("change", [exchanged, edited])
def test_other_weights_of_wide_convolutions_count_at_once(change: Any) -> None:
    model, x = wide(), numbers(2, 4, 8, 8)
    with torch.no_grad(), use_onednn(model, packed=pack_conv_weights(model, room=PLENTY)):
        before = model(x)
        for layer in (model[3], model[4]):
            change(layer)
        bias: Any = model[3].bias
        bias.mul_(2)
        assert close(model(x), 4 * before)


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="not quick here")
def test_weights_of_fewer_products_serve_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = wide(), []
    transform = onednn.winograd.transformed

    def transforming(weight: Tensor) -> Tensor:
        made.append(weight.shape)
        return transform(weight)

    monkeypatch.setattr(onednn.winograd, "transformed", transforming)
    packed = pack_conv_weights(model, room=PLENTY)
    with torch.no_grad():
        for size in (8, 16, 8):
            x = numbers(2, 4, size, size)
            expected = model(x)
            with use_onednn(model, packed=packed):
                assert close(model(x), expected)
    assert made == [(256, 256, 3, 3)] * 2


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="not quick here")
def test_larger_weights_are_made_where_they_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = wide(), []
    monkeypatch.setattr(onednn.winograd, "transformed", made.append)
    plain = sum(layer.weight.nbytes for layer in model if isinstance(layer, nn.Conv2d))
    packed = pack_conv_weights(model, room=2 * plain)
    with torch.no_grad(), use_onednn(packed=packed):
        model(numbers(2, 4, 8, 8))
    assert len(packed) == 3 and not made


@pytest.mark.skipif(not onednn._knows(torch.float32), reason="not quick here")
def test_other_models_are_packed_where_fewer_products_pay() -> None:
    model, narrow = (nn.Sequential(nn.Conv2d(4, 8, 3)) for _ in range(2))
    other = wide()
    packed = pack_conv_weights(model, narrow, other, room=PLENTY)
    assert model[0] in packed
    assert narrow[0] not in packed
    assert sum(layer in packed for layer in other) == 3
