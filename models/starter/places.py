"""The places of the world, their skies and their weather."""

import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from models.starter.palette import CREAM, LAMP, RGB, SLATE, SNOW, Light, dark, mix, pale
from models.starter.pen import Pen, Point, arc
from models.starter.scenes import SLOTS
from models.starter.styles import LOOKS

HORIZON = 68.0
BACK_BANKS = ((-10, 34, 62), (74, 26, 66), (30, 52, 84), (-14, 64, 58), (86, 66, 60))
FRONT_BANKS = ((-12, 88, 60), (62, 99, 80), (14, 115, 72))
"""Where banks of fog begin, behind and in front of the objects, and how long they are."""

SLOT_COLUMNS = {"left": 24.0, "middle": 62.0, "right": 102.0}


def sky_image(light: Light, side: int, style: str) -> Image.Image:
    """A fresh canvas of the sky's gradient."""
    return _gradient(light, side, style).copy()


@lru_cache(maxsize=64)
def _gradient(light: Light, side: int, style: str) -> Image.Image:
    top, middle, low = (LOOKS[style].fill(colour) for colour in light.sky)
    column = Image.new("RGB", (1, 128))
    for row in range(128):
        share = row / HORIZON * 2
        colour = mix(top, middle, share) if share < 1 else mix(middle, low, min(1, share - 1))
        column.putpixel((0, row), colour)
    return column.resize((side, side), Image.Resampling.BICUBIC)


def draw_sky(pen: Pen, rng: random.Random, free: Sequence[str]) -> None:
    """Draw what hangs in the sky: sun or moon in one of the free slots, stars and clouds."""
    sky = pen.far(0.02)
    column = SLOT_COLUMNS[rng.choice(free or SLOTS)] + rng.uniform(-8, 8)
    if pen.light.weather == "clear":
        if pen.light.night:
            _draw_stars(sky, rng)
        if free:
            _SUNS[pen.light.time](sky, column, rng.uniform(18, 26))
    if pen.light.weather in ("rain", "snow"):
        _draw_overcast(sky, rng)
    elif pen.light.weather == "clear" and not pen.light.night:
        for _ in range(rng.randint(1, 2)):
            _draw_cloud(sky, rng.uniform(8, 120), rng.uniform(10, 48), rng.uniform(7, 11))


def _draw_sun(sky: Pen, x: float, y: float) -> None:
    sky.disc(x, y, 13, mix(sky.light.sky[0], CREAM, 0.45), shining=True)
    sky.disc(x, y, 9, (255, 236, 158), shining=True)


def _draw_low_sun(sky: Pen, x: float, y: float) -> None:
    sky.disc(x, HORIZON - 14, 19, mix(sky.light.sky[1], LAMP, 0.45), shining=True)
    sky.disc(x, HORIZON - 14, 14, (255, 226, 150), shining=True)


def _draw_stars(sky: Pen, rng: random.Random) -> None:
    for _ in range(26):
        radius = rng.choice((0.5, 0.6, 0.9))
        sky.disc(rng.uniform(2, 126), rng.uniform(2, 62), radius, (226, 230, 250), shining=True)


def _draw_moon(sky: Pen, x: float, y: float) -> None:
    sky.disc(x, y, 13, mix(sky.light.sky[1], CREAM, 0.12), shining=True)
    crescent = arc(x, y, 8.5, 8.5, (60, 300)) + arc(x + 4.4, y, 8.4, 8.0, (285, 75))
    sky.shape(crescent, (252, 244, 206), shining=True)


_SUNS = {"day": _draw_sun, "sunset": _draw_low_sun, "night": _draw_moon}


