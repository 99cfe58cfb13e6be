"""What images of a folder say of themselves, in one SQLite file: listed newest first, and searched."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from promptengine.errors import ImageError
from promptengine.images.png_chunks import read_texts
from promptengine.images.read import read_image_info
from promptengine.server.errors import HTTPRefusal
from promptengine.server.output_folder import SUFFIXES, OutputFolder
from promptengine.server.sqlite_file import SIDE_FILES, SqliteFile, connected, is_damage

__all__ = ["INDEX", "ImageIndex", "IndexedImage"]

T = TypeVar("T")

INDEX: Final = ".promptengine-images.sqlite3"
"""The file's name, in the folder of images."""

_VERSION: Final = 1
_MOST_INFOTEXT: Final = 64 << 10
_MOST_WORDS: Final = 16
_AT_ONCE: Final = 100
_WAIT_S: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS images (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    time INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    infotext TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS newest ON images (time DESC, id DESC);
"""
_WORDS: Final = "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(infotext)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """An image as lists show it.

    Attributes:
        id: Its path below the folder.
        time: When its file was written, in nanoseconds since the epoch.
        width: In pixels.
        height: Likewise.
        infotext: What it says of itself, cut where that is very long; empty for nothing.
    """

    id: str
    time: int
    width: int
    height: int
    infotext: str


class ImageIndex:
    """Knows the images of a folder. Threads may share it.

    The folder is the truth: an index that is damaged, or of another version, is made anew from it; where
    none can be written it lies in memory.

    Args:
        folder: Of the images.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder
        self._file = SqliteFile(self._open, self._rebuild)
        self._lock = self._file.lock
        self._has_words = False
        self._in_memory = False
        self._stopped = threading.Event()
        self._stale = True
        self._scan: threading.Thread | None = None

    @property
    def scanning(self) -> bool:
        """Whether files of the folder are still being looked at, and lists may lack some."""
        return self._scan is not None

    def start(self) -> None:
        """Look at the files of the folder in the background: those that are new, changed or gone."""
        with self._lock:
            self._stale = True
            if self.scanning or self._stopped.is_set() or not self._folder.root.is_dir():
                return
            self._scan = threading.Thread(target=self._look, name="image-index", daemon=True)
            self._scan.start()

    def close(self) -> None:
        """Look at no more files, and let go of the index."""
        self._stopped.set()
        if (scan := self._scan) is not None:
            scan.join(_WAIT_S)
        self._file.close()

    def add(self, image: IndexedImage) -> None:
        """Take an image in, in place of what was known of it; an index that fails costs no image."""
        self._change(lambda db: self._put(db, [image]))

    def add_file(self, id_: str) -> None:
        """Take an image in as its file is now."""
        found = _read(self._folder, id_)
        if found is not None:
            self.add(found)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget images."""
        self._change(lambda db: self._drop(db, ids))

    def some(self, ids: Sequence[str]) -> list[IndexedImage]:
        """Return images by their ids, in this order, but for those that are not there.

        Args:
            ids: A thousand at most.

        Raises:
            HTTPRefusal: 503, where the index cannot be read now.
        """
        if not self._folder.root.is_dir():
            return []
        marks = ", ".join("?" * len(ids))
        query = f"SELECT id, time, width, height, infotext FROM images WHERE id IN ({marks})"
        rows = self._do(lambda db: db.execute(query, tuple(ids)).fetchall())
        known = {row[0]: IndexedImage(*row) for row in rows}
        return [known[id_] for id_ in ids if id_ in known and self._folder.find(id_) is not None]

    def count(self, search: str = "") -> int:
        """Return how many images are known, of which files may have gone meanwhile.

        Args:
            search: As :meth:`page` takes it.

        Raises:
            HTTPRefusal: 503, where the index cannot be read now.
        """
        if not self._folder.root.is_dir():
            return 0

        def counted(db: sqlite3.Connection) -> int:
            where, values = self._conditions(None, search)
            return int(db.execute(f"SELECT count(*) FROM images {where}", values).fetchone()[0])

        return self._do(counted)

    def page(
        self,
        limit: int,
        before: tuple[int, str] | None = None,
        search: str = "",
        *,
        offset: int = 0,
    ) -> list[IndexedImage]:
        """Return images whose files are there, newest first.

        Args:
            limit: How many at most.
            before: Time and id of an image; those behind it in the list.
            search: Words of infotexts, all of which must be there; a word may be the beginning of one.
            offset: How many to leave out at the beginning.

        Raises:
            HTTPRefusal: 503, where the index cannot be read now.
        """
        if not self._folder.root.is_dir():
            return []
        found: list[IndexedImage] = []
        self._do(lambda db: None)
        while len(found) < limit:
            asked = self._query(limit - len(found), before, search, offset)
            rows = self._do(lambda db, asked=asked: db.execute(*asked).fetchall())
            images = [IndexedImage(*row) for row in rows]
            gone = [image.id for image in images if self._folder.find(image.id) is None]
            found += [image for image in images if image.id not in gone]
            if not gone:
                break
            self.remove(gone)
            before, offset = (images[-1].time, images[-1].id), 0
        return found

    def _query(
        self, limit: int, before: tuple[int, str] | None, search: str, offset: int
    ) -> tuple[str, list[object]]:
        where, values = self._conditions(before, search)
        query = f"SELECT id, time, width, height, infotext FROM images {where}"
        ordered = f"{query}ORDER BY time DESC, id DESC LIMIT ? OFFSET ?"
        return ordered, [*values, limit, offset]

    def _conditions(self, before: tuple[int, str] | None, search: str) -> tuple[str, list[object]]:
        conditions: list[str] = []
        values: list[object] = []
        if before is not None:
            conditions.append("(time, id) < (?, ?)")
            values += before
        # SQLite ends a pattern at a NUL.
        for word in search.replace("\0", " ").split()[:_MOST_WORDS]:
            if self._has_words and _is_known_as_word(word):
                conditions.append("number IN (SELECT rowid FROM words WHERE words MATCH ?)")
                quoted = word.replace('"', '""')
                values.append(f'"{quoted}"*')
            else:
                conditions.append("infotext LIKE ? ESCAPE '\\'")
                values.append(f"%{_escaped(word)}%")
        return f"WHERE {' AND '.join(conditions)} " if conditions else "", values

    def _look(self) -> None:
        """Look at all files until the index is what the folder is."""
        while self._goes_on():
            try:
                self._look_once()
            except HTTPRefusal as refusal:
                _log.warning("%s", refusal)
            except Exception:  # noqa: BLE001 - a server outlives whatever its folder holds
                _log.exception("the images could not be listed")

    def _goes_on(self) -> bool:
        """Return whether the files are to be looked at once more; else whoever looks ends."""
        with self._lock:
            stale, self._stale = self._stale and not self._stopped.is_set(), False
            if not stale:
                self._scan = None
            return stale

    def _look_once(self) -> None:
        known = dict(self._do(lambda db: db.execute("SELECT id, time FROM images").fetchall()))
        new: list[IndexedImage] = []
        for id_, time in _files(self._folder.root):
            if self._stopped.is_set():
                return
            if known.pop(id_, None) != time and (found := _read(self._folder, id_)) is not None:
                new.append(found)
            if len(new) >= _AT_ONCE:
                self._change(lambda db, new=new: self._put(db, new))
                new = []
        self._change(lambda db: self._put(db, new))
        self.remove([id_ for id_ in known if self._folder.find(id_) is None])

    def _put(self, db: sqlite3.Connection, images: Sequence[IndexedImage]) -> None:
        self._drop(db, [image.id for image in images])
        for image in images:
            text = _storable(image.infotext)
            values = (image.id, image.time, image.width, image.height, text)
            into = "INSERT INTO images (id, time, width, height, infotext) VALUES (?, ?, ?, ?, ?)"
            number = db.execute(into, values).lastrowid
            if self._has_words:
                words = "INSERT INTO words (rowid, infotext) VALUES (?, ?)"
                db.execute(words, (number, text))

    def _drop(self, db: sqlite3.Connection, ids: Sequence[str]) -> None:
        for id_ in ids:
            if self._has_words:
                number = "(SELECT number FROM images WHERE id = ?)"
                db.execute(f"DELETE FROM words WHERE rowid = {number}", (id_,))
            db.execute("DELETE FROM images WHERE id = ?", (id_,))

    def _change(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self._do(work)
        except HTTPRefusal as refusal:
            _log.warning("%s", refusal)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the index.

        Raises:
            HTTPRefusal: 503, where it cannot be used now.
        """
        with self._lock:
            if self._stopped.is_set():
                raise HTTPRefusal("the server is stopping", status=503)
            try:
                return self._file.do(work)
            except sqlite3.Error as error:
                message = f"the list of images cannot be used now: {error}"
                raise HTTPRefusal(message, status=503, retry_after_s=5) from None

    def _open(self) -> sqlite3.Connection:
        """Return the index, or one in memory where the folder cannot hold it."""
        if not self._in_memory:
            try:
                return connected(self._folder.root / INDEX, self._prepare, wait_s=_WAIT_S)
            except sqlite3.OperationalError as error:
                if is_damage(error):
                    raise
                _log.warning("the list of images is kept in memory only: %s", error)
                self._in_memory = True
        return connected(":memory:", self._prepare, wait_s=_WAIT_S)

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables where there are none.

        Raises:
            sqlite3.Error: It is damaged or of another version, or it cannot be used now.
        """
        # A list that loses its last lines with the power gets them from the folder again.
        db.execute("PRAGMA synchronous = NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"the list has version {version}")
        if version == 0:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)
            _make_words(db)
            db.execute(f"PRAGMA user_version = {_VERSION}")
            db.commit()
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'words'"
        self._has_words = bool(db.execute(tables).fetchone()[0])

    def _rebuild(self, error: sqlite3.Error) -> None:
        """Begin anew with an index that knows nothing, and look at all files again."""
        _log.warning("the list of images is damaged and made anew: %s", error)
        for end in ("", *SIDE_FILES):
            try:
                (self._folder.root / f"{INDEX}{end}").unlink(missing_ok=True)
            except OSError as failure:
                _log.warning("the list of images is kept in memory only: %s", failure)
                self._in_memory = True
        self.start()


def _make_words(db: sqlite3.Connection) -> None:
    try:
        db.execute(_WORDS)
    except sqlite3.OperationalError:
        _log.info("this SQLite has no FTS5; infotexts are searched as text")


def _is_known_as_word(word: str) -> bool:
    """Return whether the index of words can know a word; those of languages without spaces it cannot."""
    return word.isascii() and word.isprintable() and any(one.isalnum() for one in word)


def _escaped(word: str) -> str:
    """Return a word as a pattern of LIKE that means itself."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _files(root: Path) -> Iterator[tuple[str, int]]:
    """Yield id and time of each image below a folder; hidden folders and linked ones are left out."""
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(root).parts
        for name in names:
            path = Path(place, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            try:
                time = path.stat().st_mtime_ns
            except OSError:
                continue
            yield "/".join((*below, name)), time


def _read(folder: OutputFolder, id_: str) -> IndexedImage | None:
    """Return what a file says; None where it is no image that clients may have."""
    path = folder.find(id_)
    if path is None:
        return None
    try:
        time, size = path.stat().st_mtime_ns, _size(path)
        info = read_image_info(path, hidden=False)
    except (OSError, ValueError, ImageError):
        return None
    text = "" if info.infotext is None else str(info.infotext)
    return IndexedImage(id_, time, *size, text)


def _storable(text: str) -> str:
    return text[:_MOST_INFOTEXT].encode(errors="replace").decode()


def _size(path: Path) -> tuple[int, int]:
    """Return width and height, without a pixel decoded.

    Raises:
        ValueError: It is no image.
        ImageError: It is a damaged one.
    """
    from PIL import Image

    texts = read_texts(path)
    if texts is None:
        raise ValueError("no image")
    if texts.size is not None:
        return texts.size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=(texts.format,)) as opened:
                return opened.size
        except Exception as failure:
            # Pillow's readers fail in any way.
            raise ValueError("a damaged image") from failure
