"""Images enlarged after they were made, as WebUI's extras do it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from promptengine.errors import RequestError
from promptengine.images.resize import upscale_image
from promptengine.images.save import KEYWORD
from promptengine.images.upscalers import PixelUpscaler
from promptengine.request.upscale import GREATEST_SCALE, LARGEST_SIDE

__all__ = ["POSTPROCESSING_KEYWORD", "Postprocess", "encode_postprocessed"]

POSTPROCESSING_KEYWORD: Final = "postprocessing"
"""WebUI's keyword of the text in a PNG that says what was done to the image."""

_PLAIN_MODES: Final = ("L", "RGB", "RGBA")


@dataclass(frozen=True, slots=True, eq=False)
class Postprocess:
    """How an image is enlarged.

    Attributes:
        upscaler: What enlarges it; one that does nothing by itself (``None``) leaves it as it is.
        second: What enlarges it as well, to be laid over the first result; None for nothing.
        visibility: How much of the second result shows, 0 to 1.
        scale: How many times its sides grow, above 0 and at most 8.
        size: Width and height to cover in place of a scale, in pixels.
        crop: Whether what of the covering image is over is cut off, evenly at both ends.

    Raises:
        RequestError: On creation, if a number is out of its range; names WebUI's field.
    """

    upscaler: PixelUpscaler
    second: PixelUpscaler | None = None
    visibility: float = 0.0
    scale: float = 2.0
    size: tuple[int, int] | None = None
    crop: bool = True

    def __post_init__(self) -> None:
        if self.size is None and not 0 < self.scale <= GREATEST_SCALE:
            range_ = f"above 0 and at most {GREATEST_SCALE:g}"
            message = f"upscaling_resize is {self.scale:g}; it must be {range_}"
            raise RequestError(message, field="upscaling_resize")
        for name, side in zip(("w", "h"), self.size or (), strict=False):
            if not 1 <= side <= LARGEST_SIDE:
                field = f"upscaling_resize_{name}"
                message = f"{field} is {side}; it must be 1 to {LARGEST_SIDE}"
                raise RequestError(message, field=field)
        if not 0 <= self.visibility <= 1:
            field = "extras_upscaler_2_visibility"
            raise RequestError(f"{field} is {self.visibility:g}; it must be 0 to 1", field=field)

    def factor(self, image: Image.Image) -> float:
        """Return how many times an image's sides grow."""
        if self.size is None:
            return self.scale
        return max(self.size[0] / image.width, self.size[1] / image.height)

    def apply(self, image: Image.Image) -> tuple[Image.Image, str]:
        """Enlarge an image.

        Args:
            image: In any mode. Networks drop transparency, and so does cropping.

        Returns:
            The result, and what was done in WebUI's words; empty for nothing.

        Raises:
            PromptEngineError: What the upscaler raises.
        """
        if self.upscaler.enlarge is None:
            return image, ""
        if image.mode not in _PLAIN_MODES:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        made = self._enlarged(image, self.upscaler)
        done = {**self._told(), "Postprocess upscaler": self.upscaler.name}
        if self.second is not None and self.second.enlarge is not None and self.visibility > 0:
            other = self._enlarged(image, self.second).convert(made.mode)
            made = Image.blend(made, other, self.visibility)
            done["Postprocess upscaler 2"] = self.second.name
        return made, ", ".join(f"{key}: {value}" for key, value in done.items())

    def _enlarged(self, image: Image.Image, upscaler: PixelUpscaler) -> Image.Image:
        made = upscale_image(image, self.factor(image), upscaler)
        if self.size is None or not self.crop:
            return made
        width, height = self.size
        canvas = Image.new("RGB", (width, height))
        canvas.paste(made, (width // 2 - made.width // 2, height // 2 - made.height // 2))
        return canvas

    def _told(self) -> dict[str, str]:
        if self.size is None:
            return {"Postprocess upscale by": str(float(self.scale))}
        size = f"{self.size[0]}x{self.size[1]}"
        return {
            "Postprocess upscale to": size,
            **({"Postprocess crop to": size} if self.crop else {}),
        }


def encode_postprocessed(image: Image.Image, done: str, infotext: str = "") -> bytes:
    """Return a PNG that says what was done to it, and how it was made before.

    Args:
        image: In any mode.
        done: As :meth:`Postprocess.apply` tells it.
        infotext: Of the image before; empty where it had none.
    """
    chunks, file = PngInfo(), BytesIO()
    if infotext:
        chunks.add_text(KEYWORD, infotext)
    chunks.add_text(POSTPROCESSING_KEYWORD, done)
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()
