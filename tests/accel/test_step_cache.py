"""Steps that reuse deep layers' states: what a call computes, and that nothing else notices."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from promptengine import Engine, GenerationRequest, HiresPass, Options, Region, read_infotext
from promptengine.accel.step_cache import cache_steps
from promptengine.errors import RequestError
from promptengine.generation.from_infotext import request_from_infotext
from tests.bench.floor import counting
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


class Asked:
    """A small UNet of a family, asked about two texts at once."""

    def __init__(self, family: str) -> None:
        self.unet: Any = tiny(family).unet.eval()
        self.layer: Any = self.unet.up_blocks[-1].resnets[-1]
        self.skip_channels: int = self.unet.conv_in.out_channels
        self.text = torch.randn(2, 77, self.unet.config.cross_attention_dim)
        self.added: dict[str, Any] = {}
        if family.startswith("SDXL"):
            numbers = 6 if family == "SDXL" else 5
            self.added = {
                "added_cond_kwargs": {
                    "text_embeds": torch.randn(2, 32),
                    "time_ids": torch.ones(2, numbers),
                }
            }

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        return self.unet(x, timestep, self.text, return_dict=False, **self.added)[0]

    def last_input(self, x: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """What the last layer gets in a call: from below, and from the outermost skip."""
        found: list[Tensor] = []

        def note(_: object, given: tuple[Any, ...]) -> None:
            found.append(given[0])

        handle = self.layer.register_forward_pre_hook(note)
        self(x, timestep)
        handle.remove()
        channels = found[0].shape[1]
        deep, skip = found[0].split([channels - self.skip_channels, self.skip_channels], 1)
        return deep, skip

    def given(self, deep: Tensor, x: Tensor, timestep: Tensor) -> Tensor:
        """What it answers where the last layer gets other states from below."""

        def replaced(_: object, given: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden, *rest = given
            return torch.cat([deep, hidden[:, deep.shape[1] :]], 1), *rest

        handle = self.layer.register_forward_pre_hook(replaced)
        answer = self(x, timestep)
        handle.remove()
        return answer


ROWS = [(0, "a"), (1, "b")]


@pytest.mark.parametrize("family", ["SD1", "SD2", "SDXL", "SDXL refiner"])
@torch.no_grad()
def test_calls_in_between_compute_the_outermost_skip_alone(family: str) -> None:
    ask = Asked(family)
    x, later = torch.randn(2, 2, 4, 9, 8)
    plain, (deep, _) = ask(x, EARLY), ask.last_input(x, EARLY)
    expected, exact = ask.given(deep, later, LATE), ask(later, LATE)
    with cache_steps(ask.unet, 2, 9) as cache:
        assert cache is not None
        for call in range(2):
            cache.choose(ROWS, call)
            assert torch.equal(ask(x, EARLY), plain)
        cache.choose(ROWS, 2)
        assert torch.equal(ask(later, LATE), expected)
        cache.choose(ROWS, 3)
        assert torch.equal(ask(later, LATE), exact)
    assert not torch.equal(exact, expected)
    assert not any("forward" in vars(module) for module in ask.unet.modules())


@torch.no_grad()
def test_a_skip_that_does_not_change_moves_nothing_in_half_precision() -> None:
    ask = Asked("SD1")
    ask.unet.bfloat16()
    ask.text = ask.text.bfloat16()
    x, later = torch.randn(2, 2, 4, 9, 8).bfloat16()
    deep, _ = ask.last_input(x, LATE)
    expected = ask.given(deep, later, LATE)
    with cache_steps(ask.unet, 3, 9) as cache:
        assert cache is not None
        for call, timestep in enumerate([EARLY, LATE]):
            cache.choose(ROWS, call)
            ask(x, timestep)
        cache.choose(ROWS, 2)
        made = ask(later, LATE)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, expected)


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """Regression of ``y`` on ``x``, with a tenth of the columns' mean square as more rows."""
    penalty = (0.1 * x.square().sum() / x.shape[1]).sqrt() * torch.eye(x.shape[1])
    zeros = torch.zeros(x.shape[1], y.shape[1])
    return torch.linalg.lstsq(torch.cat([x, penalty]), torch.cat([y, zeros])).solution


