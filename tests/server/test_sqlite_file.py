"""A SQLite file that threads share and that is begun anew where it is damaged."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from promptengine.server.sqlite_file import SqliteFile, connected


class Numbers:
    """A file with one table of numbers.

    Attributes:
        told: The errors of the files that were damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[str] = []
        self.file = SqliteFile(self._connect, self._renew)

    def _connect(self) -> sqlite3.Connection:
        return connected(self.path, self._prepare, wait_s=0.05)

    def _prepare(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > 1:
            raise sqlite3.DatabaseError(f"version {version}")
        if version == 0:
            db.executescript("CREATE TABLE numbers (number); PRAGMA user_version = 1")

    def _renew(self, error: sqlite3.Error) -> None:
        assert not self.file.is_open
        self.told.append(str(error))
        self.path.unlink()

    def add(self, number: int) -> None:
        self.file.do(lambda db: db.execute("INSERT INTO numbers VALUES (?)", (number,)))

    def all(self) -> list[int]:
        rows = self.file.do(lambda db: db.execute("SELECT number FROM numbers").fetchall())
        return sorted(number for (number,) in rows)


@pytest.fixture
def numbers(tmp_path: Path) -> Iterator[Numbers]:
    own = Numbers(tmp_path / "numbers.sqlite3")
    yield own
    own.file.close()


def test_it_is_opened_when_it_is_needed_and_again_after_it_was_closed(numbers: Numbers) -> None:
    assert not numbers.file.is_open and not numbers.path.exists()
    numbers.add(1)
    assert numbers.file.is_open
    numbers.file.close()
    numbers.file.close()
    assert not numbers.file.is_open
    assert numbers.all() == [1]


@pytest.mark.parametrize("damage", ["garbage", "version", "tables"])
def test_a_damaged_file_is_begun_anew(numbers: Numbers, damage: str) -> None:
    numbers.add(1)
    numbers.file.close()
    if damage == "garbage":
        numbers.path.write_bytes(b"no database" * 500)
    else:
        with closing(sqlite3.connect(numbers.path)) as db:
            db.execute("DROP TABLE numbers" if damage == "tables" else "PRAGMA user_version = 9")
            db.commit()
    numbers.add(2)
    assert numbers.all() == [2]
    assert len(numbers.told) == 1


def test_damage_is_noticed_while_the_file_is_open(numbers: Numbers) -> None:
    numbers.add(1)
    with closing(sqlite3.connect(numbers.path)) as db:
        db.execute("DROP TABLE numbers")
    assert numbers.all() == []
    assert numbers.told == ["no such table: numbers"]


def test_a_file_that_stays_damaged_is_tried_twice(numbers: Numbers) -> None:
    tries: list[int] = []

    def fails(_db: sqlite3.Connection) -> None:
        tries.append(1)
        raise sqlite3.DatabaseError("malformed")

    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        numbers.file.do(fails)
    assert (len(tries), len(numbers.told)) == (2, 1)


def test_a_locked_file_is_not_damaged(numbers: Numbers) -> None:
    numbers.add(1)
    with closing(sqlite3.connect(numbers.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            numbers.add(2)
    numbers.add(3)
    assert numbers.all() == [1, 3]
    assert numbers.told == []


@pytest.mark.parametrize("place", ["none", "file"])
def test_where_no_file_can_be_made_nothing_is_open(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("no folder")
    numbers = Numbers(tmp_path / place / "numbers.sqlite3")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        numbers.add(1)
    assert not numbers.file.is_open
    assert numbers.told == []


def test_a_file_that_may_only_be_read_is_read(numbers: Numbers) -> None:
    numbers.add(1)
    numbers.file.close()
    place = f"file:{numbers.path}?mode=ro"
    file = SqliteFile(lambda: sqlite3.connect(place, uri=True), pytest.fail)
    with closing(file):
        assert file.do(lambda db: db.execute("SELECT number FROM numbers").fetchall()) == [(1,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            file.do(lambda db: db.execute("DELETE FROM numbers"))


def test_work_that_fails_changes_nothing(numbers: Numbers) -> None:
    def fails(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO numbers VALUES (1)")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        numbers.file.do(fails)
    assert numbers.all() == []


def test_threads_share_it(numbers: Numbers) -> None:
    def add(first: int) -> None:
        for number in range(first, first + 25):
            numbers.add(number)

    threads = [threading.Thread(target=add, args=(first,)) for first in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert numbers.all() == list(range(200))
    assert numbers.told == []
