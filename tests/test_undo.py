"""Changes are undone whatever interrupts: tried between every two instructions of Python."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from promptengine.undo import Changes, UndoLog


class Plain:
    kind = "class"

    def __init__(self) -> None:
        self.own = 1


class Other(Plain):
    pass


def change(changes: Changes, thing: Any) -> None:
    changes.set(thing, "own", 2)
    changes.shadow(thing, "kind", "instance")
    changes.set(thing, "__class__", Other)
    changes.set(thing, "own", 3)


def state(thing: Any) -> tuple[object, ...]:
    return type(thing), dict(vars(thing))


def interrupted(run: Callable[[], object], at: int) -> KeyboardInterrupt | None:
    """Run with an interrupt at the instruction of that number, and return it; None past the end."""
    seen = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal seen
        frame.f_trace_opcodes = True
        seen += 1
        if seen == at:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    # What others let the garbage collector call would be interrupted too, and swallow it.
    gc.disable()
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt as interrupt:
        return interrupt
    finally:
        sys.settrace(before)
        gc.enable()
    return None


def numbers() -> Iterator[int]:
    """The numbers of all instructions of a run, until one is past its end."""
    yield from range(1, 100_000)


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_within_a_run_is_undone_wherever_it_is_interrupted(fails: bool) -> None:
    thing, journal = Plain(), UndoLog()
    clean = state(thing)
    left, tried = [], 0

    def run() -> None:
        with journal.run(), journal.block() as outer:
            change(outer, thing)
            with journal.block() as inner:
                change(inner, thing)
                if fails:
                    raise KeyError
        assert state(thing) == clean

    def tolerant() -> None:
        with suppress(KeyError):
            run()

    for at in numbers():
        # Held, as an interactive Python does, so that nothing depends on what is forgotten.
        interrupt = interrupted(tolerant, at)
        if interrupt is None:
            break
        tried += 1
        if state(thing) != clean:
            left.append(at)
        # Finished by the next call, however that ends.
        tolerant()
        assert state(thing) == clean, at
        assert not journal._open
    assert tried > 500
    assert left == []


def test_a_block_that_stands_alone_is_undone_wherever_it_is_interrupted() -> None:
    thing, tried = Plain(), 0
    clean = state(thing)

    def run() -> None:
        with UndoLog().block() as changes:
            change(changes, thing)

    for at in numbers():
        if interrupted(run, at) is None:
            break
        tried += 1
        assert state(thing) == clean, at
    assert tried > 200


def test_a_forgotten_block_does_not_end_the_next_run() -> None:
    thing, journal = Plain(), UndoLog()
    forgotten = journal.block()
    change(forgotten.__enter__(), thing)
    with journal.run() as changes:
        assert state(thing) == state(Plain())
        changes.set(thing, "own", 5)
        del forgotten
        assert thing.own == 5
    assert state(thing) == state(Plain())


def test_what_cannot_be_undone_is_told_once_all_else_is() -> None:
    thing = Plain()

    def refuse() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), UndoLog().block() as changes:
        changes.set(thing, "own", 2)
        changes.write(refuse)
        changes.shadow(thing, "kind", "instance")
    assert state(thing) == state(Plain())


def test_a_noted_attribute_comes_back_or_goes() -> None:
    thing = Plain()
    with UndoLog().block() as changes:
        changes.note(thing, "own", "kind", "new")
        thing.own, thing.kind, thing.new = 2, "instance", 3  # type: ignore[attr-defined]
    assert state(thing) == state(Plain())
