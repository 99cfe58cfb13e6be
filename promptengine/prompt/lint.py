"""What a person would want to know about a prompt that parses as it stands.

Each function looks for one sort of thing and says where it is and what to write instead. What other
programs' languages would have meant is told by ``foreign.py``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt import remedies
from promptengine.prompt.ast import (
    Alternating,
    Diagnostic,
    Fragment,
    Group,
    Node,
    Part,
    Prompt,
    Related,
    Remedy,
    Scheduled,
    Span,
    Tag,
    Text,
    Weigh,
)
from promptengine.prompt.brackets import OPENERS, WEIGHT, Balanced, Rejection, unpaired
from promptengine.prompt.dialect_marks import (
    EMBEDDING_KINDS,
    SPOKEN_TAGS,
    TAG_KINDS,
    other_dialect,
)
from promptengine.prompt.dialects import DIALECTS, WEBUI, WEBUI_RULE
from promptengine.prompt.emphasis import attention
from promptengine.prompt.grammar import Lexeme
from promptengine.prompt.quoting import MOST, capped, quoted, told
from promptengine.prompt.source_map import MappedText, join
from promptengine.prompt.tag_kinds import kind_of_word, tag_words

if TYPE_CHECKING:
    from promptengine.kinds import NetworkKind

__all__ = [
    "almost_tags",
    "brackets",
    "branch_texts",
    "comments",
    "negative_weights",
    "scheduled_tags",
    "tags",
    "tags_in_negative",
    "weight_without_and",
    "weighted_breaks",
]

_ANGLED = re.compile(r"<[^<>]*>")
_FROM_TO = re.compile(r"<fromto\[[^\[\]]*\]:")
_TAG = re.compile(r"<\w+:[^<>]+>")
_NEGATIVE = re.compile(r":\s*-")
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_LONGEST_NUMBER = 24
_ONE_COLON = re.compile(r"[^()\[\]\\|:]*:[^()\[\]\\|:]*")
_PLAIN_WORD = re.compile(r"[\w.-]+")
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
    odd = (place for place in found if not _is_note(text, *place))
    return told(odd, partial(_comment, text))


def _comment(text: str, place: tuple[int, int]) -> Diagnostic:
    kept = text[slice(*place)].replace("#", "")
    return kinds.COMMENT_IN_TEXT(
        f"{quoted(text, *place)} is a comment and left out, since # begins one",
        Span(*place),
        "to keep it take the # out, or turn the option enable_prompt_comments off",
        Remedy(Span(*place), kept, "take the # out"),
    )


def _is_note(text: str, start: int, end: int) -> bool:
    """Return whether a comment cannot be anything else, or holds nothing."""
    first = not text[text.rfind("\n", 0, start) + 1 : start].strip()
    return not text[start:end].strip("# \t\r") or (first and text[start + 1] in "# \t!")


def tags(found: tuple[Tag, ...], *, over_steps: bool) -> Iterator[Diagnostic]:
    """Report tags of a kind that no engine knows, and what means nothing in a tag.

    Args:
        found: The tags.
        over_steps: Whether multipliers may change over the steps.
    """
    yield from told((tag for tag in found if kind_of_word(tag.kind) is None), _unknown_kind)
    yield from told(((tag, item) for tag in found for item in _idle_items(tag, over_steps)), _idle)


def _unknown_kind(tag: Tag) -> Diagnostic:
    message = f"{quoted(tag.kind)} is no known kind of tag; the tag is taken out and does nothing"
    kind = kinds.SWARMUI_SYNTAX if tag.kind.casefold() in TAG_KINDS else kinds.UNKNOWN_TAG
    return kind(message, tag.span, *_near(tag))


def _idle_items(tag: Tag, over_steps: bool) -> Sequence[str]:
    """Return which arguments of a tag mean nothing, as they do in WebUI."""
    kind = kind_of_word(tag.kind)
    if kind is None or kind.tag is None:
        return ()
    return kind.tag.idle(tag.arguments, over_steps and kind.tag.over_steps)


def _idle(found: tuple[Tag, str]) -> Diagnostic:
    tag, item = found
    kind = kind_of_word(tag.kind)
    assert kind is not None
    assert kind.tag is not None
    message = f"{quoted(item)} means nothing in {kind.tag.title}"
    places = [place for place, argument in enumerate(tag.arguments) if argument == item]
    remedy = None
    if places:
        remedy = remedies.of_argument(tag, places[-1], None, f"leave {quoted(item)} out")
    return kinds.IDLE_ARGUMENT(message, tag.span, kind.tag.usage, remedy)


def scheduled_tags(found: tuple[Tag, ...], parts: list[Part]) -> Iterator[Diagnostic]:
    """Report tags within schedules, which ignore them in WebUI's dialect."""
    if not found:
        return
    spans = [span for part in parts for span in _constructs(part.nodes)]
    starts = [span.start for span in spans]
    inside: list[tuple[Tag, Span]] = []
    for tag in found:
        place = bisect_right(starts, tag.span.start) - 1
        if place >= 0 and tag.span.end < spans[place].end:
            inside.append((tag, spans[place]))
    yield from capped(
        kinds.UNSCHEDULED_TAG(
            f"this <{tag.kind}:…> tag acts at all steps: brackets do not schedule tags",
            tag.span,
            _how_to_schedule(kind),
            related=(Related(span, "the brackets around it"),),
        )
        for tag, span in inside
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


def _near(tag: Tag) -> tuple[str, Remedy | None]:
    """Suggest what was meant, or list the kinds there are."""
    kind = tag.kind.casefold()
    if kind in TAG_KINDS:
        spoken = f"; {other_dialect('swarmui', WEBUI)}" if kind in SPOKEN_TAGS else ""
        return TAG_KINDS[kind] + spoken, _bare_word(tag) if kind in EMBEDDING_KINDS else None
    # Its import would cost every program more than this function costs the few that need it.
    from difflib import get_close_matches

    known = tag_words()
    matches = get_close_matches(kind[:MOST], known, n=1)
    if matches:
        remedy = remedies.of_argument(tag, -1, matches[0], f"use {matches[0]!r}")
        return f"did you mean {matches[0]!r}?", remedy
    return f"known kinds are {', '.join(known)}", None


def _bare_word(tag: Tag) -> Remedy | None:
    word = tag.arguments[0]
    return Remedy(tag.span, word, f"write {word}") if _PLAIN_WORD.fullmatch(word) else None


def almost_tags(rest: MappedText) -> Iterator[Diagnostic]:
    """Report text that looks like a tag and is none, once the tags are out of it."""
    if "<" not in rest.text:
        return iter(())
    closed = (match for match in _ANGLED.finditer(rest.text) if _looks_meant(match[0]))
    unclosed = _open_tag(tag_words()).finditer(rest.text, rest.text.rfind("<"))
    return told(
        (match.span() for found in (closed, unclosed) for match in found), partial(_no_tag, rest)
    )


def _no_tag(rest: MappedText, place: tuple[int, int]) -> Diagnostic:
    if _FROM_TO.match(rest.text, *place):
        return kinds.SWARMUI_SYNTAX(
            f"{quoted(rest.text, *place)} is SwarmUI's tag and is text here",
            rest.span(*place),
            f"write [a:b:0.5]; {other_dialect('swarmui', WEBUI)}",
        )
    return kinds.ALMOST_TAG(
        f"{quoted(rest.text, *place)} is no tag and stays in the text",
        rest.span(*place),
        "write <kind:name> or <kind:name:1>, the kind one word right after the <",
        remedies.closed_tag(rest, *place, tag_words()),
    )


@cache
def _open_tag(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"<(?:{'|'.join(map(re.escape, words))}):[^>]*\Z")


def _looks_meant(angled: str) -> bool:
    inside = angled[1:-1].strip()
    return ":" in inside or inside.casefold() in tag_words()


def tags_in_negative(text: str, rest: MappedText) -> list[Diagnostic]:
    """Report tags in a negative prompt, where they are words.

    Args:
        text: The source.
        rest: The same without comments.
    """
    if "<" not in rest.text:
        return []
    places = (rest.span(*match.span()) for match in _TAG.finditer(rest.text))
    return list(told(places, partial(_negative_tag, text)))


def _negative_tag(text: str, span: Span) -> Diagnostic:
    return kinds.TAG_IN_NEGATIVE(
        f"{quoted(text, span.start, span.end)} is read as words: tags count in the positive prompt only",
        span,
        "move it to the positive prompt, or take it out",
        remedies.taken_out(text, span, "take it out"),
    )


def weight_without_and(
    rest: MappedText, operand: MappedText, weight: float
) -> Iterator[Diagnostic]:
    """Report a number at the end of a prompt that is read as the weight of the whole."""
    number = rest.text[len(operand.text) :]
    if number.lstrip().startswith(":"):
        start = len(operand.text) + number.index(":")
        end = len(rest.text.rstrip())
        remedy: Remedy | None = remedies.put_in(rest, end, ",", "keep it as text")
        weighed = remedies.bare_weight(rest.text, start, end)
        if weighed is not None:
            begin, written = weighed
            remedy = remedies.replaced(rest, begin, end, written, f"write {written}") or remedy
        yield kinds.WEIGHT_OF_WHOLE(
            f"{quoted(rest.text, start, end)} at the end is the weight of the whole prompt, {weight:g}",
            rest.span(start, end),
            f"{_bare_weight(rest.text[:end])}put a comma or a dot after it to keep it as text",
            remedy,
        )


def _bare_weight(text: str) -> str:
    """Advise brackets where words between commas end in a weight, such as ``apple:.9``."""
    place = 0
    for item in text.split(","):
        colon = item.rfind(":")
        end = place + len(item)
        weighed = remedies.bare_weight(text, place + colon, end) if colon >= 0 else None
        if weighed is not None:
            return f"write {weighed[1]} to weight that alone, or "
        place = end + 1
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
    yield from told(balanced.rejections, partial(_rejected, excerpt, choices))
    yield from _raw(excerpt, balanced, choices)
    lonely, weights = unpaired(lexemes)
    yield from told(lonely, partial(_lonely, excerpt))
    yield from capped(_no_weight(excerpt, *found) for found in weights)


def _rejected(excerpt: MappedText, choices: Sequence[Span], rejection: Rejection) -> Diagnostic:
    message, hint = _REJECTED[rejection.reason]
    end = rejection.closer.end
    span = excerpt.span(rejection.opener.start, end)
    last = excerpt.text[max(rejection.opener.end, end - _LONGEST_NUMBER) : end - 1]
    remedy: Remedy | None = None
    if _DECIMAL_COMMA.fullmatch(last.rpartition(":")[2]):
        hint = "write the number with a dot, such as 0.5"
        remedy = remedies.comma_as_point(excerpt, rejection.opener.end, end - 1)
    elif _ONE_COLON.fullmatch(excerpt.text, rejection.opener.end, end - 1):
        remedy = remedies.put_in(excerpt, end - 1, ":0.5", "change at half of the steps")
    elif rejection.reason == "colon and bar" and _within(choices, span.start, span.end):
        hint = "write one of the choices in braces"
    return kinds.NOT_A_SCHEDULE(message, span, hint, remedy)


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
    remedy: Remedy | None = None
    kind = kinds.STRAY_BAR
    lost = balanced.constructs > 0
    told = any(rejection.reason == "colon and bar" for rejection in balanced.rejections)
    if culprit.text != "|":
        kind = kinds.BACKSLASH_AT_LINE_END
        message, hint = "a backslash at the end of a line is literal", "take it out"
        remedy = Remedy(span, "", "take it out")
    elif _within(choices, span.start, span.end):
        message, hint, told = "a | in braces is literal", "write one of the choices", True
    else:
        message, hint = "a | outside of [a|b] is literal", "write [a|b] to alternate"
    if lost:
        message += ", and all schedules of this part are text of weight 1/1.1 with it"
    if lost or (culprit.text == "|" and not told):
        yield kind(message, span, hint, remedy, severity="warning" if lost else "info")


def _lonely(excerpt: MappedText, bracket: Lexeme) -> Diagnostic:
    if bracket.text in OPENERS:
        kind, said = kinds.UNOPENED_BRACKET, "has no opening bracket before it and is text"
        mend = remedies.escaped
    else:
        kind, said = kinds.UNCLOSED_BRACKET, "is never closed and weights all that follows"
        mend = remedies.closed_bracket
    return kind(
        f"{bracket.text!r} {said}",
        excerpt.span(bracket.start, bracket.end),
        f"add its partner, or write \\{bracket.text} for the character itself",
        mend(excerpt, bracket.start),
    )


def _no_weight(excerpt: MappedText, opener: Lexeme, text: Lexeme, closer: Lexeme) -> Diagnostic:
    if WEIGHT.fullmatch(text.text):
        effect = "its bracket stays open here"
    else:
        effect = "it stays in the text, which is emphasized by 1.1"
    numeric = any(character.isdecimal() for character in text.text)
    hint = "write a number such as 1.2 after the colon, or \\: for the character itself"
    remedy: Remedy | None = None
    if _DECIMAL_COMMA.fullmatch(text.text):
        remedy = remedies.comma_as_point(excerpt, text.start, text.end)
        hint = f"write {text.text.strip().replace(',', '.')}, with a dot"
    return kinds.NOT_A_WEIGHT(
        f"{quoted(text.text.strip())} is no weight; {effect}",
        excerpt.span(text.start, closer.end),
        hint,
        remedy,
        severity="warning" if numeric else "info",
        related=(Related(excerpt.span(opener.start, opener.end), "the bracket it stands in"),),
    )


def weighted_breaks(nodes: tuple[Node, ...]) -> Iterator[Diagnostic]:
    """Report each BREAK whose brackets change its weight, so that it starts no chunk."""
    return capped(_weighted_breaks(nodes))


def _weighted_breaks(nodes: tuple[Node, ...]) -> Iterator[Diagnostic]:
    for fragment in _fragments(nodes):
        if "BREAK" in fragment.text and fragment.weight < 0 and fragment.weight != -1:
            yield kinds.WEIGHTED_BREAK(
                "BREAK inside of brackets with a weight starts no new chunk",
                fragment.span,
                "close the brackets before it and open them again after it",
            )


def negative_weights(prompt: Prompt) -> Iterator[Diagnostic]:
    """Report words of a weight below 0 to whoever may not know that an option changes what that means.

    No part of reading a prompt, since a prompt does not know the options that it is used with. Nothing is
    reported in a dialect whose weights follow a rule of its own, which that option does not change.
    """
    if DIALECTS[prompt.dialect].weights != WEBUI_RULE:
        return iter(())
    return capped(
        kinds.NEGATIVE_WEIGHT(
            f"{quoted(fragment.text.strip())} has a negative weight; by default {fragment.weight:g} scales it as in"
            " WebUI, which does not push the image away from it",
            fragment.span,
            "the option negative_weights at subtract does (NegPiP)",
        )
        for part in prompt.parts
        if part.weigh is not None or _NEGATIVE.search(part.text)
        for fragment in _fragments(part.nodes, part.weigh)
        if fragment.weight < 0 and fragment.text.strip() not in ("", "BREAK")
    )


def _fragments(nodes: tuple[Node, ...], weigh: Weigh | None = None) -> tuple[Fragment, ...]:
    """Weigh all branches at once: each text in the brackets that are around it in any case."""
    texts = join(((text.text, text.span.start) for text in branch_texts(nodes)), origin=0)
    return (weigh or attention)(texts)


def branch_texts(nodes: tuple[Node, ...]) -> Iterator[Text]:
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
