"""The images of Civitai's generator: WebUI's infotext, whose ``Civitai resources`` name the models.

The networks among them are read with any infotext; see :mod:`promptengine.infotext.resources`.
"""

from __future__ import annotations

from typing import Final

from promptengine.infotext.programs.reader import (
    ImageNotes,
    ImageReader,
    ProgramImage,
    UnmappedSetting,
)
from promptengine.infotext.programs.values import shown
from promptengine.infotext.resources import LABEL, read_resources

__all__ = ["CIVITAI"]

_PROGRAMS: Final = ("", "ComfyUI")
"""What ``Version`` says of images of the generator, as against those of programs that list resources, too."""


def _read(notes: ImageNotes) -> ProgramImage | None:
    infotext = notes.infotext
    if infotext is None or LABEL not in infotext.entries:
        return None
    entries = dict(infotext.entries)
    if entries.get("Version", "") not in _PROGRAMS:
        return None
    resources = read_resources(entries[LABEL])
    models = (one.name for one in resources if one.type == "checkpoint" and one.name)
    if "Model" not in entries and (model := next(models, "")):
        entries["Model"] = model
    entries["Version"] = CIVITAI.name
    return ProgramImage(
        CIVITAI.name,
        "parameters",
        infotext.prompt,
        infotext.negative_prompt,
        entries=entries,
        unmapped=tuple(UnmappedSetting("the parameters", shown(one)) for one in infotext.strays),
        differences=(
            "Civitai's generator does not tell which program it runs and where its noise comes from",
        ),
    )


CIVITAI: Final = ImageReader("Civitai", _read)
