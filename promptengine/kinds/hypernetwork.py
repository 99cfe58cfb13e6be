"""Hypernetworks as a kind of networks."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Final

from promptengine.kinds.kind import InfotextLabels, NetworkKind, OldUse
from promptengine.kinds.tag import plain_tag
from promptengine.plugins import LazyFunction

__all__ = ["HYPERNETWORK"]

_HOME: Final = "promptengine.networks.hypernetwork.kind"
_NOUN: Final = "hypernetwork"


def _is_hypernetwork(stem: str) -> bool:
    # "None" stands for no network in WebUI's lists; an optimizer's state is no network.
    return stem != "None" and not stem.lower().endswith(".optim")


def _old_uses(entries: MutableMapping[str, str]) -> Iterator[OldUse]:
    """Take the setting that WebUI had in 2022."""
    name = entries.pop("Hypernet", "")
    strength = entries.pop("Hypernet strength", "1.0")
    digest = entries.pop("Hypernet hash", "")
    if name:
        yield OldUse("Hypernet", name, digest, strength)


HYPERNETWORK: Final = NetworkKind(
    name="hypernet",
    noun=_NOUN,
    plural="hypernetworks",
    folders=("hypernetworks",),
    suffixes=(".pt", ".safetensors", ".ckpt", ".bin"),
    accepts=_is_hypernetwork,
    page="hypernetworks",
    civitai_types=("Hypernetwork",),
    comfyui_folders=("hypernetworks",),
    tag=plain_tag("hypernet", noun=_NOUN, over_steps=True, by_block=True),
    loader=LazyFunction(f"{_HOME}:HypernetworkLoader"),
    per_image=True,
    regional=True,
    labels=InfotextLabels(
        "Hypernet hashes", "Hypernet skipped", "Hypernet schedule", "Hypernet objects"
    ),
    civitai=("hypernet",),
    old_uses=_old_uses,
    recognize=LazyFunction(f"{_HOME}:is_own_format"),
    describe=LazyFunction(f"{_HOME}:describe_hypernetwork"),
)
"""Small networks on the inputs of attention."""
