"""Token merging in whole generations: where it acts, and that nothing is left of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from promptengine import Engine, GenerationRequest, HiresPass, Options, read_infotext
from promptengine.generation import passes
from promptengine.generation.from_infotext import request_from_infotext
from promptengine.generation.prepare import batch_settings
from promptengine.request.request import merging_ratios_of

BASE = GenerationRequest(
    prompt="a cat", seed=7, steps=2, width=64, height=72, sampler="Euler", cfg_scale=2.0
)
MERGED = replace(BASE, options=Options(token_merging=0.5))


def test_nothing_is_left_of_it(tiny_engine: Engine) -> None:
    before = tiny_engine.generate(BASE).latents
    merged = tiny_engine.generate(MERGED).latents
    assert (merged - before).abs().max() > 1e-3
    assert torch.equal(tiny_engine.generate(BASE).latents, before)
    assert torch.equal(tiny_engine.generate(MERGED).latents, merged)


def test_a_batch_equals_its_images_alone(tiny_engine: Engine) -> None:
    others = [
        replace(MERGED, prompt="a cat<hypernet:hn-relu:1>", seed=8),
        replace(MERGED, prompt="a cat AND a dog:0.5", seed=9, batch_size=2),
    ]
    for request, made in zip(others, tiny_engine.generate_batch(others), strict=True):
        alone = tiny_engine.generate(request).latents
        torch.testing.assert_close(made.latents, alone, atol=1e-4, rtol=1e-5)


def test_only_requests_of_one_ratio_share_a_batch() -> None:
    assert batch_settings(MERGED) == batch_settings(replace(MERGED, seed=8))
    assert batch_settings(MERGED) != batch_settings(BASE)


def test_a_second_pass_may_merge_alone(tiny_engine: Engine) -> None:
    request = replace(
        BASE, hires=HiresPass(scale=1.5), options=Options(token_merging_hires=0.5), steps=1
    )
    assert merging_ratios_of(request) == (0, 0.5)
    made = tiny_engine.generate(request)
    entries = read_infotext(made.infotexts[0]).entries
    assert entries["Token merging ratio hr"] == "0.5"
    assert "Token merging ratio" not in entries
    again, left_out = request_from_infotext(made.infotexts[0], tiny_engine.registry)
    assert merging_ratios_of(again) == (0, 0.5)
    assert not [one for one in left_out if "erging" in one.message]
    plain = tiny_engine.generate(replace(request, options=Options()))
    assert (plain.latents - made.latents).abs().max() > 1e-3


def test_models_that_merge_nothing_say_so(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [one for one in tiny_engine.generate(MERGED).diagnostics if "merged" in one.message]
    monkeypatch.setattr(passes, "has_mergeable_tokens", lambda _unet: False)
    (said,) = tiny_engine.generate(MERGED).diagnostics
    assert said.message.startswith("no tokens are merged")
    assert tiny_engine.generate(BASE).diagnostics == ()
