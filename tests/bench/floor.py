"""How little time models can take on a machine: that of their multiply-adds, done as plain matrix products."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode

from promptengine.accel.onednn import linear
from tests.bench.timing import FLOOR, Row, compared, interleaved, timed

__all__ = ["measured", "multiply_adds", "quickest_product", "wait"]


def wait(device: str) -> None:
    """Wait until a device has done all that it was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def quickest_product(dtype: torch.dtype, device: str = "cpu") -> Callable[[], object]:
    """Return a matrix product, the quicker one of torch's and oneDNN's, large enough to keep a machine busy.

    Args:
        dtype: Of its numbers.
        device: Where.
    """
    tokens, width = (8192, 8192) if device.startswith("cuda") else (2048, 1024)
    x = torch.randn(tokens, width, device=device).to(dtype)
    weight = torch.randn(width, width, device=device).to(dtype)

    def product(multiply: Callable[[Tensor, Tensor], Tensor]) -> None:
        with torch.no_grad():
            multiply(x, weight)
        wait(device)

    ways = [partial(product, multiply) for multiply in (functional.linear, linear)]
    return min(ways, key=lambda way: min(timed(way, 3)))


def multiply_adds(action: Callable[[], object]) -> int:
    """Count the multiply-adds of an action's matrix products, convolutions and attention.

    Args:
        action: Is done once, in this thread.

    Returns:
        None of what other libraries than torch do.
    """
    with FlopCounterMode(display=False, custom_mapping=_formulas()) as counted:
        action()
    # Torch counts a multiplication and an addition as two.
    return counted.get_total_flops() // 2


def measured(
    actions: Mapping[str, Callable[[], object]],
    base: str,
    *,
    rounds: int,
    floor: Callable[[], object],
    warm: int = 1,
    theirs: Collection[str] = (),
    same_work: Mapping[str, str] | None = None,
) -> dict[str, Row]:
    """Time actions in turns beside the floor, then do each once more to count its multiply-adds.

    Args:
        actions: By name.
        base: What all are compared with.
        rounds: How often each is timed.
        floor: Does nothing but matrix products.
        warm: Rounds before that, which do not count.
        theirs: Actions that are not this project's.
        same_work: Actions whose multiply-adds torch cannot count, and those that do the same ones.
    """
    turns = {FLOOR: floor, **actions}
    seconds = interleaved(turns, rounds, warm=warm)
    work = {name: multiply_adds(action) for name, action in turns.items()}
    work |= {name: work[other] for name, other in (same_work or {}).items()}
    return compared(seconds, base, work=work, theirs=theirs)


def _formulas() -> dict[Any, Callable[..., int]]:
    """Return how operations are counted that torch's counter does not know, as far as they exist."""
    found: dict[Any, Callable[..., int]] = {}
    for library, name, formula in (
        ("aten", "_scaled_dot_product_flash_attention_for_cpu", _attention),
        ("aten", "_scaled_dot_product_flash_attention_for_cpu_backward", _attention_backward),
        ("mkldnn", "_linear_pointwise", _linear),
        ("mkldnn", "_convolution_pointwise", _convolution),
        ("mkldnn", "_convolution_pointwise_", _convolution),
    ):
        operations = getattr(torch.ops, library)
        if hasattr(operations, name):
            found[getattr(operations, name)] = formula
    return found


def _attention(query: Any, key: Any, value: Any, *_: object, **__: object) -> int:
    return flop_counter.sdpa_flop_count(query, key, value)


def _attention_backward(
    gradient: Any, query: Any, key: Any, value: Any, *_: object, **__: object
) -> int:
    return flop_counter.sdpa_backward_flop_count(gradient, query, key, value)


def _linear(x: torch.Size, *_: object, out_shape: torch.Size, **__: object) -> int:
    return 2 * out_shape.numel() * x[-1]


def _convolution(*shapes: object, out_shape: torch.Size, **_: object) -> int:
    # What is added to the result stands before the weight, the bias behind it.
    weight = [one for one in shapes if isinstance(one, torch.Size) and len(one) == 4][-1]
    return 2 * out_shape.numel() * weight[1:].numel()
