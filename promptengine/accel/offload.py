"""How a model is kept on a device with little memory, chosen by what is free there and what the model takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from promptengine.accel.memory import (
    free_bytes,
    release_memory,
    unet_memory_bytes,
    vae_memory_bytes,
)
from promptengine.accel.offload_names import AUTO, OffloadName
from promptengine.accel.residence import LayerByLayer, PartByPart, Residence, Resident
from promptengine.accel.visits import tensors_of
from promptengine.errors import RequestError

__all__ = [
    "OFFLOADS",
    "ModelSizes",
    "Offload",
    "choose_offload",
    "find_offload",
    "place_model",
    "require_resident",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Bytes that a model takes.

    Attributes:
        text: The weights of its text encoders.
        unet: Those of its UNet.
        vae: Those of its VAE.
        unet_work: What a call of the UNet takes beside the weights, for one image of the usual size.
        vae_work: What decoding that image takes.
    """

    text: int
    unet: int
    vae: int
    unet_work: int
    vae_work: int

    @classmethod
    def of(
        cls, text_encoders: Sequence[nn.Module], unet: nn.Module, vae: nn.Module, *, side: int
    ) -> ModelSizes:
        """Return the sizes of a model, wherever it is.

        Args:
            text_encoders: Any.
            unet: A diffusers ``UNet2DConditionModel``.
            vae: A diffusers ``AutoencoderKL``.
            side: Of a usual image, in pixels.
        """
        return cls(
            text=sum(map(_nbytes, text_encoders)),
            unet=_nbytes(unet),
            vae=_nbytes(vae),
            unet_work=unet_memory_bytes(unet, side, side),
            vae_work=vae_memory_bytes(vae, side, side),
        )


@dataclass(frozen=True, slots=True)
class Offload:
    """A way to keep a model on a device.

    Attributes:
        residence: What it makes of a device.
        says: What it means, for people; ``{device}`` stands for the device.
        needs: Bytes of the device that it takes, by the sizes of a model.
        moves: Whether weights are away from the device at times.
        compiles: Whether it goes with a compiled UNet.
    """

    residence: type[Resident | PartByPart | LayerByLayer]
    says: str
    needs: Callable[[ModelSizes], int]
    moves: bool = True
    compiles: bool = True

    @property
    def name(self) -> OffloadName:
        """As settings call it."""
        return self.residence.name


_NONE: Final = Offload(
    Resident,
    "all of the model stays on {device}",
    lambda sizes: sizes.text + sizes.unet + sizes.vae + max(sizes.unet_work, sizes.vae_work),
    moves=False,
)
_MODEL: Final = Offload(
    PartByPart,
    "text encoders, UNet and VAE are on {device} one at a time",
    # The VAE can work in tiles.
    lambda sizes: sizes.unet + sizes.unet_work,
)
_LAYERS: Final = Offload(
    LayerByLayer,
    "text encoders and VAE are on {device} only while they work, and so is each layer of the UNet",
    lambda _: 0,
    compiles=False,
)
OFFLOADS: Final = (_NONE, _MODEL, _LAYERS)
"""All of them, from the quickest to the one that takes the least memory."""


def choose_offload(free: int | None, sizes: ModelSizes) -> Offload:
    """Return the quickest that a device has memory for.

    Args:
        free: Bytes; None where that cannot be told, and the model stays.
        sizes: Of the model.
    """
    if free is None:
        return _NONE
    return next(one for one in OFFLOADS if one.needs(sizes) <= free)


def find_offload(name: str, device: torch.device, *, compiled: bool) -> Offload | None:
    """Return what a setting means on a device; None where it is chosen by the model's size.

    Args:
        name: ``auto``, or the name of one of :data:`OFFLOADS`.
        device: Where the model works. On a CPU, and where free memory cannot be told, ``auto`` lets it stay.
        compiled: Whether the UNet is compiled.

    Raises:
        RequestError: No such name, or it cannot be had there.
    """
    if name == AUTO:
        return _NONE if device.type == "cpu" or free_bytes(device) is None else None
    found = next((one for one in OFFLOADS if one.name == name), None)
    if found is None:
        known = ", ".join([AUTO, *(one.name for one in OFFLOADS)])
        raise RequestError(f"offload must be one of {known} (got {name!r})", field="offload")
    if found.moves and device.type == "cpu":
        message = (
            f"offload is {name!r}, but the model works on the CPU, which it cannot leave; set offload "
            f"to {AUTO} or {_NONE.name}, or choose another device"
        )
        raise RequestError(message, field="offload")
    _require_compilable(found, compiled=compiled)
    return found


def place_model(
    asked: Offload | None,
    device: torch.device,
    parts: Sequence[nn.Module],
    sizes: ModelSizes,
    *,
    compiled: bool,
) -> Residence:
    """Return where the parts of a model are, those that stay on the device put there.

    Args:
        asked: From :func:`find_offload`.
        device: Where they work.
        parts: All of them, on the device or at home.
        sizes: Theirs.
        compiled: Whether the UNet is compiled.

    Raises:
        RequestError: The UNet is compiled, and there is no room for one that is.
    """
    found = asked
    if found is None:
        # A model that was here before may still be there, since its parts know each other.
        release_memory(device)
        free = free_bytes(device)
        found = choose_offload(free, sizes)
        _require_compilable(found, compiled=compiled)
        if found.moves and free is not None:
            _tell(found, device, free, sizes)
    residence = found.residence(device)
    for part in parts:
        if next(part.parameters()).device.type != residence.home.type:
            part.to(residence.home)
    return residence


def require_resident(residence: Residence, what: str) -> None:
    """Refuse what reads a model's weights by itself where these are away.

    Args:
        residence: The engine's.
        what: Needs them, for the message.

    Raises:
        RequestError: They are.
    """
    if residence.fold_bytes is not None:
        message = (
            f"{what} needs all of the model on {residence.device}, and the engine has offload "
            f"{residence.name!r}; open it with offload {_NONE.name!r}"
        )
        raise RequestError(message, field="offload")


def _require_compilable(found: Offload, *, compiled: bool) -> None:
    if compiled and not found.compiles:
        message = (
            f"a compiled UNet cannot have offload {found.name!r}, whose layers come and go; go without "
            "--compile, or set offload to another one"
        )
        raise RequestError(message, field="offload")


def _tell(found: Offload, device: torch.device, free: int, sizes: ModelSizes) -> None:
    """Say in the log what was chosen and why."""
    _log.warning(
        "offload %s: %s, since %.1f GiB are free there and the whole model takes %.1f GiB",
        found.name,
        found.says.format(device=device),
        free / 2**30,
        _NONE.needs(sizes) / 2**30,
    )


def _nbytes(part: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(part))
