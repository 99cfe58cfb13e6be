"""Text to :class:`Template`. Every text is one: a mark without its partner is text, and a diagnostic says so.

Time and memory are linear in the length of the text, at any depth of nesting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from promptengine.garbage import gc_paused
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import Diagnostic, Span
from promptengine.prompt.grammar import Language, Lexeme, language
from promptengine.prompt.quoting import capped, quoted
from promptengine.prompt.templates.tree import (
    Argument,
    Assignment,
    Choice,
    Comment,
    Literal,
    Nodes,
    Option,
    Template,
    TemplateNode,
    Variable,
    Wildcard,
    Wrap,
    unparse,
)
from promptengine.validation import check_type

__all__ = ["MOST_TAKEN", "parse_template"]

MOST_TAKEN: Final = 1_000_000
"""The most that a choice's numbers can ask for; larger ones are this."""

_MARKS: Final = frozenset("{}|$%#_")
_SET_ASIDE: Final = re.compile(r"#[^\n]*|<\w+:[^>]+>")
_HIDDEN: Final = "\0"
"""Stands for each character of a tag while marks are looked for; none of them matches it."""

_CLOSED_BY_BRACE: Final = frozenset(
    {"CHOICE", "VARIABLE", "FALLBACK", "ASSIGN", "WRAP"},
)
_CHOICE: Final = re.compile(
    r"\{\s*(?P<method>[~!@]?)"
    r"(?:(?P<low>[0-9]*)\s*(?P<dash>-?)\s*(?P<high>[0-9]*)\s*\$\$(?:(?P<separator>[^${}\n]+)\$\$)?)?\s*"
)
_WEIGHT: Final = re.compile(r"([0-9.]+)::\Z")
_NAME: Final = re.compile(r"[A-Za-z_-][A-Za-z0-9_-]*")
_MOST_WEIGHT: Final = 1e9


@gc_paused
def parse_template(text: str) -> Template:
    """Read a template.

    Args:
        text: Any string.

    Raises:
        RequestError: It is no string; no text is refused.
    """
    check_type("template", text, str)
    if _MARKS.isdisjoint(text):
        nodes: Nodes = (Literal(text, Span(0, len(text))),) if text else ()
        return Template(text, nodes)
    tongue = _templates()
    lexemes = tongue.lex(_without_tags(text))
    found = list(capped(_balance(lexemes, text)))
    return Template(text, tongue.parse(_joined(lexemes, text)), tuple(found))


def _without_tags(text: str) -> str:
    """Hide tags, in a text of the same length; a comment's are none, as in prompts."""
    # Past the last ">" there is no tag, and looking for its end from each "<" would be quadratic.
    end = text.rfind(">") + 1
    kept, pieces = 0, list[str]()
    for match in _SET_ASIDE.finditer(text, 0, end) if "<" in text else ():
        if match[0][0] == "<":
            pieces += [text[kept : match.start()], _HIDDEN * len(match[0])]
            kept = match.end()
    return "".join([*pieces, text[kept:]]) if pieces else text


@dataclass(slots=True)
class _Frame:
    """A construct that is open.

    Attributes:
        opener: Its mark.
        start: The number of the lexeme behind that.
        inside: Marks that belong to it: bars, dollars, round brackets.
        text: Whether it holds more than blanks so far.
        lines: Whether its own text has a line break.
    """

    opener: Lexeme
    start: int
    inside: list[Lexeme] = field(default_factory=list[Lexeme])
    text: bool = False
    lines: bool = False

    def discard(self) -> None:
        """Make all of it text."""
        for lexeme in (self.opener, *self.inside):
            lexeme.type = "TEXT"


def _balance(lexemes: list[Lexeme], text: str) -> Iterator[Diagnostic]:
    """Retype the lexemes of a template so that they fit ``templates.lark``; yield what to say."""
    stack: list[_Frame] = []
    for number, lexeme in enumerate(lexemes):
        kind = lexeme.type
        if stack and stack[-1].opener.type == "WILD":
            stack[-1].text |= kind != "WILD" and not lexeme.text.isspace()
            stack[-1].lines |= kind == "TEXT" and "\n" in lexeme.text
        if kind in _CLOSED_BY_BRACE:
            stack.append(_Frame(lexeme, number + 1))
        elif kind == "END":
            yield from _end(stack, lexeme, text)
        elif kind in _SCANS:
            _SCANS[kind](stack, lexemes, number)
    for frame in stack:
        if frame.opener.type != "WILD":
            yield _unclosed(frame.opener, text)
        frame.discard()


