"""Whether a result can be looked at."""

from __future__ import annotations

from torch import Tensor

from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds

__all__ = ["finiteness"]


def finiteness(latents: Tensor) -> list[Diagnostic]:
    """Say so where latents hold values that are no numbers."""
    if bool(latents.isfinite().all()):
        return []
    message = "the result holds values that are no numbers, so images are black in part or whole"
    hint = "lower the weights, multipliers or CFG scale, or use --dtype float32"
    return [kinds.NOT_FINITE(message, None, hint)]
