"""What a person would want to know about a prompt that parses as it stands.

Each function looks for one sort of thing and says where it is and what to write instead. What other
programs' languages would have meant is told by ``foreign.py``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache

from promptengine.kinds import NetworkKind, kind_of_word, tag_words
from promptengine.prompt.ast import (
    Alternating,
    Diagnostic,
    Group,
    Node,
    Part,
    Scheduled,
    Span,
    Tag,
    Text,
)
from promptengine.prompt.brackets import Balanced, Rejection
from promptengine.prompt.dialects import DIALECTS
from promptengine.prompt.emphasis import attention
from promptengine.prompt.grammar import Lexeme
from promptengine.prompt.other_syntax import TAG_KINDS
from promptengine.prompt.quoting import MOST, capped, quoted
from promptengine.prompt.source_map import MappedText, join

__all__ = [
    "almost_tags",
    "brackets",
    "comments",
    "scheduled_tags",
    "tags",
    "tags_in_negative",
    "weight_without_and",
    "weighted_breaks",
]

_ANGLED = re.compile(r"<[^<>]*>")
_TAG = re.compile(r"<\w+:[^<>]+>")
_WEIGHT = re.compile(r"\s*[-+]?[.\d]+\s*")
_OPENER = {")": "(", "]": "["}
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_LONGEST_NUMBER = 24
_REJECTED = {
    "number missing": (
        "this is no schedule, because it does not end in a number; it is text of weight 1/1.1",
        "write [before:after:0.5] to change at half of the steps",
    ),
    "too many colons": (
        "this is no schedule, which has two texts and a number; it is text of weight 1/1.1",
        "write [before:after:0.5], and a colon that is meant as \\:",
    ),
    "colon and bar": (
        "this is no schedule, because it mixes : and |; it is text of weight 1/1.1",
        "write [a|b] to alternate or [a:b:0.5] to change once",
    ),
}


def comments(text: str, found: list[tuple[int, int]]) -> Iterator[Diagnostic]:
    """Report comments that may not have been meant as such.

    A line that begins with ``#`` and a blank is meant; a color or a number behind ``#`` is not.

    Args:
        text: The source.
        found: Where comments start and end.
    """
    return capped(
        Diagnostic(
            "info",
            f"{quoted(text, start, end)} is a comment and left out, since # begins one",
            Span(start, end),
            "to keep it take the # out, or turn the option enable_prompt_comments off",
        )
        for start, end in found
        if not _is_note(text, start, end)
    )


def _is_note(text: str, start: int, end: int) -> bool:
    """Return whether a comment cannot be anything else, or holds nothing."""
    first = not text[text.rfind("\n", 0, start) + 1 : start].strip()
    return not text[start:end].strip("# \t\r") or (first and text[start + 1] in "# \t!")


def tags(found: tuple[Tag, ...]) -> Iterator[Diagnostic]:
    """Report tags of a kind that no engine knows, and what means nothing in a tag."""
    unknown = (tag for tag in found if kind_of_word(tag.kind) is None)
    yield from capped(
        Diagnostic(
            "warning",
            f"{quoted(tag.kind)} is no known kind of tag; the tag is taken out and does nothing",
            tag.span,
            _near(tag.kind),
        )
        for tag in unknown
    )
    yield from capped(idle for tag in found for idle in _idle_items(tag))


def _idle_items(tag: Tag) -> Iterator[Diagnostic]:
    """Say which arguments of a tag mean nothing, as they do in WebUI."""
    kind = kind_of_word(tag.kind)
    if kind is None or kind.tag is None:
        return
    for item in kind.tag.idle(tag.arguments):
        message = f"{quoted(item)} means nothing in {kind.tag.title}"
        yield Diagnostic("warning", message, tag.span, kind.tag.usage)


def scheduled_tags(found: tuple[Tag, ...], parts: list[Part]) -> Iterator[Diagnostic]:
    """Report tags within schedules, which ignore them in WebUI's dialect."""
    if not found:
        return
    spans = [span for part in parts for span in _constructs(part.nodes)]
    starts = [span.start for span in spans]
    inside: list[Tag] = []
    for tag in found:
        place = bisect_right(starts, tag.span.start) - 1
        if place >= 0 and tag.span.end < spans[place].end:
            inside.append(tag)
    yield from capped(
        Diagnostic(
            "info",
            f"this <{tag.kind}:…> tag acts at all steps: brackets do not schedule tags",
            tag.span,
            _how_to_schedule(kind),
        )
        for tag in inside
        if (kind := kind_of_word(tag.kind)) is not None
    )


def _how_to_schedule(kind: NetworkKind) -> str:
    if kind.tag is None or not kind.tag.over_steps:
        return f"{kind.plural} cannot change over the steps"
    dialect = next(one.name for one in DIALECTS.values() if one.schedules_tags)
    return f"the {dialect} dialect schedules tags of {kind.plural}"


