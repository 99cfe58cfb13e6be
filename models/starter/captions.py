"""The words for a scene, as users of an image generator write them."""

import random

from models.starter.scenes import Group, Scene

PLURALS = {
    "house": "houses",
    "castle": "castles",
    "windmill": "windmills",
    "lighthouse": "lighthouses",
    "tent": "tents",
    "tree": "trees",
    "pine": "pine trees",
    "flower": "flowers",
    "mushroom": "mushrooms",
    "cat": "cats",
    "dog": "dogs",
    "bird": "birds",
    "car": "cars",
    "bus": "buses",
    "boat": "boats",
    "balloon": "balloons",
}
SINGULARS = {kind: kind for kind in PLURALS} | {"pine": "pine tree"}
NUMBERS = {1: "one", 2: "two", 3: "three"}

PLACE_PHRASES = {
    "meadow": "in a meadow",
    "forest": "in a forest",
    "beach": "on a beach",
    "mountains": "in the mountains",
    "city": "in a city",
    "desert": "in a desert",
    "lake": "by a lake",
    "farm": "on a farm",
}
TIME_TAGS = {"day": ("day", "daytime"), "sunset": ("sunset", "evening"), "night": ("night",)}
TIME_PHRASES = {
    "day": ("during the day", "by day"),
    "sunset": ("at sunset", "in the evening"),
    "night": ("at night",),
}
WEATHER_TAGS = {
    "clear": ("clear sky", "clear"),
    "rain": ("rain", "rainy"),
    "snow": ("snow", "snowy"),
    "fog": ("fog", "foggy"),
}
WEATHER_PHRASES = {
    "clear": "under a clear sky",
    "rain": "in the rain",
    "snow": "in the snow",
    "fog": "in the fog",
}
WEATHER_ADJECTIVES = {"clear": "clear", "rain": "rainy", "snow": "snowy", "fog": "foggy"}
CLEAR_MOODS = {"day": "sunny day", "sunset": "clear sunset", "night": "starry night"}
STYLE_TAGS = {
    "ink": ("ink drawing", "ink style", "drawn in ink"),
    "pixel": ("pixel art", "pixel style", "made of pixels"),
    "neon": ("neon lights", "neon style", "in neon"),
}
SLOT_PHRASES = {"left": "on the left", "middle": "in the middle", "right": "on the right"}


def caption(scene: Scene, rng: random.Random) -> str:
    """A prompt a user might write for the scene: tags, a sentence or a single word.

    It leaves some of the scene out at random, and says nothing that is not in the picture.
    """
    form = rng.choices((_one_word, _tags, _sentence, _headline), (6, 46, 36, 12))[0]
    return form(scene, rng)


def full_caption(scene: Scene) -> str:
    """The caption that states the whole scene, always in the same words."""
    things = [_with_slot(scene, group, _noun(group)) for group in (*scene.ground, *scene.sky)]
    return ", ".join([*things, scene.place, scene.time, scene.weather])


def in_style(text: str, style: str, rng: random.Random) -> str:
    """A caption with the name of the picture's style before or behind it; flat pictures have none."""
    if style not in STYLE_TAGS:
        return text
    tag = rng.choice(STYLE_TAGS[style])
    return f"{tag}, {text}" if rng.random() < 0.5 else f"{text}, {tag}"


def _one_word(scene: Scene, rng: random.Random) -> str:
    kinds = [group.kind for group in scene.groups if group.count == 1]
    nouns = [SINGULARS[kind] for kind in kinds]
    return rng.choice([*nouns, *nouns, scene.place, scene.time, scene.weather])


def _tags(scene: Scene, rng: random.Random) -> str:
    tags = [_group_tag(scene, group, rng) for group in _mentioned(scene, rng, 0.85)]
    if rng.random() < 0.8:
        tags.append(scene.place)
    if rng.random() < 0.75:
        tags.append(rng.choice(TIME_TAGS[scene.time]))
    if rng.random() < (0.4 if scene.weather == "clear" else 0.8):
        tags.append(rng.choice(WEATHER_TAGS[scene.weather]))
    rng.shuffle(tags)
    return ", ".join(tags)


def _group_tag(scene: Scene, group: Group, rng: random.Random) -> str:
    article = rng.random() < 0.25
    noun = _noun(group, coloured=rng.random() < 0.85, article=article)
    return _with_slot(scene, group, noun) if rng.random() < 0.15 else noun


def _sentence(scene: Scene, rng: random.Random) -> str:
    parts = [_subject(scene, rng)]
    if rng.random() < 0.85:
        parts.append(PLACE_PHRASES[scene.place])
    if rng.random() < 0.75:
        parts.append(rng.choice(TIME_PHRASES[scene.time]))
    if rng.random() < (0.4 if scene.weather == "clear" else 0.8):
        parts.append(WEATHER_PHRASES[scene.weather])
    return " ".join(parts)


def _headline(scene: Scene, rng: random.Random) -> str:
    """The mood first, then the objects: "snowy night, a red house beside two pine trees"."""
    time = rng.choice(TIME_TAGS[scene.time])
    mood = f"{WEATHER_ADJECTIVES[scene.weather]} {time}"
    if scene.weather == "clear" and rng.random() < 0.5:
        mood = CLEAR_MOODS[scene.time]
    place = f" {PLACE_PHRASES[scene.place]}" if rng.random() < 0.7 else ""
    if rng.random() < 0.5:
        return f"{mood}{place}, {_subject(scene, rng)}"
    return f"{mood}, {_subject(scene, rng)}{place}"


def _subject(scene: Scene, rng: random.Random) -> str:
    """The objects of a sentence, joined by words that hold in the picture."""
    groups = _mentioned(scene, rng, 0.9)
    standing = [group for group in groups if not group.in_sky]
    flying = [group for group in groups if group.in_sky]
    below = _standing(scene, standing, rng)
    above = _standing(scene, flying, rng)
    if not (below and above):
        return below or above
    return rng.choice((f"{above} above {below}", f"{below} and {above}"))


def _standing(scene: Scene, groups: list[Group], rng: random.Random) -> str:
    nouns = {group: _noun(group, coloured=rng.random() < 0.92) for group in groups}
    if len(groups) == 2 and rng.random() < 0.6:
        first, second = rng.sample(groups, 2)
        rightward = scene.ground.index(first) < scene.ground.index(second)
        side = "to the left of" if rightward else "to the right of"
        link = rng.choice(("beside", "next to", side))
        return f"{nouns[first]} {link} {nouns[second]}"
    placed = rng.random() < 0.3
    said = [_with_slot(scene, group, noun) if placed else noun for group, noun in nouns.items()]
    rng.shuffle(said)
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def _mentioned(scene: Scene, rng: random.Random, share: float) -> list[Group]:
    """The groups a caption speaks of: each with this likelihood, and at least one."""
    kept = [group for group in scene.groups if rng.random() < share]
    return kept or [rng.choice(scene.groups)]


def _noun(group: Group, *, coloured: bool = True, article: bool = True) -> str:
    """The words for a group, as "a red house", "red house" or "two red houses"."""
    noun = (SINGULARS if group.count == 1 else PLURALS)[group.kind]
    if coloured and group.kind != "pine":
        noun = f"{group.colour} {noun}"
    if group.count > 1:
        return f"{NUMBERS[group.count]} {noun}"
    if not article:
        return noun
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _with_slot(scene: Scene, group: Group, noun: str) -> str:
    return f"{noun} {SLOT_PHRASES[group.slot]}" if scene.says_where(group) else noun