def _draw_cloud(sky: Pen, x: float, y: float, size: float) -> None:
    colour = mix(sky.light.sky[1], (255, 252, 244), 0.62)
    base = y + size * 0.3
    outline = [
        *arc(x - size, y, size * 0.55, size * 0.5, (90, 250)),
        *arc(x - size * 0.1, y - size * 0.25, size * 0.75, size * 0.7, (200, 345)),
        *arc(x + size, y, size * 0.6, size * 0.5, (280, 450)),
        (x, base + size * 0.2),
    ]
    sky.shape(outline, colour, shining=True)


def _draw_overcast(sky: Pen, rng: random.Random) -> None:
    """A bank of cloud along the top of the picture."""
    share = 0.3 if sky.light.weather == "rain" else 0.0
    tone = mix(sky.light.sky[0], SLATE, share)
    for depth, y in ((0.3, 15.0), (0.0, 8.0)):
        edge: list[Point] = [(-4, -4)]
        x, colour = -4 - rng.uniform(0, 10), mix(tone, sky.light.sky[2], depth)
        while x < 130:
            reach = rng.uniform(8, 14)
            edge += arc(x + reach, y, reach, rng.uniform(4, 7), (180, 0))
            x += reach * 2
        sky.shape([*edge, (x, -4)], colour, shining=True)


def draw_weather(pen: Pen, rng: random.Random) -> None:
    """Draw what falls in front of everything."""
    if pen.light.weather == "rain":
        drop = mix((222, 234, 246), pen.light.sky[1], 0.25)
        for _ in range(44):
            x, y, length = rng.uniform(-2, 136), rng.uniform(-4, 122), rng.uniform(7, 12)
            pen.line([(x, y), (x - length * 0.36, y + length)], drop, 1.1, shining=True)
    elif pen.light.weather == "snow":
        for _ in range(46):
            radius = rng.uniform(0.9, 1.8)
            pen.disc(rng.uniform(0, 128), rng.uniform(0, 126), radius, SNOW, shining=True)


def veil(image: Image.Image, light: Light, style: str, *, front: bool) -> Image.Image:
    """Lay fog over the canvas: thick behind the objects, thin in front of them."""
    if light.weather == "fog":
        colour = LOOKS[style].fill(mix(light.sky[-1], (255, 255, 250), 0.15))
        image.paste(colour, (0, 0), _fog(image.width, front))
    return image


@lru_cache(maxsize=8)
def _fog(side: int, front: bool) -> Image.Image:
    """A mask of drifting banks of fog."""
    thick, centre, reach = (52, 0.82, 0.4) if front else (96, 0.58, 0.5)
    column = Image.new("L", (1, 64))
    for row in range(64):
        column.putpixel((0, row), round(thick * max(0.0, 1 - abs(row / 64 - centre) / reach)))
    mask = column.resize((128, 128), Image.Resampling.BICUBIC)
    banks = Image.new("L", (128, 128), 0)
    draw = ImageDraw.Draw(banks)
    for x, y, width in FRONT_BANKS if front else BACK_BANKS:
        draw.rounded_rectangle((x, y, x + width, y + 7), 3.5, 70 if front else 140)
    banks = banks.filter(ImageFilter.GaussianBlur(1.2))
    return ImageChops.lighter(mask, banks).resize((side, side), Image.Resampling.BICUBIC)


def _land(pen: Pen, colour: RGB) -> RGB:
    # Far snow is bluer, or snowy hills would vanish into each other and the sky.
    lying = mix(SNOW, (128, 162, 202), pen.distance)
    return mix(colour, lying, 0.88) if pen.light.snowy else colour


def _ridge(rng: random.Random, y: float, swell: float) -> list[Point]:
    """A line of hills across the picture."""
    phases = [rng.uniform(0, 6.3) for _ in range(2)]
    waves = (0.030 + rng.uniform(0, 0.015), 0.075 + rng.uniform(0, 0.02))
    return [
        (
            x,
            y
            - swell
            * (math.sin(x * waves[0] + phases[0]) + 0.3 * math.sin(x * waves[1] + phases[1])),
        )
        for x in range(-4, 136, 5)
    ]


