"""T5's part of a text: tokens, weights, room."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine.prompt import attention
from promptengine.text.t5 import NoT5, T5Model
from tests.checkpoints.transformer_pipelines import t5_tokenizer

LENGTH = 6


class Fake:
    """Says of each token its id and its place; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def __call__(self, ids: Tensor) -> tuple[Tensor]:
        self.asked.append(ids)
        places = torch.arange(ids.shape[1]).expand_as(ids)
        return (torch.stack([ids, places], dim=-1).float(),)


def reader(encoder: Any, **more: Any) -> T5Model:
    return T5Model(encoder, t5_tokenizer(), LENGTH, torch.device("cpu"), **more)


def ids(text: str) -> list[int]:
    return t5_tokenizer()(text, add_special_tokens=False)["input_ids"]


def test_a_weight_multiplies_the_states_of_its_tokens_and_no_others() -> None:
    plain = reader(Fake())(attention("a cat dog"))
    found = reader(Fake())(attention("a (cat:1.5) dog"))
    factors = torch.tensor([1, 1.5, 1, 1, 1, 1])
    assert torch.equal(found, plain * factors[:, None])
    assert torch.equal(reader(Fake(), weighted=False)(attention("a (cat:1.5) dog")), plain)


def test_a_text_is_padded_behind_its_end_as_the_tokenizer_does() -> None:
    found = reader(Fake())(attention("a cat"))
    whole = t5_tokenizer()("a cat", padding="max_length", max_length=LENGTH)["input_ids"]
    assert found[:, 0].tolist() == whole


def test_a_break_is_no_word_but_one_in_weighted_brackets_is() -> None:
    encoder = Fake()
    read = reader(encoder)
    assert torch.equal(read(attention("cat BREAK dog")), read(attention("cat dog")))
    assert len(encoder.asked) == 1
    assert not torch.equal(read(attention("cat (BREAK:2) dog")), read(attention("cat dog")))


def test_what_has_no_room_is_told() -> None:
    read = reader(Fake())
    text = "a cat a cat a dog of snow"
    assert read.cut_off(attention(text)) == "dog of snow"
    assert read.cut_off(attention("a cat a cat a")) == ""
    found = read(attention(text))
    assert found[:, 0].tolist() == [*ids("a cat a cat a"), t5_tokenizer().eos_token_id]


@pytest.mark.parametrize("text", ["", "BREAK", "\ud800", "BREAK BREAK", "\x00"])
def test_any_text_is_read(text: str) -> None:
    read = reader(Fake())
    assert read(attention(text)).shape == (LENGTH, 2)
    assert isinstance(read.cut_off(attention(text)), str)


def test_none_reads_nothing() -> None:
    zeros = torch.zeros(LENGTH, 4)
    assert NoT5(zeros)(attention("a (cat:2)")) is zeros
    assert NoT5(zeros).cut_off(attention("cat " * 100)) == ""
