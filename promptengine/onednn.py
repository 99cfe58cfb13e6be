"""oneDNN's products and convolutions for models on a processor, where torch would not get the best of it.

Convolutions: oneDNN reads weights in blocks of its own order, and torch lets it make that order anew in each
call, which with Stable Diffusion's large weights is a fifth to a third of a UNet's time at 256 x 256. Here
the order is made once. Matrix products in float32: torch gives them to MKL, which takes more than twice as long
on AMD's processors and as long on Intel's. Results move within the rounding of float32, those of bfloat16
convolutions not at all.

Torch's compiler uses the operations this rests on; its documentation does not name them. Where they are missing,
everything is as torch has it.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PackedConv2d", "QuickLinear", "linear", "quick_products", "quicken"]

_SPARE: Final = 2
"""How many times packed weights must fit into free memory: they come beside what a run takes."""

_PAGE_OUT: Final = 21
"""Linux' ``MADV_PAGEOUT``, which :mod:`mmap` does not name."""

_AS_IT_IS: Final = ("none", [], "")
"""What oneDNN is to do with a result: nothing."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` as torch's own function of this name; quicker where that can be."""
    quick = (
        x.dtype is weight.dtype
        and x.device == weight.device
        and x.numel() > 0
        and not torch.is_grad_enabled()
        and _usable(weight)
    )
    if not quick:
        return functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *_AS_IT_IS)


class QuickLinear(nn.Linear):
    """A linear layer whose product is :func:`linear`'s."""

    def forward(self, input: Tensor) -> Tensor:
        """Project ``input`` ``[..., in_features]``."""
        return linear(input, self.weight, self.bias)


class _Packing(NamedTuple):
    address: int
    version: int
    weight: Tensor


class PackedConv2d(nn.Conv2d):
    """A convolution that has its weight a second time, as oneDNN reads it.

    ``weight`` stays what it was, and what holds: where another tensor takes its place, such as one that a
    LoRA changed, or it is edited, or gradients are asked for, the convolution is torch's own. So it is in
    copies.
    """

    _packing: _Packing | None = None

    def pack(self) -> None:
        """Order the weight anew."""
        weight = self.weight.detach()
        # The order hangs on the channels and hardly on the picture; where it does, the result does not.
        shape = [2, self.in_channels, 32, 32]
        ordered = torch.ops.mkldnn._reorder_convolution_weight(
            weight, self.padding, self.stride, self.dilation, self.groups, shape
        )
        self._packing = _Packing(weight.data_ptr(), self.weight._version, ordered)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        packing = self._packing
        if (
            packing is None
            or weight.data_ptr() != packing.address
            or weight._version != packing.version
            or self.padding_mode != "zeros"
            or input.dtype != weight.dtype
            or torch.is_grad_enabled()
        ):
            return super()._conv_forward(input, weight, bias)
        how = self.padding, self.stride, self.dilation, self.groups
        return torch.ops.mkldnn._convolution_pointwise(
            input, packing.weight, bias, *how, *_AS_IT_IS
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_packing"}


@contextmanager
def quick_products(model: nn.Module) -> Generator[None]:
    """Let the linear layers of a model use oneDNN within a ``with`` block, where a processor gains by it.

    It takes no memory, and the weights are the layers' own, whatever becomes of them meanwhile.
    """
    layers = _linear_layers(model)
    try:
        for layer in layers:
            layer.__class__ = QuickLinear
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Linear


def quicken(model: nn.Module) -> None:
    """Let the linear layers and convolutions of a model use oneDNN, in place, where a processor gains by it.

    Convolutions of one pixel stay as they are: they are matrix products, and LoRAs change them often. Others
    take memory, so they change only where there is plenty. Weights that are mapped from a file need not stay
    in memory beside the packed ones, and do not where the system can let them go.

    Args:
        model: In float32 or bfloat16 on a CPU; elsewhere and in other types nothing happens.
    """
    for layer in _linear_layers(model):
        layer.__class__ = QuickLinear
    convolutions = [
        layer for layer in model.modules() if type(layer) is nn.Conv2d and _packs(layer)
    ]
    if sum(layer.weight.nbytes for layer in convolutions) * _SPARE > _free_bytes():
        return
    for layer in convolutions:
        layer.__class__ = PackedConv2d
        packed: Any = layer
        packed.pack()
        _let_go(layer.weight)


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    return [
        layer for layer in model.modules() if type(layer) is nn.Linear and _usable(layer.weight)
    ]


def _usable(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and _knows(weight.dtype)


def _packs(layer: nn.Conv2d) -> bool:
    square = max(layer.kernel_size) > 1 and isinstance(layer.padding, tuple)
    return square and _usable(layer.weight)


@cache
def _knows(dtype: torch.dtype) -> bool:
    """Whether oneDNN is quick here in numbers of a type."""
    operations = torch.ops.mkldnn
    present = (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and hasattr(operations, "_linear_pointwise")
        and hasattr(operations, "_convolution_pointwise")
        and hasattr(operations, "_reorder_convolution_weight")
        and hasattr(operations, "_is_mkldnn_bf16_supported")
    )
    if not present or dtype not in (torch.float32, torch.bfloat16):
        return False
    return dtype is torch.float32 or operations._is_mkldnn_bf16_supported()


def _free_bytes() -> int:
    import psutil

    return psutil.virtual_memory().available


def _let_go(tensor: Tensor) -> None:
    """Ask Linux to give the memory of a mapped tensor to others; read again, it comes back from its file."""
    own = tensor.untyped_storage().resizable()
    if own or sys.platform != "linux":  # what is torch's own could only go to a swap
        return
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    length = tensor.data_ptr() + tensor.nbytes - start
    if length >= mmap.PAGESIZE:
        advise = ctypes.CDLL(None).madvise
        advise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(_PAGE_OUT))
