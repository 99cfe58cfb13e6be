"""The picture world of the starter checkpoint: its scenes, what is held out, and its labels.

Pictures come from `models.starter.drawing.draw`.
"""

import random

from models.starter.captions import caption, full_caption, in_style
from models.starter.scenes import (
    COLOURS,
    KINDS,
    MOST_ON_GROUND,
    PLACES,
    SKY_KINDS,
    SLOTS,
    STYLES,
    TIMES,
    WATER_KINDS,
    WATER_PLACES,
    WEATHERS,
    Group,
    Scene,
    colours_of,
    row_slots,
)

__all__ = [
    "COLOURS",
    "KINDS",
    "PLACES",
    "SLOTS",
    "STYLES",
    "TIMES",
    "WEATHERS",
    "Group",
    "Scene",
    "caption",
    "colours_of",
    "full_caption",
    "in_style",
    "is_held_out",
    "labels",
    "sample_scene",
]

HELD_OUT_COLOURS = frozenset(
    {
        ("house", "purple"),
        ("castle", "green"),
        ("windmill", "pink"),
        ("lighthouse", "yellow"),
        ("tent", "white"),
        ("tree", "blue"),
        ("flower", "green"),
        ("mushroom", "purple"),
        ("cat", "blue"),
        ("dog", "red"),
        ("bird", "orange"),
        ("car", "pink"),
        ("bus", "white"),
        ("boat", "orange"),
        ("balloon", "yellow"),
    }
)
HELD_OUT_PLACES = frozenset(
    {
        ("house", "desert"),
        ("castle", "city"),
        ("windmill", "beach"),
        ("lighthouse", "forest"),
        ("tent", "farm"),
        ("tree", "mountains"),
        ("pine", "meadow"),
        ("flower", "lake"),
        ("mushroom", "city"),
        ("cat", "forest"),
        ("dog", "beach"),
        ("bird", "desert"),
        ("car", "mountains"),
        ("bus", "meadow"),
        ("balloon", "farm"),
    }
)
HELD_OUT_MOODS = frozenset(
    {
        ("meadow", "night", "fog"),
        ("forest", "sunset", "snow"),
        ("beach", "night", "rain"),
        ("beach", "day", "snow"),
        ("mountains", "sunset", "rain"),
        ("city", "day", "fog"),
        ("city", "night", "snow"),
        ("desert", "day", "rain"),
        ("lake", "sunset", "fog"),
        ("farm", "night", "clear"),
    }
)


def is_held_out(scene: Scene) -> bool:
    """Whether a scene holds a combination that training pictures never show."""
    return (scene.place, scene.time, scene.weather) in HELD_OUT_MOODS or any(
        (group.kind, group.colour) in HELD_OUT_COLOURS
        or (group.kind, scene.place) in HELD_OUT_PLACES
        for group in scene.groups
    )


def sample_scene(rng: random.Random, *, held_out: bool | None = False) -> Scene:
    """Draw a scene at random.

    Args:
        rng: The source of chance.
        held_out: False for the combinations of training only, True for scenes with at least one
            combination that training never shows, None for any scene.
    """
    while True:
        scene = _any_scene(rng)
        if held_out is None or is_held_out(scene) == held_out:
            return scene


def labels(scene: Scene) -> dict[str, int]:
    """What a classifier can be asked about a picture, as class numbers.

    The keys are "place", "time", "weather" and, for every kind, "present/KIND" (0 or 1),
    "colour/KIND" (an index of `COLOURS`), "count/KIND" (0 for one object, to 2 for three) and
    "slot/KIND" (an index of `SLOTS`). The last three are -1 where there is nothing to tell.
    """
    found = {
        "place": PLACES.index(scene.place),
        "time": TIMES.index(scene.time),
        "weather": WEATHERS.index(scene.weather),
    }
    groups = {group.kind: group for group in scene.groups}
    for kind in KINDS:
        group = groups.get(kind)
        found[f"present/{kind}"] = int(group is not None)
        found[f"colour/{kind}"] = COLOURS.index(group.colour) if group else -1
        found[f"count/{kind}"] = group.count - 1 if group else -1
        told = group is not None and scene.says_where(group)
        found[f"slot/{kind}"] = SLOTS.index(group.slot) if group and told else -1
    return found


def _any_scene(rng: random.Random) -> Scene:
    kinds = rng.sample(KINDS, rng.choices((1, 2, 3), (40, 40, 20))[0])
    while len(SKY_KINDS.intersection(kinds)) > 1:
        kinds = rng.sample(KINDS, len(kinds))
    places = WATER_PLACES if WATER_KINDS.intersection(kinds) else PLACES
    flying = [kind for kind in kinds if kind in SKY_KINDS]
    standing = [kind for kind in kinds if kind not in SKY_KINDS]
    return Scene(
        rng.choice(places),
        rng.choice(TIMES),
        rng.choice(WEATHERS),
        (*_row(standing, rng), *_row(flying, rng)),
    )


def _row(kinds: list[str], rng: random.Random) -> list[Group]:
    counts = tuple(rng.choices((1, 2, 3), (56, 24, 20))[0] for _ in kinds)
    while sum(counts) > MOST_ON_GROUND:
        counts = tuple(rng.choice((1, 1, 2, 3)) for _ in kinds)
    slots = rng.choice(row_slots(counts))
    return [
        Group(kind, rng.choice(colours_of(kind)), count, slot)
        for kind, count, slot in zip(kinds, counts, slots, strict=True)
    ]
