"""What editors color: off the dialect's own reading, in every dialect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.language import PromptSyntax, semantic_tokens
from promptengine.language.keywords import KEYWORDS
from promptengine.prompt import DIALECTS

ALPHABET = 'ab ,()[]<>:|\\.05{}_$#+-\n\r🐱ANDBREK"~!@%'


def tokens(text: str, **syntax: object) -> list[tuple[str, str, float]]:
    found = semantic_tokens(text, PromptSyntax(**syntax))  # type: ignore[arg-type]
    return [
        (one.kind, text[one.span.start : one.span.end], round(one.weight, 3))
        for one in found
        if one.kind != "operator"
    ]


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        ("webui", "a cat", []),
        ("webui", "a (cat:1.3)", [("words", "cat", 1.3), ("number", "1.3", 1)]),
        ("webui", r"\(a\) [b]", [("words", "b", 0.909)]),
        ("webui", "a BREAK b AND c :2", [("keyword", "BREAK", 1), ("keyword", "AND", 1),
                                         ("number", "2", 1)]),
        ("webui", "a # (b:2)", [("comment", "# (b:2)", 1)]),
        ("webui", "[a:b:0.5]5 dogs", [("number", "0.5", 1)]),
        ("webui", "<hypernet:ink:0.5>", [("kind", "hypernet", 1), ("name", "ink", 1),
                                         ("number", "0.5", 1)]),
        ("webui", "a ADDCOL b", []),
        ("extended", "a ADDCOL b", [("keyword", "ADDCOL", 1)]),
        ("compel", "big++ # cat", [("words", "big", 1.21)]),
        ("novelai", "{a} 1.5::b::", [("words", "a", 1.05), ("number", "1.5", 1),
                                     ("words", "b", 1.5)]),
        ("comfyui", "(a:1.2) [b]", [("words", "a", 1.2), ("number", "1.2", 1)]),
        ("swarmui", "<lora:n:0.8> <break>", [("kind", "lora", 1), ("name", "n", 1),
                                             ("number", "0.8", 1), ("keyword", "break", 1)]),
    ],
)  # fmt: skip
def test_words_are_words_and_marks_are_marks(
    dialect: str, text: str, expected: list[tuple[str, str, float]]
) -> None:
    assert tokens(text, dialect=dialect) == expected


def test_templates_show_their_own_marks_and_the_prompt_around_them() -> None:
    text = "a {red|(blue:1.2)} __animal__"
    assert tokens(text, dynamic=True) == [
        ("words", "blue", 1.2),
        ("number", "1.2", 1),
        ("macro", "__animal__", 1),
    ]
    assert tokens(text) == [("words", "blue", 1.2), ("number", "1.2", 1)]


@pytest.mark.parametrize(
    ("keyword", "dialect"), [(one, name) for one in KEYWORDS for name in one.dialects]
)
def test_every_keyword_is_one_in_its_dialects(keyword: object, dialect: str) -> None:
    word = keyword.word  # type: ignore[attr-defined]
    text = f"a {word} b" if word != "ADDROW" else f"a ADDCOL b {word} c"
    assert ("keyword", word.strip("<>"), 1) in tokens(text, dialect=dialect)


@given(
    st.text(ALPHABET, max_size=60),
    st.sampled_from(list(DIALECTS)),
    st.booleans(),
    st.booleans(),
)
def test_tokens_ascend_and_never_overlap(
    text: str, dialect: str, negative: bool, dynamic: bool
) -> None:
    found = semantic_tokens(text, PromptSyntax(dialect, negative, True, dynamic))
    end = 0
    for one in found:
        assert end <= one.span.start < one.span.end <= len(text)
        assert "\n" not in text[one.span.start : one.span.end]
        end = one.span.end
