"""Pictures as files: written whole or not at all, with the text that says how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from promptengine.tensorfiles import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["save_png"]


def save_png(image: Image, path: str | Path, infotext: str) -> None:
    """Write a PNG with WebUI's ``parameters`` text chunk.

    Args:
        image: The picture.
        path: Where to; an existing file is replaced at once, never half.
        infotext: See :func:`promptengine.infotext.write_infotext`. Lone surrogates, which no PNG can
            hold, become U+FFFD.

    Raises:
        OSError: The folder is missing or not writable, or the disk is full.
    """
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text(
        "parameters", infotext.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
    with replacing(Path(path)) as temporary:
        image.save(temporary, format="PNG", pnginfo=text)
