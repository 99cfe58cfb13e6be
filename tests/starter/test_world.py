import random
import re
from collections import Counter

import pytest
from PIL import ImageChops

from models.starter.captions import NUMBERS, PLURALS, SINGULARS
from models.starter.drawing import draw
from models.starter.world import (
    COLOURS,
    KINDS,
    PLACES,
    SLOTS,
    STYLES,
    TIMES,
    WEATHERS,
    Group,
    Scene,
    caption,
    colours_of,
    full_caption,
    is_held_out,
    labels,
    sample_scene,
)

KIND_OF = {words: kind for names in (SINGULARS, PLURALS) for kind, words in names.items()}
NUMBER_OF = {word: number for number, word in NUMBERS.items()} | {"a": 1, "an": 1}
NOUNS = "|".join(sorted(KIND_OF, key=len, reverse=True))
GROUP = re.compile(
    rf"\b(?:({'|'.join(NUMBER_OF)}) )?(?:({'|'.join(COLOURS)}) )?({NOUNS})\b"
    r"(?: (?:on|in) the (left|right|middle))?"
)
SIDE = re.compile(r"<(\w+)> to the (left|right) of <(\w+)>")
MOODS = {
    "time": {"daytime": "day", "evening": "sunset"},
    "weather": {"rainy": "rain", "snowy": "snow", "foggy": "fog", "sunny": "clear"}
    | {"starry": "clear"},
}
CONNECTIVES = {"in", "on", "by", "at", "the", "a", "and", "during", "under", "sky", "above"}
CONNECTIVES |= {"beside", "next", "to"}


def scenes(number: int, seed: int = 0, held_out: bool | None = None) -> list[Scene]:
    rng = random.Random(seed)
    return [sample_scene(rng, held_out=held_out) for _ in range(number)]


def a_place_for(kind: str) -> str:
    return "lake" if kind == "boat" else "meadow"


def assert_true(text: str, scene: Scene) -> None:
    """Every word of a caption belongs to the scene."""
    groups = {group.kind: group for group in scene.groups}

    def read(match: re.Match[str]) -> str:
        number, colour, noun, slot = match.groups()
        group = groups[KIND_OF[noun]]
        assert NUMBER_OF.get(number, 1) == group.count, text
        assert colour in (None, group.colour), text
        assert slot is None or (slot == group.slot and scene.says_where(group)), text
        return f"<{group.kind}>"

    rest = GROUP.sub(read, text)
    for first, side, second in SIDE.findall(rest):
        columns = [SLOTS.index(groups[kind].slot) for kind in (first, second)]
        assert (side == "left") == (columns[0] < columns[1]), text
    assert not re.search(r"above.*<(bird|balloon)>", rest), text
    rest = SIDE.sub("", rest)
    for word in re.findall(r"[a-z]+", re.sub(r"<\w+>", "", rest)):
        stated = {
            MOODS["time"].get(word, word),
            MOODS["weather"].get(word, word),
        }
        known = CONNECTIVES | {scene.place, scene.time, scene.weather}
        assert stated & known, f"{word!r} in {text!r}"


def test_captions_are_true():
    rng = random.Random(1)
    for scene in scenes(3000, held_out=None):
        assert_true(caption(scene, rng), scene)
        assert_true(full_caption(scene), scene)


def test_the_reader_of_captions_finds_lies():
    scene = Scene("lake", "night", "snow", (Group("cat", "red"),))
    for lie in ("two red cats", "blue cat", "red cat, city", "a cat by a lake in the rain"):
        with pytest.raises(AssertionError):
            assert_true(lie, scene)


def test_captions_take_several_forms():
    rng = random.Random(2)
    texts = [caption(scene, rng) for scene in scenes(2000)]
    assert all(text == text.lower().strip() and text for text in texts)
    assert 60 < sum(" " not in text for text in texts) < 300
    assert sum(", " in text for text in texts) > 700
    assert sum(" in " in text or " at " in text for text in texts) > 500
    words = {word for text in texts for word in re.findall(r"[a-z]+", text)}
    assert not words & set(STYLES)
    assert words >= {*COLOURS, *PLACES, *TIMES, *SLOTS, "one", "two", "three"} - {"one"}


def test_the_full_caption_states_everything():
    scene = Scene(
        "lake",
        "night",
        "snow",
        (
            Group("pine", "green", 2, "right"),
            Group("bird", "red"),
            Group("cat", "orange", 1, "left"),
        ),
    )
    assert full_caption(scene) == (
        "an orange cat on the left, two pine trees on the right, a red bird in the middle, "
        "lake, night, snow"
    )


