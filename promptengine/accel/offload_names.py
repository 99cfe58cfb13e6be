"""The names of ways to keep a model on a device, without torch; see :mod:`promptengine.accel.offload`."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["AUTO", "OffloadName"]

OffloadName = Literal["auto", "none", "model", "layers"]

AUTO: Final[Literal["auto"]] = "auto"
"""Lets memory decide."""