def _constructs(nodes: tuple[Node, ...]) -> Iterator[Span]:
    """Yield the places of the outermost schedules and alternations, in order."""
    pending = list(reversed(nodes))
    while pending:
        match pending.pop():
            case Group(children):
                pending += reversed(children)
            case Scheduled(span=span) | Alternating(span=span):
                yield span
            case Text() | Tag():
                pass


def _near(kind: str) -> str:
    """Suggest what was meant, or list the kinds there are."""
    if kind.casefold() in TAG_KINDS:
        return TAG_KINDS[kind.casefold()]
    # Its import would cost every program more than this function costs the few that need it.
    from difflib import get_close_matches

    known = tag_words()
    matches = get_close_matches(kind[:MOST].casefold(), known, n=1)
    if matches:
        return f"did you mean {matches[0]!r}?"
    return f"known kinds are {', '.join(known)}"


def almost_tags(rest: MappedText) -> Iterator[Diagnostic]:
    """Report text that looks like a tag and is none, once the tags are out of it."""
    if "<" not in rest.text:
        return iter(())
    closed = (match for match in _ANGLED.finditer(rest.text) if _looks_meant(match[0]))
    unclosed = _open_tag(tag_words()).finditer(rest.text, rest.text.rfind("<"))
    return capped(
        Diagnostic(
            "warning",
            f"{quoted(match[0])} is no tag and stays in the text",
            rest.span(match.start(), match.end()),
            "write <kind:name> or <kind:name:1>, the kind one word right after the <",
        )
        for matches in (closed, unclosed)
        for match in matches
    )


@cache
def _open_tag(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"<(?:{'|'.join(map(re.escape, words))}):[^>]*\Z")


def _looks_meant(angled: str) -> bool:
    inside = angled[1:-1].strip()
    return ":" in inside or inside.casefold() in tag_words()


def tags_in_negative(rest: MappedText) -> list[Diagnostic]:
    """Report tags in a negative prompt, where they are words."""
    if "<" not in rest.text:
        return []
    return list(
        capped(
            Diagnostic(
                "warning",
                f"{quoted(match[0])} is read as words: tags count in the positive prompt only",
                rest.span(match.start(), match.end()),
                "move it to the positive prompt, or take it out",
            )
            for match in _TAG.finditer(rest.text)
        )
    )


def weight_without_and(
    rest: MappedText, operand: MappedText, weight: float
) -> Iterator[Diagnostic]:
    """Report a number at the end of a prompt that is read as the weight of the whole."""
    number = rest.text[len(operand.text) :]
    if number.lstrip().startswith(":"):
        start = len(operand.text) + number.index(":")
        end = len(rest.text.rstrip())
        weighed = _bare_weight(rest.text[:end])
        yield Diagnostic(
            "warning",
            f"{quoted(rest.text, start, end)} at the end is the weight of the whole prompt, {weight:g}",
            rest.span(start, end),
            f"{weighed}put a comma or a dot after it to keep it as text",
        )


def _bare_weight(text: str) -> str:
    """Advise brackets where words between commas end in a weight, such as ``apple:.9``."""
    for item in text.split(","):
        words, colon, number = item.strip().rpartition(":")
        few = words and len(words) <= _LONGEST_NUMBER and len(words.split()) < 4
        plain = few and not words[-1].isdigit() and not set(words) & set("()[]:\n")
        if colon and plain and _is_number(number):
            return f"write ({words}:{number.strip()}) to weight that alone, or "
    return ""


def brackets(
    excerpt: MappedText, lexemes: list[Lexeme], balanced: Balanced, choices: Sequence[Span]
) -> Iterator[Diagnostic]:
    """Report what is odd about the brackets of one part.

    Args:
        excerpt: The part's text.
        lexemes: Of the whole text, retyped.
        balanced: What the scan that retyped them found.
        choices: Where braces of another program's language hold bars, which are told already.
    """
    yield from capped(_rejected(excerpt, one, choices) for one in balanced.rejections)
    yield from _raw(excerpt, balanced, choices)
    lonely, weights = _brackets(lexemes)
    yield from capped(_lonely(excerpt, bracket) for bracket in lonely)
    yield from capped(_no_weight(excerpt, text, closer) for text, closer in weights)


def _rejected(excerpt: MappedText, rejection: Rejection, choices: Sequence[Span]) -> Diagnostic:
    message, hint = _REJECTED[rejection.reason]
    end = rejection.closer.end
    span = excerpt.span(rejection.opener.start, end)
    last = excerpt.text[max(rejection.opener.end, end - _LONGEST_NUMBER) : end - 1]
    if _DECIMAL_COMMA.fullmatch(last.rpartition(":")[2]):
        hint = "write the number with a dot, such as 0.5"
    elif rejection.reason == "colon and bar" and _within(choices, span.start, span.end):
        hint = "write one of the choices in braces"
    return Diagnostic("warning", message, span, hint)


def _within(choices: Sequence[Span], start: int, end: int) -> bool:
    """Return whether any of some ascending, disjoint places meets ``start:end``."""
    place = bisect_right(choices, end - 1, key=_span_start) - 1
    return place >= 0 and choices[place].end > start


