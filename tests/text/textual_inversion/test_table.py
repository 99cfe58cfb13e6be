"""Textual-inversion words in texts: where they are found, and that chunks never tear them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from promptengine.prompt import Fragment, Span, attention
from promptengine.text.chunks import CHUNK_LENGTH, Chunk, chunk_fragments
from promptengine.text.textual_inversion.embedding import Embedding
from promptengine.text.textual_inversion.table import EmbeddingTable, mentioned
from promptengine.text.tokenizer import COMMA_TOKEN, END_TOKEN, START_TOKEN, tokenize
from tests.text.textual_inversion.builders import word

INK, CAT_TOY, LONG = word("ink", 2), word("cat toy", 3), word("long", 40)
TABLE = EmbeddingTable((INK, CAT_TOY, LONG, word("cat", 1)))


def placed(chunk: Chunk) -> list[tuple[int, str]]:
    return [(p.position, p.embedding.name) for p in chunk.placements]


def chunks_of(text: str, table: EmbeddingTable = TABLE, backtrack: int = 20) -> list[Chunk]:
    return chunk_fragments(attention(text), embeddings=table, comma_backtrack=backtrack)


def test_a_word_takes_as_many_places_as_it_has_vectors() -> None:
    (chunk,) = chunks_of("a (ink:1.5) dog")
    a, dog = (ids[0] for ids in tokenize(["a", "dog"]))
    assert chunk.tokens[:5] == (START_TOKEN, a, 0, 0, dog)
    assert chunk.weights[:5] == (1.0, 1.0, 1.5, 1.5, 1.0)
    assert placed(chunk) == [(2, "ink")]
    assert chunk.counted == 4


def test_the_longest_word_is_meant() -> None:
    (chunk,) = chunks_of("cat toy cat, CAT  Toy")
    assert [name for _, name in placed(chunk)] == ["cat toy", "cat", "cat toy"]


def test_a_part_of_a_word_and_words_across_fragments_are_none() -> None:
    (chunk,) = chunks_of("inks blink (cat:1.1) toy")
    assert [name for _, name in placed(chunk)] == ["cat"]


def test_a_word_begins_the_next_chunk_where_it_has_no_room() -> None:
    first, second = chunks_of("dog " * 73 + "cat toy dog")
    assert placed(first) == [] and placed(second) == [(1, "cat toy")]
    assert (first.counted, second.counted) == (75, 4)
    (whole,) = chunks_of("dog " * 72 + "cat toy")
    assert placed(whole) == [(73, "cat toy")]


def test_vectors_move_with_the_words_after_a_comma() -> None:
    first, second = chunks_of("dog " * 65 + ", ink " + "dog " * 10)
    assert placed(first) == [] and placed(second) == [(1, "ink")]
    assert first.tokens[66] == COMMA_TOKEN and first.tokens[67] == END_TOKEN
    first, second = chunks_of("dog " * 65 + ", ink " + "dog " * 10, backtrack=0)
    assert placed(first) == [(67, "ink")] and placed(second) == []


def test_an_empty_table_finds_nothing() -> None:
    assert EmbeddingTable().at([1, 2], 0) is None
    assert chunks_of("ink", EmbeddingTable()) == chunk_fragments(attention("ink"))


def test_words_spelled_alike_and_words_without_tokens_are_unreachable() -> None:
    first, second, nameless = word("Ink"), word("ink"), word(" ")
    table = EmbeddingTable((first, second, nameless))
    assert table.unreachable == ((second, first), (nameless, None))
    assert table.find("INK") is first and table.find("dog") is table.find("") is None
    (chunk,) = chunks_of("ink", table)
    assert chunk.placements[0].embedding is first


def test_more_words_make_another_table() -> None:
    own, bundled, other = word("ink"), word("ink", 5), word("dog", 4)
    table = EmbeddingTable((own,))
    wider = table.with_words([bundled, other])
    assert table.embeddings == (own,)
    (chunk,) = chunks_of("ink dog", wider)
    assert [p.embedding for p in chunk.placements] == [own, other]


def test_words_that_texts_mention() -> None:
    names = ["ink", "cat toy", " ", "dog"]
    assert mentioned(names, ["a Cat toy,", "ink"]) == ["ink", "cat toy"]
    assert mentioned(names, []) == mentioned([], ["ink"]) == []


names = st.text(alphabet="abc ,BREAK猫<>", min_size=1, max_size=6)
tables = st.lists(st.builds(word, names, st.integers(1, 75)), max_size=6).map(
    lambda embeddings: EmbeddingTable(tuple(embeddings))
)


@given(tables, st.data(), st.integers(0, 80))
def test_chunks_are_whole_whatever_they_hold(
    table: EmbeddingTable, data: st.DataObject, backtrack: int
) -> None:
    known = st.sampled_from([embedding.name for embedding in table.embeddings] or ["a"])
    pieces = st.lists(st.one_of(known, names, st.text(max_size=20)), max_size=20).map(" ".join)
    texts = data.draw(st.lists(st.tuples(pieces, st.floats(-2, 2)), max_size=4))
    fragments = [Fragment(text, weight, Span(0, len(text))) for text, weight in texts]
    chunks = chunk_fragments(fragments, comma_backtrack=backtrack, embeddings=table)
    found: list[Embedding] = []
    spelled: list[int | str] = []
    for chunk in chunks:
        assert len(chunk.tokens) == len(chunk.weights) == CHUNK_LENGTH + 2
        assert (chunk.tokens[0], chunk.tokens[-1]) == (START_TOKEN, END_TOKEN)
        taken = 1
        for place in chunk.placements:
            end = place.position + place.embedding.count
            # Whole, in order, without overlap, between start and end token, and of one weight.
            assert taken <= place.position and end <= CHUNK_LENGTH + 1
            assert set(chunk.tokens[place.position : end]) == {0}
            assert len(set(chunk.weights[place.position : end])) == 1
            taken = end
            found.append(place.embedding)
    for text, weight in texts:
        if text == "BREAK" and weight == -1.0:
            continue
        (ids,) = tokenize([text])
        position = 0
        while position < len(ids):
            match = table.at(ids, position)
            spelled.append(ids[position] if match is None else match.embedding.name)
            position += 1 if match is None else match.tokens
    # Nothing is lost or moved: the words in the chunks are those that the texts spell.
    assert [e.name for e in found] == [name for name in spelled if isinstance(name, str)]
