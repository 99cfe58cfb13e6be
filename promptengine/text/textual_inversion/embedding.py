"""Textual inversion: words that stand for learned vectors.

Gal et al., "An Image is Worth One Word" (arXiv:2208.01618). A word's vectors take the places of token
embeddings before the text encoder reads them; nothing else of the model changes. No files here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor

from promptengine.files.weights import detect_kind, is_plain_tensor

__all__ = ["MOST_VECTORS", "Embedding", "embedding_from", "widths_text"]

MOST_VECTORS: Final = 75
"""Vectors that fit between the start and the end token of one chunk."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A word and the vectors that it stands for.

    Attributes:
        name: The word, as it stands in prompts.
        vectors: ``[count, width]``, float32, on the CPU; for SDXL those of its first text encoder.
        digest: SHA-256 of the file in hex, or None where the word came with another file.
        second: ``[count, width]`` for SDXL's second text encoder, else None.
        step: Training steps, where the file says so.
        sd_checkpoint: Hash of the checkpoint it was trained on, where the file says so.
        sd_checkpoint_name: That checkpoint's name.
        path: The file, where there is one of its own.
        brought_by: Name of the file of another network that brings it, where it has none of its own.

    Raises:
        ValueError: On creation, for vectors that no text encoder can read; the text names the fault.
    """

    name: str
    vectors: Tensor
    digest: str | None = None
    second: Tensor | None = None
    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None
    path: Path | None = None
    brought_by: str | None = None

    def __post_init__(self) -> None:
        for part in self.parts:
            if part.ndim != 2 or not part.shape[1] or not part.is_floating_point():
                raise ValueError(f"{_shape(part)} numbers of {part.dtype} are no vectors of a word")
            if not 1 <= len(part) <= MOST_VECTORS:
                raise ValueError(f"{len(part)} vectors; a chunk of text holds 1 to {MOST_VECTORS}")
        if len({len(part) for part in self.parts}) > 1:
            counts = " and ".join(str(len(part)) for part in self.parts)
            raise ValueError(f"{counts} vectors for the two text encoders; they must be as many")

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The vectors for each text encoder, first to last."""
        return (self.vectors,) if self.second is None else (self.vectors, self.second)

    @property
    def count(self) -> int:
        """How many places in a text it takes."""
        return len(self.vectors)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the text encoders it is for: ``(768,)`` for SD1, ``(1024,)`` for SD2,
        ``(768, 1280)`` for SDXL.
        """
        return tuple(part.shape[1] for part in self.parts)


def embedding_from(
    name: str,
    content: Mapping[object, object],
    *,
    digest: str | None = None,
    path: Path | None = None,
) -> Embedding:
    """Build an embedding from what its file holds, in any of the layouts in use.

    These are WebUI's own (``string_to_param`` with one entry, beside ``step`` and the checkpoint),
    SDXL's (``clip_l`` and ``clip_g``), and a single tensor under any name: safetensors hold it as
    ``emb_params``, diffusers under the word it was trained as.

    Args:
        name: The word to give it.
        content: Tensors and metadata by key; the vectors are copied.
        digest: See :class:`Embedding`.
        path: Likewise.

    Raises:
        ValueError: It is none of these, or the vectors cannot be used.
    """
    first, second = _vectors(content)
    step = content.get("step")
    return Embedding(
        name=name,
        vectors=_own(first),
        second=None if second is None else _own(second),
        digest=digest,
        step=step if type(step) is int else None,
        sd_checkpoint=_text(content.get("sd_checkpoint")),
        sd_checkpoint_name=_text(content.get("sd_checkpoint_name")),
        path=path,
    )


def widths_text(widths: tuple[int, ...]) -> str:
    """Say widths in words: ``width 768``, or ``widths 768 and 1280``."""
    return f"width{'s' if len(widths) > 1 else ''} {' and '.join(map(str, widths))}"


def _vectors(content: Mapping[object, object]) -> tuple[object, object | None]:
    if "string_to_param" in content:
        stored = content["string_to_param"]
        if not isinstance(stored, Mapping) or len(cast("Mapping[object, object]", stored)) != 1:
            raise ValueError("its 'string_to_param' holds not exactly one word")
        return next(iter(cast("Mapping[object, object]", stored).values())), None
    if "clip_l" in content and "clip_g" in content:
        return content["clip_l"], content["clip_g"]
    kind = detect_kind(content)
    if len(content) == 1 and kind in ("embedding", "unknown"):
        return next(iter(content.values())), None
    if kind in ("embedding", "unknown"):
        raise ValueError("holds no embedding, or more than one")
    raise ValueError(f"holds weights of the kind {kind}, not an embedding")


def _own(vectors: object) -> Tensor:
    if not is_plain_tensor(vectors):
        raise ValueError(f"holds a {type(vectors).__name__} where vectors should be")
    if not vectors.is_floating_point():
        raise ValueError(f"{_shape(vectors)} numbers of {vectors.dtype} are no vectors of a word")
    if vectors.nbytes > vectors.untyped_storage().nbytes():
        # Repeated numbers: copied, a small file could fill memory.
        raise ValueError("its tensors claim more numbers than the file holds")
    rows = vectors.detach().unsqueeze(0) if vectors.ndim == 1 else vectors.detach()
    return rows.to("cpu", torch.float32, copy=True, memory_format=torch.contiguous_format)


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "no"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
