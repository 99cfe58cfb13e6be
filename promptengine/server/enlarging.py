"""Pictures enlarged without a model."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from promptengine.diffusion.picture.resize import UPSCALERS, resized
from promptengine.errors import RequestError
from promptengine.pictures.saving import encode_picture
from promptengine.server.bounds import check_size
from promptengine.server.config import Limits
from promptengine.server.failures import Refusal
from promptengine.server.images import in_base64, open_sent
from promptengine.server.schema import BatchUpscaling, Upscaling

__all__ = ["enlarged"]

_GREATEST_SCALE = 8.0


def enlarged(
    images: Sequence[str], fields: Upscaling | BatchUpscaling, limits: Limits
) -> list[str]:
    """Enlarge pictures that were sent.

    Args:
        images: In base64.
        fields: How.
        limits: How large they may be and become.

    Returns:
        PNGs in base64.

    Raises:
        RequestError: A picture that cannot be read, or a size that is not allowed.
        Refusal: 404, for an upscaler that there is not.
    """
    for name in (fields.upscaler_1, fields.upscaler_2):
        if name not in UPSCALERS:
            message = f"Upscaler not found: {name[:100]!r}; there are {', '.join(UPSCALERS)}"
            raise Refusal(message, status=404)
    return [in_base64(_enlarged(open_sent(image, limits), fields, limits)) for image in images]


def _enlarged(image: Image.Image, fields: Upscaling | BatchUpscaling, limits: Limits) -> bytes:
    image = image.convert("RGB")
    if fields.resize_mode == 0:
        scale = fields.upscaling_resize
        if not 0 < scale <= _GREATEST_SCALE:
            message = f"upscaling_resize is {scale:g}; it must be above 0 and at most 8"
            raise RequestError(message, field="upscaling_resize")
        width, height = round(image.width * scale), round(image.height * scale)
    else:
        width, height = fields.upscaling_resize_w, fields.upscaling_resize_h
    check_size(width, height, limits)
    mode = "crop" if fields.resize_mode and fields.upscaling_crop else "stretch"
    first = resized(image, width, height, mode, UPSCALERS[fields.upscaler_1])
    share = fields.extras_upscaler_2_visibility
    if fields.upscaler_2 != "None" and 0 < share <= 1:
        second = resized(image, width, height, mode, UPSCALERS[fields.upscaler_2])
        first = Image.blend(first, second, share)
    return encode_picture(first, ".png")
