"""What Civitai's API answers, read with care: every field may be missing or of another type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

from promptengine.errors import DownloadError

__all__ = [
    "FoundModel",
    "FoundPage",
    "ModelVersion",
    "VersionFile",
    "VersionImage",
    "read_found",
    "read_version",
]

_LONGEST_NAME: Final = 300
_LONGEST_TEXT: Final = 10_000
_MOST_ITEMS: Final = 200
_HASH: Final = re.compile(r"[0-9a-fA-F]{8,64}")
_TAG: Final = re.compile(r"<[^<>]{0,2000}>")
_WORD: Final = re.compile(r"[A-Za-z]{1,40}")
_LONGEST_CURSOR: Final = 500
_BREAK: Final = re.compile(r"</(?:p|li|h\d|div)>|<br ?/?>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class VersionFile:
    """A file of a version.

    Attributes:
        name: As its author called it; may be anything.
        kind: What it is: ``Model``, ``Training Data``, ….
        size: Bytes; None where it is not said.
        hashes: In lower case by their names, such as ``SHA256`` and ``AutoV2``.
        url: Where it is.
        primary: Whether it is the one that is meant.
        scans: What the site's own scans say that is not ``Success``, such as ``pickle scan: Danger``.
    """

    name: str
    kind: str
    size: int | None
    hashes: Mapping[str, str]
    url: str
    primary: bool
    scans: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """In lower case; empty where it is not said."""
        found = self.hashes.get("SHA256", "")
        return found if len(found) == 64 else ""


@dataclass(frozen=True, slots=True)
class VersionImage:
    """An image that shows what a version does.

    Attributes:
        url: Where it is.
        safe: Whether the site calls it fit for all ages.
    """

    url: str
    safe: bool


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model.

    Attributes:
        id: Of the version.
        model_id: Of its model; 0 where it is not said.
        name: Of the version.
        model: Name of the model.
        type: What the site calls its kind, such as ``Hypernetwork``.
        base_model: What it was made for, such as ``SD 1.5``.
        words: That it was trained with.
        description: Without markup.
        files: In their order.
        images: Still ones, in their order.
        document: The whole answer.
    """

    id: int
    model_id: int
    name: str
    model: str
    type: str
    base_model: str
    words: tuple[str, ...]
    description: str
    files: tuple[VersionFile, ...]
    images: tuple[VersionImage, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that a search has found.

    Attributes:
        id: Of the model.
        name: Of the model.
        type: As for :class:`ModelVersion`.
        creator: Who made it; empty where it is not said.
        downloads: How often it was downloaded; None where it is not said.
        version: Id of the newest version; 0 where there is none.
        version_name: Its name.
        base_model: What that was made for.
        terms: What its author asks of those who use it, as far as the site says so.
        files: Of the newest version, in their order.
        images: Of it, still ones, in their order.
    """

    id: int
    name: str
    type: str
    creator: str
    downloads: int | None
    version: int
    version_name: str
    base_model: str
    terms: tuple[str, ...]
    files: tuple[VersionFile, ...]
    images: tuple[VersionImage, ...]


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Some of the models that a search finds.

    Attributes:
        models: In the site's order.
        next: What the site wants to hear for those that follow; empty behind the last.
    """

    models: tuple[FoundModel, ...]
    next: str


def read_version(document: object) -> ModelVersion:
    """Read the answer of ``model-versions``.

    Raises:
        DownloadError: It is none.
    """
    found = _object(document)
    number = _whole(found, "id")
    if number is None:
        raise DownloadError("the site answers with something else than a version of a model")
    model = _object(found.get("model"))
    return ModelVersion(
        id=number,
        model_id=_whole(found, "modelId") or 0,
        name=_text(found, "name"),
        model=_text(model, "name"),
        type=_text(model, "type"),
        base_model=_text(found, "baseModel"),
        words=tuple(word for word in _list(found, "trainedWords") if isinstance(word, str)),
        description=_plain(found.get("description")),
        files=tuple(_file(one) for one in _objects(found, "files")),
        images=tuple(_images(found)),
        document=found,
    )


def read_found(document: object) -> FoundPage:
    """Read the answer of ``models``.

    Raises:
        DownloadError: It is none.
    """
    found = _object(document)
    if not isinstance(found.get("items"), list):
        raise DownloadError("the site answers with something else than a list of models")
    models = (_model(one) for one in _objects(found, "items") if _whole(one, "id") is not None)
    return FoundPage(tuple(models), _cursor(_object(found.get("metadata"))))


def _cursor(metadata: Mapping[str, Any]) -> str:
    """Return what leads on; of the address of the next page nothing else is read."""
    cursor = metadata.get("nextCursor")
    if cursor is None:
        try:
            query = urlsplit(_text(metadata, "nextPage", most=_LONGEST_TEXT)).query
            cursor = parse_qs(query).get("cursor", [""])[0]
        except ValueError:
            cursor = ""
    text = str(cursor) if isinstance(cursor, str | int) and not isinstance(cursor, bool) else ""
    return text if len(text) <= _LONGEST_CURSOR else ""


def _model(found: Mapping[str, Any]) -> FoundModel:
    version = next(iter(_objects(found, "modelVersions")), {})
    return FoundModel(
        id=_whole(found, "id") or 0,
        name=_text(found, "name"),
        type=_text(found, "type"),
        creator=_text(_object(found.get("creator")), "username"),
        downloads=_whole(_object(found.get("stats")), "downloadCount"),
        version=_whole(version, "id") or 0,
        version_name=_text(version, "name"),
        base_model=_text(version, "baseModel"),
        terms=tuple(_terms(found)),
        files=tuple(_file(one) for one in _objects(version, "files")),
        images=tuple(_images(version)),
    )


def _terms(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an author asks for; the site tells commercial uses as a list, or as text."""
    if found.get("allowNoCredit") is False:
        yield "credit its creator"
    if "allowCommercialUse" in found:
        told = found["allowCommercialUse"]
        texts = [one for one in _list({"": told}, "") if isinstance(one, str)]
        text = told if isinstance(told, str) else " ".join(texts)
        uses = [use for use in _WORD.findall(text[:_LONGEST_NAME]) if use != "None"]
        yield f"commercial use: {', '.join(uses)}" if uses else "no commercial use"
    if found.get("allowDerivatives") is False:
        yield "no derivatives"
    if found.get("allowDifferentLicense") is False:
        yield "derivatives under the same terms"


def _file(found: Mapping[str, Any]) -> VersionFile:
    size = found.get("sizeKB")
    known = isinstance(size, int | float) and not isinstance(size, bool) and 0 <= size < 1e12
    hashes = _object(found.get("hashes"))
    scans = (
        f"{label} scan: {result}"
        for label, key in (("pickle", "pickleScanResult"), ("virus", "virusScanResult"))
        if (result := _text(found, key)) not in ("", "Success")
    )
    return VersionFile(
        name=_text(found, "name", most=_LONGEST_TEXT),
        kind=_text(found, "type"),
        size=round(cast("float", size) * 1024) if known else None,
        hashes={
            name: value.lower()
            for name, value in hashes.items()
            if isinstance(value, str) and _HASH.fullmatch(value)
        },
        url=_text(found, "downloadUrl", most=_LONGEST_TEXT),
        primary=found.get("primary") is True,
        scans=tuple(scans),
    )


def _images(found: Mapping[str, Any]) -> Iterator[VersionImage]:
    for image in _objects(found, "images"):
        url = _text(image, "url", most=_LONGEST_TEXT)
        if url and image.get("type", "image") == "image":
            levels = image.get("nsfw"), image.get("nsfwLevel")
            safe = levels[0] in (None, False, "None") and levels[1] in (None, 0, 1, "None")
            yield VersionImage(url, safe)


def _object(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(found: Mapping[str, Any], key: str) -> list[object]:
    value = found.get(key)
    return cast("list[object]", value)[:_MOST_ITEMS] if isinstance(value, list) else []


def _objects(found: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [_object(one) for one in _list(found, key) if isinstance(one, dict)]


def _text(found: Mapping[str, Any], key: str, *, most: int = _LONGEST_NAME) -> str:
    value = found.get(key)
    return value[:most] if isinstance(value, str) else ""


def _whole(found: Mapping[str, Any], key: str) -> int | None:
    value = found.get(key)
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def _plain(value: object) -> str:
    if not isinstance(value, str):
        return ""
    text = _TAG.sub("", _BREAK.sub("\n", value[: 4 * _LONGEST_TEXT]))
    lines = (" ".join(line.split()) for line in unescape(text).splitlines())
    return "\n".join(line for line in lines if line)[:_LONGEST_TEXT]