def _hills(pen: Pen, rng: random.Random, y: float, swell: float, colour: RGB) -> list[Point]:
    line = _ridge(rng, y, swell)
    pen.shape([*line, (136, 134), (-6, 134)], _land(pen, colour))
    return line


def _speckle(pen: Pen, rng: random.Random, colours: Sequence[RGB], number: int) -> None:
    """Blossoms, pebbles or shells on the ground in front."""
    near = pen.far(0.05)
    for _ in range(number):
        x, y = rng.uniform(3, 125), rng.choice((rng.uniform(92, 106), rng.uniform(118, 126)))
        near.disc(x, y, rng.uniform(0.7, 1.2), rng.choice(colours))


def _meadow(pen: Pen, rng: random.Random) -> RGB:
    ground = _land(pen, (164, 198, 104))
    _hills(pen.far(0.85), rng, 66, 6, (112, 160, 140))
    slope = _hills(pen.far(0.5), rng, 77, 5, (120, 176, 112))
    for x, y in rng.sample(slope[1:-2], 5):
        _bush(pen.far(0.45), x, y + rng.uniform(1, 6), rng.uniform(2.6, 4.2))
    _hills(pen.far(0.1), rng, 91, 3, (164, 198, 104))
    if not pen.light.snowy:
        _speckle(pen, rng, ((252, 246, 214), (244, 176, 150), (250, 220, 110)), 22)
    return ground


def _bush(pen: Pen, x: float, y: float, size: float) -> None:
    pen.shape(arc(x, y, size, size, (180, 360)), (74, 138, 98))
    if pen.light.snowy:
        pen.shape(arc(x, y, size, size, (190, 350)), SNOW)


def _forest(pen: Pen, rng: random.Random) -> RGB:
    ground = _land(pen, (120, 146, 84))
    rows = ((0.72, 70.0, 30.0, (58, 116, 112)), (0.42, 80.0, 25.0, (44, 98, 84)))
    for distance, y, height, colour in rows:
        far = pen.far(distance)
        far.box(-2, y - 8, 130, 104, colour)
        x = -6.0
        while x < 132:
            half, top = rng.uniform(4.5, 6.5), y - height * rng.uniform(0.75, 1.1)
            far.shape([(x - half, y), (x, top), (x + half, y)], colour)
            if pen.light.snowy:
                tip = top + (y - top) * 0.4
                far.shape([(x, top), (x + half * 0.4, tip), (x + half * 0.05, tip - 2)], SNOW)
            x += half * rng.uniform(1.25, 1.6)
    _hills(pen.far(0.1), rng, 93, 2.5, (120, 146, 84))
    if not pen.light.snowy:
        _speckle(pen, rng, (dark(ground, 0.3), pale(ground, 0.3)), 24)
    return ground


def _waves(pen: Pen, rng: random.Random, top: float, bottom: float, colour: RGB) -> None:
    for _ in range(16):
        depth = rng.random()
        x, y, reach = rng.uniform(-4, 122), top + (bottom - top) * depth, 3 + 6 * depth
        pen.line([(x, y), (x + reach, y)], colour, 0.8)


def _beach(pen: Pen, rng: random.Random) -> RGB:
    ground, sea = _land(pen, (240, 214, 158)), (62, 150, 178)
    pen.far(0.45).box(-2, HORIZON - 2, 130, 104, sea)
    pen.far(0.2).box(-2, HORIZON + 10, 130, 110, sea)
    _waves(pen.far(0.25), rng, HORIZON + 3, 94, (168, 214, 216))
    shore = _ridge(rng, 101, 1.6)
    foam = [(x, y - 2.2) for x, y in shore]
    pen.far(0.1).shape([*foam, (136, 134), (-6, 134)], (244, 246, 238))
    pen.far(0.1).shape([*shore, (136, 134), (-6, 134)], ground)
    if not pen.light.snowy:
        _speckle(pen, rng, ((222, 170, 120), (250, 240, 214), (236, 140, 120)), 14)
    return ground


