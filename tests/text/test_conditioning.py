"""Conditioning, with a text model made up for the purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptengine.prompt import parse, schedule
from promptengine.text.chunks import EMPTY_CHUNK
from promptengine.text.conditioning import (
    Conditioning,
    Emphasis,
    embedding_hashes,
    encode_schedule,
)
from promptengine.text.encoder import Encoded
from promptengine.text.textual_inversion.embedding import Embedding
from promptengine.text.textual_inversion.table import EmbeddingTable, Placement
from promptengine.text.tokenizer import tokenize
from tests.text.textual_inversion.builders import vectors, word


def fake_model(calls: list[Tensor] | None = None):
    """A text model whose embedding of a token depends on nothing but its id."""
    table = torch.randn(49408, 6, generator=torch.Generator().manual_seed(0)) + 0.3

    def model(tokens: Tensor, placements: Sequence[Sequence[Placement]] = ()) -> Encoded:
        if calls is not None:
            calls.append(tokens)
        return Encoded((table[tokens],))

    return model


def encode(
    text: str, steps: int = 10, calls: list[Tensor] | None = None, **options: Any
) -> Conditioning:
    return encode_schedule(schedule(parse(text).parts[0], steps), fake_model(calls), **options)


def test_plain_text_is_the_models_own_output() -> None:
    conditioning = encode("a cat")
    assert conditioning.embeddings.shape == (1, 77, 6)
    tokens = torch.tensor([[49406, 320, 2368, *[49407] * 74]])
    assert torch.equal(conditioning.embeddings, fake_model()(tokens).states[0])


def test_weights_scale_tokens_and_keep_the_mean() -> None:
    plain = encode("a cat").embeddings
    weighted = encode("a (cat:1.5)").embeddings
    torch.testing.assert_close(weighted.mean(), plain.mean())
    ratio = weighted / plain
    torch.testing.assert_close(ratio[0, 2] / ratio[0, 1], torch.full((6,), 1.5))


def test_the_mean_is_restored_over_all_variants_together() -> None:
    together = encode("[(cat:1.8):dog:5]").embeddings
    alone = encode("dog").embeddings
    ratio = together[1] / alone[0]
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    assert abs(float(ratio[0, 0]) - 1) > 1e-4


def test_a_text_that_recurs_is_encoded_once_and_counts_each_time() -> None:
    calls: list[Tensor] = []
    alternating = encode("[(cat:1.8)|dog]", steps=4, calls=calls)
    assert len(alternating.embeddings) == 4
    assert [len(tokens) for tokens in calls] == [2]
    torch.testing.assert_close(alternating.embeddings[0], alternating.embeddings[2])
    three_to_one = encode("[(cat:1.8)|(cat:1.8)|(cat:1.8)|dog]", steps=4)
    assert not torch.allclose(three_to_one.embeddings[3], alternating.embeddings[1])


def test_variants_are_filled_up_with_empty_chunks() -> None:
    conditioning = encode("[cat:" + "dog " * 80 + ":5]")
    assert conditioning.embeddings.shape == (2, 154, 6)
    empty = fake_model()(torch.tensor([EMPTY_CHUNK.tokens])).states[0][0]
    assert torch.equal(conditioning.embeddings[0, 77:], empty)


def test_a_segment_serves_the_calls_up_to_its_end() -> None:
    conditioning = encode("[cat:dog:4]", steps=8)
    assert conditioning.until_step == (4, 8)
    first, second = conditioning.embeddings
    assert [torch.equal(conditioning.at(call), first) for call in (0, 4, 5)] == [True, True, False]
    assert torch.equal(conditioning.at(8), second)
    assert torch.equal(conditioning.at(9), first)


def test_emphasis_without_the_norm_only_multiplies() -> None:
    plain, weighted = (
        encode("a cat").embeddings,
        encode("a (cat:1.5)", emphasis="No norm").embeddings,
    )
    torch.testing.assert_close(weighted[0, 2], plain[0, 2] * 1.5)
    assert torch.equal(weighted[0, :2], plain[0, :2])


def test_ignored_emphasis_reads_brackets_and_breaks_but_weighs_nothing() -> None:
    ignored = encode("a (cat:1.5) BREAK dog", emphasis="Ignore").embeddings
    assert torch.equal(ignored, encode("a cat BREAK dog").embeddings)
    assert ignored.shape == (1, 154, 6)


def test_negative_weights_are_scaled_unless_they_subtract() -> None:
    scaled = encode("a (cat:-1.5) [(dog:-2):wolf:5]")
    assert scaled.signs is None and scaled.signs_at(0) is None
    found = encode("a (cat:-1.5) [(dog:-2):wolf:5]", negative_weights="subtract")
    same = encode("a (cat:1.5) [(dog:2):wolf:5]")
    assert torch.equal(found.embeddings, same.embeddings)
    expected = torch.ones(2, 77)
    expected[0, [2, 3]] = expected[1, 2] = -1
    assert torch.equal(torch.stack([found.signs_at(5), found.signs_at(6)]), expected)


def test_every_chunk_has_its_signs_and_breaks_are_no_negative_words() -> None:
    found = encode("a BREAK (cat:-1) BREAK dog", negative_weights="subtract")
    assert found.signs is not None
    assert torch.equal(found.signs.nonzero(as_tuple=False), torch.ones(1, 231).nonzero())
    assert (found.signs < 0).nonzero().tolist() == [[0, 78]]
    assert torch.equal(found.embeddings, encode("a BREAK cat BREAK dog").embeddings)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a (cat:1.5) BREAK (dog:-0)", {}),
        ("a (cat:-1.5)", {"emphasis": "Ignore"}),
        ("a (cat:-1.5)", {"emphasis": "None"}),
        ("a (cat:-1.5)", {"old_emphasis": True}),
    ],
)
def test_where_nothing_weighs_less_than_0_nothing_is_subtracted(
    text: str, options: dict[str, Any]
) -> None:
    found = encode(text, negative_weights="subtract", **options)
    assert found.signs is None
    assert torch.equal(found.embeddings, encode(text, **options).embeddings)


def test_a_word_of_several_vectors_is_subtracted_as_a_whole() -> None:
    table = EmbeddingTable((word("bad", 3, 6),))
    found = encode("a (bad:-1) cat", negative_weights="subtract", embeddings=table)
    assert found.signs is not None
    assert (found.signs[0] < 0).nonzero().flatten().tolist() == [2, 3, 4]


def test_without_emphasis_brackets_and_breaks_are_text_and_schedules_are_not() -> None:
    calls: list[Tensor] = []
    found = encode("(a:1.5) BREAK [b:c:5]", calls=calls, emphasis="None")
    assert found.until_step == (5, 10)
    assert found.embeddings.shape == (2, 77, 6)
    written = [[token for token in row if token < 49406] for row in calls[0].tolist()]
    assert written == tokenize(["(a:1.5) BREAK b", "(a:1.5) BREAK c"])


def test_commas_are_looked_back_for_as_far_as_asked() -> None:
    text = "cat " * 50 + ", " + "dog " * 30
    assert torch.equal(encode(text).embeddings, encode(text, comma_backtrack=0).embeddings)
    assert not torch.equal(encode(text).embeddings, encode(text, comma_backtrack=30).embeddings)


INK, TOY, BUNDLED = word("i:nk"), word("toy,"), Embedding("bundled", vectors())
WORDS = EmbeddingTable((INK, TOY, BUNDLED))


def test_conditioning_says_which_words_it_used() -> None:
    """In the order in which WebUI meets them: chunk by chunk, through all texts of the schedule."""
    found = encode("i:nk BREAK [cat:toy,:5] i:nk", embeddings=WORDS)
    assert found.words == (INK, TOY)
    first = encode("[cat:toy,:5] BREAK i:nk", embeddings=WORDS)
    assert first.words == (TOY, INK)
    assert encode("cat", embeddings=WORDS).words == encode("i:nk").words == ()


def test_hashes_of_words() -> None:
    ink, toy, both, none = (
        encode(text, embeddings=WORDS) for text in ("i:nk", "toy,", "i:nk toy,", "bundled")
    )
    hashes = {
        INK: f"ink: {b'i:nk'.hex() * 4}"[:17],
        TOY: f"toy: {b'toy,'.hex() * 4}"[:17],
    }
    assert embedding_hashes([ink, none], toy) == f"{hashes[INK]}, {hashes[TOY]}"
    # What was encoded last stands first, and nothing stands there twice.
    assert embedding_hashes([ink, toy], both) == f"{hashes[TOY]}, {hashes[INK]}"
    assert embedding_hashes([none], none) is None


texts = st.text(alphabet=st.sampled_from("ab i:nk,()[]|0.5\\ BREAK"), max_size=60) | st.text(
    max_size=30
)


@settings(deadline=None)
@given(texts, st.sampled_from(get_args(Emphasis)), st.integers(0, 74))
def test_any_text_can_be_encoded(text: str, emphasis: Emphasis, backtrack: int) -> None:
    for part in parse(text).parts:
        plan = schedule(part, 4)
        found = encode_schedule(
            plan, fake_model(), embeddings=WORDS, emphasis=emphasis, comma_backtrack=backtrack
        )
        assert len(found.embeddings) == len(found.until_step) == len(plan.segments)
        assert found.embeddings.shape[1] % 77 == 0 and found.embeddings.shape[1] > 0
