"""What a person would want to know about a prompt that parses as it stands.

Each function looks for one sort of thing and says where it is and what to write instead. A sort that
occurs very often is cut short: a thousand unclosed brackets need no thousand sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from promptengine.syntax.attention import attention
from promptengine.syntax.balance import Balanced, Rejection
from promptengine.syntax.excerpt import Excerpt, join
from promptengine.syntax.grammar import Lexeme
from promptengine.syntax.tree import (
    Alternating,
    Diagnostic,
    Group,
    Node,
    Scheduled,
    Severity,
    Tag,
    Text,
)

__all__ = [
    "KNOWN_KINDS",
    "almost_tags",
    "brackets",
    "tags",
    "tags_in_negative",
    "weight_without_and",
    "weighted_breaks",
]

KNOWN_KINDS = ("hypernet", "lora", "lyco")

_MOST = 20
_LONGEST_QUOTE = 40
_ANGLED = re.compile(r"<[^<>]*>")
_TAG = re.compile(r"<\w+:[^<>]+>")
_OPEN_TAG = re.compile(rf"<(?:{'|'.join(KNOWN_KINDS)}):[^>]*\Z")
_WEIGHT = re.compile(r"\s*[-+]?[.\d]+\s*")
_OPENER = {")": "(", "]": "["}
_REJECTED = {
    "number missing": (
        "this is literal, because it does not end in a number",
        "write [before:after:0.5] to change at half of the steps",
    ),
    "too many colons": (
        "this is literal, because a schedule has two texts and a number",
        "write [before:after:0.5], and a colon that is meant as \\:",
    ),
    "colon and bar": (
        "this is literal, because it mixes : and |",
        "write [a|b] to alternate or [a:b:0.5] to change once",
    ),
}


def tags(found: tuple[Tag, ...]) -> Iterator[Diagnostic]:
    """Report tags of a kind that no engine knows."""
    unknown = (tag for tag in found if tag.kind not in KNOWN_KINDS)
    return _capped(
        Diagnostic(
            "warning",
            f"{_quoted(tag.kind)} is no known kind of tag; the tag is taken out and does nothing",
            tag.span,
            _near(tag.kind),
        )
        for tag in unknown
    )


def _near(kind: str) -> str:
    """Suggest the kind that was meant, or list those there are."""
    # Its import would cost every program more than this function costs the few that need it.
    from difflib import get_close_matches

    matches = get_close_matches(kind[:_MOST].casefold(), KNOWN_KINDS, n=1)
    if matches:
        return f"did you mean {matches[0]!r}?"
    return f"known kinds are {', '.join(KNOWN_KINDS)}"


def almost_tags(rest: Excerpt) -> Iterator[Diagnostic]:
    """Report text that looks like a tag and is none, once the tags are out of it."""
    if "<" not in rest.text:
        return iter(())
    closed = (match for match in _ANGLED.finditer(rest.text) if _looks_meant(match[0]))
    unclosed = _OPEN_TAG.finditer(rest.text, rest.text.rfind("<"))
    return _capped(
        Diagnostic(
            "warning",
            f"{_quoted(match[0])} is no tag and stays in the text",
            rest.span(match.start(), match.end()),
            "write <kind:name> or <kind:name:1>, the kind one word right after the <",
        )
        for matches in (closed, unclosed)
        for match in matches
    )


def _looks_meant(angled: str) -> bool:
    inside = angled[1:-1].strip()
    return ":" in inside or inside.casefold() in KNOWN_KINDS


def tags_in_negative(rest: Excerpt) -> list[Diagnostic]:
    """Report tags in a negative prompt, where they are words."""
    if "<" not in rest.text:
        return []
    return list(
        _capped(
            Diagnostic(
                "warning",
                f"{_quoted(match[0])} is read as words: tags count in the positive prompt only",
                rest.span(match.start(), match.end()),
                "move it to the positive prompt, or take it out",
            )
            for match in _TAG.finditer(rest.text)
        )
    )


def weight_without_and(rest: Excerpt, operand: Excerpt, weight: float) -> Iterator[Diagnostic]:
    """Report a number at the end of a prompt that is read as the weight of the whole."""
    number = rest.text[len(operand.text) :]
    if number.lstrip().startswith(":"):
        start = len(operand.text) + number.index(":")
        end = len(rest.text.rstrip())
        yield Diagnostic(
            "info",
            f"{_quoted(rest.text[start:end])} at the end is the weight of the whole prompt, {weight:g}",
            rest.span(start, end),
            "put a comma or a dot after it to keep it as text",
        )


def brackets(excerpt: Excerpt, lexemes: list[Lexeme], balanced: Balanced) -> Iterator[Diagnostic]:
    """Report what is odd about the brackets of one part.

    Args:
        excerpt: The part's text.
        lexemes: Of the whole text, retyped.
        balanced: What the scan that retyped them found.
    """
    yield from _capped(_rejected(excerpt, rejection) for rejection in balanced.rejections)
    yield from _raw(excerpt, balanced)
    lonely, weights = _brackets(lexemes)
    yield from _capped(_lonely(excerpt, bracket) for bracket in lonely)
    yield from _capped(_no_weight(excerpt, text, closer) for text, closer in weights)


def _rejected(excerpt: Excerpt, rejection: Rejection) -> Diagnostic:
    message, hint = _REJECTED[rejection.reason]
    span = excerpt.span(rejection.opener.start, rejection.closer.end)
    return Diagnostic("warning", message, span, hint)


def _raw(excerpt: Excerpt, balanced: Balanced) -> Iterator[Diagnostic]:
    culprit = balanced.raw
    if culprit is None:
        return
    lost = balanced.constructs > 0
    told = any(rejection.reason == "colon and bar" for rejection in balanced.rejections)
    if culprit.text == "|":
        message, hint = "a | outside of [a|b] is literal", "write [a|b] to alternate"
    else:
        message, hint = "a backslash at the end of a line is literal", "take it out"
    if lost:
        message += ", and so are all schedules of this part"
    if lost or (culprit.text == "|" and not told):
        span = excerpt.span(culprit.start, culprit.end)
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
        float(text)
    except ValueError:
        return False
    # float() reads more than the weight of an emphasis may be, such as 1e3 or inf.
    return _WEIGHT.fullmatch(text) is not None


def _lonely(excerpt: Excerpt, bracket: Lexeme) -> Diagnostic:
    after = "is never closed and weights all that follows"
    before = "has no opening bracket before it and is text"
    return Diagnostic(
        "warning",
        f"{bracket.text!r} {after if bracket.text in _OPENER.values() else before}",
        excerpt.span(bracket.start, bracket.end),
        f"add its partner, or write \\{bracket.text} for the character itself",
    )


def _no_weight(excerpt: Excerpt, text: Lexeme, closer: Lexeme) -> Diagnostic:
    if _WEIGHT.fullmatch(text.text):
        effect = "its bracket stays open to the end"
    else:
        effect = "it stays in the text, which is emphasised by 1.1"
    numeric = any(character.isdecimal() for character in text.text)
    return Diagnostic(
        "warning" if numeric else "info",
        f"{_quoted(text.text.strip())} is no weight; {effect}",
        excerpt.span(text.start, closer.end),
        "write a number such as 1.2 after the colon, or \\: for the character itself",
    )


def weighted_breaks(nodes: tuple[Node, ...]) -> Iterator[Diagnostic]:
    """Report each BREAK whose brackets change its weight, so that it starts no chunk."""
    return _capped(_weighted_breaks(nodes))


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


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…")


def _capped(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield the first few, and how many more there are at the place of the next one."""
    rest = iter(found)
    last: Diagnostic | None = None
    for last in islice(rest, _MOST):
        yield last
    more: Severity | None = last.severity if last else None
    further = next(rest, None)
    if more and further:
        count = 1 + sum(1 for _ in rest)
        yield Diagnostic(more, f"and {count} more of this sort", further.span)
