"""The machine, its floor, and how many multiply-adds are counted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from promptengine.accel.onednn import pack_conv_weights, use_onednn
from tests.bench.floor import measured, multiply_adds, quickest_product
from tests.bench.machine import Machine
from tests.bench.openvino_unet import OpenVinoUnet
from tests.bench.timing import FLOOR
from tests.checkpoints.original import tiny


def test_the_machine_is_described() -> None:
    machine = Machine.here()
    assert machine.threads == torch.get_num_threads()
    assert machine.cores >= 1
    assert machine.gpu == ""
    assert str(machine).startswith(f"{machine.processor}; {machine.cores} cores")
    assert str(machine).endswith(f"torch {torch.__version__}")


def test_a_gpu_comes_first() -> None:
    machine = Machine("AMD EPYC", 16, 8, ("AVX2", "AVX-512"), "2.13.0", "H200")
    assert str(machine) == "H200; AMD EPYC; 16 cores, 8 threads; AVX2 AVX-512; torch 2.13.0"


def test_instructions_are_what_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    able = {"cpu_name": "Xeon", "avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": 1}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    machine = Machine.here()
    assert machine.processor == "Xeon"
    assert machine.instructions == ("AVX2", "AVX-512", "AMX bf16")


def test_a_torch_that_cannot_tell_leaves_instructions_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert Machine.here().instructions == ()
    assert Machine.here().processor


X = torch.ones(2, 6, 8)


@pytest.mark.parametrize(
    ("action", "count"),
    [
        (lambda: functional.linear(X, torch.ones(5, 8)), 2 * 6 * 8 * 5),
        (
            lambda: functional.scaled_dot_product_attention(X[None], X[None], X[None]),
            2 * 2 * 6 * 6 * 8,
        ),
        (lambda: functional.conv2d(X[None], torch.ones(3, 2, 3, 3), padding=1), 6 * 8 * 2 * 3 * 9),
        (lambda: X + X, 0),
    ],
)
def test_multiply_adds_are_counted(action: Callable[[], object], count: int) -> None:
    assert multiply_adds(action) == count


@pytest.mark.slow
@torch.no_grad()
def test_onednn_computes_as_many_as_torch() -> None:
    """An operation of ours that the counter did not know would make × floor too large."""
    plain: Any = tiny("SD1").unet.eval()
    ours: nn.Module = copy.deepcopy(plain)
    x, text = torch.randn(2, 4, 8, 8), torch.randn(2, 77, plain.config.cross_attention_dim)
    with use_onednn(ours, packed=pack_conv_weights(ours, room=2**40)):
        mine, theirs = (multiply_adds(partial(unet, x, 500, text)) for unet in (ours, plain))
    assert mine == theirs > 1e8


def test_actions_stand_beside_the_floor() -> None:
    turns: list[str] = []
    one, two = torch.ones(64, 64), torch.ones(128, 64)

    def product(name: str, x: torch.Tensor) -> None:
        turns.append(name)
        functional.linear(x, one)

    rows = measured(
        {
            "theirs": partial(product, "theirs", one),
            "ours": partial(product, "ours", two),
            "library": lambda: None,
        },
        "theirs",
        rounds=2,
        floor=partial(product, FLOOR, one),
        theirs=("theirs", "library"),
        same_work={"library": "ours"},
    )
    # A round to warm up, two that count, and one more to count multiply-adds.
    assert turns == [FLOOR, "theirs", "ours"] * 4
    assert list(rows) == [FLOOR, "theirs", "ours", "library"]
    assert [row.ours for row in rows.values()] == [False, False, True, False]
    for name, count in {"theirs": 64**3, "ours": 2 * 64**3, "library": 2 * 64**3}.items():
        assert rows[name].rate == pytest.approx(count / rows[name].seconds / 1e9)


def test_the_floor_is_a_product_of_the_type() -> None:
    assert multiply_adds(quickest_product(torch.float32)) == 2048 * 1024 * 1024


@pytest.mark.slow
@torch.no_grad()
def test_openvino_answers_as_diffusers_at_every_size() -> None:
    pytest.importorskip("openvino")
    unet: Any = tiny("SD1").unet.eval()
    width = unet.config.cross_attention_dim
    converted = OpenVinoUnet(unet, torch.float32, width)
    for cells in (8, 16):
        x, text = torch.randn(2, 4, cells, cells), torch.randn(2, 77, width)
        (answer,) = converted.call(x, text)().values()
        expected = unet(x, 500, text, return_dict=False)[0]
        torch.testing.assert_close(torch.from_numpy(answer), expected, rtol=0, atol=1e-4)
