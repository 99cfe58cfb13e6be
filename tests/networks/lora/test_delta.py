"""Each kind's formula against one written out in loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptengine.networks.lora.delta import LoraModule, bias_delta, fault, inputs, weight_delta
from tests.networks.lora.builders import Array, close, delta_of, module_of, numbers, random

sizes = st.integers(1, 5)
kernels = st.sampled_from([1, 2, 3])


@settings(deadline=None)
@given(out=sizes, into=sizes, rank=sizes, kernel=kernels, cut=st.none() | st.integers(-2, 7))
def test_lora(out: int, into: int, rank: int, kernel: int, cut: int | None) -> None:
    up, down = random(out, rank, 1, 1), random(rank, into, kernel, kernel, seed=1)
    reference = np.zeros((out, into, kernel, kernel))
    for i, r, j, k, n in product(
        range(out), range(rank)[:cut], range(into), range(kernel), range(kernel)
    ):
        reference[i, j, k, n] += float(up[i, r, 0, 0] * down[r, j, k, n])
    tensors = {"lora_up.weight": up, "lora_down.weight": down}
    close(delta_of("LoRA", tensors, torch.zeros(reference.shape), ranks=cut), reference)
    if kernel == 1:
        # Linear layers and convolutions of one pixel stand for each other.
        flat = {name: tensor.flatten(1) for name, tensor in tensors.items()}
        weight = torch.zeros(out, into)
        for form in (flat, tensors):
            close(delta_of("LoRA", form, weight, ranks=cut), reference[:, :, 0, 0])
        close(delta_of("LoRA", flat, torch.zeros(reference.shape), ranks=cut), reference)


def rebuilt(core: Tensor, outer: Tensor, inner: Tensor) -> Array:
    """``out[i, j, k, l] = sum of core[a, b, k, l] outer[a, i] inner[b, j]``, term by term."""
    a_size, b_size, *kernel = core.shape
    result = np.zeros((outer.shape[1], inner.shape[1], *kernel))
    for a, b, i, j in product(range(a_size), range(b_size), *map(range, result.shape[:2])):
        result[i, j] += numbers(core[a, b]) * float(outer[a, i]) * float(inner[b, j])
    return result


@settings(deadline=None)
@given(out=sizes, into=sizes, rank=sizes, kernel=kernels, cut=st.none() | st.integers(0, 3))
def test_lora_with_a_middle_ignores_the_cut(
    out: int, into: int, rank: int, kernel: int, cut: int | None
) -> None:
    up, down = random(out, rank, 1, 1), random(rank, into, 1, 1, seed=1)
    middle = random(rank, rank, kernel, kernel, seed=2)
    tensors = {"lora_up.weight": up, "lora_down.weight": down, "lora_mid.weight": middle}
    reference = rebuilt(middle, up[:, :, 0, 0].T, down[:, :, 0, 0])
    close(delta_of("LoRA", tensors, torch.zeros(reference.shape), ranks=cut), reference)


@settings(deadline=None)
@given(out=sizes, into=sizes, ranks=st.tuples(sizes, sizes), cut=st.none() | st.just(1))
def test_loha_ignores_the_cut(out: int, into: int, ranks: tuple[int, int], cut: int | None) -> None:
    tensors: dict[str, Tensor] = {}
    reference = np.ones((out, into))
    for number, rank in enumerate(ranks, start=1):
        a, b = random(out, rank, seed=number), random(rank, into, seed=9 * number)
        tensors |= {f"hada_w{number}_a": a, f"hada_w{number}_b": b}
        factor = np.zeros((out, into))
        for i, r, j in product(range(out), range(rank), range(into)):
            factor[i, j] += float(a[i, r] * b[r, j])
        reference *= factor
    close(delta_of("LoHa", tensors, torch.zeros(out, into), ranks=cut), reference)


@settings(deadline=None)
@given(out=sizes, into=sizes, rank=sizes, kernel=kernels)
def test_loha_with_cores(out: int, into: int, rank: int, kernel: int) -> None:
    tensors: dict[str, Tensor] = {}
    reference = np.ones((out, into, kernel, kernel))
    for number in (1, 2):
        core = random(rank, rank, kernel, kernel, seed=number)
        a, b = random(rank, out, seed=number), random(rank, into, seed=9 * number)
        tensors |= {f"hada_t{number}": core, f"hada_w{number}_a": a, f"hada_w{number}_b": b}
        reference *= rebuilt(core, a, b)
    close(delta_of("LoHa", tensors, torch.zeros(reference.shape)), reference)


@settings(deadline=None)
@given(
    first=st.tuples(sizes, sizes),
    second=st.tuples(sizes, sizes),
    rank=sizes,
    kernel=kernels,
    forms=st.tuples(st.booleans(), st.sampled_from(["whole", "product", "core"])),
)
def test_lokr(
    first: tuple[int, int],
    second: tuple[int, int],
    rank: int,
    kernel: int,
    forms: tuple[bool, str],
) -> None:
    tensors: dict[str, Tensor] = {}
    if forms[0]:
        tensors["lokr_w1_a"], tensors["lokr_w1_b"] = random(first[0], rank), random(rank, first[1])
        w1 = numbers(tensors["lokr_w1_a"] @ tensors["lokr_w1_b"])
    else:
        tensors["lokr_w1"] = random(*first)
        w1 = numbers(tensors["lokr_w1"])
    if forms[1] == "whole":
        tensors["lokr_w2"] = random(*second, kernel, kernel, seed=3)
        w2 = numbers(tensors["lokr_w2"])
    elif forms[1] == "product":
        a, b = random(second[0], rank, seed=3), random(rank, second[1] * kernel**2, seed=4)
        tensors |= {"lokr_w2_a": a, "lokr_w2_b": b.reshape(rank, second[1], kernel, kernel)}
        w2 = numbers(a @ b).reshape(*second, kernel, kernel)
    else:
        core = random(rank, rank, kernel, kernel, seed=5)
        a, b = random(rank, second[0], seed=3), random(rank, second[1], seed=4)
        tensors |= {"lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b}
        w2 = rebuilt(core, a, b)
    shape = (first[0] * second[0], first[1] * second[1], kernel, kernel)
    reference = np.zeros(shape)
    for p, q, i, j in product(*map(range, (*first, *second))):
        reference[p * second[0] + i, q * second[1] + j] = w1[p, q] * w2[i, j]
    close(delta_of("LoKr", tensors, torch.zeros(shape)), reference)


@settings(deadline=None)
@given(out=sizes, into=sizes, kernel=st.sampled_from([0, 1, 3]), on_input=st.booleans())
def test_ia3_multiplies_the_present_weight(
    out: int, into: int, kernel: int, on_input: bool
) -> None:
    weight = random(out, into, *[kernel] * (2 if kernel else 0))
    factors = random(into if on_input else out, seed=7)
    reference = numbers(weight).copy()
    for i, j in product(range(out), range(into)):
        reference[i, j] *= float(factors[j if on_input else i])
    for shape in ((-1,), (1, -1) if on_input else (-1, 1)):
        tensors = {"weight": factors.reshape(shape), "on_input": torch.tensor(on_input)}
        close(delta_of("IA3", tensors, weight), reference)


@settings(deadline=None)
@given(out=sizes, into=sizes)
def test_full_differences_and_norms_are_what_the_file_holds(out: int, into: int) -> None:
    diff, bias = random(out, into), random(out, seed=2)
    full = {"diff": diff, "diff_b": bias}
    assert torch.equal(
        torch.from_numpy(delta_of("full", full, torch.zeros(out, into))).float(), diff
    )
    norm = {"w_norm": bias, "b_norm": bias * 2}
    assert torch.equal(torch.from_numpy(delta_of("norm", norm, torch.zeros(out))).float(), bias)
    for kind, tensors, expected in (("full", full, bias), ("norm", norm, bias * 2)):
        # Scale is for weights only.
        found = bias_delta(module_of(kind, tensors, 99.0), out)
        assert found is not None and torch.equal(found, expected)
    assert weight_delta(module_of("full", {"diff_b": bias}), torch.zeros(out, into)) is None
    assert bias_delta(module_of("full", {"diff": diff}), out) is None


def test_sums_are_float32_whatever_the_file_holds() -> None:
    up, down = random(6, 3).half(), random(3, 5, seed=1).half()
    module = module_of("LoRA", {"lora_up.weight": up, "lora_down.weight": down}, 0.5)
    found = weight_delta(module, torch.zeros(6, 5, dtype=torch.float16))
    assert found is not None
    assert torch.equal(found, up.float() @ down.float() * 0.5)


def test_the_first_layer_of_an_inpainting_model_is_changed_where_it_reads_latents() -> None:
    up, down = random(8, 2, 1, 1), random(2, 4, 3, 3)
    module = module_of("LoRA", {"lora_up.weight": up, "lora_down.weight": down})
    narrow, wide = (
        weight_delta(module, torch.zeros(8, 4, 3, 3)),
        weight_delta(module, torch.zeros(8, 9, 3, 3)),
    )
    assert narrow is not None and wide is not None
    assert torch.equal(wide[:, :4], narrow)
    assert not wide[:, 4:].any()


def test_a_bias_of_the_weight_is_added_before_the_scale() -> None:
    up, down, bias = random(4, 2), random(2, 6), random(24, seed=5)
    tensors = {"lora_up.weight": up, "lora_down.weight": down, "bias": bias}
    expected = (numbers(up @ down) + numbers(bias).reshape(4, 6)) * 0.25
    close(delta_of("LoRA", tensors, torch.zeros(4, 6), scale=0.25), expected)
    why = fault(module_of("LoRA", tensors | {"bias": random(4)}), torch.zeros(4, 6))
    assert why == "its bias is [4], and the change is [4, 6]"


def decomposed(weight: Array, change: Array, magnitudes: Array, axis: int) -> Array:
    """DoRA's new weight: each row or column of ``weight + change`` gets a length."""
    rows = np.moveaxis(weight + change, axis, 0)
    given = [
        row * length / np.sqrt((row**2).sum()) for row, length in zip(rows, magnitudes, strict=True)
    ]
    return np.moveaxis(np.array(given), 0, axis)


