"""GLoRA in the shapes of WebUI and of LyCORIS 3, against loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promptengine.networks.lora.delta import fault
from tests.networks.lora.builders import Array, close, delta_of, module_of, numbers, random

sizes = st.integers(1, 5)


def reference(weight: Array, on_weight: Array, plain: Array) -> Array:
    """``plain + W @ on_weight`` at every place of a kernel."""
    result = plain.copy()
    for o, i, j in product(range(len(weight)), *map(range, on_weight.shape)):
        result[o, j] += weight[o, i] * on_weight[i, j]
    return result


@settings(deadline=None)
@given(out=sizes, into=sizes, rank=sizes, kernel=st.sampled_from([0, 1, 3]))
def test_webuis_shapes_have_no_scale(out: int, into: int, rank: int, kernel: int) -> None:
    weight = random(out, into, *[kernel] * (2 if kernel else 0), seed=9)
    columns = weight[0].numel()
    tensors = {
        "a1.weight": random(rank, into, seed=1),
        "a2.weight": random(into, rank, seed=2),
        "b1.weight": random(rank, columns, seed=3),
        "b2.weight": random(out, rank, seed=4),
        "alpha": torch.tensor(7.0),
    }
    on_weight = numbers(tensors["a2.weight"]) @ numbers(tensors["a1.weight"])
    plain = (numbers(tensors["b2.weight"]) @ numbers(tensors["b1.weight"])).reshape(weight.shape)
    close(delta_of("GLoRA", tensors, weight), reference(numbers(weight), on_weight, plain))


@settings(deadline=None)
@given(out=sizes, into=sizes, kernel=st.sampled_from([0, 1, 3]))
def test_lycoris_3s_shapes_are_scaled(out: int, into: int, kernel: int) -> None:
    rank = 6
    weight = random(out, into, *[kernel] * (2 if kernel else 0), seed=9)
    single = [1, 1] if kernel else []
    tensors = {
        "a1.weight": random(into, rank, *single, seed=1),
        "a2.weight": random(rank, into, *single, seed=2),
        "b1.weight": random(out, rank, *single, seed=3),
        "b2.weight": random(rank, *weight.shape[1:], seed=4),
        "alpha": torch.tensor(3.0),
    }
    flat = {name: numbers(tensor.flatten(1)) for name, tensor in tensors.items() if tensor.ndim}
    plain = (flat["b1.weight"] @ flat["b2.weight"]).reshape(weight.shape)
    expected = reference(numbers(weight), flat["a1.weight"] @ flat["a2.weight"], plain) * 0.5
    close(delta_of("GLoRA", tensors, weight), expected)


def test_shapes_that_fit_no_weight_are_named() -> None:
    names = ("a1", "a2", "b1", "b2")
    tensors = {f"{name}.weight": random(3, 4) for name in names} | {"alpha": torch.tensor(1.0)}
    why = fault(module_of("GLoRA", tensors), torch.zeros(4, 4))
    assert why is not None
    assert "a1.weight [3, 4]" in why and why.endswith("fit no weight [4, 4]")
    why = fault(module_of("GLoRA", tensors), torch.zeros(4))
    assert why == "it is for matrices and convolutions, and the weight is [4]"


def test_a_change_of_nothing_is_nothing() -> None:
    names = {"a1": (2, 4), "a2": (4, 2), "b1": (2, 4), "b2": (3, 2)}
    tensors = {f"{name}.weight": torch.zeros(shape) for name, shape in names.items()}
    found = delta_of("GLoRA", tensors | {"alpha": torch.tensor(1.0)}, random(3, 4))
    assert not np.any(found)
