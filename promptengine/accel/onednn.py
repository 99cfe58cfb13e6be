"""oneDNN's products and convolutions for models on a processor, where torch would not get the best of it.

Convolutions: oneDNN reads weights in blocks of its own order, and torch lets it make that order again in each
call, which with Stable Diffusion's large weights is a fifth to a third of a UNet's time at 256 x 256. Here
the order is made once for each size of images: on some processors it hangs on the size, and a weight in the order of
another one takes ten times as long as one in no order at all. In float32 most convolutions of wide models are computed
with fewer products (:mod:`promptengine.accel.winograd`), whose weights are ordered once for all sizes, and the images
of models that have such lie in memory with channels last.

Matrix products in float32: torch gives them to MKL, which takes more than twice as long on AMD's processors and as
long on Intel's. Results move within the rounding of float32, those of bfloat16 convolutions not at all.

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
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptengine.accel import winograd
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


class PointConv2d(nn.Conv2d):
    """A convolution of one pixel, which is :func:`linear` where images lie in memory with channels last."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        last = input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last)
        if torch.is_grad_enabled() or not last or input.is_contiguous():
            return super()._conv_forward(input, weight, bias)
        cells = input.permute(0, 2, 3, 1)
        return linear(cells, weight.flatten(1), bias).permute(0, 3, 1, 2)


class PackedWeight:
    """A convolution's weight as it is read quickest, for the images that it has read last.

    Args:
        layer: The convolution as it is; other weights that take the place of its own are not packed.
        workspace: Of a model that is computed with fewer products where its layers suit, and whose images lie in
            memory with channels last; None for another one.
    """

    def __init__(self, layer: nn.Conv2d, workspace: winograd.Workspace | None) -> None:
        self._address, self._version = layer.weight.data_ptr(), layer.weight._version
        self._workspace = workspace
        self._ordered: tuple[torch.Size | None, Tensor] | None = None

    def is_of(self, weight: Tensor) -> bool:
        """Return whether a weight is the one that this was made for, with the numbers that it had."""
        return weight.data_ptr() == self._address and weight._version == self._version

    def convolve(self, layer: nn.Conv2d, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return what the convolution answers to ``x`` ``[batch, channels, height, width]``."""
        if self._workspace is not None:
            if winograd.suits(layer) and winograd.pays(x.shape):
                return winograd.convolve(x, self._made(layer, None), bias, self._workspace)
            x = _channels_last(x)
        how = layer.padding, layer.stride, layer.dilation, layer.groups
        ordered = self._made(layer, x.shape)
        return torch.ops.mkldnn._convolution_pointwise(x, ordered, bias, *how, *_AS_IT_IS)

    def _made(self, layer: nn.Conv2d, shape: torch.Size | None) -> Tensor:
        """Return the weights in oneDNN's order for a shape, or those of minimal filtering for all shapes."""
        if self._ordered is None or self._ordered[0] != shape:
            # The old order goes before the new one is made.
            self._ordered = None
            weight = layer.weight.detach()
            self._ordered = shape, _ordered(layer, weight, shape)
            _let_go(weight)
        return self._ordered[1]


def _channels_last(x: Tensor) -> Tensor:
    """Return images that lie in memory as tokens do."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _ordered(layer: nn.Conv2d, weight: Tensor, shape: torch.Size | None) -> Tensor:
    if shape is None:
        return winograd.transformed(weight)
    return torch.ops.mkldnn._reorder_convolution_weight(
        weight, layer.padding, layer.stride, layer.dilation, layer.groups, list(shape)
    )


Packed = Mapping[nn.Conv2d, PackedWeight]
"""What :func:`pack_conv_weights` made of a model."""


class PackedConv2d(nn.Conv2d):
    """A convolution that has its weight a second time, as it is read quickest.

    ``weight`` is what holds: where another tensor is in its place, such as one that a LoRA changed, or it
    was edited, or gradients are asked for, the convolution is torch's own.
    """

    packing: PackedWeight

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        packing = self.packing
        if (
            not packing.is_of(weight)
            or self.padding_mode != "zeros"
            or input.dtype != weight.dtype
            or torch.is_grad_enabled()
        ):
            return super()._conv_forward(input, weight, bias)
        return packing.convolve(self, input, bias)


def pack_conv_weights(model: nn.Module, *others: nn.Module, room: int | None) -> Packed:
    """Let the weights of models' convolutions be reordered where a processor gains by it and has the memory.

    That is done when each is first called, and again where the size of its images changes.

    Convolutions of one pixel are left out: they are matrix products, and LoRAs change them often. Those of
    3 x 3 take 16/9 of their own memory in float32, or as much as their own where there is less room. Weights
    that are mapped from a file need not stay in memory beside the packed ones, and do not where the system
    can let them go. The models stay as they are.

    Args:
        model: In float32 or bfloat16 on a CPU; elsewhere and in other types nothing gains.
        others: Such as its VAE, which gain where some of their convolutions are computed with fewer products, and
            are left as they are elsewhere.
        room: Bytes that are free; None where that cannot be told, and nothing is packed.
    """
    packing = [
        [layer for layer in one.modules() if type(layer) is nn.Conv2d and _packs(layer)]
        for one in (model, *others)
    ]
    workspace = winograd.Workspace()
    for suits in (winograd.suits, _never):
        chosen = [packing[0], *(layers for layers in packing[1:] if any(map(suits, layers)))]
        sizes = (
            layer.weight.nbytes * (winograd.GROWTH if suits(layer) else 1)
            for layers in chosen
            for layer in layers
        )
        if room is not None and sum(sizes) * _SPARE <= room:
            return {
                layer: PackedWeight(layer, workspace if any(map(suits, layers)) else None)
                for layers in chosen
                for layer in layers
            }
    return {}


@contextmanager
def use_onednn(
    *models: nn.Module, packed: Packed | None = None, journal: UndoLog | None = None
) -> Generator[None]:
    """Let models use oneDNN within a ``with`` block, where a processor gains by it.

    Args:
        models: Their linear layers and convolutions of one pixel do; that takes no memory, and the weights are
            the layers' own, whatever becomes of them meanwhile.
        packed: Convolutions that do, with their packed weights.
        journal: Of the run that this is a part of; by default the block stands alone.
    """
    layers = [
        (layer, quick)
        for model in models
        for layer in model.modules()
        if (quick := _quick_kind(layer)) is not None
    ]
    convolutions: Mapping[Any, PackedWeight] = packed or {}
    with (journal or UndoLog()).block() as changes:
        for layer, quick in layers:
            changes.set(layer, "__class__", quick)
        for layer, packing in convolutions.items():
            changes.shadow(layer, "packing", packing)
            changes.set(layer, "__class__", PackedConv2d)
        yield


def _never(_: nn.Conv2d) -> bool:
    return False


def _usable(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and _knows(weight.dtype)


def _quick_kind(layer: nn.Module) -> type[nn.Module] | None:
    """Return the class that is quicker than a layer's own and reads the same weights; None where there is none."""
    if type(layer) is nn.Linear:
        return OneDNNLinear if _usable(layer.weight) else None
    if type(layer) is nn.Conv2d and layer.kernel_size == layer.stride == (1, 1):
        plain = layer.groups == 1 and layer.padding == (0, 0)
        precise = layer.weight.dtype is torch.float32
        return PointConv2d if plain and precise and _usable(layer.weight) else None
    return None


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
