"""Changes to objects for the length of a ``with`` block, undone whatever happens.

An interrupt (Ctrl-C) may come between any two instructions of Python: before a change is noted, within a
``finally``, or while changes are being undone. So every change is written down *before* it is made, undoing a
change twice does no harm, and what one block failed to undo the block around it does, or the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

__all__ = ["Changes", "UndoLog"]

_ATTEMPTS: Final = 3
"""How often an undoing is tried: an interrupt, or what a signal's handler raises, rarely comes twice."""


class Changes:
    """What one ``with`` block changed, and how to undo it."""

    def __init__(self) -> None:
        self._undoings: list[Callable[[], object]] = []

    def write(self, undo: Callable[[], object]) -> None:
        """Write down how a change is undone, before it is made.

        Args:
            undo: Does no harm where the change was not made, or is undone already.
        """
        self._undoings.append(undo)

    def set(self, owner: Any, name: str, value: object) -> None:
        """Change an attribute that the owner has by itself, such as ``padding_mode`` or ``__class__``."""
        self.write(partial(setattr, owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def note(self, owner: Any, *names: str) -> None:
        """Write down attributes of an instance that others are about to change.

        One that the instance does not have, but perhaps its class, is taken away from it again.
        """
        for name in names:
            held = vars(owner)
            if name in held:
                self.write(partial(held.__setitem__, name, held[name]))
            else:
                self.write(partial(held.pop, name, None))

    def shadow(self, owner: Any, name: str, value: object) -> None:
        """Lay an attribute of the instance over one of its class, such as ``forward``."""
        self.note(owner, name)
        setattr(owner, name, value)

    def undo(self) -> None:
        """Undo all changes, the last one first.

        Raises:
            BaseException: What interrupted it, or what one of the changes could not be undone for;
                all others are undone by then.
        """
        failure: BaseException | None = None
        while self._undoings:
            for _ in range(_ATTEMPTS):
                try:
                    self._undoings[-1]()
                    break
                except BaseException as error:  # noqa: BLE001 - told once all is as it was
                    failure = error
            self._undoings.pop()
        if failure is not None:
            raise failure


class UndoLog:
    """The open ``with`` blocks that change one model, the outermost first.

    Blocks end in the reverse order of their beginning. One that an interrupt kept from its end is ended with
    the one around it, or by :meth:`restore`.
    """

    def __init__(self) -> None:
        self._open: list[Changes] = []

    @contextmanager
    def block(self) -> Generator[Changes]:
        """Let changes be made that are undone at the end of a ``with`` block."""
        changes = Changes()
        self._open.append(changes)
        try:
            try:
                yield changes
            finally:
                self._end(changes)
        finally:
            # An interrupt on the way into the call above, or within it, leaves this one to do its work.
            self._end(changes)

    @contextmanager
    def run(self) -> Generator[Changes]:
        """The same for the outermost block of all, which finishes first what interrupts left undone."""
        self.restore()
        with self.block() as changes:
            yield changes

    def restore(self) -> None:
        """End all blocks that are open."""
        if self._open:
            self._end(self._open[0])

    def _end(self, changes: Changes) -> None:
        # By identity: a forgotten block may be closed long after it was ended, amid the next run.
        while changes in self._open:
            self._open[-1].undo()
            self._open.pop()
