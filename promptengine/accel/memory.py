"""What fits into a device's memory: the VAE in tiles before it runs out, one clear line when it has."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import nn

from promptengine.errors import OutOfMemoryError
from promptengine.undo import UndoLog

__all__ = [
    "free_bytes",
    "needs_tiles",
    "release_memory",
    "translate_oom",
    "unet_memory_bytes",
    "vae_memory_bytes",
    "vae_tiling",
]

_WIDEST_COPIES: Final = 4.0
"""How many activations of the VAE's second width live at once at full resolution: 3.8 by the peak memory
of a process that decodes 512 x 512 with Stable Diffusion's VAE on a CPU."""


_UNET_COPIES: Final = 64
"""How many activations of a UNet's first width, for two rows at full resolution, a call is taken to need at once; that
is 1.3 GB with SDXL at 1024 x 1024 in float16."""

_WORKSPACE: Final = 256 << 20
"""What the libraries of a device take to work in."""


def unet_memory_bytes(unet: nn.Module, width: int, height: int) -> int:
    """Estimate what a call takes beside the weights, for one image with its negative prompt.

    Args:
        unet: A diffusers ``UNet2DConditionModel``.
        width: Pixels.
        height: Likewise.
    """
    config: Any = unet.config
    numbers = 2 * config.block_out_channels[0] * (width // 8) * (height // 8)
    return _WORKSPACE + _UNET_COPIES * numbers * next(unet.parameters()).element_size()


def vae_memory_bytes(vae: nn.Module, width: int, height: int) -> int:
    """Estimate what decoding one image takes beside the weights; encoding takes less.

    Args:
        vae: A diffusers ``AutoencoderKL``.
        width: Pixels.
        height: Likewise.
    """
    config: Any = vae.config
    channels = max(config.block_out_channels[:2])
    return int(_WIDEST_COPIES * channels * width * height * next(vae.parameters()).element_size())


def free_bytes(device: torch.device) -> int | None:
    """Return what could still be allocated on a device; None where that cannot be told."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    if device.type == "cpu":
        import psutil

        return psutil.virtual_memory().available
    return None


def release_memory(device: torch.device) -> None:
    """Give a device what nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def needs_tiles(vae: nn.Module, device: torch.device, width: int, height: int) -> bool:
    """Return whether an image is too large to be coded whole in the memory that is free, beside the VAE itself."""
    free = free_bytes(device)
    away = sum(weight.nbytes for weight in vae.parameters() if weight.device.type != device.type)
    return free is not None and vae_memory_bytes(vae, width, height) + away > free


@contextmanager
def vae_tiling(*vaes: nn.Module, journal: UndoLog | None = None) -> Generator[None]:
    """Let some of diffusers' VAEs code images in overlapping tiles within a ``with`` block.

    Args:
        vaes: Any.
        journal: Of the run that this is a part of; by default the block stands alone.
    """
    coders: list[Any] = list(vaes)
    with (journal or UndoLog()).block() as changes:
        for coder in coders:
            changes.note(coder, "use_tiling")
            coder.enable_tiling()
        yield


@contextmanager
def translate_oom(device: torch.device) -> Generator[None]:
    """Say in one line that the memory of a device ran out.

    Raises:
        OutOfMemoryError: It did within the block.
    """
    try:
        yield
    except RuntimeError as error:
        # torch says it of a CPU by message alone, of other devices by a type that it has since 2.5.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate" not in str(error):
            raise
        message = f"not enough memory on {device}; ask for smaller or fewer images at once"
        raise OutOfMemoryError(message) from None
