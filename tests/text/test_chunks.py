"""How text is cut into CLIP's windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.prompt import Fragment, Span
from promptengine.text.chunks import (
    CHUNK_LENGTH,
    EMPTY_CHUNK,
    Chunk,
    chunk_fragments,
    old_chunk,
)
from promptengine.text.tokenizer import COMMA_TOKEN, END_TOKEN, START_TOKEN, tokenize


def fragment(text: str, weight: float = 1.0) -> Fragment:
    return Fragment(text, weight, Span(0, len(text)))


def words(chunk: Chunk) -> list[int]:
    """The prompt's own tokens of a chunk."""
    return [token for token in chunk.tokens if token not in (START_TOKEN, END_TOKEN)]


def test_nothing_is_one_empty_chunk() -> None:
    assert chunk_fragments([fragment("")]) == [EMPTY_CHUNK]
    assert chunk_fragments([]) == [EMPTY_CHUNK]
    assert EMPTY_CHUNK.tokens == (START_TOKEN, *[END_TOKEN] * 76)


def test_weights_stand_beside_their_tokens() -> None:
    (chunk,) = chunk_fragments([fragment("a"), fragment("red cat", 1.5), fragment("here")])
    assert chunk.weights[:6] == (1.0, 1.0, 1.5, 1.5, 1.0, 1.0)


def test_break_starts_a_chunk_and_a_weighted_break_is_text() -> None:
    first, second = chunk_fragments([fragment("a"), fragment("BREAK", -1.0), fragment("cat")])
    assert (len(words(first)), len(words(second))) == (1, 1)
    (chunk,) = chunk_fragments([fragment("a"), fragment("BREAK", -1.2), fragment("cat")])
    assert -1.2 in chunk.weights


def test_a_full_chunk_is_cut_after_its_last_comma() -> None:
    text = "cat " * 60 + ", " + "dog " * 20
    first, second = chunk_fragments([fragment(text)])
    assert words(first)[-1] == COMMA_TOKEN
    assert len(words(first)) == 61
    assert len(words(second)) == 20


def test_a_comma_too_far_back_is_no_place_to_cut() -> None:
    text = "cat " * 54 + ", " + "dog " * 30
    first, _ = chunk_fragments([fragment(text)])
    assert len(words(first)) == CHUNK_LENGTH
    first, _ = chunk_fragments([fragment(text)], comma_backtrack=21)
    assert len(words(first)) == 55


def test_no_backtracking_fills_chunks() -> None:
    text = "cat " * 74 + ", " + "dog " * 20
    first, second = chunk_fragments([fragment(text)], comma_backtrack=0)
    assert (len(words(first)), len(words(second))) == (75, 20)


def test_a_comma_after_a_full_chunk_does_not_move_words() -> None:
    text = "cat , " + "dog " * 73 + ", bird"
    first, second = chunk_fragments([fragment(text)])
    assert len(words(first)) == CHUNK_LENGTH
    assert words(second)[0] == COMMA_TOKEN


pieces = st.lists(
    st.tuples(
        st.text(alphabet=st.sampled_from("ab, \n猫"), max_size=120),
        st.floats(-2, 2, allow_nan=False),
    ),
    max_size=6,
)


@given(pieces, st.integers(0, 74))
def test_no_token_is_lost_or_moved(parts: list[tuple[str, float]], backtrack: int) -> None:
    fragments = [fragment(text, weight) for text, weight in parts]
    chunks = chunk_fragments(fragments, comma_backtrack=backtrack)
    tokens = [token for ids in tokenize([text for text, _ in parts]) for token in ids]
    assert [token for chunk in chunks for token in words(chunk)] == tokens
    for chunk in chunks:
        assert len(chunk.tokens) == len(chunk.weights) == 77
        assert chunk.tokens[0] == START_TOKEN
        assert chunk.tokens[-1] == END_TOKEN


def test_the_old_reading_weighs_by_the_brackets_within_tokens() -> None:
    chunk, rest = old_chunk("((cat:1.4)) [dog]")
    plain = tokenize(["cat :1.4 dog"])[0]
    assert list(chunk.tokens[1 : len(plain) + 1]) == plain and rest == ""
    inside = 1.1 * 1.1
    expected = [inside] * (len(plain) - 1) + [1 / 1.1]
    assert chunk.weights[1 : len(plain) + 1] == pytest.approx(expected)
    assert len(chunk.tokens) == len(chunk.weights) == CHUNK_LENGTH + 2


def test_the_old_reading_without_emphasis_keeps_its_brackets() -> None:
    chunk, _ = old_chunk("(cat)", weighted=False)
    plain = tokenize(["(cat)"])[0]
    assert list(chunk.tokens[1 : len(plain) + 1]) == plain
    assert set(chunk.weights) == {1.0}


def test_the_old_reading_cuts_off_what_one_chunk_has_no_room_for() -> None:
    chunk, rest = old_chunk("cat " * CHUNK_LENGTH + "(two dogs)")
    assert rest == "two dogs"
    assert chunk.counted == CHUNK_LENGTH
