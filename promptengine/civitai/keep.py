"""What becomes of a file of Civitai's: its place, its inspection, and what is laid beside it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptengine.civitai.fetch import OnBytes, Wanted, fetch_file, part_of
from promptengine.civitai.names import safe_name
from promptengine.civitai.previews import get_preview, small_image
from promptengine.civitai.shapes import ModelVersion, VersionFile
from promptengine.civitai.site import Reference, Site
from promptengine.errors import DownloadError, NetworkFormatError, RequestError
from promptengine.files.atomic import atomic_write
from promptengine.files.hashing import sha256
from promptengine.files.images import read_image
from promptengine.files.weights import file_format, unsafe_reason
from promptengine.kinds import ModelKind, model_kinds
from promptengine.registry.registry import RegistryEntry
from promptengine.registry.scan import PREVIEWS, USER_METADATA, beside, is_image_name
from promptengine.registry.side_cars import MOST_TEXT, SideCarError, write_user_metadata

__all__ = [
    "SITE_METADATA",
    "Download",
    "download",
    "family_of",
    "file_name",
    "files_of_kind",
    "kind_of_type",
]

SITE_METADATA: Final = ".civitai.info"
"""How the name of the site's whole answer goes on, as the extension Civitai Helper has it."""

_PREVIEW: Final = ".preview.png"
_LARGEST_PREVIEW: Final = 768
_ROOM: Final = 64 << 20
"""Bytes that stay free on a disk."""

_FAMILIES: Final = {
    "SD 1": "SD1",
    "SD 2": "SD2",
    "SDXL": "SDXL",
    "Pony": "SDXL",
    "Illustrious": "SDXL",
    "NoobAI": "SDXL",
}
"""What WebUI's side-cars call base models, by how their names begin."""


@dataclass(frozen=True, slots=True)
class Download:
    """What a download has left.

    Attributes:
        path: The file.
        version: What it is of.
        fresh: Whether it was not there before.
        beside: What was laid beside it.
        notes: What could not be, each with its reason, and what the site's scans say.
    """

    path: Path
    version: ModelVersion
    fresh: bool
    beside: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def kind_of_type(type_: str) -> ModelKind | None:
    """Return the kind of what the site calls a type; None where there is no folder for it."""
    return next((kind for kind in model_kinds().values() if type_ in kind.civitai_types), None)


def family_of(base_model: str) -> str:
    """Return what WebUI's side-cars call a base model; empty for one that is none of Stable Diffusion 1, 2 and XL."""
    found = (name for start, name in _FAMILIES.items() if base_model.startswith(start))
    return next(found, "")


def files_of_kind(files: Sequence[VersionFile], kind: ModelKind) -> list[VersionFile]:
    """Return the files of a version that may lie in a kind's folder, the one that is meant first."""
    fitting = (file for file in files if _suffix(file) in kind.suffixes)
    return sorted(fitting, key=lambda file: not file.primary)


def file_name(file: VersionFile, version: int, kind: ModelKind) -> str:
    """Return what a file is called once it is here.

    Args:
        file: As the site tells of it.
        version: The id of its version.
        kind: Of the file.
    """
    name = safe_name(file.name, f"civitai-{version}")
    path = Path(name)
    return name if kind.accepts(path.stem) else f"civitai-{version}{path.suffix}"


def download(
    site: Site,
    reference: Reference,
    folders: Mapping[str, Sequence[Path]],
    *,
    name: str = "",
    force: bool = False,
    preview: bool = True,
    nsfw: bool = False,
    on_bytes: OnBytes | None = None,
    on_version: Callable[[ModelVersion, VersionFile], None] | None = None,
) -> Download:
    """Get a model, and keep it only if it is what the site tells and runs no code.

    Args:
        site: Where from.
        reference: Which one.
        folders: Of each kind, as :func:`promptengine.registry.registry.folders_below` has them.
        name: Of the version's file that is wanted; by default the one that is meant.
        force: Replace another file of the same name.
        preview: Lay an image beside it.
        nsfw: Also one that is not for all ages.
        on_bytes: Told as the file grows.
        on_version: Told what was found, before anything is downloaded.

    Raises:
        RequestError: There is another file of its name, or no file called ``name``.
        DownloadError: It cannot be had, is not what was promised, or is unsafe. Then nothing is kept but what a
            next call goes on with.
    """
    version = site.version(reference)
    kind = kind_of_type(version.type)
    if kind is None:
        known = ", ".join(type_ for kind in model_kinds().values() for type_ in kind.civitai_types)
        message = (
            f"{version.model!r} is of the type {version.type!r}; there are folders for {known}"
        )
        raise DownloadError(message)
    folder = next(iter(folders.get(kind.name, ())), None)
    if folder is None:
        raise DownloadError(f"no folder is set for {kind.plural}")
    file = _chosen(version, kind, reference, name)
    if not file.sha256:
        raise DownloadError(
            f"the site tells no SHA-256 of {file.name[:100]!r}; it cannot be verified"
        )
    if on_version is not None:
        on_version(version, file)
    target = folder / file_name(file, version.id, kind)
    fresh = not _is_there(target, file.sha256, force=force)
    if fresh:
        _make_room(folder, target, file)
        part = fetch_file(
            site.web, Wanted(file.url, file.sha256, file.size), target, on_bytes=on_bytes
        )
        _vet(part, target)
        _move(part, target)
    notes = [f"the site's {scan}" for scan in file.scans]
    entry = _entry(kind, target)
    laid = [_lay_metadata(site, version, entry, folder, notes), _lay_answer(version, entry, notes)]
    if preview:
        laid.append(_lay_preview(site, version, entry, nsfw, notes))
    return Download(target, version, fresh, tuple(filter(None, laid)), tuple(notes))


