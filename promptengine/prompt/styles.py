"""How each dialect is written: what it escapes, and what it has marks for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import Span, Tag
from promptengine.prompt.meaning import Change, Joint, Words
from promptengine.prompt.writing import Notes, Style, number, step, surrounded

__all__ = ["COMFYUI", "COMPEL", "EXTENDED", "NOVELAI", "SWARMUI", "WEBUI"]

_Clauses = Sequence[tuple[str, float]]

_WEBUI_MARKS: Final = re.compile(r"[\\()\[\]|]|(?<=<)(?=\w+:)|\bA(?=ND\b)|\bB(?=REAK\b)")
_TRAILING_WEIGHT: Final = re.compile(r":\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*\Z")
_COMPEL_NAME: Final = re.compile(r"[\w-]+", re.ASCII)
_COMPEL_SIGNS: Final = re.compile(r'(?:[+\-]+|=)(?=[\s()",.+\-=]|\Z)|=')
_COMPEL_WEIGHTS: Final = re.compile(r'(?<=[^\s,.+\-=])[+\-]+(?=[\s()",.+\-=]|\Z)')
_PLAIN_NUMBER: Final = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_SWARM_TAG: Final = re.compile(r"<(?=[A-Za-z_]\w*(?:\[[^\[\]<>\n]*\])?[:>])")
_EMBEDDING: Final = re.compile(r"(?<!\S)embedding:(?=\S)")


def _is_one(weight: float) -> bool:
    return math.isclose(weight, 1.0, rel_tol=1e-6)


def _left_out(words: Words, marks: str, notes: Notes) -> str:
    """Take characters out of words that a dialect cannot write, and note it."""
    found = sorted(set(words.text) & set(marks))
    if not found:
        return words.text
    named = " ".join(found)
    message = f"{named} cannot be words in {notes.dialect} and are left out"
    notes.add(kinds.LEFT_OUT_THERE, message, words.span)
    return words.text.translate(str.maketrans("", "", marks))


def _joined(clauses: _Clauses, joint: Joint, notes: Notes, span: Span, breaks: str | None) -> str:
    """Join clauses as well as commas or breaks can."""
    if len(clauses) == 1 and _is_one(clauses[0][1]):
        return clauses[0][0]
    texts = [text.strip() for text, _ in clauses]
    if joint == "concatenate" and breaks is not None:
        if not all(_is_one(weight) for _, weight in clauses):
            notes.add(
                kinds.LEFT_OUT_THERE,
                f"the weights of .and() cannot be written in {notes.dialect}",
                span,
            )
        return f" {breaks} ".join(texts)
    message = f"several prompts cannot become one in {notes.dialect}; commas stand between them"
    notes.add(kinds.CHANGED_THERE, message, span, "write one prompt")
    return ", ".join(texts)


def _webui_words(words: Words, inside: bool, notes: Notes) -> str:
    if "#" in words.text:
        notes.add(
            kinds.READ_THERE,
            "# begins a comment in WebUI's prompts",
            words.span,
            "turn comments off there",
        )
    text = _WEBUI_MARKS.sub(_escaped, words.text)
    if inside:
        text = text.replace(":", "\\:")
    return text if _is_one(words.weight) else surrounded(text, "(", f":{number(words.weight)})")


def _escaped(found: re.Match[str]) -> str:
    # A backslash before a letter means nothing, and keeps AND and BREAK apart.
    return f"{found[0]}\\" if found[0] in ("A", "B") else f"\\{found[0]}"


def _webui_change(change: Change, before: str, after: str) -> str:
    when = number(change.when) if change.share else step(change.when)
    dotted = f"{when}.0" if change.share and "." not in when else when
    return f"[{before}:{after}:{dotted}]"


def _webui_tag(tag: Tag) -> str:
    return f"<{':'.join((tag.kind, *tag.arguments))}>"


def _webui_join(clauses: _Clauses, joint: Joint, notes: Notes, span: Span) -> str:
    if joint == "concatenate":
        return _joined(clauses, joint, notes, span, "BREAK")
    weights = [weight for _, weight in clauses]
    if joint != "and":
        notes.add(
            kinds.CHANGED_THERE,
            "a blend of texts becomes AND, which adds up what the model answers",
            span,
        )
        total = sum(weights)
        weights = [weight / total for weight in weights] if joint == "blend" else weights
    if len(clauses) > 1:
        clauses = [(text.strip(), weight) for text, weight in clauses]
    written: list[str] = []
    for (text, _), weight in zip(clauses, weights, strict=True):
        plain = _is_one(weight) and not _TRAILING_WEIGHT.search(text)
        written.append(text if plain else f"{text.rstrip()}:{number(weight)}")
    return " AND ".join(written)


def _comfyui_words(words: Words, inside: bool, notes: Notes) -> str:
    if _EMBEDDING.search(words.text):
        notes.add(kinds.READ_THERE, f"embedding: names an embedding in {notes.dialect}", words.span)
    text = re.sub(r"[()]", r"\\\g<0>", words.text)
    if _is_one(words.weight):
        return text
    return surrounded(text, "(", f":{number(words.weight)})")


def _behind_backslash(before: str, behind: str) -> str:
    """Keep a bracket from being escaped by what stands before it."""
    return f"{before} {behind}" if before.endswith("\\") and behind[:1] == "(" else before + behind


def _plain_weights(tag: Tag) -> list[str] | None:
    """Return what a tag says of its network where these are numbers; None where it asks for more than that."""
    weights = [argument.strip() for argument in tag.arguments[1:]]
    return weights if all(map(_PLAIN_NUMBER.fullmatch, weights)) else None


def _swarmui_words(words: Words, inside: bool, notes: Notes) -> str:
    text = words.text
    if _SWARM_TAG.search(text):
        notes.add(
            kinds.READ_THERE,
            "what looks like a tag is one in SwarmUI; a space keeps it apart",
            words.span,
        )
        text = _SWARM_TAG.sub("< ", text)
    if inside:
        text = _left_out(Words(text, words.weight, words.span), "<>", notes).replace("||", "| |")
    return _comfyui_words(Words(text, words.weight, words.span), inside, notes)


def _swarmui_change(change: Change, before: str, after: str) -> str:
    when = number(change.when) if change.share else step(change.when)
    return f"<fromto[{when}]:{before}||{after}>"


def _swarmui_tag(tag: Tag) -> str:
    name, weights = tag.arguments[0], _plain_weights(tag)
    if tag.kind != "lora" or weights is None or len(weights) > 2:
        return ""
    return f"<{':'.join(('lora', name, *reversed(weights)))}>"


def _novelai_words(words: Words, inside: bool, notes: Notes) -> str:
    text = _left_out(words, "{}[]", notes)
    if "::" in text:
        notes.add(
            kinds.READ_THERE,
            ":: ends a weight in NovelAI; a space keeps the colons apart",
            words.span,
        )
        while "::" in text:
            text = text.replace("::", ": :")
    if _is_one(words.weight):
        return text
    space = " " if text.rstrip()[-1:] in ".:" or text.rstrip()[-1:].isdigit() else ""
    return surrounded(text, f"{number(words.weight)}::", f"{space}::")


def _before_number(before: str, behind: str) -> str:
    """Keep a number from being read as the end of what stands before it."""
    last = before[-1:]
    joined = last.isalnum() or last in ("_", ".", "-", ":")
    numbered = re.match(r"-?[\d.:]", behind) is not None
    return (
        f"{before} {behind}" if last and joined and numbered and "::" in behind else before + behind
    )


def _compel_words(words: Words, inside: bool, notes: Notes) -> str:
    text = words.text
    signs = _COMPEL_WEIGHTS if _is_one(words.weight) else _COMPEL_SIGNS
    if signs.search(text):
        message = "+ - and = are marks in compel where they end a word, and are left out"
        notes.add(kinds.LEFT_OUT_THERE, message, words.span)
        while signs.search(text):
            text = signs.sub("", text)
    text = re.sub(r'[()"]', r"\\\g<0>", text)
    if _is_one(words.weight):
        return text
    weight = words.weight
    if weight < 0:
        notes.add(kinds.CHANGED_THERE, "compel has no weights below 0; 0 is written", words.span)
        weight = 0.0
    written = number(weight)
    # compel has no escape for a backslash; a space keeps it from the bracket.
    space = " " if text.rstrip().endswith("\\") else ""
    return surrounded(text, "(", f"{space}){written}" + ("" if "." in written else ".0"))


def _spaced(before: str, behind: str) -> str:
    """Keep a bracket at the beginning of a word, and words apart from a number."""
    apart = before[-1:].strip() and behind[:1] in ("(", *"0123456789.+-")
    weighed = re.search(r"\)\d+\.\d+\Z", before) is not None and behind[:1].strip() != ""
    return f"{before} {behind}" if apart or (weighed and behind[:1] != ",") else before + behind


def _compel_tag(tag: Tag) -> str:
    name, weights = tag.arguments[0], _plain_weights(tag)
    if (
        tag.kind != "lora"
        or weights is None
        or len(weights) > 1
        or not _COMPEL_NAME.fullmatch(name)
    ):
        return ""
    return f"withLora({', '.join((name, *weights))})"


def _compel_join(clauses: _Clauses, joint: Joint, notes: Notes, span: Span) -> str:
    if len(clauses) == 1 and joint == "and" and _is_one(clauses[0][1]):
        return clauses[0][0]
    if joint == "and":
        notes.add(
            kinds.CHANGED_THERE, "AND becomes .and(), which sets texts one behind the other", span
        )
    texts = ", ".join(f'"{text.strip()}"' for text, _ in clauses)
    weights = ", ".join(number(weight) for _, weight in clauses)
    match joint:
        case "and" | "concatenate":
            return f"({texts}).and({weights})"
        case "blend":
            return f"({texts}).blend({weights})"
        case "sum":
            return f"({texts}).blend({weights}, no_normalize)"


def _no_tag(_tag: Tag) -> str:
    return ""


def _in_turn(arms: Sequence[str], opener: str, mark: str, closer: str) -> str:
    return f"{opener}{mark.join(arms)}{closer}"


WEBUI: Final = Style(
    words=_webui_words,
    change=_webui_change,
    turn=partial(_in_turn, opener="[", mark="|", closer="]"),
    breaks="BREAK",
    tag=_webui_tag,
    join=_webui_join,
)
"""WebUI's own."""

EXTENDED: Final = replace(WEBUI, schedules_tags=True)
"""The same marks; tags in brackets hold there when their words would."""

COMPEL: Final = Style(
    words=_compel_words,
    change=None,
    turn=None,
    breaks=None,
    tag=_compel_tag,
    join=_compel_join,
    glue=_spaced,
)
"""compel's."""

NOVELAI: Final = Style(
    words=_novelai_words,
    change=None,
    turn=None,
    breaks=None,
    tag=_no_tag,
    join=partial(_joined, breaks=None),
    glue=_before_number,
)
"""NovelAI's."""

COMFYUI: Final = Style(
    words=_comfyui_words,
    change=None,
    turn=None,
    breaks=None,
    tag=_no_tag,
    join=partial(_joined, breaks=None),
    glue=_behind_backslash,
)
"""ComfyUI's."""

SWARMUI: Final = Style(
    words=_swarmui_words,
    change=_swarmui_change,
    turn=partial(_in_turn, opener="<alternate:", mark="||", closer=">"),
    breaks="<break>",
    tag=_swarmui_tag,
    join=partial(_joined, breaks="<break>"),
    glue=_behind_backslash,
)
"""SwarmUI's."""
