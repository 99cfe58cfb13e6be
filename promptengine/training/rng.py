"""Random numbers that depend on a seed and a place, and on nothing that happened before."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["derived_seed", "generator"]


def derived_seed(seed: int, purpose: str, index: int) -> int:
    """Mix a seed with the place where it is used.

    Args:
        seed: The run's seed.
        purpose: What is drawn, such as ``noise``.
        index: For which image, batch or epoch.

    Returns:
        0 to 2**64 - 1; equal for equal arguments, on every machine.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def generator(seed: int, purpose: str, index: int) -> torch.Generator:
    """Start a generator on the CPU for one place; see :func:`derived_seed`."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, index))
