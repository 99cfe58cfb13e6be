"""``promptengine networks``: what the models folder holds."""

from __future__ import annotations

import argparse
import json
from typing import Any

from promptengine.cli.model_folders import add_model_folders, folders_of, places_of
from promptengine.cli.tables import show_networks
from promptengine.files.hashing import default_cache_file
from promptengine.kinds import NETWORK_KINDS, FileSummary, NetworkKind, model_kinds
from promptengine.prompt.serialize import well_formed
from promptengine.registry.registry import Registry, RegistryEntry, description, preview

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--json", action="store_true", help="print JSON, with SHA-256")
    add_model_folders(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """List what the models folder holds."""
    registry = Registry.open(folders_of(options), cache_file=default_cache_file())
    summaries = {
        kind.name: kind.summarize(registry)
        for kind in model_kinds().values()
        if isinstance(kind, NetworkKind)
    }
    hidden = {kind.name for kind in NETWORK_KINDS.values() if kind.needs_summary}
    entries = [
        entry
        for kind in model_kinds()
        for entry in registry.entries(kind)
        if kind not in hidden or entry.path in summaries[kind]
    ]
    found = {path: one for some in summaries.values() for path, one in some.items()}
    if options.json:
        told = [_entry_as_json(entry, registry, found.get(entry.path)) for entry in entries]
        print(json.dumps(well_formed(told), indent=2))
    else:
        show_networks(entries, registry.clashes, places_of(options), found)
    registry.digests.save()
    return 0


def _entry_as_json(
    entry: RegistryEntry, registry: Registry, summary: FileSummary | None
) -> dict[str, Any]:
    image = preview(entry)
    fields: dict[str, Any] = {
        "kind": entry.kind,
        "name": entry.name,
        "path": str(entry.path),
        "size": entry.size,
        "sha256": registry.digest(entry),
        "aliases": list(entry.aliases),
        "preview": None if image is None else str(image),
        "description": description(entry),
        "layers": [],
        "base_model": None,
        "misfit": None,
    }
    return fields | ({} if summary is None else dict(summary.facts))
