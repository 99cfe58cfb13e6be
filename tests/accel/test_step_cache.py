"""Steps that reuse deep layers' states: what a call computes, and that nothing else notices."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine, GenerationRequest, HiresPass, Options, Region, read_infotext
from promptengine.accel.step_cache import cache_steps
from promptengine.errors import RequestError
from promptengine.generation.from_infotext import request_from_infotext
from tests.bench.floor import multiply_adds
from tests.checkpoints.full_size import configured
from tests.checkpoints.original import tiny, write
from tests.generation.test_regions import half

BASE = GenerationRequest(
    prompt="a cat", seed=7, steps=6, width=64, height=72, sampler="Euler", cfg_scale=2.0
)
CACHED = replace(BASE, cache_interval=3)
EARLY, LATE = torch.tensor(900), torch.tensor(870)


@contextmanager
def watched(engine: Engine) -> Generator[list[bool]]:
    """Tell of each call of a UNet whether it went through the middle."""
    unet: Any = engine.checkpoint.unet
    seen: list[bool] = []

    def begin(*_: object) -> None:
        seen.append(False)

    def note(*_: object) -> None:
        seen[-1] = True

    middle = unet.mid_block.resnets[0]
    handles = [unet.register_forward_pre_hook(begin), middle.register_forward_pre_hook(note)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def deep_states(unet: Any, ask: Any) -> Tensor:
    """What the last layer of a plain UNet gets from below in a call."""
    found: list[Tensor] = []
    layer, skip = unet.up_blocks[-1].resnets[-1], unet.conv_in.out_channels
    handle = layer.register_forward_pre_hook(lambda _, given: found.append(given[0][:, :-skip]))
    ask()
    handle.remove()
    return found[0]


@pytest.mark.parametrize("family", ["SD1", "SD2", "SDXL", "SDXL refiner"])
@torch.no_grad()
def test_calls_in_between_compute_the_outermost_skip_alone(family: str) -> None:
    unet: Any = tiny(family).unet.eval()
    x, later = torch.randn(2, 2, 4, 9, 8)
    rows = [(0, "a"), (1, "b")]
    text = torch.randn(2, 77, unet.config.cross_attention_dim)
    added: dict[str, Any] = {}
    if family.startswith("SDXL"):
        numbers = 6 if family == "SDXL" else 5
        added = {
            "added_cond_kwargs": {
                "text_embeds": torch.randn(2, 32),
                "time_ids": torch.ones(2, numbers),
            }
        }

    def ask(x: Tensor, timestep: Tensor) -> Tensor:
        return unet(x, timestep, text, return_dict=False, **added)[0]

    plain = ask(x, EARLY)
    deep = deep_states(unet, lambda: ask(x, EARLY))
    layer = unet.up_blocks[-1].resnets[-1]

    def with_old_states(_: object, given: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = given
        return torch.cat([deep, hidden[:, deep.shape[1] :]], 1), *rest

    handle = layer.register_forward_pre_hook(with_old_states)
    expected = ask(later, LATE)
    handle.remove()
    with cache_steps(unet, 2, 20) as cache:
        assert cache is not None
        cache.choose(rows, 0)
        assert torch.equal(ask(x, EARLY), plain)
        cache.choose(rows, 1)
        assert torch.equal(ask(later, LATE), expected)
        cache.choose(rows, 2)
        whole = ask(later, LATE)
    assert torch.equal(whole, ask(later, LATE))
    assert not torch.equal(whole, expected)
    assert not any("forward" in vars(module) for module in unet.modules())


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({}, [0, 3, 5]),
        ({"cache_interval": 4, "sampler": "Heun"}, [0, 4, 8, 10]),
        ({"prompt": "a [cat:dog:2]"}, [0, 3, 5]),
        ({"prompt": "a [cat:dog:1]"}, [0, 2, 5]),
        ({"prompt": "a [cat|dog]"}, [0, 2, 3, 4, 5]),
        ({"negative_prompt": "a [cat:dog:1]"}, [0, 2, 5]),
        ({"hires": HiresPass(scale=1.5, steps=4, denoising_strength=1.0)}, [0, 3, 5, 6, 9]),
        ({"options": Options(unguided_early=0.4)}, [0, 3, 5]),
    ],
)
def test_which_calls_are_whole(
    tiny_engine: Engine, changes: dict[str, Any], whole: list[int]
) -> None:
    with watched(tiny_engine) as seen:
        tiny_engine.generate(replace(CACHED, **changes))
    assert [number for number, through in enumerate(seen) if through] == whole


def test_off_it_changes_nothing_and_leaves_nothing(tiny_engine: Engine) -> None:
    before = tiny_engine.generate(BASE)
    cached = tiny_engine.generate(CACHED)
    assert (cached.latents - before.latents).abs().max() > 1e-3
    again = tiny_engine.generate(replace(BASE, cache_interval=1))
    assert torch.equal(again.latents, before.latents)
    assert again.infotexts == before.infotexts
    assert torch.equal(tiny_engine.generate(CACHED).latents, cached.latents)
    assert torch.equal(
        tiny_engine.generate(replace(BASE, cache_interval=100, steps=1)).latents,
        tiny_engine.generate(replace(BASE, steps=1)).latents,
    )


def test_a_batch_equals_its_images_alone(tiny_engine: Engine) -> None:
    others = [
        CACHED,
        replace(CACHED, prompt="a [cat:dog:1]", seed=4),
        replace(CACHED, prompt="a cat<hypernet:hn-relu:0@0,1@1>", dialect="extended", seed=8),
        replace(CACHED, prompt="a cat AND a dog:0.5", seed=9, batch_size=2),
        replace(
            CACHED,
            prompt="a [cat|dog]",
            regions=(Region(mask=half(0, 255), prompt="a dog<hypernet:hn-linear:1>"),),
        ),
    ]
    for request in others[1:]:
        pair = [others[0], request]
        for one, made in zip(pair, tiny_engine.generate_batch(pair), strict=True):
            alone = tiny_engine.generate(one).latents
            torch.testing.assert_close(made.latents, alone, atol=1e-4, rtol=1e-4)


def test_texts_asked_one_by_one_have_states_of_their_own(tiny_engine: Engine) -> None:
    together = tiny_engine.generate(CACHED).latents
    apart = replace(CACHED, options=Options(batch_guidance=False))
    torch.testing.assert_close(tiny_engine.generate(apart).latents, together, atol=1e-4, rtol=1e-4)


def test_infotexts_tell_of_it(tiny_engine: Engine) -> None:
    made = tiny_engine.generate(CACHED)
    assert read_infotext(made.infotexts[0]).entries["Cache interval"] == "3"
    again, left_out = request_from_infotext(made.infotexts[0], tiny_engine.registry)
    assert again.cache_interval == 3
    assert not [one for one in left_out if "ache" in one.message]
    assert torch.equal(tiny_engine.generate(again).latents, made.latents)


@pytest.mark.parametrize("interval", [0, -1, 101, 2.5, True])
def test_what_is_no_interval_is_refused(interval: Any) -> None:
    with pytest.raises(RequestError, match="cache_interval"):
        replace(BASE, cache_interval=interval)


def test_a_refiner_has_states_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "Stable-diffusion"
    folder.mkdir()
    for name, seed in (("base", 0), ("other", 1)):
        write(tiny("SD1", seed=seed).weights(), folder / f"{name}.safetensors")
    engine = Engine.open(folder / "base.safetensors", models=tmp_path, device="cpu")
    refined = replace(BASE, refiner="other", refiner_switch_at=0.5)
    exact = engine.generate(refined).latents
    cached = engine.generate(replace(refined, cache_interval=3)).latents
    assert (cached - exact).abs().max() > 1e-3 * exact.abs().max()
    with watched(engine) as seen:
        engine.generate(replace(refined, cache_interval=3))
    assert sum(seen) < len(seen) <= 6


@pytest.mark.parametrize("model", ["sd15", "sd2", "sdxl"])
def test_an_interval_of_three_costs_as_little_as_it_shall(model: str) -> None:
    """In multiplications of the true shapes 20 steps are at least 1.8 times cheaper."""
    unet: Any = configured(model).unet
    text = torch.empty(2, 77, unet.config.cross_attention_dim, device="meta")
    x = torch.empty(2, 4, 64, 64, device="meta")
    added: dict[str, Any] = {}
    if model == "sdxl":
        added = {
            "added_cond_kwargs": {
                "text_embeds": torch.empty(2, 1280, device="meta"),
                "time_ids": torch.empty(2, 6, device="meta"),
            }
        }
    names, costs = [(0, 0), (1, 0)], list[int]()
    with torch.no_grad(), cache_steps(unet, 3, 20) as cache:
        assert cache is not None
        for call in range(2):
            cache.choose(names, call)
            timestep = torch.tensor(500, device="meta")
            costs.append(
                multiply_adds(partial(unet, x, timestep, text, return_dict=False, **added))
            )
    whole = whole_calls(20)
    assert 20 * costs[0] >= 1.8 * (whole * costs[0] + (20 - whole) * costs[1])


def whole_calls(planned: int) -> int:
    """How many calls of a pass at an interval of 3 are whole."""
    unet: Any = tiny("SD1").unet.eval()
    x, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, unet.config.cross_attention_dim)
    found = 0
    with torch.no_grad(), cache_steps(unet, 3, planned) as cache:
        assert cache is not None
        for call in range(planned):
            cache.choose([(0, 0)], call)
            found += cache.whole
            unet(x, EARLY, text, return_dict=False)
    return found
