"""Work grows in proportion to a text, whatever it holds, in every dialect."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tests.bench.bench_parse import MOST, Reading, readings
from tests.bench.hostile import ALL, Hostile
from tests.prompt.counting import lines_run

SIZES = (24, 48, 96)
"""Above the number of diagnostics of one sort that are told one by one."""

READINGS = readings()


def exponent(one: Hostile, reading: Reading) -> float:
    """Return how work grows: 1 where twice as much text is twice as much of it. What any text costs has no part."""
    # What is only done once, such as to look for plugins, is no growth.
    reading.read(reading.text(one, SIZES[0]))
    counts = [lines_run(lambda size=size: reading.read(reading.text(one, size))) for size in SIZES]
    first, second = (after - before for before, after in pairwise(counts))
    # Some texts are read by a pattern as a whole.
    return math.log2(max(second, SIZES[0]) / max(first, SIZES[0]))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if " " in name else ()) for name in READINGS],
)
def test_work_grows_with_the_length(name: str) -> None:
    """Lines are counted, not what patterns and other functions in C do: the bench takes the time of larger texts."""
    reading = READINGS[name]
    exponents = {str(one): exponent(one, reading) for one in reading.texts}
    assert {text: found for text, found in exponents.items() if found > MOST} == {}


def test_what_grows_faster_is_found() -> None:
    def quadratic(text: str) -> None:
        for _ in text:
            for _ in text:
                pass

    assert exponent(Hostile("("), Reading(quadratic, iter(range(9)))) > 1.9
    assert exponent(Hostile("("), Reading(list, iter(range(9)))) == 0


def test_all_hostile_texts_differ() -> None:
    assert len({one.text(3) for one in ALL.values()}) == len(ALL)