@torch.no_grad()
def test_what_is_reused_follows_the_skip() -> None:
    ask = Asked("SD1")
    first, second, third = torch.randn(3, 2, 4, 9, 8)
    deep, skip = ask.last_input(first, EARLY)
    deep_then, skip_then = ask.last_input(second, LATE)
    moved = (ask.last_input(third, LATE)[1] - skip_then).flatten(2).mT
    responses = map(ridge, (skip_then - skip).flatten(2).mT, (deep_then - deep).flatten(2).mT)
    states = deep_then + (moved @ torch.stack([*responses])).mT.reshape(deep.shape)
    expected = ask.given(states, third, LATE)
    with cache_steps(ask.unet, 2, 9) as cache:
        assert cache is not None
        for call, (x, timestep) in enumerate([(first, EARLY), (second, LATE)]):
            cache.choose(ROWS, call)
            ask(x, timestep)
        cache.choose(ROWS, 2)
        made = ask(third, LATE)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
    assert (made - ask.given(deep_then, third, LATE)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({}, [0, 1, 3]),
        ({"steps": 20}, [0, 1, 3, 6, 9, 12, 15, 18, 19]),
        ({"cache_interval": 4, "sampler": "Heun"}, [0, 1, 3, 6, 10]),
        ({"prompt": "a [cat:dog:2]"}, [0, 1, 3, 4]),
        ({"prompt": "a [cat:dog:1]"}, [0, 1, 2, 3, 5]),
        ({"prompt": "a [cat|dog]"}, [0, 1, 2, 3, 4, 5]),
        ({"negative_prompt": "a [cat:dog:1]"}, [0, 1, 2, 3, 5]),
        ({"hires": HiresPass(scale=1.5, steps=4, denoising_strength=1.0)}, [0, 1, 3, 6, 7, 9]),
        ({"options": Options(unguided_early=0.4)}, [0, 1, 3, 4]),
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


def cost(unet: Any, ask: Callable[[], object]) -> int:
    """Count multiplications and additions; of transformer blocks in a row, which are all alike, one is run."""
    spared: list[int] = []
    with counting() as counted, ExitStack() as restored:
        for module in unet.modules():
            blocks = getattr(module, "transformer_blocks", None)
            if blocks is None:
                continue
            begun: list[int] = []

            def begin(*_: object, begun: list[int] = begun) -> None:
                begun.append(counted.get_total_flops())

            def end(*_: object, begun: list[int] = begun, others: int = len(blocks) - 1) -> None:
                spared.append(others * (counted.get_total_flops() - begun.pop()))

            for handle in (
                blocks[0].register_forward_pre_hook(begin),
                blocks[0].register_forward_hook(end),
            ):
                restored.callback(handle.remove)
            restored.enter_context(patch.object(module, "transformer_blocks", blocks[:1]))
        ask()
        return counted.get_total_flops() + sum(spared)


@pytest.fixture(scope="module")
def whole_of_20() -> int:
    """How many calls of 20 are whole at an interval of 3."""
    ask, found = Asked("SD1"), 0
    with torch.no_grad(), cache_steps(ask.unet, 3, 20) as cache:
        assert cache is not None
        for call in range(20):
            cache.choose(ROWS, call)
            found += cache.whole
            ask(torch.randn(2, 4, 8, 8), EARLY)
    return found


@pytest.mark.parametrize("model", ["sd15", "sd2", "sdxl"])
def test_an_interval_of_three_costs_as_little_as_it_shall(model: str, whole_of_20: int) -> None:
    """In multiplications of the true shapes 20 steps are at least twice as cheap."""
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

    def ask() -> Tensor:
        timestep = torch.tensor(500, device="meta")
        return unet(x, timestep, text, return_dict=False, **added)[0]

    costs: list[int] = []
    with torch.no_grad(), cache_steps(unet, 3, 20) as cache:
        assert cache is not None
        for call in range(3):
            cache.choose([(0, 0), (1, 0)], call)
            costs.append(cost(unet, ask))
    plain, whole, reusing = costs
    assert 20 * plain >= 2 * (whole_of_20 * whole + (20 - whole_of_20) * reusing)
