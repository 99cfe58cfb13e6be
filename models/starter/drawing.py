"""Scenes as pictures: where each object of a scene stands, and the order of drawing."""

import random

from PIL import Image, ImageDraw

from models.starter.objects import OBJECTS
from models.starter.palette import PAINTS, RGB, Light, dark
from models.starter.pen import Pen
from models.starter.places import BACKDROPS, draw_sky, draw_weather, sky_image, veil
from models.starter.scenes import SLOTS, STYLES, WATER_KINDS, Group, Scene
from models.starter.styles import LOOKS, finish

WIDTH = 128
SUPERSAMPLING = 3
LAND, WATER, SKY = 115.0, 94.0, 50.0
TALLEST_UNDER_SKY = 52.0
LONE_SLOTS = {"left": 32.0, "middle": 64.0, "right": 96.0}


def draw(scene: Scene, *, seed: int, size: int = 128, style: str = "flat") -> Image.Image:
    """Draw a scene.

    Args:
        scene: What to draw.
        seed: Varies what the scene leaves open: hills, clouds and where exactly things stand.
        size: Width and height of the picture in pixels.
        style: One of `STYLES`; all styles draw the same scene and seed in the same layout.

    Returns:
        An RGB picture, the same for the same arguments.
    """
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}")
    rng = random.Random(seed)
    look, light = LOOKS[style], Light(scene.time, scene.weather)
    side = size * SUPERSAMPLING
    image = sky_image(light, side, style)
    pen = Pen.on(ImageDraw.Draw(image), look, light, side / WIDTH)
    draw_sky(pen, rng, _free_columns(scene))
    ground = BACKDROPS[scene.place](pen, rng)
    image = veil(image, light, style, front=False)
    pen = Pen.on(ImageDraw.Draw(image), look, light, side / WIDTH)
    for group in (*scene.sky, *scene.ground):
        _draw_group(pen, scene, group, ground, rng)
    draw_weather(pen, rng)
    return finish(veil(image, light, style, front=True), size, style)


def _free_columns(scene: Scene) -> list[str]:
    """The slots of the sky in which the sun or the moon stays in sight."""
    if not scene.sky:
        return list(SLOTS)
    group = scene.sky[0]
    free = {1: [slot for slot in SLOTS if slot != group.slot], 2: ["middle"], 3: []}
    return free[group.count]


def _draw_group(pen: Pen, scene: Scene, group: Group, ground: RGB, rng: random.Random) -> None:
    thing = OBJECTS[group.kind]
    centres, cell = _cells(scene, group)
    base = SKY if group.in_sky else WATER if group.kind in WATER_KINDS else LAND
    tallest = TALLEST_UNDER_SKY if scene.sky and not group.in_sky else thing.size
    size = min(thing.size, tallest, cell * 0.9 / thing.width)
    mirrored = rng.random() < 0.5
    for centre in centres:
        grown = size * rng.uniform(0.93, 1.0)
        x = centre + rng.uniform(-0.04, 0.04) * cell
        y = base + rng.uniform(-3.0, 3.0)
        if base == LAND:
            reach = grown * thing.width / 2
            pen.far(0.01).oval(x + reach * 0.12, y, reach * 1.05, 2.2, dark(ground, 0.3), bare=True)
        thing.draw(pen.standing(x, y, grown, mirrored=mirrored), PAINTS[group.colour])


def _cells(scene: Scene, group: Group) -> tuple[list[float], float]:
    """The columns a group's objects stand in, and the width each has for itself."""
    row = scene.sky if group.in_sky else scene.ground
    total = sum(other.count for other in row)
    if total == 1:
        return [LONE_SLOTS[group.slot]], 66.0
    cell = (WIDTH - 4) / total
    first = sum(other.count for other in row[: row.index(group)])
    return [2 + cell * (first + index + 0.5) for index in range(group.count)], cell
