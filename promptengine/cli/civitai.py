"""``promptengine search`` and ``promptengine download``: models of Civitai's, and what hashes belong to there."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from promptengine.cli.model_folders import add_model_folders, folders_of
from promptengine.cli.terminal import printable
from promptengine.errors import RequestError
from promptengine.kinds import ModelKind, model_kinds
from promptengine.prompt.serialize import well_formed

if TYPE_CHECKING:
    from promptengine.civitai.shapes import FoundModel, ModelVersion, VersionFile
    from promptengine.civitai.site import Site

__all__ = ["Lookup", "add_base_url", "add_download", "add_search", "show_online"]


def add_base_url(parser: argparse.ArgumentParser) -> None:
    """Add the option that names another site."""
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="of a site that speaks as Civitai does; default: Civitai's",
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``search``."""
    parser.description = "Search models of Civitai's. CIVITAI_API_TOKEN may hold a token."
    parser.add_argument("text", metavar="TEXT")
    parser.add_argument(
        "--type", metavar="KIND", help="hypernetwork, lora, embedding, checkpoint, vae or upscaler"
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--nsfw", action="store_true", help="also what is not for all ages")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_base_url(parser)
    parser.set_defaults(run=_search)


def add_download(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``download``."""
    parser.description = (
        "Get a model of Civitai's into the folder of its kind, with a preview and what the site says of it. What was "
        "interrupted goes on where it stopped. A file is kept only if its SHA-256 is the one that the site "
        "tells and if it runs no code. CIVITAI_API_TOKEN may hold a token."
    )
    parser.add_argument(
        "reference", metavar="ID|URL|HASH", help="of a model; its page; or of one of its files"
    )
    parser.add_argument("--file", default="", metavar="NAME", help="another file of the version")
    parser.add_argument("--force", action="store_true", help="replace another file of its name")
    parser.add_argument(
        "--preview",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="lay an image beside it (default: yes)",
    )
    parser.add_argument(
        "--nsfw", action="store_true", help="also a preview that is not for all ages"
    )
    add_base_url(parser)
    add_model_folders(parser)
    parser.set_defaults(run=_download)


@contextmanager
def _opened(base: str | None) -> Generator[Site]:
    if find_spec("httpx") is None:
        message = "httpx is missing, which asks the site; install promptengine[civitai]"
        raise RequestError(message, field="command")
    from promptengine.civitai.site import Site, open_web

    with open_web(base) as web:
        yield Site(web)


def _search(options: argparse.Namespace) -> int:
    kind = None if options.type is None else _kind(options.type)
    types = () if kind is None else kind.civitai_types
    with _opened(options.base_url) as site:
        found = site.search(options.text, types, limit=options.limit, nsfw=options.nsfw).models
    if options.json:
        print(json.dumps(well_formed([dataclasses.asdict(one) for one in found]), indent=2))
    elif found:
        _show_found(found)
    else:
        print("nothing found")
    return 0


def _kind(text: str) -> ModelKind:
    """Return the kind of a word.

    Raises:
        RequestError: There is none, or the site has no models of it.
    """
    kinds = {kind.noun.lower(): kind for kind in model_kinds().values() if kind.civitai_types}
    kind = kinds.get(text.lower())
    if kind is None:
        raise RequestError(f"type is {text!r}; it must be one of {', '.join(kinds)}", field="type")
    return kind


def _show_found(found: tuple[FoundModel, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "id", "model", "version", "type", "for", "downloads", "by", box=None, pad_edge=False
    )
    for one in found:
        downloads = "" if one.downloads is None else str(one.downloads)
        cells = (
            str(one.id),
            one.name,
            one.version_name,
            one.type,
            one.base_model,
            downloads,
            one.creator,
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console(highlight=False, soft_wrap=True).print(table)


def _download(options: argparse.Namespace) -> int:
    folders = folders_of(options)
    with _opened(options.base_url) as site, _shown() as on_bytes:
        from promptengine.civitai.keep import download
        from promptengine.civitai.site import read_reference

        made = download(
            site,
            read_reference(options.reference),
            folders,
            name=options.file,
            force=options.force,
            preview=options.preview,
            nsfw=options.nsfw,
            on_bytes=on_bytes,
            on_version=_tell,
        )
    path = printable(str(made.path))
    print(f"wrote {path}" if made.fresh else f"{path} is there already")
    for place in made.beside:
        print(f"wrote {printable(str(place))}")
    for note in made.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    if made.version.words:
        print(printable(f"trained words: {', '.join(made.version.words)}"))
    return 0


def _tell(version: ModelVersion, file: VersionFile) -> None:
    size = "" if file.size is None else f", {file.size / (1 << 20):.1f} MiB"
    about = ", ".join(filter(None, (version.type, version.base_model)))
    print(printable(f"{version.model} – {version.name} ({about}): {file.name}{size}"))


@contextmanager
def _shown() -> Generator[Callable[[int, int | None], None]]:
    """A bar over all bytes, on standard error, once there are some."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("downloading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Lookup:
    """Says what the hashes of infotexts are, with one connection for all of them.

    Args:
        base: The site; None for the usual one.
    """

    def __init__(self, base: str | None) -> None:
        self._base = base
        self._known: dict[str, ModelVersion | None] = {}

    def of(self, entries: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return a document for each hash; ``model`` is None for what the site does not know.

        Raises:
            RequestError: httpx is missing, or the site is none.
            DownloadError: The site cannot be asked.
        """
        with _opened(self._base) as site:
            from promptengine.civitai.hashes import describe_hash, hashes_in, look_up

            found = look_up(site, hashes_in(entries), self._known)
            return [describe_hash(site, one, version) for one, version in found]


def show_online(found: list[dict[str, Any]]) -> None:
    """Print what :meth:`Lookup.of` says, a line for each hash."""
    for one in found:
        what = " ".join(filter(None, (one["kind"], one["name"])))
        told = "not known there"
        if one["model"] is not None:
            about = ", ".join(filter(None, (one["type"], one["base_model"])))
            told = f"{one['model']} – {one['version']} ({about}) {one['page']}"
        print(printable(f"online: {what} {one['digest']}: {told}"))
    if not found:
        print("online: no hashes to ask about")
