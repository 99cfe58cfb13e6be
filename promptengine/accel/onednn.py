"""oneDNN's products and convolutions for models on a processor, where torch would not get the best of it.

Convolutions: oneDNN reads weights in blocks of its own order, and torch lets it make that order again in each
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
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptengine.undo import UndoLog

__all__ = [
    "OneDNNLinear",
    "Packed",
    "PackedConv2d",
    "PackedWeight",
    "linear",
    "pack_conv_weights",
    "use_onednn",
]

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


class OneDNNLinear(nn.Linear):
    """A linear layer whose product is :func:`linear`'s."""

    def forward(self, input: Tensor) -> Tensor:
        """Project ``input`` ``[..., in_features]``."""
        return linear(input, self.weight, self.bias)


class PackedWeight(NamedTuple):
    """A convolution's weight as oneDNN reads it.

    Attributes:
        weight: Its numbers in oneDNN's order.
        address: Of the weight it was made of.
        version: Of that one.
    """

    weight: Tensor
    address: int
    version: int


Packed = Mapping[nn.Conv2d, PackedWeight]
"""What :func:`pack_conv_weights` made of a model."""


class PackedConv2d(nn.Conv2d):
    """A convolution that has its weight a second time, as oneDNN reads it.

    ``weight`` is what holds: where another tensor is in its place, such as one that a LoRA changed, or it
    was edited, or gradients are asked for, the convolution is torch's own.
    """

    packing: PackedWeight

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        packing = self.packing
        if (
            weight.data_ptr() != packing.address
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


def pack_conv_weights(model: nn.Module, *, room: int | None) -> Packed:
    """Reorder the weights of a model's convolutions where a processor gains by it and has the memory.

    Convolutions of one pixel are left out: they are matrix products, and LoRAs change them often. Weights
    that are mapped from a file need not stay in memory beside the packed ones, and do not where the system
    can let them go. The model stays as it is.

    Args:
        model: In float32 or bfloat16 on a CPU; elsewhere and in other types nothing gains.
        room: Bytes that are free; None where that cannot be told, and nothing is packed.
    """
    layers = [layer for layer in model.modules() if type(layer) is nn.Conv2d and _packs(layer)]
    if room is None or sum(layer.weight.nbytes for layer in layers) * _SPARE > room:
        return {}
    packed: dict[nn.Conv2d, PackedWeight] = {}
    for layer in layers:
        weight = layer.weight.detach()
        # The order hangs on the channels and hardly on the image; where it does, the result does not.
        shape = [2, layer.in_channels, 32, 32]
        ordered = torch.ops.mkldnn._reorder_convolution_weight(
            weight, layer.padding, layer.stride, layer.dilation, layer.groups, shape
        )
        packed[layer] = PackedWeight(ordered, weight.data_ptr(), layer.weight._version)
        _let_go(weight)
    return packed


@contextmanager
def use_onednn(
    *models: nn.Module, packed: Packed | None = None, journal: UndoLog | None = None
) -> Generator[None]:
    """Let models use oneDNN within a ``with`` block, where a processor gains by it.

    Args:
        models: Their linear layers do; that takes no memory, and the weights are the layers' own, whatever
            becomes of them meanwhile.
        packed: Convolutions that do, with their packed weights.
        journal: Of the run that this is a part of; by default the block stands alone.
    """
    layers = [
        layer
        for model in models
        for layer in model.modules()
        if type(layer) is nn.Linear and _usable(layer.weight)
    ]
    convolutions: Mapping[Any, PackedWeight] = packed or {}
    with (journal or UndoLog()).block() as changes:
        for layer in layers:
            changes.set(layer, "__class__", OneDNNLinear)
        for layer, packing in convolutions.items():
            changes.shadow(layer, "packing", packing)
            changes.set(layer, "__class__", PackedConv2d)
        yield


def _usable(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and _knows(weight.dtype)


def _packs(layer: nn.Conv2d) -> bool:
    square = max(layer.kernel_size) > 1 and isinstance(layer.padding, tuple)
    return square and _usable(layer.weight)


@cache
def _knows(dtype: torch.dtype) -> bool:
    """Return whether oneDNN is quick here in numbers of a type."""
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
