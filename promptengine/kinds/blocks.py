"""Weights of a network by the blocks of a UNet: how a tag's ``lbw=`` is written, and what it comes to.

The rules are those of the extension lora-block-weight for WebUI. A list has 12, 17, 20 or 26 numbers, and how
many there are says which blocks they are for, whatever the model. Nothing here loads torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from promptengine.kinds.problem import TagProblem, finite_number

__all__ = [
    "BASE",
    "BLOCKS",
    "BUILT_IN_PRESETS",
    "AskedBlocks",
    "BlockWeights",
    "PresetTable",
    "read_presets",
    "split_blocks",
    "without_blocks",
]

BASE: Final = "BASE"
"""The text encoders."""

_IN: Final = tuple(f"IN{number:02}" for number in range(12))
_OUT: Final = tuple(f"OUT{number:02}" for number in range(12))
_EVERY: Final = (BASE, *_IN, "MID", *_OUT)
_UNATTENDED: Final = frozenset(
    {"IN00", "IN03", "IN06", "IN09", "IN10", "IN11", "OUT00", "OUT01", "OUT02"}
)
"""Blocks of Stable Diffusion 1 and 2 without an attention, which plain LoRAs do not change."""

BLOCKS: Final[Mapping[int, tuple[str, ...]]] = {
    12: (BASE, "IN04", "IN05", "IN07", "IN08", "MID", *_OUT[:6]),
    17: tuple(block for block in _EVERY if block not in _UNATTENDED),
    20: (BASE, *_IN[:9], "MID", *_OUT[:9]),
    26: _EVERY,
}
"""Which blocks a list is for, by how many numbers it has: those that have an attention in SDXL (12) and in Stable
Diffusion 1 and 2 (17), and all blocks of SDXL (20) and of Stable Diffusion 1 and 2 (26)."""

_SIZES: Final = f"{', '.join(map(str, [*BLOCKS][:-1]))} or {[*BLOCKS][-1]}"
_BLOCK_KEYS: Final = ("lbw", "x", "lbwe")
"""What stands before ``=`` in a tag for weights by block; the last is the extension's and refused."""

_RANDOM: Final = frozenset({"R", "U"})
_DYNAMIC: Final = re.compile(r"X(?:([+-])([0-9.]{1,20}))?")
_MOST_LINES: Final = 10_000
_MOST_CHARACTERS: Final = 2_000
"""Of a line of a file of presets; 26 numbers take a tenth of it."""

_MOST_NAME: Final = 100
_NEAR: Final = 3


def _built_in() -> Iterator[tuple[str, str]]:
    """Yield the presets of the extension's table, and one for each block of the list of 17 alone."""
    blocks = BLOCKS[17]
    groups = {
        "NONE": "",
        "ALL": "BASE IN MID OUT",
        "INS": "BASE IN01 IN02 IN04",
        "IND": "BASE IN05 IN07 IN08",
        "INALL": "BASE IN",
        "MIDD": "BASE IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06",
        "OUTD": "BASE OUT03 OUT04 OUT05 OUT06",
        "OUTS": "BASE OUT07 OUT08 OUT09 OUT10 OUT11",
        "OUTALL": "BASE OUT",
        **{block: block for block in blocks},
    }
    for name, members in groups.items():
        held = tuple(members.split())
        yield name, ",".join("1" if held and block.startswith(held) else "0" for block in blocks)
    yield "ALL0.5", ",".join(["0.5"] * len(blocks))


BUILT_IN_PRESETS: Final[Mapping[str, str]] = dict(_built_in())
"""What may stand in a tag without any file: names with their numbers."""


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """Weights by block, as they are used.

    Attributes:
        numbers: 12, 17, 20 or 26 of them, finite, in the order of :data:`BLOCKS`.
        preset: The name that the tag gives them; empty where it lists them itself.
        written: The preset's numbers as they stand in its line, or the tag's own.
    """

    numbers: tuple[float, ...]
    preset: str = ""
    written: str = ""

    @property
    def by_block(self) -> Mapping[str, float]:
        """The numbers by the names of their blocks, in order."""
        return dict(zip(BLOCKS[len(self.numbers)], self.numbers, strict=True))

    def factor(self, block: str | None) -> float:
        """Return what a multiplier is multiplied with.

        Args:
            block: Such as ``MID``; ``BASE`` for the text encoders.

        Returns:
            0 for a block that the list has no number for, and 1 for what lies in no block at all, such as the
            last convolution.
        """
        blocks = BLOCKS[len(self.numbers)]
        if block in blocks:
            return self.numbers[blocks.index(block)]
        return 0.0 if block in _EVERY else 1.0


