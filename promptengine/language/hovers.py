"""What a place of a text does: its weight, when it acts, which file it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptengine.kinds import TagProblem, kind_of_word
from promptengine.language.keywords import KEYWORDS
from promptengine.language.marks import constructs
from promptengine.language.reading import Reading, read
from promptengine.language.syntax import PromptSyntax
from promptengine.language.tokens import SemanticToken, tokens_of
from promptengine.language.vocabulary import Vocabulary
from promptengine.prompt.ast import Alternating, Part, Scheduled, Span, Tag
from promptengine.prompt.quoting import quoted
from promptengine.prompt.schedule import last_step
from promptengine.prompt.templates.tree import Assignment, Choice, Literal, Variable, Wildcard, Wrap
from promptengine.prompt.timelines import TagClock, read_tag, tag_timelines
from promptengine.registry.registry import RegistryEntry
from promptengine.validation import Between, check_type

__all__ = ["Hover", "hover"]

_OPENERS = frozenset("([{")
_BEFORE_CLOSER = frozenset(":")
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Hover:
    """What is told of a place.

    Attributes:
        span: What it is told of, the innermost construct.
        lines: Sentences, those about the outermost first.
    """

    span: Span
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, a sentence a line."""
        return "\n".join(self.lines)


_Told = tuple[Span, str]


def hover(
    text: str,
    offset: int,
    vocabulary: Vocabulary | None = None,
    syntax: PromptSyntax | None = None,
) -> Hover | None:
    """Tell what the character at an offset does.

    Args:
        text: Any string.
        offset: Of the character; the text's length for its end.
        vocabulary: Where names are looked up; without one they are not.
        syntax: How the text is read; as WebUI's prompt by default.

    Returns:
        What there is to say, or None for plain words.

    Raises:
        RequestError: A value of another type, or out of range.
    """
    check_type("text", text, str)
    check_type("offset", offset, int)
    Between(0, len(text)).check("offset", offset)
    reading = read(text, syntax or PromptSyntax())
    told = [
        *_changes(reading, offset),
        *_template(reading, offset, vocabulary),
        *_token(reading, offset),
        *_tag(reading, offset, vocabulary),
    ]
    if not told:
        return None
    span = min((span for span, _ in told), key=lambda span: span.end - span.start)
    return Hover(span, tuple(line for _, line in told))


def _holds(span: Span, offset: int) -> bool:
    return span.start <= offset < span.end


def _changes(reading: Reading, offset: int) -> Iterator[_Told]:
    """Tell of the schedules and alternations around a place, the outermost first."""
    steps = reading.syntax.steps
    around = [
        (node, part)
        for part in reading.prompt.parts
        for node in constructs(part.nodes)
        if _holds(node.span, offset)
    ]
    for node, part in sorted(around, key=lambda one: one[0].span.start - one[0].span.end):
        match node:
            case Scheduled():
                yield node.span, _change(node, part, reading, offset)
            case Alternating(arms):
                number = next((i for i, arm in enumerate(arms) if _within(arm, offset)), None)
                place = "" if number is None else f": this one at step {number + 1} first"
                count = min(len(arms), steps)
                yield (
                    node.span,
                    f"{len(arms)} texts in turn, one a step, every {count} steps{place}",
                )


def _change(node: Scheduled, part: Part, reading: Reading, offset: int) -> str:
    steps = reading.syntax.steps
    last = last_step(node, part, steps)
    before = _said(reading, node.before) or "nothing"
    after = _said(reading, node.after) or "nothing"
    if last >= steps:
        return f"{before} at all of {steps} steps"
    if last <= 0:
        return f"{after} at all of {steps} steps"
    here = ""
    if _within(node.before, offset):
        here = "; this is the former"
    elif _within(node.after, offset):
        here = "; this is the latter"
    return f"{before} up to step {last} of {steps}, {after} from then on{here}"


def _said(reading: Reading, nodes: Sequence[object]) -> str:
    spans = [node.span for node in nodes]  # type: ignore[attr-defined]
    return quoted(reading.text, spans[0].start, spans[-1].end) if spans else ""


def _within(nodes: Sequence[object], offset: int) -> bool:
    return any(_holds(node.span, offset) for node in nodes)  # type: ignore[attr-defined]


