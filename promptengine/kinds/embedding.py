"""Textual-inversion embeddings as a kind of networks: words in the text, without tags."""

from __future__ import annotations

from typing import Final

from promptengine.kinds.kind import InfotextLabels, NetworkKind
from promptengine.plugins import LazyFunction

__all__ = ["EMBEDDING"]

_HOME: Final = "promptengine.text.textual_inversion.kind"

EMBEDDING: Final = NetworkKind(
    name="embedding",
    noun="embedding",
    article="an",
    plural="embeddings",
    folders=("embeddings", "../embeddings"),
    suffixes=(".pt", ".safetensors", ".bin", ".png", ".webp"),
    page="textual inversion",
    civitai_types=("TextualInversion",),
    comfyui_folders=("embeddings",),
    labels=InfotextLabels("TI hashes", webui=True),
    civitai=("embed",),
    recognize=LazyFunction(f"{_HOME}:is_one_word"),
    describe=LazyFunction(f"{_HOME}:describe_embedding"),
    summarize=LazyFunction(f"{_HOME}:summarize_embeddings"),
    needs_summary=True,
)
"""Words that stand for learned vectors; images among them may be no more than that."""
