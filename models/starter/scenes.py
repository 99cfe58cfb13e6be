"""What a picture of the world can show."""

from dataclasses import dataclass

KINDS = (
    "house",
    "castle",
    "windmill",
    "lighthouse",
    "tent",
    "tree",
    "pine",
    "flower",
    "mushroom",
    "cat",
    "dog",
    "bird",
    "car",
    "bus",
    "boat",
    "balloon",
)
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
PLACES = ("meadow", "forest", "beach", "mountains", "city", "desert", "lake", "farm")
TIMES = ("day", "sunset", "night")
WEATHERS = ("clear", "rain", "snow", "fog")
SLOTS = ("left", "middle", "right")
STYLES = ("flat", "ink", "pixel", "neon", "vintage", "pastel")
TAUGHT_STYLES = STYLES[:4]
"""Those that the checkpoint itself has seen."""

SKY_KINDS = frozenset({"bird", "balloon"})
WATER_KINDS = frozenset({"boat"})
WATER_PLACES = ("beach", "lake")

MOST_GROUPS = 3
MOST_ALIKE = 3
MOST_ON_GROUND = 4
"""More objects than this in one row would be too small to survive an eightfold reduction."""


@dataclass(frozen=True)
class Group:
    """One to three objects of one kind and colour.

    Attributes:
        kind: What the objects are, one of `KINDS`.
        colour: Their colour, one of `colours_of(kind)`.
        count: How many there are, one to three.
        slot: Where they are, one of `SLOTS`; objects of `SKY_KINDS` are above all others.
    """

    kind: str
    colour: str
    count: int = 1
    slot: str = "middle"

    def __post_init__(self) -> None:
        _require(self.kind in KINDS, f"unknown kind {self.kind!r}")
        _require(self.colour in colours_of(self.kind), f"no {self.kind} is {self.colour!r}")
        _require(1 <= self.count <= MOST_ALIKE, f"cannot draw {self.count} of a kind")
        _require(self.slot in SLOTS, f"unknown slot {self.slot!r}")

    @property
    def in_sky(self) -> bool:
        """Whether the objects fly above the others."""
        return self.kind in SKY_KINDS


@dataclass(frozen=True)
class Scene:
    """All that a picture shows, save what its drawing seed varies.

    Attributes:
        place: One of `PLACES`.
        time: One of `TIMES`.
        weather: One of `WEATHERS`.
        groups: One to three groups of different kinds, at most one of them in the sky. A group
            alone in its row has the slot "middle" if it holds several objects; two groups in the
            ground row are left and right, three take every slot.
    """

    place: str
    time: str
    weather: str
    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        _require(self.place in PLACES, f"unknown place {self.place!r}")
        _require(self.time in TIMES, f"unknown time {self.time!r}")
        _require(self.weather in WEATHERS, f"unknown weather {self.weather!r}")
        _require(1 <= len(self.groups) <= MOST_GROUPS, "a scene has one to three groups")
        kinds = {group.kind for group in self.groups}
        _require(len(kinds) == len(self.groups), "the groups of a scene differ in kind")
        afloat = kinds & WATER_KINDS
        _require(not afloat or self.place in WATER_PLACES, f"no water in the {self.place}")
        _require(len(self.sky) <= 1, "at most one group is in the sky")
        _require(sum(group.count for group in self.ground) <= MOST_ON_GROUND, "too many objects")
        for row in (self.sky, self.ground):
            taken = tuple(group.slot for group in row)
            allowed = row_slots(tuple(group.count for group in row))
            _require(taken in allowed, f"the slots {taken} do not fit {len(row)} groups")

    @property
    def sky(self) -> tuple[Group, ...]:
        """The groups in the sky."""
        return tuple(group for group in self.groups if group.in_sky)

    @property
    def ground(self) -> tuple[Group, ...]:
        """The groups on land and water, from left to right."""
        row = [group for group in self.groups if not group.in_sky]
        return tuple(sorted(row, key=lambda group: SLOTS.index(group.slot)))

    def says_where(self, group: Group) -> bool:
        """Whether the slot of `group` can be told from the picture."""
        row = self.sky if group.in_sky else self.ground
        return group.count == 1 or len(row) > 1


def colours_of(kind: str) -> tuple[str, ...]:
    """The colours that objects of a kind are drawn in."""
    return ("green",) if kind == "pine" else COLOURS


def row_slots(counts: tuple[int, ...]) -> list[tuple[str, ...]]:
    """The slots that groups of these sizes, side by side, may take from left to right."""
    if len(counts) == 1:
        return [("middle",)] if counts[0] > 1 else [(slot,) for slot in SLOTS]
    return [{0: (), 2: ("left", "right"), 3: SLOTS}[len(counts)]]


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise ValueError(fault)
