"""Images as files with their infotext, written whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from promptengine.errors import ImageError, RequestError
from promptengine.files.atomic import atomic_write
from promptengine.images.exif import make_exif
from promptengine.images.png_chunks import MOST_INFOTEXT
from promptengine.infotext.read import Infotext
from promptengine.validation import Between, check_type

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "KEYWORD",
    "OWN_KEYWORD",
    "encode_image",
    "from_json",
    "save_image",
    "save_png",
    "to_json",
]

KEYWORD: Final = "parameters"
"""Of WebUI's text chunk."""

OWN_KEYWORD: Final = "promptengine"
"""Of the chunk that holds the same as JSON."""

_JSON_VERSION: Final = 1
_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_PNG_KEYWORD: Final = re.compile(r"[!-~\xa1-\xff]([ -~\xa1-\xff]{0,77}[!-~\xa1-\xff])?")
"""PNG, third edition, section 11.3.3.2: no blank at either end."""

_LONGEST_SEGMENT: Final = 0xFFFF - 2


def save_image(
    image: Image,
    target: str | Path | BinaryIO,
    infotext: str | Infotext = "",
    *,
    format: str | None = None,
    quality: int = 80,
) -> None:
    """Write an image in the format of its suffix, with its infotext where WebUI has it.

    A PNG holds WebUI's ``parameters`` chunk and, for an :class:`~promptengine.infotext.read.Infotext`,
    a chunk ``promptengine`` with the same as JSON, so that what is read from it equals what was
    written, whatever the prompt. JPEG and WEBP hold the text as EXIF's ``UserComment``; there a
    prompt that has a line ``Negative prompt: …`` of its own reads as two prompts. Lone surrogates,
    which no file can hold, become U+FFFD.

    Args:
        image: The image, RGB.
        target: A path, of which an existing file is replaced at once, never half; or a file open for
            writing bytes, which is written to where it stands and left open.
        infotext: As text or as structure; empty for none.
        format: ``png``, ``jpg``, ``jpeg`` or ``webp``; by default the path's suffix says it, and a file
            object is written as ``png``.
        quality: Of JPEG and WEBP, 1 to 100; 80 is WebUI's.

    Raises:
        ImageError: Another format, an image too large for the format, or a text too long for it
            (JPEG holds 32,000 characters).
        RequestError: An argument of another type.
        OSError: The folder is missing or not writable, or the disk is full.
    """
    if isinstance(target, str | Path):
        place = Path(target)
        form = place.suffix if format is None else format
        _check_arguments(image, infotext, form, quality)
        options = _options(_known_format(form, place), infotext, quality, place)
        with atomic_write(place) as temporary:
            _write(image, temporary, options, place)
        return
    if not callable(getattr(target, "write", None)):
        check_type("target", target, str, Path, words="a path or a file open for writing bytes")
    data = encode_image(image, format or "png", infotext, quality=quality)
    try:
        target.write(data)
    except TypeError:
        message = "target is a file open for text; open it for writing bytes"
        raise RequestError(message, field="target") from None


def save_png(image: Image, path: str | Path, infotext: str | Infotext = "") -> None:
    """Write a PNG with its infotext, whatever the suffix; see :func:`save_image`.

    Raises:
        ImageError: A text of more characters than are read again.
        RequestError: An argument of another type.
        OSError: The folder is missing or not writable, or the disk is full.
    """
    check_type("path", path, str, Path)
    save_image(image, path, infotext, format="png")