@settings(deadline=None)
@given(
    out=sizes,
    into=sizes,
    kernel=st.sampled_from([0, 1, 3]),
    axis=st.sampled_from([0, 1]),
    algorithm=st.sampled_from(["LoRA", "full", "IA3"]),
    scale=st.sampled_from([1.0, 0.5]),
)
def test_dora_gives_columns_or_rows_their_length(
    *, out: int, into: int, kernel: int, axis: int, algorithm: str, scale: float
) -> None:
    weight = random(out, into, *[kernel] * (2 if kernel else 0), seed=3)
    change = random(*weight.shape, seed=4)
    magnitudes = random(weight.shape[axis], seed=5)
    tensors = {
        "LoRA": {"lora_up.weight": torch.eye(out), "lora_down.weight": change},
        "full": {"diff": change},
        "IA3": {"weight": random(out, seed=6), "on_input": torch.tensor(False)},
    }[algorithm]
    if algorithm == "IA3":
        change = weight * tensors["weight"].reshape(-1, *[1] * (weight.ndim - 1))
    expected = decomposed(numbers(weight), numbers(change) * scale, numbers(magnitudes), axis)
    shape = [1] * weight.ndim
    shape[axis] = -1
    tensors["dora_scale"] = magnitudes.reshape(shape)
    found = delta_of(algorithm, tensors, weight, scale=scale)
    close(found, expected - numbers(weight))