def _template(reading: Reading, offset: int, vocabulary: Vocabulary | None) -> Iterator[_Told]:
    nodes = {id(node): node for _, node in reading.marks}
    for node in nodes.values():
        span = node.span
        if not _holds(span, offset):
            continue
        match node:
            case Choice(options, low, high):
                count = f"{low}" if low == high else f"{low} to {high}"
                yield span, f"{count} of {len(options)} options, drawn for each image"
            case Wildcard(name):
                yield span, _wildcard(name, vocabulary)
            case Variable(name):
                yield span, f"what the variable {quoted(name)} stands for"
            case Assignment(name):
                yield span, f"sets the variable {quoted(name)}"
            case Wrap():
                yield span, "the second text in place of the first one's three dots"


def _wildcard(name: Sequence[object], vocabulary: Vocabulary | None) -> str:
    written = "".join(one.text for one in name if isinstance(one, Literal))
    if vocabulary is None or not all(isinstance(one, Literal) for one in name):
        return "one of the lines of a wildcard's file"
    names = vocabulary.wildcards().names
    if written not in names:
        return f"one of the lines of the wildcards that {quoted(written)} names"
    count = len(vocabulary.wildcards().values(written))
    return f"one of {count} lines of the wildcard {quoted(written)}"


def _token(reading: Reading, offset: int) -> Iterator[_Told]:
    tokens = tokens_of(reading)
    number = next((i for i, one in enumerate(tokens) if _holds(one.span, offset)), None)
    if number is None:
        return
    token = tokens[number]
    match token.kind:
        case "comment":
            yield token.span, "a comment, left out of the prompt"
        case "keyword":
            word = reading.text[token.span.start : token.span.end]
            known = next((one for one in KEYWORDS if one.word.strip("<>") == word), None)
            if known is not None and reading.syntax.dialect in known.dialects:
                yield token.span, f"{word} {known.help}"
        case "words":
            yield token.span, _weight(token)
        case "operator" | "number":
            yield from _of_neighbor(reading, tokens, number)
        case _:
            pass


def _of_neighbor(reading: Reading, tokens: Sequence[SemanticToken], number: int) -> Iterator[_Told]:
    """Tell, at a bracket or a weight, of the words beside it that it weighs."""
    own = tokens[number].span
    opens = reading.text[own.start] in _OPENERS
    step, passed = (1, _OPENERS) if opens else (-1, _BEFORE_CLOSER)
    place = number + step
    while 0 <= place < len(tokens) and tokens[place].kind in ("operator", "number"):
        if (
            tokens[place].kind == "operator"
            and reading.text[tokens[place].span.start] not in passed
        ):
            return
        place += step
    if 0 <= place < len(tokens) and tokens[place].kind == "words":
        words = tokens[place].span
        span = Span(min(words.start, own.start), max(words.end, own.end))
        if reading.text[span.start : span.end].count("\n") == 0:
            yield span, _weight(tokens[place])


def _weight(token: SemanticToken) -> str:
    return f"weight {token.weight:.4g}"


def _tag(reading: Reading, offset: int, vocabulary: Vocabulary | None) -> Iterator[_Told]:
    for tag in reading.prompt.tags:
        if _holds(tag.span, offset):
            yield from ((tag.span, line) for line in _tag_lines(reading, tag, vocabulary))


def _tag_lines(reading: Reading, tag: Tag, vocabulary: Vocabulary | None) -> Iterator[str]:
    kind = kind_of_word(tag.kind)
    if kind is None or kind.tag is None:
        yield f"a tag of kind {quoted(tag.kind)}, which does nothing here"
        return
    try:
        asked = read_tag(tag, reading.prompt, TagClock.of(reading.scheduled))
    except TagProblem as problem:
        yield f"{kind.noun}: {problem}"
        return
    if asked is None:
        return
    values = tag_timelines(reading.scheduled).get(tag)
    if values is None:
        multiplier = f"multiplier {asked.curve.at(0):.4g}"
    else:
        multiplier = f"multiplier {min(values):.4g} to {max(values):.4g} over the steps"
    yield f"{kind.noun} {quoted(asked.name)}, {multiplier}"
    registry = None if vocabulary is None else vocabulary.registry
    if registry is None or vocabulary is None:
        return
    entry = registry.find(kind.name, asked.name)
    if entry is None:
        yield str(registry.unknown(kind.name, asked.name))
        return
    yield f"file {_place(entry)}"
    for _, description in vocabulary.notes(kind.name, [entry]).values():
        if description.strip():
            yield description.strip().splitlines()[0][:_LONGEST]


def _place(entry: RegistryEntry) -> str:
    """Return where a file is below the folder of its kind, and nothing of the machine."""
    return f"{entry.relative}{entry.path.suffix}"
