"""Conditioning, with a text model made up for the purpose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from promptengine.syntax import parse, schedule
from promptengine.text.chunks import EMPTY_CHUNK
from promptengine.text.encode import Conditioning, encode_schedule
from promptengine.text.model import Encoded
from promptengine.text.words import Placement


def fake_model(calls: list[Tensor] | None = None):
    """A text model whose embedding of a token depends on nothing but its id."""
    table = torch.randn(49408, 6, generator=torch.Generator().manual_seed(0)) + 0.3

    def model(tokens: Tensor, placements: Sequence[Sequence[Placement]] = ()) -> Encoded:
        if calls is not None:
            calls.append(tokens)
        return Encoded((table[tokens],))

    return model


def encode(text: str, steps: int = 10, calls: list[Tensor] | None = None) -> Conditioning:
    return encode_schedule(schedule(parse(text).parts[0], steps), fake_model(calls))


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
