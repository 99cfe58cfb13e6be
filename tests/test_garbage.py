"""The collector is as it was after reading, whatever happened."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from promptengine.garbage import gc_paused
from promptengine.prompt import parse, schedule


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


def test_a_process_ends_without_a_search_but_not_without_its_last_duties() -> None:
    code = (
        "import atexit, weakref\n"
        "from promptengine.garbage import skip_last_collection as skip\n"
        "class Thing:\n"
        "    def __del__(self): print('found')\n"
        "cycle, kept = Thing(), Thing()\n"
        "cycle.own = cycle\n"
        "weakref.finalize(kept, print, 'finalized')\n"
        "atexit.register(print, 'asked for')\n"
        "del cycle\n"
    )
    assert set(printed(code)) == {"found", "finalized", "asked for"}
    assert set(printed(code + "skip()\nskip()")) == {"finalized", "asked for"}


def printed(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
