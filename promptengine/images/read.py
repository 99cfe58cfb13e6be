"""What an image, or a text file, says about how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from promptengine.errors import ImageError
from promptengine.images.hidden_text import hidden_texts
from promptengine.images.png_chunks import MOST_INFOTEXT, ImageTexts, read_texts
from promptengine.images.save import KEYWORD, OWN_KEYWORD, from_json
from promptengine.infotext.novelai import read_novelai
from promptengine.infotext.other_programs import (
    MIDJOURNEY,
    is_of_midjourney,
    program_in,
    program_of,
)
from promptengine.infotext.programs.reader import ProgramImage, notes_of
from promptengine.infotext.programs.table import read_program_image
from promptengine.infotext.read import Infotext, read_infotext
from promptengine.prompt import Diagnostic
from promptengine.validation import check_type

__all__ = [
    "Description",
    "ImageInfo",
    "describe_hidden",
    "describe_text",
    "describe_texts",
    "infotext_in",
    "read_image_info",
]

_KEYWORDS: Final = (KEYWORD, "UserComment", "comment")
_USED: Final = frozenset({*_KEYWORDS, OWN_KEYWORD})
_ANYBODYS: Final = frozenset({"comment"})
"""Where any program leaves words of its own, so that only parameters make an infotext of them."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the texts of a file say about how its image was made.

    Attributes:
        source: Where the infotext was: a chunk's keyword, ``UserComment``, ``comment``, or the name of
            the program whose notes were read; empty where there is none.
        infotext: As read, or made of the program's notes; None where there is none.
        program: The name of the other program that wrote the notes, also where they are not read.
        image: What that program's notes say, or None.
    """

    source: str = ""
    infotext: Infotext | None = None
    program: str = ""
    image: ProgramImage | None = None

    @property
    def remarks(self) -> tuple[Diagnostic, ...]:
        """What a user must know who makes the image again."""
        return () if self.image is None else self.image.remarks


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a file says.

    Attributes:
        path: The file.
        format: PNG, JPEG, WEBP, GIF or text.
        source: Where the infotext was: a chunk's keyword, ``UserComment``, ``comment``, the name of
            the text file beside the image, or of the program whose notes were read; empty where there
            is none.
        infotext: As read, or made of another program's notes; None where the file has neither.
        texts: All other texts in the file, by keyword, such as ComfyUI's ``workflow``.
        program: The name of another program whose notes these are, whether they are read or not; else
            empty.
        image: What is read of that program's notes, with what is left out of them and whether the same
            image can come out; None where nothing is.
    """

    path: Path
    format: str
    source: str
    infotext: Infotext | None
    texts: Mapping[str, str]
    program: str = ""
    image: ProgramImage | None = None

    @property
    def remarks(self) -> tuple[Diagnostic, ...]:
        """What a user must know who makes another program's image again; nothing for all others."""
        return () if self.image is None else self.image.remarks

    @property
    def original(self) -> Infotext | str:
        """What a copy of the image shall say: what the image says itself, whoever wrote it."""
        if self.image is None:
            return self.infotext or ""
        return next((self.texts[one] for one in _KEYWORDS if one in self.texts), "")

    @property
    def nothing(self) -> str:
        """Why there is no infotext, in words that follow the file's name; empty where there is one."""
        if self.infotext is not None:
            return ""
        if not self.program:
            return "holds no infotext"
        if self.program == MIDJOURNEY:
            return f"was made by {MIDJOURNEY}, whose models run nowhere else, and holds no infotext"
        return f"holds metadata of {self.program}, which is not read, and no infotext"


def read_image_info(path: str | Path, *, hidden: bool = True) -> ImageInfo:
    """Read what an image says about itself, or what a text file says.

    Notes of other programs are read as ``promptengine.infotext.programs`` knows them. An image
    without either may have a text hidden in its pixels, or in a text file of its name beside it, which
    counts only if it has parameters: such files often hold a caption.

    Args:
        path: An image or a text file.
        hidden: Look for a text in the pixels, which are decoded for it.

    Raises:
        ImageError: The file is damaged, cut off, empty, or neither an image nor text.
        OSError: The file cannot be read.
    """
    check_type("path", path, str, Path)
    place = Path(path)
    found = read_texts(place)
    if found is None:
        return _read_text(place)
    said = describe_texts(found)
    others = {key: text for key, text in found.texts.items() if key not in _USED}
    if said.infotext is None and hidden:
        with place.open("rb") as file:
            said = describe_hidden(file, found, said)
    if said.infotext is None:
        source, infotext = _beside(place)
        said = replace(said, source=source, infotext=infotext)
        others = others if infotext is not None else dict(found.texts)
    elif said.image is not None:
        others = dict(found.texts)
    return ImageInfo(
        place, found.format, said.source, said.infotext, others, said.program, said.image
    )


def _read_text(place: Path) -> ImageInfo:
    text = _text_file(place)
    if text is None:
        message = "neither an image (PNG, JPEG, WEBP, GIF) nor a text in UTF-8"
        raise ImageError(message, path=place)
    if not text.strip():
        raise ImageError("the file is empty: neither an image nor an infotext", path=place)
    said = describe_text(text)
    if said.infotext is None:
        return ImageInfo(place, "text", "", None, {place.name: text}, said.program)
    source = place.name if said.image is None else said.source
    return ImageInfo(place, "text", source, said.infotext, {}, said.program, said.image)


def describe_text(text: str) -> Description:
    """Read a text that stands alone: an infotext, another program's notes, or a prompt."""
    infotext = read_infotext(text)
    notes = notes_of({"": text}, infotext=infotext if infotext.entries else None)
    image = read_program_image(notes)
    if image is not None:
        return Description(image.program, image.infotext, image.program, image)
    if not infotext.entries and is_of_midjourney(text):
        return Description(program=MIDJOURNEY)
    if program := program_in(notes):
        return Description(program=program)
    return Description("", infotext)


def describe_texts(found: ImageTexts) -> Description:
    """Read the texts of an image's file."""
    source, infotext = _written(found)
    if source == OWN_KEYWORD:
        return Description(source, infotext)
    known = infotext if infotext is not None and infotext.entries else None
    notes = notes_of(found.texts, found.size, known)
    if known is not None:
        # Beside an infotext, other programs' notes do not count.
        notes = replace(notes, texts={}, documents={})
    image = read_program_image(notes)
    if image is not None:
        place = image.program if known is None else source
        return Description(place, image.infotext, image.program, image)
    if infotext is not None:
        return Description(source, infotext)
    return Description(program=program_in(notes))


def describe_hidden(file: BinaryIO, found: ImageTexts, said: Description) -> Description:
    """Read the text in the pixels of an image, where there is one; else return what is known already.

    Args:
        file: The image, which can be sought in.
        found: The texts of its file.
        said: What these say.
    """
    texts = hidden_texts(file, found)
    if texts is None:
        return said
    told = describe_texts(replace(found, texts=texts))
    if told.infotext is None:
        return said
    return replace(told, source="pixels") if told.image is None else told


def infotext_in(found: ImageTexts) -> tuple[str, Infotext | None]:
    """Return where among an image's texts WebUI finds an infotext, and the infotext."""
    source, infotext = _written(found)
    if infotext is not None:
        return source, infotext
    novelai = read_novelai(found.texts, found.size)
    return ("", None) if novelai is None else ("NovelAI", novelai)


def _written(found: ImageTexts) -> tuple[str, Infotext | None]:
    """Return the keyword of an infotext as WebUI writes it, and the infotext."""
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
    return "", None


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
