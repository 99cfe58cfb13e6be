"""Attention under masks, against sums by hand; networks under masks; and that nothing is left of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import (
    AttnProcessor,
    AttnProcessor2_0,
    SlicedAttnProcessor,
)
from torch import Tensor

from promptengine.errors import PromptEngineError
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.regional_attention import MaskedRows, attend_regions, cells_of

from .builders import TEXT, random_network, tiny_unet

CELLS = (6, 4)
ROWS = (0, 0, 1)
"""The first row has two regions, the second one text."""


def columns(height: int, width: int) -> Tensor:
    """Two columns, then the whole."""
    left = torch.zeros(height, width)
    left[:, : width // 2] = 1
    return torch.stack([left, 1 - left, torch.ones(height, width)])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cross_attention(unet: Any) -> Any:
    return next(m for n, m in unet.named_modules() if n.endswith("attn2"))


def by_hand(attention: Any, x: Tensor, text: Tensor) -> Tensor:
    """What one row's attention answers, in plain arithmetic: ``[tokens, width]``."""
    heads = attention.heads
    q, k, v = attention.to_q(x), attention.to_k(text), attention.to_v(text)
    found: list[Tensor] = []
    for query, key, value in zip(
        q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True
    ):
        likeness = query @ key.T / query.shape[1] ** 0.5
        weights = likeness.exp() / likeness.exp().sum(dim=1, keepdim=True)
        found.append(weights @ value)
    return attention.to_out[0](torch.cat(found, dim=1))


@pytest.mark.parametrize(
    "processor", [AttnProcessor, AttnProcessor2_0, lambda: SlicedAttnProcessor(1)]
)
@torch.no_grad()
def test_each_region_is_attended_where_it_is(processor: Any) -> None:
    unet = tiny_unet()
    attention = cross_attention(unet)
    attention.set_processor(processor())
    width = attention.to_q.in_features
    x, texts = random(2, 24, width), random(3, 5, TEXT, seed=1)
    with attend_regions(unet) as regional:
        regional.choose(MaskedRows(ROWS, columns, CELLS))
        made = attention(x, texts)
    left = columns(*CELLS)[0].flatten()[:, None]
    first = left * by_hand(attention, x[0], texts[0]) + (1 - left) * by_hand(
        attention, x[0], texts[1]
    )
    wanted = torch.stack([first, by_hand(attention, x[1], texts[2])])
    torch.testing.assert_close(made, wanted, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_what_lies_outside_of_a_mask_stays_bit_for_bit() -> None:
    unet = tiny_unet()
    attention = cross_attention(unet)
    x, texts = random(1, 24, attention.to_q.in_features), random(2, 5, TEXT, seed=1)
    other = texts.clone()
    other[1] += 1
    with attend_regions(unet) as regional:
        regional.choose(MaskedRows((0, 0), lambda h, w: columns(h, w)[:2], CELLS))
        before, after = attention(x, texts), attention(x, other)
    outside = columns(*CELLS)[0].flatten().bool()
    assert torch.equal(before[0, outside], after[0, outside])
    assert (before[0, ~outside] - after[0, ~outside]).abs().min() > 0


@pytest.mark.parametrize("part", ["to_k", "to_v"])
@torch.no_grad()
def test_networks_act_on_the_image_under_their_mask(part: str) -> None:
    unet = tiny_unet()
    ink, dry = random_network([16]), random_network([16], seed=1)
    name = "key" if part == "to_k" else "value"
    projection = next(
        m for n, m in unet.named_modules() if n.endswith(f"attn1.{part}") and m.in_features == 16
    )
    x, left = random(2, 24, 16), columns(*CELLS)[0].flatten()[:, None]
    masked = MaskedRows(ROWS, columns, CELLS)

    def added(network: Any, row: Tensor) -> Tensor:
        module = network.part(16, name)
        assert module is not None
        return module.linear(row)

    with inject_hypernetworks(unet) as injection:
        stacks = [[(ink, 0.5)], [(dry, -1.0)], [(ink, 0.25)]]
        injection.choose_regions(stacks, stacks, masked)
        made = projection(x)
        injection.choose([(ink, 0.25)])
        assert len(projection(x)) == 2
    read = x.clone()
    read[0] += left * 0.5 * added(ink, x[0]) - (1 - left) * added(dry, x[0])
    read[1] += 0.25 * added(ink, x[1])
    torch.testing.assert_close(made, projection(read), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_networks_act_on_the_text_of_their_region() -> None:
    unet = tiny_unet()
    network = random_network([TEXT])
    attention = cross_attention(unet)
    x, texts = random(1, 24, attention.to_q.in_features), random(2, 5, TEXT, seed=1)
    masked = MaskedRows((0, 0), lambda h, w: columns(h, w)[:2], CELLS)
    with inject_hypernetworks(unet) as injection, attend_regions(unet) as regional:
        regional.choose(masked)
        injection.choose_regions([[], []], [[]], None)
        before = attention(x, texts)
        injection.choose_regions([[], [(network, 1.0)]], [[], [(network, 1.0)]], masked)
        after = attention(x, texts)
    outside = columns(*CELLS)[0].flatten().bool()
    torch.testing.assert_close(before[0, outside], after[0, outside], atol=1e-6, rtol=1e-5)
    assert (before - after)[0, ~outside].abs().max() > 1e-3


@torch.no_grad()
def test_the_model_is_as_it_was() -> None:
    unet = tiny_unet()
    asked = {
        "sample": random(1, 4, 8, 8),
        "timestep": torch.tensor(3),
        "encoder_hidden_states": random(1, 5, TEXT, seed=1),
    }
    before = unet(**asked).sample
    with pytest.raises(KeyError), attend_regions(unet) as regional:
        assert torch.equal(unet(**asked).sample, before)
        regional.choose(MaskedRows((0, 0), lambda h, w: columns(h, w)[:2], (8, 8)))
        twice = asked | {"encoder_hidden_states": asked["encoder_hidden_states"].repeat(2, 1, 1)}
        torch.testing.assert_close(unet(**twice).sample, before, atol=1e-6, rtol=1e-5)
        raise KeyError
    assert torch.equal(unet(**asked).sample, before)
    assert not [m for m in unet.modules() if "forward" in vars(m)]


def test_levels_are_found_by_their_tokens() -> None:
    assert cells_of(63, (9, 7)) == (9, 7)
    assert cells_of(20, (9, 7)) == (5, 4)
    assert cells_of(1, (9, 7)) == (1, 1)
    with pytest.raises(PromptEngineError, match="works on 60 tokens, and latents of 7x9 cells"):
        cells_of(60, (9, 7))
