"""What numbers of a request may be."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

from promptengine.validation import Between, MultipleOf

__all__ = [
    "LATENT_SCALE",
    "MAX_SEED",
    "Blur",
    "Multiplier",
    "Origin",
    "Pixels",
    "Seed",
    "Share",
    "Side",
    "drawn_seed",
]

MAX_SEED = 2**64 - 1
LATENT_SCALE = 8
"""Pixels along one side of a latent cell."""

_LARGEST = 16384

Share = Annotated[float, Between(0, 1)]
"""How much of something: 0 is nothing, 1 all."""

Pixels = Annotated[int, Between(0, _LARGEST)]
Side = Annotated[int, Between(LATENT_SCALE, _LARGEST), MultipleOf(LATENT_SCALE)]
"""Pixels of an image's side."""

Origin = Annotated[int, Between(LATENT_SCALE, _LARGEST)]
"""Pixels of a side of the image whose composition a seed keeps."""

Blur = Annotated[float, Between(0, 256)]
"""Sigma in pixels."""

Seed = Annotated[int, Between(-1, MAX_SEED)]
"""Of random numbers; -1 has one drawn."""

_DRAWN: Final = 2**32 - 2


def drawn_seed(seed: int) -> int:
    """Return a seed, or where it is -1 one that is drawn, below what WebUI draws below."""
    return secrets.randbelow(_DRAWN) if seed == -1 else seed


Multiplier = Annotated[float, Between(-1000, 1000)]
"""Of a network."""
