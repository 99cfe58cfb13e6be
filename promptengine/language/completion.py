"""What can stand at a caret: kinds of tags, networks, multipliers, wildcards, embeddings, keywords, listed words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from promptengine.kinds import EMBEDDING, NetworkKind, kind_of_word, tag_kinds
from promptengine.language.keywords import keywords_of
from promptengine.language.syntax import PromptSyntax
from promptengine.language.vocabulary import Vocabulary
from promptengine.language.word_lists import FoundWord
from promptengine.validation import Between, check_type

__all__ = ["Completion", "CompletionKind", "Completions", "complete"]

CompletionKind: TypeAlias = Literal[
    "kind", "network", "multiplier", "embedding", "keyword", "wildcard", "word"
]
"""What is offered."""

MOST: Final = 200
_LEAST: Final = 2
"""Fewer characters begin too many words."""

_LONGEST: Final = 60
_MOST_WORDS: Final = 4
_LOOKED_AT: Final = 400
"""Characters before the caret; nothing that is completed is longer."""

_USUAL: Final = ("1", "0.8", "0.6", "0.4", "0.2")
_WEIGHTS: Final = ("1.1", "1.2", "1.3", "1.5", "0.9", "0.8")
_SEPARATORS: Final = r",()\[\]<>|:\n"
_PHRASE: Final = re.compile(rf"[^\s{_SEPARATORS}][^{_SEPARATORS}]*\Z")
_WORD: Final = re.compile(r"[^\s,()\[\]<>|:{}]+\Z")
_TAG: Final = re.compile(r"<(?:(\w+):)?([^<>:\n]*)\Z")
_TAG_ARGUMENT: Final = re.compile(r"<(\w+):([^<>:\n]+):(?:[^<>\n]*:)?([^<>:\n]*)\Z")
_LORA_CALL: Final = re.compile(r"(?<!\w)(?:use|with)Lora\(\s*([\w-]*)\Z", re.ASCII)
_EMBEDDING_NAME: Final = re.compile(r"(?<![^\s(])embedding:([^\s,:()]*)\Z")
_WEIGHT: Final = re.compile(r"\([^()\[\]<>|:\n]+:\s*([-+.\d]*)\Z")
_WILDCARD: Final = re.compile(r"__[~!@]?((?:[^\W_]|[/*.~-]|_(?!_))*)\Z")


@dataclass(frozen=True, slots=True)
class Completion:
    """One thing to choose.

    Attributes:
        kind: What it is.
        label: As lists show it.
        start: Of what it replaces.
        end: Its end.
        text: What stands there then.
        select: The selection afterwards, as offsets in ``text``.
        detail: A few words beside the label.
        help: More of it.
        alias: What was typed for, where it is not the label; else empty.
        category: Of a listed word, its number in the list; -1 for none.
        group: Of a network or an embedding, the name of its kind.
        more: Whether there is something to complete behind it.
    """

    kind: CompletionKind
    label: str
    start: int
    end: int
    text: str
    select: tuple[int, int]
    detail: str = ""
    help: str = ""
    alias: str = ""
    category: int = -1
    group: str = ""
    more: bool = False


@dataclass(frozen=True, slots=True)
class Completions:
    """What can stand there, the likeliest first.

    Attributes:
        items: Those.
        complete: Whether these are all, so that typing on only leaves fewer of them.
    """

    items: tuple[Completion, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class _Place:
    """A caret.

    Attributes:
        text: All of the text.
        offset: Of the caret.
        before: The text before it, as far as it is looked at.
        syntax: How it is read.
        words: What can be named.
        explicit: Whether somebody asked, and not only typed.
        limit: How many items at most.
    """

    text: str
    offset: int
    before: str
    syntax: PromptSyntax
    words: Vocabulary
    explicit: bool
    limit: int


_Found: TypeAlias = "Completions | None"


def complete(
    text: str,
    offset: int,
    vocabulary: Vocabulary,
    syntax: PromptSyntax | None = None,
    *,
    explicit: bool = False,
    limit: int = 50,
) -> Completions:
    """Offer what can stand at a caret.

    Args:
        text: Any string.
        offset: Of the caret.
        vocabulary: What can be named.
        syntax: How the text is read; as WebUI's prompt by default.
        explicit: Somebody asked for it: numbers and beginnings of one character are completed as well.
        limit: How many items at most, 1 to 200.

    Raises:
        RequestError: A value of another type, or out of range.
    """
    check_type("text", text, str)
    check_type("offset", offset, int)
    check_type("vocabulary", vocabulary, Vocabulary)
    check_type("limit", limit, int)
    Between(0, len(text)).check("offset", offset)
    Between(1, MOST).check("limit", limit)
    spoken = syntax or PromptSyntax()
    check_type("syntax", spoken, PromptSyntax)
    before = text[max(0, offset - _LOOKED_AT) : offset]
    place = _Place(text, offset, before, spoken, vocabulary, explicit, limit)
    for source in _SOURCES:
        found = source(place)
        if found is not None:
            return found
    return Completions()


def _in_comment(place: _Place) -> _Found:
    commented = place.syntax.comments and place.syntax.dialect in _WITH_COMMENTS
    line = place.text.rfind("\n", 0, place.offset) + 1
    return Completions() if commented and "#" in place.text[line : place.offset] else None


def _wildcards(place: _Place) -> _Found:
    match = _WILDCARD.search(place.before) if place.syntax.dynamic else None
    if match is None or place.before[: match.start()].count("__") % 2:
        return None
    names = place.words.wildcards().names
    return _offered(place, _ranked(names, match[1]), lambda name: _wildcard(place, match[1], name))


def _wildcard(place: _Place, typed: str, name: str) -> Completion:
    closed = place.text.startswith("__", place.offset)
    written = name if closed else f"{name}__"
    start = place.offset - len(typed)
    caret = len(written) + 2 * closed
    return Completion("wildcard", name, start, place.offset, written, (caret, caret))


def _tag_arguments(place: _Place) -> _Found:
    match = _TAG_ARGUMENT.search(place.before) if _has_tags(place) else None
    if match is None:
        return None
    kind = kind_of_word(match[1])
    if kind is None or kind.tag is None or not place.explicit:
        return Completions()
    preferred = [weight for weight, _ in _notes(place, kind, [match[2]]).values() if weight]
    numbers = dict.fromkeys([*map(_multiplier, preferred), *_USUAL])
    fitting = [one for one in numbers if one.startswith(match[3])]
    return _numbers(place, fitting, match[3], kind.tag.usage)


def _weight(place: _Place) -> _Found:
    match = _WEIGHT.search(place.before)
    if match is None or place.syntax.dialect not in _WITH_ROUND_WEIGHTS:
        return None
    fitting = [one for one in _WEIGHTS if place.explicit and one.startswith(match[1])]
    return _numbers(place, fitting, match[1], "a weight: 1 is neutral")


def _numbers(place: _Place, numbers: Sequence[str], typed: str, says: str) -> Completions:
    start = place.offset - len(typed)
    return Completions(
        tuple(
            Completion("multiplier", one, start, place.offset, one, (len(one), len(one)), help=says)
            for one in numbers
        )
    )


def _tags(place: _Place) -> _Found:
    match = _TAG.search(place.before) if _has_tags(place) else None
    if match is None:
        return None
    kinds = [kind for kind in tag_kinds() if match[1] is None or match[1] in kind.words]
    start = place.offset - len(match[0])
    items = [_kind(place, word, len(match[2])) for word in _kind_words(kinds, match)]
    named = _networks(place, kinds, match[2], lambda one: _tag(place, one, start))
    return Completions((*named.items, *items)[: place.limit], named.complete)


def _kind_words(kinds: Sequence[NetworkKind], match: re.Match[str]) -> list[str]:
    if match[1] is not None:
        return []
    return [kind.words[0] for kind in kinds if kind.words[0].startswith(match[2].casefold())]


def _kind(place: _Place, word: str, typed: int) -> Completion:
    written = f"{word}:"
    span = place.offset - typed, place.offset
    return Completion("kind", written, *span, written, (len(written), len(written)), more=True)


@dataclass(frozen=True, slots=True)
class _Named:
    """A file to offer, with what its user wrote of it."""

    name: str
    kind: NetworkKind
    weight: float
    description: str


def _tag(place: _Place, named: _Named, start: int) -> Completion:
    multiplier = _multiplier(named.weight)
    kind = named.kind
    assert kind.tag is not None
    written = kind.tag.written(named.name, multiplier)
    end = place.offset + place.text.startswith(">", place.offset)
    caret = len(written) - 1
    detail = kind.words[0] if multiplier == "1" else f"{kind.words[0]} {multiplier}"
    return Completion(
        *("network", named.name, start, end, written, (caret - len(multiplier), caret)),
        detail=detail,
        help=named.description[:_LOOKED_AT],
        group=kind.name,
    )


def _multiplier(weight: float) -> str:
    return f"{round(weight or 1, 2):g}"


def _lora_calls(place: _Place) -> _Found:
    match = _LORA_CALL.search(place.before) if place.syntax.dialect == "compel" else None
    if match is None:
        return None
    start = place.offset - len(match[1])
    kinds = [kind for kind in tag_kinds() if "lora" in kind.words]

    def call(named: _Named) -> Completion:
        weight = _multiplier(named.weight)
        written = f"{named.name}, {weight})"
        caret = len(written) - 1
        span = start, place.offset + place.text.startswith(")", place.offset)
        select = (caret - len(weight), caret)
        return Completion("network", named.name, *span, written, select, group=named.kind.name)

    return _networks(place, kinds, match[1], call)


def _embedding_names(place: _Place) -> _Found:
    dialects = ("comfyui", "swarmui")
    match = _EMBEDDING_NAME.search(place.before) if place.syntax.dialect in dialects else None
    return None if match is None else Completions(tuple(_embeddings(place, match[1], "")))


def _phrases(place: _Place) -> _Found:
    """Offer embeddings, keywords and listed words; a phrase may begin before the word."""
    phrase, word = _PHRASE.search(place.before), _WORD.search(place.before)
    if phrase is None or word is None or (len(phrase[0]) < _LEAST and not place.explicit):
        return None
    named = len(word[0]) >= _LEAST or place.explicit
    items = [*_keywords(place, word[0]), *(_embeddings(place, word[0]) if named else ())]
    items += _listed(place, phrase[0], word[0])
    return Completions(tuple(items[: place.limit]), complete=False)


def _keywords(place: _Place, typed: str) -> Iterator[Completion]:
    found = keywords_of(place.syntax.dialect, negative=place.syntax.negative)
    for one in found:
        if typed.isupper() and one.word.startswith(typed):
            span = place.offset - len(typed), place.offset
            select = (len(one.word), len(one.word))
            yield Completion("keyword", one.word, *span, one.word, select, "keyword", one.help)


def _embeddings(place: _Place, typed: str, prefix: str | None = None) -> Iterator[Completion]:
    """Yield embeddings whose names hold what is typed.

    Args:
        place: The caret.
        typed: The beginning of the word.
        prefix: What stands before a name; that of the dialect by default.
    """
    if prefix is None:
        prefix = "embedding:" if place.syntax.dialect == "comfyui" else ""
    entries = {one.name: one for one in place.words.networks(EMBEDDING.name)}
    for name in _ranked(entries, typed)[: place.limit]:
        written = prefix + name
        span, select = (place.offset - len(typed), place.offset), (len(written), len(written))
        yield Completion(
            *("embedding", name, *span, written, select, "embedding"), group=EMBEDDING.name
        )


def _listed(place: _Place, phrase: str, word: str) -> list[Completion]:
    """Return listed words for the phrase as a whole, or where there are none, for its last word."""
    index = place.words.words
    short = len(phrase) <= _LONGEST and len(phrase.split()) <= _MOST_WORDS
    asked = [phrase, word] if short and len(phrase) > len(word) else [word]
    for typed in (one for one in asked if len(one) >= _LEAST and len(index)):
        found = index.search(typed[:_LONGEST], min(place.limit, 20))
        if found:
            return [_listed_word(place, one, len(typed)) for one in found]
    return []


def _listed_word(place: _Place, found: FoundWord, typed: int) -> Completion:
    word = found.word
    at_end = place.text[place.offset : place.offset + 1] in ("", "\n")
    written = word.text + ", " * at_end
    span, select = (place.offset - typed, place.offset), (len(written), len(written))
    return Completion(
        *("word", word.name, *span, written, select),
        detail=_count(word.count),
        alias=found.alias,
        category=word.category,
    )


def _count(number: int) -> str:
    if number >= 1_000_000:
        return f"{number / 1_000_000:.1f}M"
    return f"{round(number / 1000)}k" if number >= 1000 else str(number or "")


def _has_tags(place: _Place) -> bool:
    return place.syntax.dialect in _WITH_TAGS and not place.syntax.negative


def _notes(place: _Place, kind: NetworkKind, names: Iterable[str]) -> dict[str, tuple[float, str]]:
    wanted = set(names)
    entries = [one for one in place.words.networks(kind.name) if one.name in wanted]
    return place.words.notes(kind.name, entries)


def _networks(
    place: _Place, kinds: Sequence[NetworkKind], typed: str, written: Callable[[_Named], Completion]
) -> Completions:
    """Offer the files of some kinds, those that begin with what is typed first."""
    best = sorted(
        (rank, entry.name.casefold(), entry.name, number)
        for number, kind in enumerate(kinds)
        for entry in place.words.networks(kind.name)
        if (rank := _rank(entry.name, typed)) is not None
        if kind.tag is not None and kind.tag.holds(entry.name)
    )
    taken = [(name, kinds[number]) for _, _, name, number in best[: place.limit]]
    notes = {
        kind.name: _notes(place, kind, [name for name, own in taken if own is kind])
        for kind in kinds
    }
    items = tuple(
        written(_Named(name, kind, *notes[kind.name].get(name, (0.0, "")))) for name, kind in taken
    )
    return Completions(items, len(best) <= place.limit)


def _offered(
    place: _Place, names: Sequence[str], written: Callable[[str], Completion]
) -> Completions:
    return Completions(tuple(map(written, names[: place.limit])), len(names) <= place.limit)


def _ranked(names: Iterable[str], typed: str) -> list[str]:
    """Return the names that hold what is typed, those that begin with it first."""
    rated = ((_rank(name, typed), name.casefold(), name) for name in names)
    return [name for _, _, name in sorted(one for one in rated if one[0] in (0, 1))]


def _rank(name: str, typed: str) -> int | None:
    """Rate how well a name fits, 0 best; None where the letters typed are not in it, in their order."""
    own, wanted = name.casefold(), typed.casefold()
    if own.startswith(wanted):
        return 0
    if wanted in own:
        return 1
    letters = iter(own)
    return 2 if all(letter in letters for letter in wanted) else None


_WITH_TAGS: Final = ("webui", "extended", "swarmui")
_WITH_COMMENTS: Final = ("webui", "extended")
_WITH_ROUND_WEIGHTS: Final = ("webui", "extended", "comfyui", "swarmui")
_SOURCES: Final[tuple[Callable[[_Place], _Found], ...]] = (
    _in_comment,
    _wildcards,
    _tag_arguments,
    _tags,
    _lora_calls,
    _embedding_names,
    _weight,
    _phrases,
)
"""What is looked for, in this order; the first that fits the place answers."""