def _span_start(span: Span) -> int:
    return span.start


def _raw(excerpt: MappedText, balanced: Balanced, choices: Sequence[Span]) -> Iterator[Diagnostic]:
    culprit = balanced.raw
    if culprit is None:
        return
    span = excerpt.span(culprit.start, culprit.end)
    lost = balanced.constructs > 0
    told = any(rejection.reason == "colon and bar" for rejection in balanced.rejections)
    if culprit.text != "|":
        message, hint = "a backslash at the end of a line is literal", "take it out"
    elif _within(choices, span.start, span.end):
        message, hint, told = "a | in braces is literal", "write one of the choices", True
    else:
        message, hint = "a | outside of [a|b] is literal", "write [a|b] to alternate"
    if lost:
        message += ", and all schedules of this part are text of weight 1/1.1 with it"
    if lost or (culprit.text == "|" and not told):
        yield Diagnostic("warning" if lost else "info", message, span, hint)


def _brackets(
    lexemes: list[Lexeme],
) -> tuple[list[Lexeme], list[tuple[Lexeme, Lexeme]]]:
    """Find brackets without a partner, and weights that are no number.

    Each shape counts for itself, as in the attention language.

    Returns:
        Lonely brackets; the texts that stand for a weight, with the closers after them.
    """
    lonely: list[Lexeme] = []
    weights: list[tuple[Lexeme, Lexeme]] = []
    opened: dict[str, list[Lexeme]] = {"(": [], "[": []}
    for index, lexeme in enumerate(lexemes):
        bracket = lexeme.text
        if bracket in opened:
            opened[bracket].append(lexeme)
        elif bracket in _OPENER:
            openers = opened[_OPENER[bracket]]
            if not openers:
                lonely.append(lexeme)
                continue
            openers.pop()
            before = lexemes[index - 1]
            after_colon = bracket == ")" and index > 1 and lexemes[index - 2].text == ":"
            if after_colon and before.text not in "()[]:|" and not _is_number(before.text):
                weights.append((before, lexeme))
    lonely += opened["("] + opened["["]
    lonely.sort(key=lambda bracket: bracket.start)
    return lonely, weights


def _is_number(text: str) -> bool:
    try:
        float(text.strip())
    except ValueError:
        return False
    # float() reads more than the weight of an emphasis may be, such as 1e3 or inf.
    return _WEIGHT.fullmatch(text) is not None


def _lonely(excerpt: MappedText, bracket: Lexeme) -> Diagnostic:
    after = "is never closed and weights all that follows"
    before = "has no opening bracket before it and is text"
    return Diagnostic(
        "warning",
        f"{bracket.text!r} {after if bracket.text in _OPENER.values() else before}",
        excerpt.span(bracket.start, bracket.end),
        f"add its partner, or write \\{bracket.text} for the character itself",
    )


def _no_weight(excerpt: MappedText, text: Lexeme, closer: Lexeme) -> Diagnostic:
    if _WEIGHT.fullmatch(text.text):
        effect = "its bracket stays open here"
    else:
        effect = "it stays in the text, which is emphasized by 1.1"
    numeric = any(character.isdecimal() for character in text.text)
    hint = "write a number such as 1.2 after the colon, or \\: for the character itself"
    if _DECIMAL_COMMA.fullmatch(text.text):
        hint = f"write {text.text.strip().replace(',', '.')}, with a dot"
    return Diagnostic(
        "warning" if numeric else "info",
        f"{quoted(text.text.strip())} is no weight; {effect}",
        excerpt.span(text.start, closer.end),
        hint,
    )


def weighted_breaks(nodes: tuple[Node, ...]) -> Iterator[Diagnostic]:
    """Report each BREAK whose brackets change its weight, so that it starts no chunk."""
    return capped(_weighted_breaks(nodes))


def _weighted_breaks(nodes: tuple[Node, ...]) -> Iterator[Diagnostic]:
    # All branches at once: each BREAK is looked at in the brackets that are around it in any case.
    everything = join(((text.text, text.span.start) for text in _texts(nodes)), origin=0)
    for fragment in attention(everything):
        if "BREAK" in fragment.text and fragment.weight < 0 and fragment.weight != -1:
            yield Diagnostic(
                "info",
                "BREAK inside of brackets with a weight starts no new chunk",
                fragment.span,
                "close the brackets before it and open them again after it",
            )


def _texts(nodes: tuple[Node, ...]) -> Iterator[Text]:
    """Yield the text of all branches, in the order of the source."""
    pending: list[Node] = list(reversed(nodes))
    while pending:
        match pending.pop():
            case Text() as text:
                yield text
            case Group(children):
                pending += reversed(children)
            case Scheduled(before, after):
                pending += reversed((*before, *after))
            case Alternating(arms):
                pending += reversed([node for arm in arms for node in arm])
            case Tag():
                pass
