"""Pictures as files, the text inside them, and pictures side by side."""

from promptengine.pictures.reading import PictureInfo, read_picture
from promptengine.pictures.saving import save_picture, save_png
from promptengine.pictures.sheets import draw_sheet, stack_sheets

__all__ = [
    "PictureInfo",
    "draw_sheet",
    "read_picture",
    "save_picture",
    "save_png",
    "stack_sheets",
]
