"""The kinds there are, by name and by the words of their tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from promptengine.kinds.checkpoints import CHECKPOINT, VAE
from promptengine.kinds.embedding import EMBEDDING
from promptengine.kinds.hypernetwork import HYPERNETWORK
from promptengine.kinds.kind import ModelKind, NetworkKind
from promptengine.kinds.lora import LORA
from promptengine.kinds.upscaler import UPSCALER
from promptengine.plugins import SCRIPT, ObjectRegistry, Plugin

__all__ = [
    "NETWORK_KINDS",
    "find_kind",
    "kind_of_word",
    "model_kinds",
    "register_network_kind",
    "tag_kinds",
    "tag_words",
]

_WORD: Final = re.compile(r"\w+")


def _check(kind: NetworkKind) -> None:
    if not all(map(_WORD.fullmatch, (kind.name, *kind.words))):
        raise ValueError("its name and the words of its tag must be letters, digits and _")
    if kind.name in _OTHERS:
        raise ValueError(f"{kind.name!r} is the name of other files; take another one")
    if not kind.folders or not kind.suffixes:
        raise ValueError("it must name the folders and the suffixes of its files")
    if kind.tag is not None and (not kind.words or kind.loader is None):
        raise ValueError("a kind with a tag must have a word that opens it and a loader")


_OTHERS: Final[Mapping[str, ModelKind]] = {kind.name: kind for kind in (CHECKPOINT, VAE, UPSCALER)}

NETWORK_KINDS: Final[ObjectRegistry[NetworkKind]] = ObjectRegistry(
    "promptengine.network_kinds",
    "network kind",
    NetworkKind,
    (HYPERNETWORK, LORA, EMBEDDING),
    spellings=lambda kind: (kind.name, *kind.words),
    check=_check,
)
"""Every kind of networks by its name."""


def model_kinds() -> Mapping[str, ModelKind]:
    """Return every kind of model files by its name: those with tags, checkpoints and VAEs, then the others."""
    kinds: Iterable[NetworkKind] = NETWORK_KINDS.values()
    tagged = {kind.name: kind for kind in kinds if kind.tag is not None}
    return {**tagged, **_OTHERS, **NETWORK_KINDS}


def find_kind(name: str) -> ModelKind:
    """Look a kind up by its name.

    Raises:
        KeyError: No such kind.
    """
    return _OTHERS.get(name) or NETWORK_KINDS[name]


def tag_kinds() -> tuple[NetworkKind, ...]:
    """Return the kinds that have tags."""
    return tuple(kind for kind in NETWORK_KINDS.values() if kind.tag is not None)


def kind_of_word(word: str) -> NetworkKind | None:
    """Look up which kind's tag a word opens; None where there is none."""
    # Those of plugins are not even looked for as long as a prompt names none.
    for kinds in (NETWORK_KINDS.builtins, NETWORK_KINDS):
        for kind in kinds.values():
            if word in kind.words:
                return kind
    return None


def tag_words() -> tuple[str, ...]:
    """Return all words that open a tag."""
    return tuple(word for kind in NETWORK_KINDS.values() for word in kind.words)


def register_network_kind(kind: NetworkKind, *, origin: str = SCRIPT) -> None:
    """Add a kind of networks for the rest of the process.

    Registries that are open already know no folders of it.

    Args:
        kind: The kind.
        origin: Who adds it, as infotexts shall say.

    Raises:
        PluginError: It is no kind of networks, cannot be used, or has a name or word that is taken.
    """
    NETWORK_KINDS.register(kind, Plugin(origin))
