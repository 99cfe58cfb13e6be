"""The networks of an infotext: named by tags, by old settings, by hashes, or by Civitai's list."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from promptengine.errors import RequestError
from promptengine.infotext.draft import Draft, shown_value
from promptengine.infotext.find_files import FileQuery, hashed_name
from promptengine.infotext.resources import LABEL, Resource, read_resources
from promptengine.infotext.write import skipped_items
from promptengine.kinds import NETWORK_KINDS, NetworkKind
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.registry.registry import Kind
from promptengine.request.edit import append_network, names_network

__all__ = ["rename_networks", "take_old_networks", "take_resources", "take_skipped"]

_MOST_NETWORKS: Final = 200
"""Of one kind that are looked up; no image has more."""


def take_old_networks(draft: Draft) -> None:
    """Networks that were settings before they had tags: WebUI's in 2022, and an extension's."""
    for kind in NETWORK_KINDS.values():
        for use in kind.old_uses(draft.left):
            name, digest = hashed_name(use.name, use.digest)
            if use.problem:
                draft.refuse(use.key, use.name, use.problem)
            elif name and name != "None":
                _append_old_network(draft, kind, name, digest, use.multiplier)


def _append_old_network(
    draft: Draft, kind: NetworkKind, name: str, digest: str, multiplier: str
) -> None:
    entry, remarks = draft.finder.find(FileQuery(kind.name, name, digest.lower()))
    draft.diagnostics += remarks
    name = name if entry is None else entry.name
    try:
        said, dialect = draft.request.prompt, draft.request.dialect
        prompt = append_network(said, kind, name, multiplier, field="infotext", dialect=dialect)
        if any(mark in multiplier for mark in "<>\r\n"):
            raise RequestError(f"{multiplier!r} is no multiplier", field="infotext")
    except RequestError as error:
        draft.say(kinds.UNNAMEABLE_FILE, str(error))
        return
    draft.set(prompt=prompt)


def take_skipped(draft: Draft) -> None:
    """Say which networks the image was made without, and which of these are here now."""
    for kind in NETWORK_KINDS.values():
        value = draft.left.pop(kind.infotext.skipped, "")
        for item in islice(skipped_items(value), _MOST_NETWORKS):
            name = item.rpartition(" (")[0] or item
            message = f"the image was made without {kind.noun} {item}"
            if draft.finder.registry.find(kind.name, name) is None:
                draft.say(kinds.SKIPPED_NETWORK, message, severity="info")
            else:
                draft.say(
                    kinds.SKIPPED_NETWORK,
                    f"{message}, which is here now; take its tag out for the same image",
                )


def take_resources(draft: Draft) -> None:
    """Let the prompt name networks that Civitai lists by name; those it lists by number alone are told."""
    unnamed: list[str] = []
    for one in read_resources(draft.left.get(LABEL, "[]")):
        kind = one.kind
        if not one.name and one.type not in ("checkpoint", ""):
            unnamed.append(one.type[:20])
        elif one.name and kind is not None:
            _append_resource(draft, kind, one)
    if unnamed:
        shown = ", ".join(f"{unnamed.count(kind)} {kind}" for kind in dict.fromkeys(unnamed))
        message = f"Civitai resources are named by numbers alone and are not applied: {shown}"
        draft.say(kinds.MISSING_FILE, message)


def _append_resource(draft: Draft, kind: NetworkKind, one: Resource) -> None:
    entry, remarks = draft.finder.find(FileQuery(kind.name, one.name))
    if entry is None:
        draft.diagnostics += remarks
        message = f"{LABEL}: {kind.noun} {shown_value(one.name)} at {one.weight} is not applied"
        draft.say(kinds.MISSING_FILE, message)
    elif kind.tag is not None:
        names = (one.name, entry.name)
        said, dialect = draft.request.prompt, draft.request.dialect
        if not any(names_network(said, kind, name, dialect=dialect) for name in names):
            _append_old_network(draft, kind, one.name, "", one.weight)


def rename_networks(draft: Draft, hashes: Mapping[str, str]) -> None:
    """Let tags name the files of the hashes, and look whether embeddings are the same."""
    if len(hashes) > _MOST_NETWORKS:
        draft.say(
            kinds.UNKNOWN_ENTRY, f"{len(hashes)} hashes of networks are too many; none is used"
        )
        return
    by_kind: dict[Kind, dict[str, str]] = {kind: {} for kind in NETWORK_KINDS}
    for key, digest in hashes.items():
        kind, _, name = key.partition(":")
        if kind in by_kind:
            by_kind[kind][name] = digest
        else:
            draft.say(
                kinds.UNKNOWN_ENTRY,
                f"the hash of {shown_value(key)} belongs to nothing that is known",
            )
    for kind in NETWORK_KINDS.values():
        if kind.tag is None:
            _find_words(draft, kind, by_kind.pop(kind.name))
    if not any(by_kind.values()):
        return
    dialect = draft.request.dialect
    prompt, remarks = draft.finder.rename_tags(draft.request.prompt, by_kind, dialect)
    draft.set(prompt=prompt)
    draft.diagnostics += remarks
    if isinstance(second := draft.fields.get("hr_prompt"), str):
        draft.fields["hr_prompt"], remarks = draft.finder.rename_tags(second, by_kind, dialect)
        draft.diagnostics += remarks


def _find_words(draft: Draft, kind: NetworkKind, hashes: Mapping[str, str]) -> None:
    """Look for networks that prompts name by words, which are not rewritten."""
    for name, digest in hashes.items():
        entry, remarks = draft.finder.find(FileQuery(kind.name, name, digest))
        draft.diagnostics += remarks
        if entry is not None and entry.name != name:
            message = f"write {entry.name!r} for {name!r} in the prompts to use this {kind.noun}"
            draft.say(kinds.RENAMED_FILE, message, severity="warning")