def encode_image(
    image: Image,
    format: str = "png",
    infotext: str | Infotext = "",
    *,
    quality: int = 80,
    texts: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of the file that :func:`save_image` would write.

    Args:
        image: The image, RGB.
        format: ``png``, ``jpg``, ``jpeg`` or ``webp``, with or without a dot before it.
        infotext: As text or as structure; empty for none.
        quality: Of JPEG and WEBP, 1 to 100.
        texts: Further texts of a PNG by their keywords of 1 to 79 printable Latin-1 characters, such as
            ComfyUI's ``workflow``.

    Raises:
        ImageError: Another format, an image too large for it, or a text too long for it.
        RequestError: An argument of another type, or a text that no PNG can hold.
    """
    _check_arguments(image, infotext, format, quality)
    name, file = Path(f"image.{format.lstrip('.')}"), BytesIO()
    options = _options(_known_format(format, name), infotext, quality, name)
    if texts:
        _add_texts(options, texts)
    _write(image, file, options, name)
    return file.getvalue()


def _known_format(format: str, name: Path) -> str:
    form = _FORMATS.get(f".{format.lower().lstrip('.')}")
    if form is None:
        message = f"cannot write this format; the name must end in {', '.join(_FORMATS)}"
        raise ImageError(message, path=name)
    return form


def _check_arguments(image: object, infotext: object, format: object, quality: object) -> None:
    from PIL.Image import Image

    check_type("image", image, Image)
    check_type("infotext", infotext, str, Infotext, words="text or an Infotext")
    check_type("format", format, str)
    check_type("quality", quality, int)
    Between(1, 100).check("quality", cast("int", quality))


def _options(form: str, infotext: str | Infotext, quality: int, name: Path) -> dict[str, Any]:
    """Return what Pillow is told when it writes a format."""
    if form == "PNG":
        return {"format": form, **_chunks(infotext, name)}
    exif = make_exif(str(infotext)) if str(infotext) else b""
    if len(str(infotext)) > MOST_INFOTEXT:
        raise ImageError("the infotext is longer than an image may hold", path=name)
    if form == "JPEG" and len(exif) > _LONGEST_SEGMENT:
        message = (
            "the infotext is too long for JPEG, which holds 32,000 characters; use PNG or WEBP"
        )
        raise ImageError(message, path=name)
    return {"format": form, "exif": exif, "quality": quality}


def _chunks(infotext: str | Infotext, name: Path) -> dict[str, Any]:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    text = _encodable(str(infotext))
    own = _encodable(to_json(infotext)) if isinstance(infotext, Infotext) else ""
    if len(text) > MOST_INFOTEXT:
        raise ImageError("the infotext is longer than an image may hold", path=name)
    if text:
        chunks.add_text(KEYWORD, text)
    if own:
        chunks.add_itxt(OWN_KEYWORD, own)
    return {"pnginfo": chunks}


def _add_texts(options: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Add texts to the chunks that Pillow is told of."""
    if options["format"] != "PNG":
        raise RequestError("only a PNG holds texts beside the infotext", field="texts")
    for keyword, text in texts.items():
        if _PNG_KEYWORD.fullmatch(keyword) is None or keyword in (KEYWORD, OWN_KEYWORD):
            message = f"{keyword!r} cannot be the keyword of a text of a PNG"
            remedy = (
                f"it must be 1 to 79 Latin-1 characters, and neither {KEYWORD} nor {OWN_KEYWORD}"
            )
            raise RequestError(f"{message}; {remedy}", field="texts")
        options["pnginfo"].add_text(keyword, _encodable(text))


def to_json(infotext: Infotext) -> str:
    """Return an infotext as JSON that is the same for the same infotext."""
    document = {
        "entries": list(infotext.entries.items()),
        "negative_prompt": infotext.negative_prompt,
        "prompt": infotext.prompt,
        "strays": infotext.strays,
        "trailing": infotext.trailing,
        "version": _JSON_VERSION,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> Infotext | None:
    """Read what :func:`to_json` wrote; None for anything else."""
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match document:
        case {
            "version": 1,
            "prompt": str(prompt),
            "negative_prompt": str(negative),
            "entries": [*entries],
            "strays": [*strays],
            "trailing": str(trailing),
        }:
            pairs = [cast("list[str]", entry) for entry in entries if _are_texts(entry, 2)]
            if len(pairs) < len(entries) or not _are_texts(strays):
                return None
            mapping = {pair[0]: pair[1] for pair in pairs}
            return Infotext(prompt, negative, mapping, tuple(map(str, strays)), trailing)
        case _:
            return None


def _are_texts(value: object, count: int | None = None) -> bool:
    if not isinstance(value, list):
        return False
    items = cast("list[object]", value)
    return count in (None, len(items)) and all(isinstance(item, str) for item in items)


def _encodable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _write(image: Image, file: Path | BytesIO, options: Mapping[str, Any], name: Path) -> None:
    try:
        image.save(file, **options)
    except ValueError as error:
        # Pillow has no error of its own for what a format cannot hold.
        raise ImageError(f"cannot be written: {error}", path=name) from error