def _underscores(stack: list[_Frame], lexemes: list[Lexeme], number: int) -> None:
    """Close the wildcard that is open, or open one."""
    if stack and stack[-1].opener.type == "WILD" and _closes(stack[-1], lexemes, number):
        stack.pop()
        lexemes[number].type = "WILD_END"
        return
    _drop_wild(stack)
    stack.append(_Frame(lexemes[number], number + 1))


def _round_bracket(stack: list[_Frame], lexemes: list[Lexeme], number: int) -> None:
    """Leave a round bracket to the wildcard that is open, or make it text."""
    if stack and stack[-1].opener.type == "WILD":
        stack[-1].inside.append(lexemes[number])
    else:
        lexemes[number].type = "TEXT"


def _divider(stack: list[_Frame], lexemes: list[Lexeme], number: int) -> None:
    """Leave a bar to the choice it stands in and dollars to the wrap, or make them text."""
    _drop_wild(stack)
    lexeme, frame = lexemes[number], stack[-1] if stack else None
    wanted = {"CHOICE": "BAR", "WRAP": "DOLLARS"}.get(frame.opener.type if frame else "")
    if frame is None or wanted != lexeme.type or (wanted == "DOLLARS" and frame.inside):
        lexeme.type = "TEXT"
    else:
        frame.inside.append(lexeme)


_SCANS: Final[Mapping[str, Callable[[list[_Frame], list[Lexeme], int], None]]] = {
    "WILD": _underscores,
    "LPAR": _round_bracket,
    "RPAR": _round_bracket,
    "BAR": _divider,
    "DOLLARS": _divider,
}
"""What each mark does to those that are open, but for braces, of which there is something to say."""


def _end(stack: list[_Frame], closer: Lexeme, text: str) -> Iterator[Diagnostic]:
    _drop_wild(stack)
    if stack:
        yield from _close(stack.pop(), closer, text)
    else:
        closer.type = "TEXT"


def _drop_wild(stack: list[_Frame]) -> None:
    """Make an open wildcard text; there is never one around another construct's end."""
    if stack and stack[-1].opener.type == "WILD":
        stack.pop().discard()


def _closes(frame: _Frame, lexemes: list[Lexeme], number: int) -> bool:
    """Return whether underscores close an open wildcard: a name on one line, and arguments behind it."""
    if number == frame.start or not frame.text or frame.lines:
        return False
    marks = [one.type for one in frame.inside]
    first, last = lexemes[frame.start].type, lexemes[number - 1].type
    called = marks == ["LPAR", "RPAR"] and last == "RPAR" and first != "LPAR"
    if marks and not called:
        for one in frame.inside:
            one.type = "TEXT"
    return True


def _close(frame: _Frame, closer: Lexeme, text: str) -> Iterator[Diagnostic]:
    if frame.opener.type == "WRAP" and not frame.inside:
        frame.discard()
        closer.type = "TEXT"
        yield kinds.NOTHING_WRAPPED(
            f"{quoted(text, frame.opener.start, closer.end)} wraps nothing and is text",
            Span(frame.opener.start, closer.end),
            "write %{around ... it$$within}",
        )


def _unclosed(opener: Lexeme, text: str) -> Diagnostic:
    span = Span(opener.start, opener.end)
    shown = quoted(text, opener.start, opener.end)
    return kinds.UNCLOSED_BRACKET(f"{shown} is never closed and is text", span, "close it with }")


def _joined(lexemes: list[Lexeme], text: str) -> list[Lexeme]:
    """Return the lexemes with the source's text, neighbors of type TEXT as one."""
    joined: list[Lexeme] = []
    for lexeme in lexemes:
        if lexeme.type == "TEXT" and joined and joined[-1].type == "TEXT":
            joined[-1].end = lexeme.end
        else:
            joined.append(lexeme)
    for lexeme in joined:
        lexeme.text = text[lexeme.start : lexeme.end]
    return joined


