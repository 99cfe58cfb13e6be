"""The hashes in an infotext, and what the site knows of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from promptengine.civitai.shapes import ModelVersion
from promptengine.civitai.site import Site
from promptengine.files.size_limits import json_object
from promptengine.infotext.find_files import hash_list
from promptengine.kinds import NETWORK_KINDS

__all__ = ["NamedHash", "describe_hash", "hashes_in", "look_up"]

_HASH: Final = re.compile(r"[0-9a-f]{8,64}")
_WHOLE: Final = (("checkpoint", "Model"), ("vae", "VAE"))
_MOST: Final = 50


@dataclass(frozen=True, slots=True)
class NamedHash:
    """A hash in an infotext.

    Attributes:
        kind: Of the file, by its name in lists; as written where that is not known.
        name: As written; empty where there is none.
        digest: In lower case.
    """

    kind: str
    name: str
    digest: str


def hashes_in(entries: Mapping[str, str]) -> tuple[NamedHash, ...]:
    """Return the hashes that an infotext's entries name, each once, up to 50.

    Args:
        entries: Values by key: ``Model hash``, ``VAE hash``, the kinds' own lists, and ``Hashes`` of Civitai's programs.
    """
    found: dict[str, NamedHash] = {}

    def add(kind: str, name: str, digest: str) -> None:
        digest = digest.strip().lower()
        if _HASH.fullmatch(digest):
            found.setdefault(digest, NamedHash(kind, name, digest))

    for kind, label in _WHOLE:
        add(kind, entries.get(label, ""), entries.get(f"{label} hash", ""))
    words: dict[str, str] = {}
    for network in NETWORK_KINDS.values():
        words |= dict.fromkeys(network.civitai, network.name)
        for name, digest in hash_list(entries.get(network.infotext.hashes, "").strip('"')).items():
            add(network.name, name, digest)
    for key, value in (json_object(entries.get("Hashes", "")) or {}).items():
        word, _, name = key.partition(":")
        add({"model": "checkpoint"}.get(word, words.get(word, word)), name, str(value))
    return tuple(found.values())[:_MOST]


def look_up(
    site: Site, hashes: tuple[NamedHash, ...], known: dict[str, ModelVersion | None]
) -> list[tuple[NamedHash, ModelVersion | None]]:
    """Ask the site what hashes belong to; None for those that it does not know.

    Args:
        site: Whom to ask.
        hashes: What for.
        known: Answers from before; new ones are added.

    Raises:
        DownloadError: The site cannot be asked.
    """
    for one in hashes:
        if one.digest not in known:
            known[one.digest] = site.by_hash(one.digest)
    return [(one, known[one.digest]) for one in hashes]


def describe_hash(site: Site, one: NamedHash, version: ModelVersion | None) -> dict[str, Any]:
    """Return what JSON tells of a hash; all of the version is None where the site does not know it.

    Args:
        site: Who was asked.
        one: What for.
        version: What it belongs to.
    """
    return {
        **asdict(one),
        "model": version and version.model,
        "version": version and version.name,
        "type": version and version.type,
        "base_model": version and version.base_model,
        "page": version and site.page(version.model_id, version.id),
    }