def test_pefts_magnitudes_are_those_of_outputs() -> None:
    weight, change, magnitudes = random(4, 4, seed=1), random(4, 4, seed=2), random(4, seed=3)
    tensors = {"diff": change, "lora_magnitude_vector": magnitudes}
    expected = decomposed(numbers(weight), numbers(change), numbers(magnitudes), 0)
    close(delta_of("full", tensors, weight), expected - numbers(weight))


def test_what_has_no_length_stays_nothing_under_dora() -> None:
    weight = random(4, 3)
    weight[:, 1] = 0
    tensors = {"diff": torch.zeros(4, 3), "dora_scale": torch.tensor([[2.0, 3e4, 5.0]])}
    new = delta_of("full", tensors, weight) + numbers(weight)
    close(np.sqrt((new**2).sum(axis=0)), np.array([2.0, 0.0, 5.0]))


@pytest.mark.parametrize("shape", [(6, 1, 1), (1,), (4,), (1, 5), (2, 3), (1, 1, 6), ()])
def test_magnitudes_of_another_shape_are_named(shape: tuple[int, ...]) -> None:
    module = module_of("full", {"diff": random(5, 6), "dora_scale": torch.ones(shape)})
    why = fault(module, torch.zeros(5, 6))
    assert why is not None
    assert why.startswith(f"its dora_scale is {list(shape)}; it must be one number for each of 6")


def test_a_norm_layer_has_no_magnitudes() -> None:
    module = module_of("norm", {"w_norm": random(5), "dora_scale": torch.ones(1, 5)})
    why = fault(module, torch.zeros(5))
    assert why == "its dora_scale is for matrices, and the model's weight is [5]"


@pytest.mark.parametrize(
    ("kind", "tensors", "shape"),
    [
        ("LoRA", {"lora_up.weight": (4, 2), "lora_down.weight": (3, 6)}, (4, 6)),
        ("LoRA", {"lora_up.weight": (4, 2), "lora_down.weight": (2, 6)}, (6, 4)),
        ("LoRA", {"lora_up.weight": (4,), "lora_down.weight": (2, 6)}, (4, 6)),
        ("LoRA", {"lora_up.weight": (), "lora_down.weight": ()}, (4, 6)),
        ("LoKr", {"lokr_w1": (2, 2), "lokr_w2": (2, 2, 2)}, (4, 4)),
        ("norm", {"w_norm": (3,)}, (4,)),
        ("full", {"diff": (4, 6, 1)}, (4, 5)),
        (
            "LoRA",
            {
                "lora_up.weight": (4, 1),
                "lora_down.weight": (1 << 28, 4),
                "lora_mid.weight": (1, 1 << 28, 3, 3),
            },
            (4, 4, 3, 3),
        ),
    ],
)
def test_what_does_not_fit_is_told_without_computing(
    kind: str, tensors: dict[str, tuple[int, ...]], shape: tuple[int, ...]
) -> None:
    on_meta = {name: torch.empty(size, device="meta") for name, size in tensors.items()}
    weight = torch.empty(shape, device="meta")
    why = fault(module_of(kind, on_meta), weight)
    assert why is not None and "\n" not in why
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        weight_delta(module_of(kind, on_meta), weight)


def test_how_many_inputs_a_change_is_for_is_told_of_what_does_not_fit() -> None:
    module = module_of("LoRA", {"lora_up.weight": random(4, 2), "lora_down.weight": random(2, 7)})
    assert fault(module, torch.zeros(4, 5)) == "it is [4, 7], and the model's is [4, 5]"
    assert inputs(module, torch.zeros(4, 5)) == 7
    assert inputs(LoraModule(None, {"x": random(4, 2)}, 1.0), torch.zeros(4, 5)) is None