@cache
def _templates() -> Language:
    leaves = {"TEXT": _text, "COMMENT": _comment}
    rules = {
        "start": tuple[TemplateNode, ...],
        "nodes": tuple[TemplateNode, ...],
        "choice": _choice,
        "variable": _variable,
        "fallback": _fallback,
        "assignment": _assignment,
        "wrap": _wrap,
        "wildcard": _wildcard,
    }
    return language("templates", {**leaves, **rules})


def _text(lexeme: Lexeme) -> Literal:
    return Literal(lexeme.text, Span(lexeme.start, lexeme.end))


def _comment(lexeme: Lexeme) -> Comment:
    return Comment(lexeme.text, Span(lexeme.start, lexeme.end))


def _span(children: list[Any]) -> Span:
    return Span(children[0].start, children[-1].end)


def _choice(children: list[Any]) -> Choice:
    # CHOICE nodes (BAR nodes)* END
    opener, first, *rest, _ = children
    match = _CHOICE.match(opener.text)
    assert match is not None, "the grammar's terminal is longer"
    options = [Option(first, _weight(opener.text), opener.text[match.end() :])]
    for bar, nodes in zip(rest[::2], rest[1::2], strict=True):
        options.append(Option(nodes, _weight(bar.text), bar.text))
    low = high = 1
    if match["low"] or match["high"]:
        low = _number(match["low"] or "1")
        usual = str(len(options)) if match["dash"] else match["low"]
        high = _number(match["high"] or usual)
    separator = match["separator"] or ","
    bounds = min(low, high), max(low, high)
    return Choice(
        tuple(options), *bounds, separator, match["method"], match[0], span=_span(children)
    )


def _weight(mark: str) -> float:
    match = _WEIGHT.search(mark)
    return min(float(match[1]), _MOST_WEIGHT) if match else 1.0


def _number(digits: str) -> int:
    # Python itself refuses to read numbers of some thousand digits.
    return min(int(digits), MOST_TAKEN) if len(digits) < 10 else MOST_TAKEN


def _name(mark: str) -> str:
    match = _NAME.search(mark)
    assert match is not None, "the grammar's terminals have a name"
    return match[0]


def _variable(children: list[Any]) -> Variable:
    mark = children[0].text
    return Variable(_name(mark), None, mark, _span(children))


def _fallback(children: list[Any]) -> Variable:
    mark = children[0].text
    return Variable(_name(mark), children[1], mark, _span(children))


def _assignment(children: list[Any]) -> Assignment:
    mark = children[0].text
    head, _, tail = mark.partition("=")
    return Assignment(
        _name(mark), children[1], "!" in tail, not head.endswith("?"), mark, _span(children)
    )


def _wrap(children: list[Any]) -> Wrap:
    # WRAP nodes DOLLARS nodes END
    opener, around, joint, within, _ = children
    return Wrap(around, within, opener.text, joint.text, _span(children))


def _wildcard(children: list[Any]) -> Wildcard:
    # WILD nodes (LPAR nodes RPAR)? WILD_END
    _, name, *rest, _ = children
    written: Nodes | None = rest[1] if rest else None
    method = ""
    if name and isinstance(first := name[0], Literal) and first.text[0] in "~!@":
        method = first.text[0]
        shorter = Literal(first.text[1:], Span(first.span.start + 1, first.span.end))
        name = ((shorter,) if shorter.text else ()) + name[1:]
    return Wildcard(name, _arguments(written or ()), method, written, _span(children))


def _arguments(written: Nodes) -> tuple[Argument, ...]:
    """Read ``name=value, other=value``: commas and equal signs count in plain text only."""
    pairs: list[list[TemplateNode]] = [[]]
    for node in written:
        if not isinstance(node, Literal):
            pairs[-1].append(node)
            continue
        first, *others = node.text.split(",")
        pairs[-1].append(Literal(first, node.span))
        for other in others:
            pairs.append([Literal(other, node.span)])
    return tuple(_argument(pair) for pair in pairs if unparse(pair).strip())


def _argument(pair: list[TemplateNode]) -> Argument:
    head = pair[0]
    name, _, start = head.text.partition("=") if isinstance(head, Literal) else ("", "", "")
    value = [Literal(start.lstrip(), head.span), *pair[1:]]
    if isinstance(last := value[-1], Literal):
        value[-1] = Literal(last.text.rstrip(), last.span)
    return Argument(name.strip(), tuple(value))
