"""Every reader of other programs' images, and what finds the one that an image needs."""

from __future__ import annotations

import warnings
from typing import Final

from promptengine.infotext.programs.civitai import CIVITAI
from promptengine.infotext.programs.comfyui import COMFYUI
from promptengine.infotext.programs.easy_diffusion import EASY_DIFFUSION
from promptengine.infotext.programs.fooocus import FOOOCUS
from promptengine.infotext.programs.invokeai import INVOKEAI
from promptengine.infotext.programs.novelai import NOVELAI
from promptengine.infotext.programs.reader import ImageNotes, ImageReader, ProgramImage
from promptengine.infotext.programs.sdnext import SDNEXT
from promptengine.infotext.programs.swarmui import SWARMUI
from promptengine.plugins import SCRIPT, ObjectRegistry, Plugin, PluginWarning

__all__ = ["IMAGE_READERS", "read_program_image", "register_image_reader"]

_STEPS: Final = "Steps"

IMAGE_READERS: Final[ObjectRegistry[ImageReader]] = ObjectRegistry(
    "promptengine.image_readers",
    "image reader",
    ImageReader,
    # ComfyUI's is the last: others run it and keep its graph beside notes of their own.
    (FOOOCUS, SWARMUI, INVOKEAI, EASY_DIFFUSION, NOVELAI, SDNEXT, CIVITAI, COMFYUI),
    spellings=lambda reader: (reader.name,),
)
"""Every reader by the name of its program, in the order in which they are asked."""


def read_program_image(notes: ImageNotes) -> ProgramImage | None:
    """Return what an image of another program says, as the first reader tells that knows it; or None.

    What says neither a prompt nor a number of steps says nothing of how the image was made.
    A reader that a plugin added and that raises is passed over with a warning.
    """
    for reader in IMAGE_READERS.values():
        if IMAGE_READERS.plugin_of(reader.name) is None:
            found = reader.read(notes)
        else:
            found = _read_guarded(reader, notes)
        if found is not None and (found.prompt or _STEPS in found.entries):
            return found
    return None


def _read_guarded(reader: ImageReader, notes: ImageNotes) -> ProgramImage | None:
    try:
        return reader.read(notes)
    except Exception as error:  # noqa: BLE001  # whatever a stranger's module raises
        message = f"image reader {reader.name!r} is passed over: {type(error).__name__}: {error}"
        warnings.warn(message, PluginWarning, stacklevel=2)
        return None


def register_image_reader(reader: ImageReader, *, origin: str = SCRIPT) -> None:
    """Add a reader of a program's images for the rest of the process.

    Args:
        reader: The reader.
        origin: Who adds it.

    Raises:
        PluginError: It is no reader, or its program has one.
    """
    IMAGE_READERS.register(reader, Plugin(origin))
