"""Embeddings of random vectors, and files that hold them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from promptengine.text.textual_inversion.embedding import Embedding


def vectors(count: int = 2, width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def word(name: str, count: int = 2, width: int = 8, seed: int = 0) -> Embedding:
    return Embedding(name, vectors(count, width, seed), digest=name.encode().hex() * 4)


def as_json(rows: Tensor, name: str = "conan", step: int = 250) -> bytes:
    """WebUI's layout of an embedding inside an image."""
    content = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": {"TORCHTENSOR": rows.tolist()}},
        "name": name,
        "step": step,
        "sd_checkpoint_name": None,
    }
    return json.dumps(content).encode()


def write_text_image(path: Path, document: bytes) -> None:
    """An image with an embedding in its text chunk."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("sd-ti-embedding", base64.b64encode(document).decode())
    Image.new("RGB", (16, 16), "red").save(path, format="PNG", pnginfo=chunks)


def mask() -> Sequence[int]:
    """The sequence that hides data in pixels, number by number."""
    state, drawn = 0, []
    for _ in range(100_000):
        state = (1664525 * state + 1013904223) % 2**32
        drawn.append(state % 255 % 16)
    return drawn


def write_pixel_image(
    path: Path, document: bytes, *, height: int = 32, border: int = 0, compressed: bool = True
) -> None:
    """An image between two blocks of data: lower halves of bytes left, upper ones right."""
    data = zlib.compress(document) if compressed else document
    halves = [[byte % 16 for byte in data], [byte // 16 for byte in data]]
    columns = -(-len(data) // (height * 3))
    blocks: list[np.ndarray] = []
    for half in halves:
        filled = np.resize(half, height * columns * 3)
        hidden = filled ^ np.array(mask()[: len(filled)])
        # The upper bits are decoration, here a plain gray.
        blocks.append((hidden + 64).astype(np.uint8).reshape(height, columns, 3))
    black = np.zeros((height, 1, 3), dtype=np.uint8)
    shown = np.full((height, 24, 3), 201, dtype=np.uint8)
    pixels = np.concatenate([blocks[0], black, shown, black, blocks[1]], axis=1)
    framed = np.pad(pixels, ((border, border), (border, border), (0, 0)))
    Image.fromarray(framed).save(path, lossless=True)
