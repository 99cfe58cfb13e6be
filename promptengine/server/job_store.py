"""Jobs as one SQLite file of the output folder, so that they survive the server that they wait in."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args

from promptengine.server.jobs.job import ENDED, State
from promptengine.server.sqlite_file import SIDE_FILES, SqliteFile, connected

__all__ = ["ASIDE", "JOBS", "MOST_ENDED", "JobRecord", "JobStore"]

T = TypeVar("T")

JOBS: Final = ".promptengine-jobs.sqlite3"
"""The file's name, in the folder of images."""

ASIDE: Final = ".damaged"
"""What is put behind the name of a file that cannot be used."""

MOST_ENDED: Final = 500
"""Ended jobs that are remembered."""

_VERSION: Final = 1
_APPLICATION: Final = 0x70654A31
"""SQLite's mark of whose file it is: ``peJ1``."""

_WAIT_S: Final = 1.0
_STATES: Final = frozenset(get_args(State))
_COLUMNS: Final = "id, client, prompt, created, batches, attempts, state, error, batch, saved"
_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    place INTEGER NOT NULL,
    client TEXT NOT NULL,
    prompt TEXT NOT NULL,
    created REAL NOT NULL,
    batches INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    state TEXT NOT NULL,
    error TEXT NOT NULL,
    batch INTEGER NOT NULL,
    saved TEXT NOT NULL,
    form TEXT
);
CREATE INDEX places ON jobs (place);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_NEXT: Final = "(SELECT coalesce(max(place), 0) + 1 FROM jobs)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of a job beside the queue.

    Attributes:
        id: Of the job.
        client: Whose it is.
        prompt: What it is made from, shortened.
        created: In seconds since the epoch.
        batches: How many it has.
        attempts: How often it was begun.
        state: Where it is, or how it has ended.
        error: Why it failed; empty where it has not.
        batch: Batches that were done when it ended.
        saved: Of each of its images the path below the output folder; None for one that is not saved.
        durable: Whether it comes back after a restart of the server.
    """

    id: str
    client: str
    prompt: str
    created: float
    batches: int
    attempts: int = 0
    state: State = "waiting"
    error: str = ""
    batch: int = 0
    saved: tuple[str | None, ...] = ()
    durable: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


class JobStore:
    """Keeps jobs in a file as long as that can be done. Threads may share it.

    A file that is damaged, or not ours, is moved aside. Where none can be written, or another server
    holds it, nothing is kept; nothing here ever fails for that.

    Args:
        folder: Of the file, which is made with the first job; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file = SqliteFile(self._open, self._move_aside)

    def load(self) -> list[JobRecord]:
        """Return all jobs: those that have not ended in their order, and the others as they ended."""
        if self._folder is None or not (self._folder / JOBS).exists():
            return []
        query = f"SELECT {_COLUMNS} FROM jobs ORDER BY place"
        rows = self._do(lambda db: db.execute(query).fetchall())
        return [record for row in rows or () if (record := _record(row)) is not None]

    def form(self, id_: str) -> str | None:
        """Return what a job that has not ended asks for, as JSON; None where that is not known."""
        query = "SELECT form FROM jobs WHERE id = ?"
        row = self._do(lambda db: db.execute(query, (id_,)).fetchone())
        return row[0] if row is not None and isinstance(row[0], str) else None

    def add(self, record: JobRecord, form: str) -> bool:
        """Keep a job behind all others.

        Args:
            record: What is known of it.
            form: What it asks for, as JSON.

        Returns:
            Whether it is kept.
        """
        query = f"INSERT INTO jobs ({_COLUMNS}, place, form) VALUES ({'?, ' * 10}{_NEXT}, ?)"
        values = (*_row(record), form)
        return self._do(lambda db: db.execute(query, values)) is not None

    def begin(self, record: JobRecord) -> None:
        """Write down that a job begins, or that it waits again."""
        query = "UPDATE jobs SET state = ?, attempts = ? WHERE id = ?"
        self._do(lambda db: db.execute(query, (record.state, record.attempts, record.id)))

    def end(self, record: JobRecord) -> None:
        """Write down how a job has ended; of the ended ones the oldest are forgotten."""
        columns = ", ".join(f"{name} = ?" for name in _COLUMNS.split(", "))
        update = f"UPDATE jobs SET {columns}, form = NULL, place = {_NEXT} WHERE id = ?"
        kept = "SELECT id FROM jobs WHERE form IS NULL ORDER BY place DESC LIMIT ?"
        forget = f"DELETE FROM jobs WHERE form IS NULL AND id NOT IN ({kept})"

        def work(db: sqlite3.Connection) -> None:
            db.execute(update, (*_row(record), record.id))
            db.execute(forget, (MOST_ENDED,))

        self._do(work)

    def order(self, ids: Sequence[str]) -> None:
        """Let jobs that wait trade their places, so that they stand in this order."""
        marks = ", ".join("?" * len(ids))
        query = f"SELECT id, place FROM jobs WHERE id IN ({marks}) ORDER BY place"

        def work(db: sqlite3.Connection) -> None:
            found = dict(db.execute(query, ids).fetchall())
            known = (id_ for id_ in ids if id_ in found)
            for id_, place in zip(known, sorted(found.values()), strict=True):
                db.execute("UPDATE jobs SET place = ? WHERE id = ?", (place, id_))

        self._do(work)

    def remove(self, id_: str) -> None:
        """Forget a job."""
        self._do(lambda db: db.execute("DELETE FROM jobs WHERE id = ?", (id_,)))

    def close(self) -> None:
        """Let go of the file, and keep nothing more."""
        with self._file.lock:
            self._file.close()
            self._folder = None

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do something with the file, where there is one."""
        with self._file.lock:
            if self._folder is None:
                return None
            try:
                return self._file.do(work)
            except (sqlite3.Error, OSError) as error:
                _log.warning("jobs are not kept for a restart: %s", error)
                if not self._file.is_open:
                    self._folder = None
            return None

    def _open(self) -> sqlite3.Connection:
        """Return the file's connection, which no other server gets beside it."""
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        return connected(self._folder / JOBS, _prepare, wait_s=_WAIT_S)

    def _move_aside(self, error: sqlite3.Error) -> None:
        """Begin anew; the file that cannot be used is left for who wants to look at it."""
        assert self._folder is not None
        path = self._folder / JOBS
        aside = path.with_name(f"{JOBS}{ASIDE}")
        _log.warning("the list of jobs is damaged and moved to %s: %s", aside.name, error)
        path.replace(aside)
        for end in SIDE_FILES:
            with suppress(FileNotFoundError):
                path.with_name(f"{JOBS}{end}").replace(f"{aside}{end}")