@dataclass(frozen=True, slots=True)
class PresetTable:
    """The presets that a tag can name.

    Attributes:
        texts: The numbers of each, as they were written.
        problems: Files of presets that could not be read, each as a clause.
    """

    texts: Mapping[str, str] = field(default_factory=lambda: BUILT_IN_PRESETS)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskedBlocks:
    """What a tag writes behind ``lbw=``, before presets are looked up.

    Attributes:
        text: Numbers with commas, or the name of a preset.
        dynamic: What ``X`` stands for in them, as the tag writes it behind ``x=``; empty for 1.
        owner: What the tag names, for messages: ``LoRA 'ink'``.
    """

    text: str
    dynamic: str = ""
    owner: str = "the network"

    def resolve(self, presets: PresetTable) -> BlockWeights:
        """Look a preset up, and read the numbers.

        Raises:
            TagProblem: There is no such preset, it has another count of numbers, or one of them is no number, or a
                random one, so that no image could be made again.
        """
        name = "" if "," in self.text else self.text.strip()
        text = self.text if "," in self.text else presets.texts.get(name)
        if text is None:
            raise self._problem(
                f"block weights {_cut(name)!r} are no preset", _remedy(name, presets)
            )
        told = f"preset {_cut(name)!r} of block weights" if name else "lbw"
        items = [item.strip() for item in text.split(",")]
        if len(items) not in BLOCKS:
            raise self._problem(f"{told} has {len(items)} numbers", f"it must have {_SIZES}")
        numbers = tuple(self._number(item, told) for item in items)
        return BlockWeights(numbers, name, ",".join(items))

    def _number(self, item: str, told: str) -> float:
        if item in _RANDOM:
            remedy = "write numbers, since no image with random ones could be made again"
            raise self._problem(f"{told} holds {item!r}, a random number", remedy)
        text, offset = item, 0.0
        if dynamic := _DYNAMIC.fullmatch(item):
            text = self.dynamic or "1"
            offset = finite_number(f"{dynamic[1] or '+'}{dynamic[2] or 0}")
        number = finite_number(text)
        if number is None and text != item:
            raise self._problem(f"x {_cut(text)!r} is not a finite number")
        if number is None or offset is None:
            remedy = "write numbers, or X and the number behind x="
            raise self._problem(f"{told} holds {_cut(item)!r}, which is no finite number", remedy)
        return number + offset

    def _problem(self, reason: str, remedy: str = "") -> TagProblem:
        return TagProblem(reason, f"{self.owner}: {reason}{remedy and '; '}{remedy}")


def split_blocks(arguments: Sequence[str], owner: str) -> tuple[list[str], AskedBlocks | None]:
    """Part what a tag asks for by ``lbw=`` and ``x=`` from its other arguments.

    ``x=`` alone is none of them: there is nothing that it could stand for.

    Args:
        arguments: All of them.
        owner: What the tag names, for messages.

    Raises:
        TagProblem: It asks twice, or for weights by element (``lbwe=``), which do not exist here.
    """
    keys = _keys(arguments)
    asked = {key: value for argument in arguments for key, _, value in [argument.partition("=")]}
    if twice := next((key for key in _BLOCK_KEYS if keys.count(key) > 1), None):
        reason = f"{twice}= stands there twice"
        raise TagProblem(reason, f"{owner}: {reason}; write it once")
    if "lbwe" in keys:
        reason = "lbwe= (weights by element) is not supported"
        raise TagProblem(reason, f"{owner}: {reason}; write the numbers of blocks behind lbw=")
    blocks = AskedBlocks(asked["lbw"], asked.get("x", ""), owner) if "lbw" in keys else None
    return without_blocks(arguments), blocks


def without_blocks(arguments: Sequence[str]) -> list[str]:
    """Return a tag's arguments but for those that :func:`split_blocks` reads."""
    return [
        argument
        for argument, key in zip(arguments, _keys(arguments), strict=True)
        if key not in _BLOCK_KEYS
    ]


def _keys(arguments: Sequence[str]) -> list[str]:
    """Return what stands before ``=`` in each argument; nothing where that is no key of weights by block."""
    if not any(argument.startswith("lbw") for argument in arguments):
        return [""] * len(arguments)
    found = [argument.partition("=") for argument in arguments]
    blocks = any(mark and key == "lbw" for key, mark, _ in found)
    keys = _BLOCK_KEYS if blocks else {"lbwe"}
    return [key if mark and key in keys else "" for key, mark, _ in found]


def read_presets(text: str) -> dict[str, str]:
    """Read a file of presets: lines of ``NAME:1,0,…``. Of two with one name the later one counts.

    A line is a note, as in the extension, where it holds a ``#`` or no list; a list of another length than
    12, 17, 20 or 26 is kept if nothing else has its name, so that a tag that names it is told what is wrong.

    Args:
        text: The file; of very many or very long lines the rest is left out.
    """
    found: dict[str, str] = {}
    for line in text.splitlines()[:_MOST_LINES]:
        name, colon, numbers = line.partition(":")
        name, items = name.strip(), [item.strip() for item in numbers.split(",")]
        if not (colon and name) or "#" in line or ";" in name or len(name) > _MOST_NAME:
            continue
        if len(line) > _MOST_CHARACTERS:
            continue
        if len(items) in BLOCKS:
            found[name] = ",".join(items)
        elif all(map(_is_item, items)):
            found.setdefault(name, ",".join(items))
    return found


def _is_item(item: str) -> bool:
    known = item in _RANDOM or _DYNAMIC.fullmatch(item) is not None
    return known or finite_number(item) is not None


def _remedy(name: str, presets: PresetTable) -> str:
    # Its import would cost every program more than this function costs the few that need it.
    from difflib import get_close_matches

    folded = {known.casefold(): known for known in presets.texts}
    near = get_close_matches(name[:_MOST_NAME].casefold(), folded, n=_NEAR)
    names = " or ".join(repr(folded[one]) for one in near)
    hint = f"did you mean {names}?" if near else f"write {_SIZES} numbers or the name of a preset"
    return "; ".join([hint, *presets.problems])


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_NAME else text[:_MOST_NAME] + "…"