def _chosen(version: ModelVersion, kind: ModelKind, reference: Reference, name: str) -> VersionFile:
    fitting = files_of_kind(version.files, kind)
    if name:
        found = [file for file in fitting if file.name == name]
        if not found:
            there = _names(fitting)
            message = f"the version has no file {name!r}; of {kind.plural} it has {there}"
            raise RequestError(message, field="file")
        return found[0]
    asked = [file for file in fitting if reference.digest and _has(file, reference.digest)]
    chosen = asked or fitting
    if not chosen:
        there = _names(version.files)
        message = (
            f"the version has no file of {kind.plural} ({', '.join(kind.suffixes)}); it has {there}"
        )
        raise DownloadError(message)
    return chosen[0]


def _names(files: Sequence[VersionFile]) -> str:
    return ", ".join(repr(file.name[:100]) for file in files[:10]) or "none"


def _has(file: VersionFile, digest: str) -> bool:
    return any(digest == known for known in file.hashes.values())


def _suffix(file: VersionFile) -> str:
    return Path(safe_name(file.name, "model")).suffix.lower()


def _is_there(target: Path, digest: str, *, force: bool) -> bool:
    """Return whether the very file is there already.

    Raises:
        RequestError: Another one is, and must not be replaced.
    """
    if not target.exists():
        return False
    if target.is_file() and sha256(target) == digest:
        return True
    if not force or not target.is_file():
        message = f"{target} exists and is another file; use --force to replace it"
        raise RequestError(message, field="target")
    return False


def _make_room(folder: Path, target: Path, file: VersionFile) -> None:
    """Make the folder, and refuse what will not fit on its disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        part = part_of(target, file.sha256)
        missing = (file.size or 0) - (part.stat().st_size if part.is_file() else 0)
    except OSError as error:
        message = f"{folder} cannot be written: {error.strerror or error}"
        raise DownloadError(message) from None
    if missing > 0 and missing + _ROOM > free:
        message = f"{folder} has {free >> 20} MiB of room, and {missing >> 20} MiB are missing"
        raise DownloadError(f"{message}; free some, or name another folder with --models")


def _vet(part: Path, target: Path) -> None:
    """Remove a file that would run code, or that is none of weights.

    Raises:
        DownloadError: It was removed; says why.
    """
    try:
        why = _fault(part, target)
    except NetworkFormatError as error:
        why = str(error).removeprefix(f"{part}: ")
    if why:
        part.unlink(missing_ok=True)
        part.with_name(f"{part.name}.etag").unlink(missing_ok=True)
        raise DownloadError(f"{target.name} is not kept: {why}")


def _fault(part: Path, target: Path) -> str:
    if is_image_name(target.name):
        try:
            read_image(part)
        except ValueError as error:
            return str(error)
        return ""
    if file_format(part) == "safetensors":
        return ""
    refusal = unsafe_reason(part)
    if refusal is None:
        return ""
    names = ", ".join(refusal.names[:5])
    return f"it asks to run code when it is loaded ({names})" if names else str(refusal)


def _move(part: Path, target: Path) -> None:
    try:
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
        part.with_name(f"{part.name}.etag").unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from None


def _entry(kind: ModelKind, target: Path) -> RegistryEntry:
    status = target.stat()
    stem = target.stem
    return RegistryEntry(kind.name, stem, stem, target, status.st_mtime_ns, status.st_size)


def _lay_metadata(
    site: Site, version: ModelVersion, entry: RegistryEntry, folder: Path, notes: list[str]
) -> Path | None:
    """Write WebUI's side-car, unless its user has one."""
    place = Path(beside(entry) + USER_METADATA)
    if place.exists():
        return None
    title = " – ".join(filter(None, (version.model, version.name)))
    fields: dict[str, str | float] = {
        "description": "\n".join(filter(None, (title, version.description)))[:MOST_TEXT],
        "sd_version": (family_of(version.base_model) or "Other")
        if version.base_model
        else "Unknown",
        "activation_text": ", ".join(version.words)[:MOST_TEXT],
        "notes": site.page(version.model_id, version.id),
    }
    try:
        write_user_metadata(entry, fields, [folder])
    except SideCarError as error:
        notes.append(str(error))
        return None
    return place


def _lay_answer(version: ModelVersion, entry: RegistryEntry, notes: list[str]) -> Path | None:
    place = Path(beside(entry) + SITE_METADATA)
    try:
        with atomic_write(place) as temporary:
            temporary.write_text(json.dumps(version.document, indent=4), encoding="ascii")
    except (OSError, RecursionError) as error:
        notes.append(f"{place.name} is not written: {getattr(error, 'strerror', None) or error}")
        return None
    return place


def _lay_preview(
    site: Site, version: ModelVersion, entry: RegistryEntry, nsfw: bool, notes: list[str]
) -> Path | None:
    """Write the first image that may be shown, unless there is a preview."""
    stem = beside(entry)
    if is_image_name(entry.path.name) or any(Path(stem + end).exists() for end in PREVIEWS):
        return None
    shown = next((image for image in version.images if image.safe or nsfw), None)
    if shown is None:
        if version.images:
            notes.append("no preview is for all ages; --nsfw takes another one")
        return None
    place = Path(stem + _PREVIEW)
    try:
        image = small_image(get_preview(site.web, shown.url), _LARGEST_PREVIEW).convert("RGB")
        with atomic_write(place) as temporary:
            image.save(temporary, format="PNG")
    except (DownloadError, OSError) as error:
        notes.append(f"no preview: {error}")
        return None
    return place
