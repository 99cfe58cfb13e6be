"""What an image, or a text file, says about how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptengine.errors import ImageError
from promptengine.images.png_chunks import MOST_INFOTEXT, ImageTexts, read_texts
from promptengine.images.save import KEYWORD, OWN_KEYWORD, from_json
from promptengine.infotext.novelai import read_novelai
from promptengine.infotext.other_programs import program_of
from promptengine.infotext.read import Infotext, read_infotext
from promptengine.validation import check_type

__all__ = ["ImageInfo", "infotext_in", "read_image_info"]

_KEYWORDS: Final = (KEYWORD, "UserComment", "comment")
_USED: Final = frozenset({*_KEYWORDS, OWN_KEYWORD})
_ANYBODYS: Final = frozenset({"comment"})
"""Where any program leaves words of its own, so that only parameters make an infotext of them."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a file says.

    Attributes:
        path: The file.
        format: PNG, JPEG, WEBP, GIF or text.
        source: Where the infotext was: a chunk's keyword, ``UserComment``, ``comment``, the name of
            the text file beside the image, or ``NovelAI``; empty where there is none.
        infotext: As read, or None where the file has none.
        texts: All other texts in the file, by keyword, such as ComfyUI's ``workflow``.
        program: The name of another program whose metadata this is, where there is no infotext; else
            empty.
    """

    path: Path
    format: str
    source: str
    infotext: Infotext | None
    texts: Mapping[str, str]
    program: str = ""

    @property
    def nothing(self) -> str:
        """Why there is no infotext, in words that follow the file's name; empty where there is one."""
        if self.infotext is not None:
            return ""
        if not self.program:
            return "holds no infotext"
        return f"holds metadata of {self.program}, which is not read, and no infotext"


def read_image_info(path: str | Path) -> ImageInfo:
    """Read what an image says about itself, or what a text file says.

    An image without an infotext may have it in a text file of its name beside it, which counts only
    if it has parameters: such files often hold a caption. Another program's metadata is no infotext.

    Raises:
        ImageError: The file is damaged, cut off, empty, or neither an image nor text.
        OSError: The file cannot be read.
    """
    check_type("path", path, str, Path)
    place = Path(path)
    found = read_texts(place)
    if found is None:
        text = _text_file(place)
        if text is None:
            message = "neither an image (PNG, JPEG, WEBP, GIF) nor a text in UTF-8"
            raise ImageError(message, path=place)
        if not text.strip():
            raise ImageError("the file is empty: neither an image nor an infotext", path=place)
        if program := program_of({"": text}):
            return ImageInfo(place, "text", "", None, {place.name: text}, program)
        return ImageInfo(place, "text", place.name, read_infotext(text), {})
    source, infotext = infotext_in(found)
    if infotext is None:
        source, infotext = _beside(place)
    if infotext is None:
        program = program_of(found.texts)
        return ImageInfo(place, found.format, "", None, dict(found.texts), program)
    others = {key: text for key, text in found.texts.items() if key not in _USED}
    return ImageInfo(place, found.format, source, infotext, others)


def infotext_in(found: ImageTexts) -> tuple[str, Infotext | None]:
    """Return where among an image's texts its infotext is, as :class:`ImageInfo` says, and the infotext."""
    own = from_json(found.texts.get(OWN_KEYWORD, ""))
    text = found.texts.get(KEYWORD)
    # Where the two differ, another program has changed the one that it knows.
    if own is not None and text in (None, str(own)):
        return OWN_KEYWORD, own
    for keyword in _KEYWORDS:
        written = found.texts.get(keyword, "")
        if not written.strip() or program_of({"": written}):
            continue
        infotext = read_infotext(written)
        if infotext.entries or keyword not in _ANYBODYS:
            return keyword, infotext
    novelai = read_novelai(found.texts, found.size)
    return ("", None) if novelai is None else ("NovelAI", novelai)


def _beside(image: Path) -> tuple[str, Infotext | None]:
    path = image.with_suffix(".txt")
    try:
        text = _text_file(path)
    except (OSError, ImageError):
        return "", None
    infotext = read_infotext(text or "")
    return (path.name, infotext) if infotext.entries else ("", None)


def _text_file(path: Path) -> str | None:
    """Return the content of a text file; None where it is none.

    Raises:
        ImageError: It is text, and longer than any infotext.
    """
    most = 4 * MOST_INFOTEXT
    with path.open("rb") as file:
        content = file.read(most + 1)
    if b"\0" in content:
        return None
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as failure:
        if len(content) <= most or failure.start < most - 4:
            return None
        text = ""
    if len(content) > most or len(text) > MOST_INFOTEXT:
        message = f"a text of more than {MOST_INFOTEXT} characters, which is no infotext"
        raise ImageError(message, path=path)
    return text
