"""Lists of words that people put beside their models, for prompts to be completed with.

Files are CSV as Danbooru's tag-autocomplete has them: ``name,category,count,"alias,alias"``, all but the name
optional. A list of a hundred thousand words is sorted once, and asked by the beginning of a word.
"""

from __future__ import annotations

import csv
import heapq
import io
import logging
import re
import stat
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["FoundWord", "Word", "WordIndex", "WordLists", "read_list"]

_MOST_BYTES: Final = 20 << 20
_MOST_ROWS: Final = 200_000
_MOST_FILES: Final = 16
_MOST_WORDS: Final = 300_000
_MOST_ALIASES: Final = 32
_MOST_CHARACTERS: Final = 120
_MOST_COUNT: Final = 1 << 53
_OFFSETS: Final = 256
_LAST: Final = "\U0010ffff"
_STARTS: Final = re.compile(r"(?<![^\W_])[^\W_]")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_BRACKETS: Final = re.compile(r"[()\[\]]")
_LETTERS: Final = re.compile(r"[^\W\d_]{2}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Word:
    """A line of a list.

    Attributes:
        name: As the list spells it.
        category: Its number in the list; -1 where it has none.
        count: How often it is used; 0 where that is not told.
        aliases: What people may type instead.
    """

    name: str
    category: int = -1
    count: int = 0
    aliases: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The word as a prompt spells it: blanks for underscores, and brackets that weigh nothing."""
        spelled = self.name
        # Of faces such as ^_^ and 0_0 the underscore is a part.
        if _LETTERS.search(spelled):
            spelled = spelled.replace("_", " ")
        return _BRACKETS.sub(r"\\\g<0>", spelled)


@dataclass(frozen=True, slots=True)
class FoundWord:
    """A word that a search found.

    Attributes:
        word: That.
        alias: What matched, where it is not the name; else empty.
    """

    word: Word
    alias: str = ""


class WordIndex:
    """Words by the beginnings of their parts; never altered.

    Args:
        words: Any; of those of one name the first counts.
    """

    def __init__(self, words: Iterable[Word]) -> None:
        unique: dict[str, Word] = {}
        for word in words:
            unique.setdefault(word.name, word)
        ordered = sorted(unique.values(), key=lambda word: -word.count)
        # Garbage collection looks at no tuples of texts and numbers, and at each of 100,000 other objects.
        self._words = [(one.name, one.category, one.count, one.aliases) for one in ordered]
        self._spellings: list[str] = []
        ranks = array("l")
        for rank, word in enumerate(ordered):
            for spelling in (word.name, *word.aliases):
                self._spellings.append(_folded(spelling))
                ranks.append(rank)
        places = (
            number * _OFFSETS + start
            for number, spelling in enumerate(self._spellings)
            for start in _starts(spelling)
        )
        self._places = array("q", sorted(places, key=self._from))
        # Of the word at each place: what begins many words is answered by these alone.
        self._ranks = array("l", (ranks[place // _OFFSETS] for place in self._places))

    def __len__(self) -> int:
        return len(self._words)

    def search(self, prefix: str, limit: int) -> list[FoundWord]:
        """Return words that have a part, or an alias with one, that begins so; those used most come first.

        Args:
            prefix: Case does not count, and an underscore is a blank.
            limit: How many at most.
        """
        wanted = _folded(prefix.strip())
        if not wanted:
            return []
        first = bisect_left(self._places, wanted, key=self._from)
        last = bisect_left(self._places, wanted + _LAST, key=self._from)
        ranks = heapq.nsmallest(limit, set(self._ranks[first:last]))
        return [_found(Word(*self._words[rank]), wanted) for rank in ranks]

    def _from(self, place: int) -> str:
        number, start = divmod(place, _OFFSETS)
        return self._spellings[number][start:]


def _found(word: Word, wanted: str) -> FoundWord:
    """Tell how a word was found: its name goes before an alias, which goes before the next ones."""
    for spelling in (word.name, *word.aliases):
        folded = _folded(spelling)
        if any(folded.startswith(wanted, start) for start in _starts(folded)):
            return FoundWord(word, "" if spelling is word.name else spelling)
    return FoundWord(word)


def _folded(text: str) -> str:
    return text.replace("_", " ").casefold()[: _OFFSETS - 1]


def _starts(spelling: str) -> Iterator[int]:
    """Yield where the parts of a word begin, its first character among them."""
    yield 0
    yield from (match.start() for match in _STARTS.finditer(spelling, 1))


def read_list(data: bytes) -> list[Word]:
    """Read a list; lines that are none of its form are left out.

    Args:
        data: A file of it, in UTF-8.

    Raises:
        ValueError: It is no CSV, or has too many lines.
    """
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig", errors="replace"), newline=""))
    words: list[Word] = []
    try:
        for number, row in enumerate(rows):
            if number >= _MOST_ROWS:
                raise ValueError(f"it has more than {_MOST_ROWS} lines")
            word = _word(row)
            if word is not None:
                words.append(word)
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None
    return words


def _word(row: Sequence[str]) -> Word | None:
    name, category, count, aliases, *_ = (*row, "", "", "", "")
    name, number = name.strip(), _whole(category, -1)
    uses = _whole(count, 0)
    if not _is_sayable(name) or number is None or uses is None:
        return None
    known = [alias.strip() for alias in aliases.split(",")[:_MOST_ALIASES]]
    return Word(name, number, uses, tuple(alias for alias in known if _is_sayable(alias)))


def _is_sayable(name: str) -> bool:
    return 0 < len(name) <= _MOST_CHARACTERS and not _CONTROLS.search(name)


def _whole(text: str, missing: int) -> int | None:
    """Read a whole number; None for other text, such as the title of a column."""
    text = text.strip()
    if not text:
        return missing
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(_MOST_COUNT)):
        return None
    return min(int(text), _MOST_COUNT)


_State = tuple[tuple[Path, int, int], ...]


@dataclass(slots=True)
class WordLists:
    """The lists of folders, read when they are first asked for and again when they change. Threads may share it.

    Attributes:
        folders: They need not be there.
    """

    folders: Sequence[Path]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _state: _State | None = None
    _index: WordIndex = field(default_factory=lambda: WordIndex(()))

    def index(self) -> WordIndex:
        """Return what the files hold now."""
        state = self._look()
        if state != self._state:
            with self._lock:
                if state != self._state:
                    self._index = WordIndex(self._read(state))
                    self._state = state
        return self._index

    def _look(self) -> _State:
        """Return which files there are, by their names, with their times and sizes."""
        paths = [path for folder in self.folders for path in _lists_in(folder)]
        found: list[tuple[Path, int, int]] = []
        for path in paths[:_MOST_FILES]:
            try:
                facts = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(facts.st_mode):
                found.append((path, facts.st_mtime_ns, facts.st_size))
        return tuple(found)

    def _read(self, state: _State) -> list[Word]:
        words: list[Word] = []
        for path, _, size in state:
            try:
                if size > _MOST_BYTES:
                    raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
                with path.open("rb") as file:
                    more = read_list(file.read(_MOST_BYTES))
                if len(words) + len(more) > _MOST_WORDS:
                    raise ValueError(f"all lists together have more than {_MOST_WORDS} words")
                words += more
            except (OSError, ValueError) as error:
                _log.warning("the list of words %s is left out: %s", path.name, error)
        return words


def _lists_in(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if one.suffix.lower() == ".csv")
    except OSError:
        return []