def test_sampling_keeps_held_out_combinations_apart():
    assert not any(is_held_out(scene) for scene in scenes(2000, held_out=False))
    assert all(is_held_out(scene) for scene in scenes(300, held_out=True))
    share = sum(is_held_out(scene) for scene in scenes(2000, held_out=None)) / 2000
    assert 0.1 < share < 0.5


def test_training_shows_every_value_often():
    seen: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    total = 6000
    for scene in scenes(total, held_out=False):
        seen.update((scene.place, scene.time, scene.weather))
        for group in scene.groups:
            seen.update((group.kind, group.colour, f"{group.count} objects", group.slot))
            pairs.update([(group.kind, group.colour), (group.kind, scene.place)])
    values = (*KINDS, *COLOURS, *PLACES, *TIMES, *WEATHERS, *SLOTS)
    assert min(seen[value] for value in values) > total * 0.05
    assert min(seen[f"{count} objects"] for count in (1, 2, 3)) > total * 0.1
    for kind in KINDS:
        assert sum((kind, colour) in pairs for colour in COLOURS) >= len(colours_of(kind)) - 1
        assert sum((kind, place) in pairs for place in PLACES) >= (2 if kind == "boat" else 7)


def test_sampling_is_repeatable():
    assert scenes(50, seed=3) == scenes(50, seed=3)
    assert scenes(50, seed=3) != scenes(50, seed=4)


@pytest.mark.parametrize(
    "groups",
    [
        (),
        (Group("cat", "red"), Group("cat", "blue")),
        (Group("bird", "red"), Group("balloon", "red")),
        (Group("boat", "red"),),
        (Group("cat", "red", 3, "left"), Group("dog", "red", 2, "right")),
        (Group("cat", "red", 2, "left"),),
        (Group("cat", "red", 1, "left"), Group("dog", "red", 1, "middle")),
    ],
)
def test_impossible_scenes_are_refused(groups):
    with pytest.raises(ValueError, match=r"\w"):
        Scene("city", "day", "clear", groups)


@pytest.mark.parametrize(
    "wrong", [{"kind": "whale"}, {"colour": "black"}, {"count": 4}, {"slot": "top"}]
)
def test_impossible_groups_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        Group(**({"kind": "cat", "colour": "red"} | wrong))
    with pytest.raises(ValueError, match="pine"):
        Group("pine", "red")


def test_labels():
    found = labels(
        Scene("city", "night", "fog", (Group("car", "blue", 1, "right"), Group("bird", "red", 3)))
    )
    assert found["place"] == PLACES.index("city")
    assert (found["time"], found["weather"]) == (TIMES.index("night"), WEATHERS.index("fog"))
    assert sum(found[f"present/{kind}"] for kind in KINDS) == 2
    assert found["colour/car"] == COLOURS.index("blue")
    assert (found["count/car"], found["count/bird"], found["count/cat"]) == (0, 2, -1)
    assert (found["slot/car"], found["slot/bird"]) == (SLOTS.index("right"), -1)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_in_every_style(kind, style):
    place = a_place_for(kind)
    here = Scene(place, "day", "clear", (Group(kind, colours_of(kind)[0]),))
    there = Scene(place, "day", "clear", (Group(kind, colours_of(kind)[0], 1, "left"),))
    difference = ImageChops.difference(
        draw(here, seed=1, style=style), draw(there, seed=1, style=style)
    )
    changed = sum(difference.convert("L").histogram()[24:])
    assert changed > 300


def test_every_mood_draws_differently():
    cat = (Group("cat", "red"),)
    pictures = {
        draw(Scene(place, time, weather, cat), seed=5).tobytes()
        for place in PLACES
        for time in TIMES
        for weather in WEATHERS
    }
    assert len(pictures) == len(PLACES) * len(TIMES) * len(WEATHERS)


@pytest.mark.parametrize("style", STYLES)
def test_drawing_is_repeatable(style):
    for seed, scene in enumerate(scenes(6, seed=7)):
        picture = draw(scene, seed=seed, style=style)
        assert picture.mode == "RGB" and picture.size == (128, 128)
        assert picture.tobytes() == draw(scene, seed=seed, style=style).tobytes()
        assert picture.tobytes() != draw(scene, seed=seed + 100, style=style).tobytes()
        assert len(picture.getcolors(1 << 14) or ()) > 8


def test_size_and_style():
    scene = scenes(1)[0]
    assert draw(scene, seed=0, size=64).size == (64, 64)
    pictures = [draw(scene, seed=0, style=style) for style in STYLES]
    assert len({picture.tobytes() for picture in pictures}) == len(STYLES)
    with pytest.raises(ValueError, match="oil"):
        draw(scene, seed=0, style="oil")
