"""The styles: how each renders shapes, and what it does to the finished canvas."""

from collections.abc import Callable
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from models.starter.palette import LAMP, RGB, mix
from models.starter.pen import Look

PAPER = (246, 234, 208)
SEPIA = (62, 42, 34)
VOID = (12, 8, 30)
PIXELS = 32


def _same(colour: RGB) -> RGB:
    return colour


def _grey(colour: RGB) -> int:
    return round(0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2])


def _wash(colour: RGB) -> RGB:
    grey = _grey(colour)
    muted = mix(colour, (grey, grey, grey), 0.08)
    return mix(PAPER, muted, 0.6)


def _ink(colour: RGB) -> RGB:
    return mix(SEPIA, colour, 0.08)


def _printed(darkest: RGB, brightest: RGB, saturation: float) -> Callable[[RGB], RGB]:
    """Colours between two, as a print on tinted paper has them; their saturation is changed before."""

    def fill(colour: RGB) -> RGB:
        grey = _grey(colour)
        parts = (grey + saturation * (part - grey) for part in colour)
        red, green, blue = (
            min(255, max(0, round(low + (high - low) * part / 255)))
            for part, low, high in zip(parts, darkest, brightest, strict=True)
        )
        return red, green, blue

    return fill


def _unlit(colour: RGB) -> RGB:
    return colour if colour == LAMP else mix(VOID, colour, 0.26)


def _tube(colour: RGB) -> RGB:
    """The colour at full brightness and with its hue made plain."""
    low, high = min(colour), max(colour)
    if high - low < 0.2 * high:
        return (232, 236, 255)
    red, green, blue = (round(40 + 215 * (part - low) / (high - low)) for part in colour)
    return mix((red, green, blue), colour, 0.3)


_FADED = _printed((74, 46, 54), (255, 238, 200), 0.8)
_SUGARED = _printed((128, 100, 150), (255, 244, 246), 1.15)

LOOKS = {
    "flat": Look(_same, _same),
    "pixel": Look(_same, _same),
    "ink": Look(_wash, _ink, _ink, 0.9),
    "neon": Look(_unlit, _tube, _tube, 1.1),
    "vintage": Look(_FADED, _FADED),
    "pastel": Look(_SUGARED, _SUGARED),
}


def finish(canvas: Image.Image, size: int, style: str) -> Image.Image:
    """The picture of some size that a style makes of the drawn canvas."""
    if style == "pixel":
        return _pixelled(canvas, size)
    picture = canvas.resize((size, size), Image.Resampling.BOX)
    if style == "ink":
        return _hatched(picture)
    if style == "neon":
        return _glowing(picture)
    return picture


def _pixelled(canvas: Image.Image, size: int) -> Image.Image:
    small = canvas.resize((PIXELS, PIXELS), Image.Resampling.BOX)
    # A palette by coverage keeps the few pixels of a bright object; one by frequency greys them.
    few = small.quantize(28, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    return few.convert("RGB").resize((size, size), Image.Resampling.NEAREST)


def _hatched(picture: Image.Image) -> Image.Image:
    """Darker tones become hatching, as they do on paper."""
    tone = picture.convert("L")
    lines, crossed = _hatching(picture.width)
    for hatch, threshold in ((lines, 150), (crossed, 104)):
        shadow = tone.point([150 if level < threshold else 0 for level in range(256)])
        mask = ImageChops.multiply(shadow, hatch)
        picture.paste(SEPIA, (0, 0), mask)
    return picture


@lru_cache(maxsize=4)
def _hatching(size: int) -> tuple[Image.Image, Image.Image]:
    """Masks of slanted lines, one each way."""
    canvas = Image.new("L", (size * 2, size * 2), 0)
    draw = ImageDraw.Draw(canvas)
    step = size * 2 / 26
    for number in range(-26, 27):
        start = number * step
        draw.line([(start, size * 2), (start + size * 2, 0)], 255, max(1, size // 64))
    lines = canvas.resize((size, size), Image.Resampling.BOX)
    return lines, lines.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _glowing(picture: Image.Image) -> Image.Image:
    """Bright lines spill their light on what is around them."""
    dim = picture.point([max(0, level - 70) for level in range(256)] * 3)
    near = dim.filter(ImageFilter.BoxBlur(picture.width / 70))
    wide = dim.filter(ImageFilter.BoxBlur(picture.width / 24))
    return ImageChops.add(ImageChops.add(picture, near), wide)