def _prepare(db: sqlite3.Connection) -> None:
    """Take the file for this server alone, and make the table where there is none.

    Raises:
        sqlite3.Error: It is damaged or not ours, it cannot be written, or another server holds it.
    """
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    is_new = (version, owner, tables) == (0, 0, 0)
    if not is_new and (version, owner) != (_VERSION, _APPLICATION):
        raise sqlite3.DatabaseError(f"it is version {version} of application {owner}")
    if is_new:
        # Images that jobs start from are large, and gone when these have ended.
        db.execute("PRAGMA auto_vacuum = FULL")
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)
    # A process that is killed loses nothing so; only a machine without power may.
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("BEGIN IMMEDIATE")
    db.commit()


def _row(record: JobRecord) -> tuple[object, ...]:
    return (
        *(record.id, record.client, record.prompt, record.created, record.batches),
        *(record.attempts, record.state, record.error, record.batch, json.dumps(record.saved)),
    )


def _record(row: Sequence[Any]) -> JobRecord | None:
    """Return what a row says; None for one that no server wrote."""
    match row:
        case [
            str(id_),
            str(client),
            str(prompt),
            float(created),
            int(batches),
            int(attempts),
            str(state),
            str(error),
            int(batch),
            str(saved),
        ] if state in _STATES:
            told = cast("State", state)
            return JobRecord(
                *(id_, client, prompt, created, batches, attempts, told, error, batch),
                saved=_ids(saved),
                durable=state not in ENDED,
            )
        case _:
            return None


def _ids(text: str) -> tuple[str | None, ...]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    ids = cast("list[Any]", found) if isinstance(found, list) else []
    return tuple(ids) if all(one is None or isinstance(one, str) for one in ids) else ()
