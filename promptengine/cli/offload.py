"""``--offload``: what leaves a device with little memory, and what a WebUI says of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import get_args

from promptengine.accel.offload_names import AUTO, OffloadName

__all__ = ["add_offload", "offload_of"]


def add_offload(add: Callable[..., object]) -> None:
    """Add the option.

    Args:
        add: ``add_argument`` of a parser or of a group of its options.
    """
    add(
        "--offload",
        choices=get_args(OffloadName),
        help="what leaves a device with little memory: nothing, what is not at work of text encoders, UNet and VAE "
        "(model, WebUI's --medvram), or the UNet's layers too (layers, --lowvram); default: by the free memory, or "
        "as --webui says",
    )


def offload_of(options: argparse.Namespace, devices: Sequence[str]) -> OffloadName:
    """Return what is asked for.

    Commands without the option read weights themselves, so that nothing may leave. What a WebUI says counts where all
    devices can be left, which a CPU cannot.

    Args:
        options: Of the command line.
        devices: Where models work, as torch names them.

    Raises:
        RequestError: There is no such device, or the WebUI's script cannot be read.
    """
    if not hasattr(options, "offload"):
        return "none"
    if options.offload is not None:
        return options.offload
    if options.webui is None:
        return AUTO
    from promptengine.checkpoints.resolve import resolve_device
    from promptengine.integrations.webui.launch_arguments import read_launch_arguments

    told = read_launch_arguments(options.webui).offload
    left = told == AUTO or any(resolve_device(device).type == "cpu" for device in devices)
    return AUTO if left else told
