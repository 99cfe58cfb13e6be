"""ComfyUI's prompts: weights in round brackets, and nothing that changes over the steps.

Read as ComfyUI reads them: a bracket with a number sets the weight and one without multiplies it by 1.1,
brackets without a partner are text, and where the last one open has none, so are all behind it, unless
the text ends with a bracket.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

from promptengine.garbage import gc_paused
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import Diagnostic, Fragment, Part, Prompt, Span, Text
from promptengine.prompt.grammar import Language, Lexeme, language
from promptengine.prompt.other_syntax import foreign_syntax
from promptengine.prompt.quoting import quoted
from promptengine.prompt.source_map import MappedText, whole
from promptengine.prompt.weighing import BREAK_WEIGHT, Leaf, Tree, fragments, leaves

__all__ = ["bracket_diagnostics", "read_comfyui", "weigh"]

_FACTOR = 1.1


def read_comfyui(text: str, *, comments: bool, negative: bool) -> Prompt:
    """Read a prompt of ComfyUI's ``CLIPTextEncode``.

    Args:
        text: Any string.
        comments: Not looked at: ``#`` is text there.
        negative: Not looked at: both prompts are of one language.
    """
    span = Span(0, len(text))
    part = Part(text, 1.0, (Text(text, span),), span, weigh)
    excerpt = whole(text)
    found = (*bracket_diagnostics(excerpt), *foreign_syntax(excerpt, "comfyui").diagnostics)
    return Prompt(text, (), (part,), found, "comfyui")


def bracket_diagnostics(excerpt: MappedText, *, breaks: bool = False) -> Iterator[Diagnostic]:
    """Tell of the first bracket that weighs nothing."""
    for lexeme in _balanced(excerpt.text, breaks):
        if lexeme.type == "TEXT" and lexeme.text[-1:] in ("(", ")"):
            opens = lexeme.text[-1:] == "("
            kind = kinds.UNCLOSED_BRACKET if opens else kinds.UNOPENED_BRACKET
            yield kind(
                f"{quoted(lexeme.text)} has no partner and is text",
                excerpt.span(lexeme.start, lexeme.end),
                "close it, or write a backslash before it",
            )
            return


@gc_paused
def weigh(excerpt: MappedText, *, breaks: bool = False) -> tuple[Fragment, ...]:
    """Work out the weights of a text.

    Args:
        excerpt: The text, with its places.
        breaks: Whether ``<break>`` begins a new chunk, as SwarmUI has it.
    """
    tree = _language().parse(_balanced(excerpt.text, breaks))
    return fragments(_said(tree), excerpt)


def _said(tree: Tree) -> Iterator[Leaf]:
    for leaf, weight, _ in leaves(tree, sets="SET"):
        match leaf.type:
            case "TEXT":
                yield leaf.text, weight, leaf.start, leaf.end
            case "ESCAPE":
                yield leaf.text[1:], weight, leaf.start, leaf.end
            case "BREAK":
                yield "BREAK", BREAK_WEIGHT, leaf.start, leaf.end
            case _:
                pass


@cache
def _language() -> Language:
    return language("comfyui", {"start": list, "emphasis": list})


def _balanced(text: str, breaks: bool) -> list[Lexeme]:
    lexemes = _language().lex(text)
    if not breaks:
        for lexeme in lexemes:
            if lexeme.type == "BREAK":
                lexeme.type = "TEXT"
    return _balance(lexemes)


def _balance(lexemes: list[Lexeme]) -> list[Lexeme]:
    """Pair the brackets, and retype those that weigh nothing."""
    partner: dict[int, int] = {}
    opened: list[int] = []
    debt = 0
    for index, lexeme in enumerate(lexemes):
        match lexeme.type:
            case "LPAR" if debt:
                # A closer too many takes the next opener with it.
                debt -= 1
            case "LPAR":
                opened.append(index)
            case "RPAR" | "WEIGHT" if opened:
                partner[index] = opened.pop()
            case "RPAR" | "WEIGHT":
                debt += 1
            case _:
                pass
    _settle(lexemes, opened, partner)
    for closer, opener in partner.items():
        _weigh_pair(lexemes[opener], lexemes[closer])
    paired = {*partner, *partner.values()}
    for index, lexeme in enumerate(lexemes):
        if lexeme.type in ("LPAR", "RPAR", "WEIGHT") and index not in paired:
            lexeme.type = "TEXT"
    return _openers(lexemes, partner)


def _settle(lexemes: list[Lexeme], opened: list[int], partner: dict[int, int]) -> None:
    """Pair what is left open with the closers that end the text, which have other partners so far."""
    waiting = opened
    place, last = 0, len(lexemes) - 1
    while place < len(waiting):
        first = waiting[place]
        place += 1
        if last <= first or lexemes[last].type not in ("RPAR", "WEIGHT"):
            for closer in [one for one in partner if first < one <= last]:
                del partner[closer]
            return
        waiting.append(partner[last])
        partner[last] = first
        last -= 1


def _weigh_pair(opener: Lexeme, closer: Lexeme) -> None:
    opener.factor = _FACTOR
    if closer.type == "WEIGHT" and closer.start > opener.end:
        opener.factor = float(closer.text[1:-1].strip())
        opener.type = "SET"


def _openers(lexemes: list[Lexeme], partner: dict[int, int]) -> list[Lexeme]:
    """Turn a colon and number with nothing before them into text: they weigh nothing."""
    weights = {
        closer
        for closer, opener in partner.items()
        if lexemes[closer].type == "WEIGHT" and lexemes[opener].type == "LPAR"
    }
    if not weights:
        return lexemes
    made: list[Lexeme] = []
    for index, lexeme in enumerate(lexemes):
        if index not in weights:
            made.append(lexeme)
            continue
        end = lexeme.end - 1
        made.append(Lexeme("TEXT", lexeme.text[:-1], lexeme.start, end))
        made.append(Lexeme("RPAR", ")", end, lexeme.end))
    return made


weigh_with_breaks = partial(weigh, breaks=True)
"""The same where ``<break>`` begins a new chunk."""