def _mountains(pen: Pen, rng: random.Random) -> RGB:
    ground = _land(pen, (138, 172, 116))
    far, near = pen.far(0.7), pen.far(0.4)
    for x in (rng.uniform(-4, 16), rng.uniform(54, 74), rng.uniform(112, 132)):
        _peak(far, rng, x, rng.uniform(34, 42), (112, 126, 160))
    for x in (rng.uniform(24, 44), rng.uniform(84, 104)):
        _peak(near, rng, x, rng.uniform(24, 36), (92, 106, 146))
    _hills(pen.far(0.3), rng, 86, 3, (98, 140, 112))
    _hills(pen.far(0.1), rng, 96, 2.5, (138, 172, 116))
    return ground


def _peak(pen: Pen, rng: random.Random, x: float, top: float, colour: RGB) -> None:
    half, base = (96 - top) * rng.uniform(0.6, 0.7), 98.0
    pen.shape([(x - half, base), (x, top), (x + half, base)], colour)
    pen.shape([(x, top), (x + half, base), (x + half * 0.12, base)], dark(colour, 0.25))
    cap = (base - top) * (0.5 if pen.light.snowy else 0.3)
    reach = half * cap / (base - top)
    jag = [(0.98, 1.0), (0.5, 0.72), (0.1, 1.12), (-0.3, 0.8), (-0.98, 1.0)]
    snow = [(x, top), *((x + reach * across, top + cap * down) for across, down in jag)]
    pen.shape(snow, SNOW)


def _city(pen: Pen, rng: random.Random) -> RGB:
    ground = _land(pen, (186, 184, 186))
    for distance, low, high, colour in (
        (0.7, 24, 44, (120, 128, 158)),
        (0.35, 42, 64, (104, 112, 142)),
    ):
        x = -rng.uniform(0, 8)
        while x < 128:
            width, top = rng.uniform(12, 19), rng.uniform(low, high)
            _tower(pen.far(distance), rng, (x, x + width), top, colour)
            x += width + rng.choice((0, 1.5))
    near = pen.far(0.08)
    near.box(-2, 92, 130, 130, ground)
    near.box(-2, 92, 130, 94, pale(ground))
    near.box(-2, 117, 130, 130, _land(pen, (98, 100, 116)))
    for x in range(4, 128, 20):
        near.box(x, 121.5, x + 9, 123, CREAM)
    return ground


