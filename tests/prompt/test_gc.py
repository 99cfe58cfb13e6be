"""The collector is as it was after reading, whatever happened."""

from __future__ import annotations

import gc

import pytest

from promptengine.prompt import parse, schedule
from promptengine.prompt.gc import gc_paused


def test_reading_leaves_the_collector_on() -> None:
    schedule(parse("(a:1.2) [b|c]").parts[0], 4)
    assert gc.isenabled()


def test_reading_leaves_the_collector_off_if_it_was() -> None:
    gc.disable()
    try:
        parse("(a:1.2)")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_error_turns_the_collector_on_again() -> None:
    seen: list[bool] = []

    @gc_paused
    def fail() -> None:
        seen.append(gc.isenabled())
        raise ValueError("no text")

    with pytest.raises(ValueError, match="no text"):
        fail()
    assert seen == [False]
    assert gc.isenabled()
