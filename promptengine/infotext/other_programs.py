"""Other programs' notes about their images, recognized so that none is taken for a prompt.

What can be read of them is read by :mod:`promptengine.infotext.programs`; what cannot is named here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from promptengine.infotext.documents import objects_in
from promptengine.infotext.programs.reader import ImageNotes, ImageReader, ProgramMarks, notes_of
from promptengine.infotext.programs.table import IMAGE_READERS

__all__ = ["MIDJOURNEY", "is_of_midjourney", "program_in", "program_of"]

MIDJOURNEY: Final = "Midjourney"
"""A service whose models run nowhere else."""

_UNKNOWN: Final = "another program, as JSON"
_NAMED_IN: Final = ("metadata_scheme", "version", "software", "generator", "app", "Software")
"""Keys under which programs write their own name."""

_PARAMETERS: Final = "\nSteps: "


def _unread(notes: ImageNotes) -> None:
    """Read nothing."""


_RUINED: Final = ImageReader("RuinedFooocus", _unread)
_UNREAD: Final = (
    ImageReader(
        "Draw Things", _unread, ProgramMarks.of("", ("c,uc,sampler", "c,v2", "c,scale,seed,size"))
    ),
    ImageReader(
        "Tensor.Art",
        _unread,
        ProgramMarks.of("generation_data", ("baseModel,samplerName", "models,prompt,cfgScale")),
    ),
    ImageReader("Stability Matrix", _unread, ProgramMarks.of("parameters-json,smproj")),
    ImageReader("Mochi Diffusion", _unread, ProgramMarks.of(words=r"Include in Image: ")),
    ImageReader(
        MIDJOURNEY,
        _unread,
        ProgramMarks.of(words=r"/imagine\b|[^\0]*\bJob ID: [0-9a-f]{8}-[0-9a-f]{4}-"),
    ),
)
"""Programs whose notes are recognized and not read."""

_FLAGS: Final = re.compile(
    r"\s--(ar \d+:\d+|v(?:ersion)? \d|niji\b|s(?:tylize)? \d|c(?:haos)? \d|q \d|style \w|weird \d)"
)
_LEAST_FLAGS: Final = 2


def program_of(texts: Mapping[str, str]) -> str:
    """Name the program that wrote the texts of a file, or return an empty string.

    Args:
        texts: By keyword; a text that stands alone has an empty one.
    """
    return program_in(notes_of(texts))


def program_in(notes: ImageNotes) -> str:
    """Name the program that wrote an image's notes, or return an empty string."""
    # The name of the one is part of the other's.
    programs = (_RUINED, *IMAGE_READERS.values(), *_UNREAD)
    texts = notes.texts
    objects = [one for document in notes.documents.values() for one in objects_in(document)]
    said = " ".join(
        [str(one[key])[:200] for one in objects for key in _NAMED_IN if key in one]
        + [texts.get("Software", "")[:200]]
    ).lower()
    for program in programs:
        if program.name.lower() in said:
            return program.name
    for program in programs:
        if any(keys <= one.keys() for keys in program.marks.keys for one in objects):
            return program.name
    for program in programs:
        if program.marks.keywords & texts.keys() or _has_words(program, texts):
            return program.name
    return _UNKNOWN if notes.documents else ""


def _has_words(program: ImageReader, texts: Mapping[str, str]) -> bool:
    words = program.marks.words
    return words is not None and any(
        words.match(text.lstrip()) for text in texts.values() if _PARAMETERS not in text
    )


def is_of_midjourney(text: str) -> bool:
    """Return whether a text without parameters is a prompt of Midjourney's: its command, number or flags."""
    content = text.strip()
    return program_of({"": content}) == MIDJOURNEY or len(_FLAGS.findall(content)) >= _LEAST_FLAGS
