"""A prompt of one dialect in another, and what of it that dialect has no words for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from promptengine.errors import RequestError
from promptengine.kinds import kind_of_word
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import Diagnostic, Prompt, Span, Tag
from promptengine.prompt.dialects import FROM_EMPTY, WEBUI, find_dialect
from promptengine.prompt.meaning import Change, Meaning, Piece, Turn, Words, meaning_of
from promptengine.prompt.parser import parse
from promptengine.prompt.quoting import quoted
from promptengine.prompt.schedule import schedule
from promptengine.prompt.styles import WEBUI as WEBUI_STYLE
from promptengine.prompt.writing import Notes, Style, write
from promptengine.validation import check_type

__all__ = ["Translation", "says_the_same", "translate", "unparse"]

_EMBEDDING = re.compile(r"(?<![^\s(])embedding:(?=\S)|<embed(?:ding)?:", re.IGNORECASE)
_STEPS = 12
_LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Translation:
    """A prompt in another dialect.

    Attributes:
        text: The prompt.
        problems: What of it means something else there, or nothing; spans are those of the source.
    """

    text: str
    problems: tuple[Diagnostic, ...]


def translate(
    text: str,
    source: str = WEBUI,
    target: str = WEBUI,
    *,
    negative: bool = False,
    comments: bool = True,
) -> Translation:
    """Rewrite a prompt.

    Args:
        text: Any string.
        source: Name of the dialect it is written in.
        target: Name of the one it shall be written in; a prompt of that dialect is left as it is.
        negative: It is a negative prompt.
        comments: Whether ``#`` begins a comment, in dialects that have them; comments are left out.

    Raises:
        RequestError: No such dialect, or one that cannot be written.
    """
    find_dialect(target)
    prompt = parse(text, comments=comments, negative=negative, dialect=source)
    if source == target:
        return Translation(text, ())
    return unparse(prompt, target, negative=negative)


def unparse(prompt: Prompt, target: str | None = None, *, negative: bool = False) -> Translation:
    """Write a prompt that is read.

    Args:
        prompt: As parsed.
        target: Name of the dialect to write; by default its own. It is written anew there, too, in the
            plainest marks.
        negative: It was read as a negative prompt.

    Raises:
        RequestError: No such dialect, or one that cannot be written.
    """
    check_type("prompt", prompt, Prompt)
    name = prompt.dialect if target is None else target
    dialect = find_dialect(name)
    if dialect.style is None:
        message = f"dialect {name!r} can be read and not written; choose another one"
        raise RequestError(message, field="dialect")
    meaning = meaning_of(prompt)
    notes = Notes(dialect.label.removesuffix("'s") or name)
    style: Style = dialect.style()
    written = write(meaning, style, notes)
    _compare_rules(prompt, meaning, name, style, notes)
    again = parse(written, negative=negative, dialect=name)
    losses = any(note.severity == "warning" for note in notes.found)
    if not losses and len(prompt.source) <= _LONGEST and not says_the_same(prompt, again):
        message = "what is written comes close and does not say quite the same"
        hint = "close brackets where they are opened, and set BREAK off by spaces"
        notes.add(kinds.NOT_QUITE_THE_SAME, message, Span(0, len(prompt.source)), hint)
    return Translation(written, tuple(sorted(notes.found, key=_place)))


def _place(note: Diagnostic) -> int:
    return note.span.start if note.span else 0


def _compare_rules(
    prompt: Prompt, meaning: Meaning, target: str, style: Style, notes: Notes
) -> None:
    """Note where the same marks do something else."""
    pieces = [piece for clause in meaning.clauses for piece in _all(clause.pieces)]
    rule, other = find_dialect(prompt.dialect).weights, find_dialect(target).weights
    named = _EMBEDDING.search(prompt.source) if rule == FROM_EMPTY else None
    if named is not None and other == FROM_EMPTY:
        message = "what is written names embeddings by their bare words"
        notes.add(
            kinds.CHANGED_THERE, message, Span(*named.span()), "write embedding: before each there"
        )
    _compare_curves(prompt, target, style, notes)
    for tag in meaning.tags if style.tag is WEBUI_STYLE.tag else ():
        if prompt.dialect == "swarmui" and kind_of_word(tag.kind) is None:
            notes.add(
                kinds.LEFT_OUT_THERE, f"nothing is asked for by <{tag.kind}:…> there", tag.span
            )
    if rule != other and any(isinstance(one, Words) and one.weight != 1 for one in pieces):
        message = f"weights are the same numbers and do something else there: {other.name}"
        notes.add(kinds.OTHER_WEIGHT_RULE, message, None)
    exact = parse("", dialect=target).parts[0].exact_steps
    changing = next((one for one in pieces if isinstance(one, (Change, Turn))), None)
    if changing is not None and style.change is not None and exact != meaning.exact_steps:
        when = "earlier" if exact else "later"
        message = f"words change one call of the denoiser {when} there"
        notes.add(kinds.OTHER_STEP, message, changing.span)


def _compare_curves(prompt: Prompt, target: str, style: Style, notes: Notes) -> None:
    """Note what of tags changes over the steps in one of both dialects alone."""
    curves = find_dialect(target).curves
    if find_dialect(prompt.dialect).curves == curves:
        return
    what = "a network" if curves else "nothing"
    for tag in prompt.tags:
        items = _over_steps(tag) if style.tag(tag) else []
        if items:
            said = quoted(", ".join(items))
            notes.add(
                kinds.CHANGED_THERE,
                f"{said} changes {what} over the steps in {notes.dialect}",
                tag.span,
            )


def _over_steps(tag: Tag) -> list[str]:
    """Return the arguments of a tag that mean something only where multipliers change over the steps."""
    kind = kind_of_word(tag.kind)
    if kind is None or kind.tag is None or not kind.tag.over_steps:
        return []
    always, there = (set(kind.tag.idle(tag.arguments, curves)) for curves in (False, True))
    return [
        argument
        for argument in tag.arguments[1:]
        if "@" in argument or (argument in always and argument not in there)
    ]


def _all(pieces: tuple[Piece, ...]) -> Iterator[Piece]:
    pending = list(pieces)
    while pending:
        piece = pending.pop()
        yield piece
        match piece:
            case Change(before, after):
                pending += (*before, *after)
            case Turn(arms):
                pending += (one for arm in arms for one in arm)
            case _:
                pass


def says_the_same(one: Prompt, other: Prompt, *, steps: int = _STEPS) -> bool:
    """Tell whether two prompts say the same words with the same weights at every step.

    White space does not count, nor do rounding errors of weights, nor tags.
    """
    first, second = _told(one, steps), _told(other, steps)
    return len(first) == len(second) and all(
        _alike(mine, theirs) for mine, theirs in zip(first, second, strict=True)
    )


_Told = list[tuple[str, float]]


def _told(prompt: Prompt, steps: int) -> list[_Told]:
    """Return what is said at each step of each text that is encoded, and how these become one."""
    told: list[_Told] = []
    for part in prompt.parts:
        found = schedule(part, steps)
        mix = ("and", (part.weight,)) if found.mix is None else (found.mix.kind, found.mix.weights)
        told.append([(mix[0], weight) for weight in mix[1]])
        for step in range(1, steps + 1):
            segment = next(one for one in found.segments if step <= one.until_step)
            for fragments in segment.arms or (segment.fragments,):
                told.append(_joined(("".join(f.text.split()), f.weight) for f in fragments))
    return told


def _joined(fragments: Iterator[tuple[str, float]]) -> _Told:
    joined: _Told = []
    for text, weight in fragments:
        if not text:
            continue
        if joined and _close(joined[-1][1], weight) and "BREAK" not in (text, joined[-1][0]):
            joined[-1] = (joined[-1][0] + text, weight)
        else:
            joined.append((text, weight))
    return joined


def _alike(mine: _Told, theirs: _Told) -> bool:
    return len(mine) == len(theirs) and all(
        text == other and _close(weight, its)
        for (text, weight), (other, its) in zip(mine, theirs, strict=True)
    )


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