def _tower(pen: Pen, rng: random.Random, sides: Point, top: float, colour: RGB) -> None:
    x, width = sides[0], sides[1] - sides[0]
    pen.box(x, top, x + width, 96, mix(colour, (150, 130, 140), rng.random() * 0.5))
    if pen.light.snowy:
        pen.box(x, top, x + width, top + 2, SNOW)
    for row in range(int((90 - top) // 7)):
        for column in range(2):
            left, high = x + width * (0.2 + 0.36 * column), top + 4 + row * 7
            lit = pen.light.night and rng.random() < 0.6
            glass = LAMP if lit else mix(colour, (216, 226, 234), 0.35)
            pen.box(left, high, left + width * 0.22, high + 3.4, glass, shining=lit, bare=True)


def _desert(pen: Pen, rng: random.Random) -> RGB:
    ground = _land(pen, (240, 196, 122))
    for x in (rng.uniform(4, 44), rng.uniform(78, 118)):
        _mesa(pen.far(0.55), x, rng.uniform(46, 56), rng.uniform(13, 19))
    _hills(pen.far(0.45), rng, 78, 4, (232, 172, 108))
    for x in rng.sample(range(6, 124, 10), 3):
        _cactus(pen.far(0.3), x, rng.uniform(84, 88))
    _hills(pen.far(0.25), rng, 88, 4, (236, 184, 112))
    _hills(pen.far(0.1), rng, 99, 3, (240, 196, 122))
    return ground


def _mesa(pen: Pen, x: float, top: float, half: float) -> None:
    rock = (202, 112, 78)
    pen.shape([(x - half, top), (x + half, top), (x + half * 1.4, 86), (x - half * 1.4, 86)], rock)
    pen.shape(
        [(x + half * 0.3, top), (x + half, top), (x + half * 1.4, 86), (x + half * 0.5, 86)],
        dark(rock),
    )
    if pen.light.snowy:
        pen.box(x - half, top, x + half, top + 3, SNOW)


def _cactus(pen: Pen, x: float, y: float) -> None:
    green = (84, 136, 96)
    pen.line([(x, y), (x, y - 13)], green, 2.2)
    pen.line([(x, y - 5), (x - 3.4, y - 5), (x - 3.4, y - 9)], green, 1.6)
    pen.line([(x, y - 6.5), (x + 3.4, y - 6.5), (x + 3.4, y - 11)], green, 1.6)


def _lake(pen: Pen, rng: random.Random) -> RGB:
    ground, water = _land(pen, (150, 186, 104)), (96, 158, 190)
    far = pen.far(0.5)
    ridge = [(x, min(y, 70)) for x, y in _ridge(rng, 56, 9)]
    far.shape([*ridge, (136, 74), (-6, 74)], _land(far, (78, 128, 110)))
    pen.far(0.25).box(-2, 73, 130, 110, water)
    mirrored = [(x, 73 + (73 - y) * 0.5) for x, y in ridge]
    pen.far(0.3).shape([*mirrored, (136, 73), (-6, 73)], mix(water, (78, 128, 110), 0.45))
    _waves(pen.far(0.2), rng, 76, 98, (190, 222, 226))
    _hills(pen.far(0.1), rng, 103, 1.8, (150, 186, 104))
    for side in (rng.uniform(1, 6), rng.uniform(118, 124)):
        for index in range(3):
            x, y = side + 2.4 * index, 104 + index
            pen.far(0.1).line([(x, y), (x, y - 11 - 2 * (index % 2))], (92, 120, 76), 0.9)
            pen.far(0.1).oval(x, y - 12 - 2 * (index % 2), 0.9, 2.2, (124, 84, 62))
    return ground


def _farm(pen: Pen, rng: random.Random) -> RGB:
    soil, crop = _land(pen, (206, 162, 100)), _land(pen, (164, 180, 88))
    _hills(pen.far(0.75), rng, 66, 5, (150, 178, 116))
    near, origin = pen.far(0.15), 64 + rng.uniform(-24, 24)
    near.box(-2, 76, 130, 130, crop)
    for index in range(-9, 10):
        foot = 64 + index * 24
        top = origin + (foot - origin) * 0.22
        furrow = [(top - 1, 76), (top + 1.4, 76), (foot + 7, 130), (foot - 4, 130)]
        near.shape(furrow, dark(soil, 0.2), bare=True)
    fence = pen.far(0.08)
    for y in (71.5, 75):
        fence.line([(-2, y), (130, y)], (236, 222, 192), 1.2)
    for x in range(4, 128, 12):
        fence.box(x, 68.5, x + 2, 79, (236, 222, 192))
    for x in (rng.uniform(6, 50), rng.uniform(78, 122)):
        fence.disc(x, 80, 5.5, (228, 188, 96))
        fence.disc(x, 80, 2.6, (196, 152, 76))
    return mix(soil, crop, 0.5)


BACKDROPS: dict[str, Callable[[Pen, random.Random], RGB]] = {
    "meadow": _meadow,
    "forest": _forest,
    "beach": _beach,
    "mountains": _mountains,
    "city": _city,
    "desert": _desert,
    "lake": _lake,
    "farm": _farm,
}
"""Draws a place's land from the horizon to the front; gives the colour of the ground there."""
