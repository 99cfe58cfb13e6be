"""Images as files, the text inside them, and images side by side."""

from promptengine.images.contact_sheet import draw_sheet, stack_sheets
from promptengine.images.read import ImageInfo, read_image_info
from promptengine.images.save import encode_image, save_image, save_png

__all__ = [
    "ImageInfo",
    "draw_sheet",
    "encode_image",
    "read_image_info",
    "save_image",
    "save_png",
    "stack_sheets",
]
