"""Offsets and the Language Server Protocol's positions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.language import Lines


def test_lines_and_utf16_units() -> None:
    lines = Lines.of("a🐱b\r\ncd\re")
    assert lines.position(3) == (0, 4)
    assert lines.offset(0, 4) == 3
    assert lines.offset(0, 2) == 1
    assert lines.position(6) == (1, 1)
    assert lines.offset(2, 0) == 8


@pytest.mark.parametrize(
    ("line", "units", "offset"), [(-1, 5, 0), (9, 0, 5), (0, 99, 2), (0, -3, 0), (1, 1, 4)]
)
def test_a_place_outside_is_the_nearest_within(line: int, units: int, offset: int) -> None:
    assert Lines.of("ab\ncd").offset(line, units) == offset


@given(st.text("ab🐱\r\n\ud800", max_size=30))
def test_positions_lead_back(text: str) -> None:
    lines = Lines.of(text)
    for offset in range(len(text) + 1):
        within_end = text[offset - 1 : offset + 1] == "\r\n"
        if not within_end:
            assert lines.offset(*lines.position(offset)) == offset
