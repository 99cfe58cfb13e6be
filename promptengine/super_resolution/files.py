"""Reads the files of networks that enlarge images, whatever program wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast

import torch
from torch import Tensor, nn

from promptengine.errors import NetworkFormatError, UnsupportedNetworkError
from promptengine.files.weights import (
    file_format,
    is_plain_tensor,
    read_pickled,
    read_safetensors,
)
from promptengine.super_resolution.architecture import Architecture, NetworkPlan, Shapes
from promptengine.super_resolution.compact import COMPACT
from promptengine.super_resolution.padding import pad_to_multiple
from promptengine.super_resolution.rrdb import RRDB
from promptengine.super_resolution.swinir import SWINIR

__all__ = [
    "ARCHITECTURES",
    "UpscalerNetwork",
    "find_architecture",
    "load_upscaler",
    "plan_upscaler",
    "without_wrapper",
]

T = TypeVar("T")

ARCHITECTURES: Final[Sequence[Architecture]] = (RRDB, COMPACT, SWINIR)
"""Every architecture that is read, the first that detects its own wins."""

_WRAPPERS: Final = ("params_ema", "params-ema", "params", "model", "net", "state_dict")
"""Keys under which training programs keep the weights, the smoothed ones first."""

_PARALLEL: Final = "module."
_UNREAD: Final = 3
_LONGEST_NAME: Final = 80


@dataclass(frozen=True, slots=True, eq=False)
class UpscalerNetwork:
    """A network that enlarges images, ready to be run.

    Attributes:
        path: Its file.
        architecture: What it is.
        module: Float32, in evaluation mode.
        scale: How many times an image's sides grow.
        floats: About how many numbers are alive at once for each pixel that goes in.
        init_draws: How many random numbers the original code draws when it makes such a network, before the
            weights take their place.
        multiple: What the sides of an image must be a multiple of, in pixels; others are continued.
        least: How long they must be, likewise.
    """

    path: Path
    architecture: Architecture
    module: nn.Module
    scale: int
    floats: int
    init_draws: int
    multiple: int = 1
    least: int = 1

    def run(self, x: Tensor) -> Tensor:
        """Enlarge an image ``[1, 3, height, width]``, float32, 0 to 1, of any size.

        Raises:
            NetworkFormatError: What the network makes is no image.
        """
        height, width = (side * self.scale for side in x.shape[2:])
        made = self.module(pad_to_multiple(x, self.multiple, self.least))
        if not made.isfinite().all():
            raise NetworkFormatError("makes values that are no numbers", path=self.path)
        return made[:, :, :height, :width].clamp(0, 1)

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return sum(weight.nbytes for weight in self.module.parameters())


def load_upscaler(path: Path, device: torch.device | str = "cpu") -> UpscalerNetwork:
    """Read a network in any of the known architectures; nothing that the file asks for is run.

    Args:
        path: A ``.pth``, ``.pt`` or ``.safetensors`` file; its suffix plays no part.
        device: Where the network is to live.

    Raises:
        UnsupportedNetworkError: It is of none of the architectures.
        NetworkFormatError: The file cannot be read, asks to run code, or holds a network that cannot be built.
    """
    weights = _read(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        found = plan_upscaler(shapes)
        if found is None:
            known = ", ".join(one.name for one in ARCHITECTURES)
            noun = f"an upscaler whose architecture is none of {known}"
            raise UnsupportedNetworkError(noun, path=path)
        architecture, plan = found
        module = _filled(plan, weights).eval().requires_grad_(False).to(device)
    except ValueError as failure:
        message = f"no upscaler that can be used: {failure}"
        raise NetworkFormatError(message, path=path) from None
    return UpscalerNetwork(
        path=path,
        architecture=architecture,
        module=module,
        scale=plan.scale,
        floats=plan.floats,
        init_draws=_convolved(module) + plan.redrawn,
        multiple=plan.multiple,
        least=plan.least,
    )


def plan_upscaler(shapes: Shapes) -> tuple[Architecture, NetworkPlan] | None:
    """Tell what a network is from the names and shapes of its weights; None for one that is no upscaler.

    Raises:
        ValueError: It is one that cannot be built; says why.
    """
    architecture = find_architecture(shapes)
    if architecture is None:
        return None
    plan = architecture.plan(shapes)
    wanted = {name: tuple(tensor.shape) for name, tensor in _empty(plan).state_dict().items()}
    if missing := [name for name in wanted if name not in plan.names]:
        raise ValueError(f"it lacks {_listed(missing)}")
    if unread := [there for name, there in plan.names.items() if name not in wanted]:
        raise ValueError(f"it holds {_listed(unread)}, which no {architecture.name} network has")
    for name, shape in wanted.items():
        there = plan.names[name]
        if shapes[there] != shape:
            found = f"{list(shapes[there])} where {list(shape)} belongs"
            raise ValueError(f"its {there!r} has the shape {found}")
    return architecture, plan


def find_architecture(shapes: Shapes) -> Architecture | None:
    """Tell the architecture of a network from the names and shapes of its weights; None for others."""
    return next((one for one in ARCHITECTURES if one.detect(shapes)), None)


def without_wrapper(shapes: Shapes) -> Shapes:
    """Return the shapes of an upscaler's weights by their bare names, where they are those of one.

    Args:
        shapes: By names that may begin with what a training program laid around the weights, such as
            ``params_ema.``.
    """
    inside = [
        {
            name.removeprefix(f"{wrapper}."): shape
            for name, shape in shapes.items()
            if name.startswith(f"{wrapper}.")
        }
        for wrapper in _WRAPPERS
    ]
    bare = [*(_without_parallel(one) for one in (shapes, *inside))]
    return next((one for one in bare if find_architecture(one) is not None), shapes)


def _unwrapped(content: Mapping[object, object]) -> dict[str, Tensor]:
    """Return the weights in what a file holds, without what training programs lay around them."""
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, dict):
            content = cast("dict[object, object]", inner)
            break
    return _without_parallel(
        {
            key: value
            for key, value in content.items()
            if isinstance(key, str) and is_plain_tensor(value)
        }
    )


def _without_parallel(weights: Mapping[str, T]) -> dict[str, T]:
    """Weights by name, without what training on several GPUs puts before each."""
    if weights and all(name.startswith(_PARALLEL) for name in weights):
        return {name.removeprefix(_PARALLEL): weight for name, weight in weights.items()}
    return dict(weights)


def _read(path: Path) -> dict[str, Tensor]:
    if file_format(path) == "safetensors":
        tensors, _ = read_safetensors(path)
        return _unwrapped(cast("dict[object, object]", tensors))
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise NetworkFormatError("holds no weights by name", path=path)
    return _unwrapped(cast("dict[object, object]", content))


def _empty(plan: NetworkPlan) -> nn.Module:
    with torch.device("meta"):
        return plan.build()


def _filled(plan: NetworkPlan, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return the module with its weights, in float32."""
    filled: dict[str, Tensor] = {}
    module = _empty(plan)
    for name in module.state_dict():
        tensor = weights[plan.names[name]]
        if not tensor.is_floating_point():
            raise ValueError(f"its {plan.names[name]!r} holds no fractions but {tensor.dtype}")
        filled[name] = tensor.to(torch.float32, copy=True)
    module.load_state_dict(filled, strict=True, assign=True)
    return module


def _listed(names: Sequence[str]) -> str:
    first = ", ".join(repr(name[:_LONGEST_NAME]) for name in names[:_UNREAD])
    return first if len(names) <= _UNREAD else f"{first} and {len(names) - _UNREAD} more"


def _convolved(module: nn.Module) -> int:
    """Return how many random numbers torch draws for the convolutions and projections of a module."""
    return sum(
        weight.numel()
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
        for weight in layer.parameters(recurse=False)
    )
