"""The colours of the picture world, and how time and weather light them."""

from dataclasses import dataclass

RGB = tuple[int, int, int]

PAINTS: dict[str, RGB] = {
    "red": (209, 52, 48),
    "orange": (243, 134, 38),
    "yellow": (250, 211, 62),
    "green": (66, 152, 78),
    "blue": (42, 106, 194),
    "purple": (124, 72, 166),
    "pink": (245, 146, 182),
    "white": (250, 247, 238),
}

CREAM = (250, 240, 216)
SLATE = (58, 66, 92)
BARK = (112, 78, 60)
GLASS = (176, 212, 222)
LAMP = (255, 222, 120)
SNOW = (246, 249, 252)
STEEL = (148, 156, 170)

SKIES: dict[tuple[str, str], tuple[RGB, ...]] = {
    ("day", "clear"): ((120, 188, 220), (168, 214, 226), (232, 236, 214)),
    ("day", "rain"): ((116, 134, 150), (142, 158, 170), (178, 188, 192)),
    ("day", "snow"): ((138, 170, 198), (168, 194, 214), (202, 218, 228)),
    ("day", "fog"): ((204, 212, 212), (214, 220, 216), (226, 228, 220)),
    ("sunset", "clear"): ((110, 82, 138), (232, 120, 108), (254, 202, 124)),
    ("sunset", "rain"): ((96, 76, 108), (160, 100, 106), (214, 148, 110)),
    ("sunset", "snow"): ((142, 116, 160), (226, 150, 148), (250, 208, 168)),
    ("sunset", "fog"): ((216, 168, 158), (232, 182, 150), (244, 202, 156)),
    ("night", "clear"): ((18, 24, 62), (32, 44, 96), (62, 78, 134)),
    ("night", "rain"): ((24, 30, 48), (38, 48, 70), (58, 72, 94)),
    ("night", "snow"): ((34, 42, 84), (54, 66, 114), (92, 104, 148)),
    ("night", "fog"): ((62, 74, 104), (84, 96, 126), (112, 122, 148)),
}
SUNLIGHT = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.88, 0.83), "night": (0.46, 0.51, 0.72)}
LAMPLIGHT = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.96, 0.94), "night": (0.93, 0.9, 0.95)}
DULLNESS = {"clear": 1.0, "rain": 0.86, "snow": 0.97, "fog": 0.97}
HAZE = {"clear": 0.45, "rain": 0.5, "snow": 0.5, "fog": 0.78}


@dataclass(frozen=True)
class Light:
    """How a time of day in some weather colours what it falls on.

    Attributes:
        time: One of the world's times.
        weather: One of the world's weathers.
    """

    time: str
    weather: str

    @property
    def night(self) -> bool:
        """Whether lamps are lit."""
        return self.time == "night"

    @property
    def snowy(self) -> bool:
        """Whether snow lies on roofs and branches."""
        return self.weather == "snow"

    @property
    def sky(self) -> tuple[RGB, ...]:
        """The sky from the top down to the horizon."""
        return SKIES[self.time, self.weather]

    def on(self, colour: RGB, distance: float) -> RGB:
        """The look of a colour at a distance from 0, an object in front, to 1, the horizon."""
        # Objects in front keep more of their own colour, or no night scene could show it.
        lamp = LAMPLIGHT if distance == 0 else SUNLIGHT
        dull = 1.0 if distance == 0 else DULLNESS[self.weather]
        red, green, blue = (
            round(part * share * dull) for part, share in zip(colour, lamp[self.time], strict=True)
        )
        return mix((red, green, blue), self.sky[-1], HAZE[self.weather] * distance)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """The colour that lies `share` of the way from the first to the second."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def dark(colour: RGB, share: float = 0.22) -> RGB:
    """The side of a coloured thing that is turned from the light."""
    return mix(colour, (40, 28, 66), share)


def pale(colour: RGB, share: float = 0.35) -> RGB:
    """The side of a coloured thing that faces the light."""
    return mix(colour, (255, 250, 236), share)
