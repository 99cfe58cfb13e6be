"""Pictures as files, the text inside them, and pictures side by side."""

from promptengine.images.contact_sheet import draw_sheet, stack_sheets
from promptengine.images.read import PictureInfo, read_picture
from promptengine.images.save import save_picture, save_png

__all__ = [
    "PictureInfo",
    "draw_sheet",
    "read_picture",
    "save_picture",
    "save_png",
    "stack_sheets",
]
