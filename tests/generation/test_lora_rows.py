"""LoRAs in whole generations: over the steps, and of their own for each image of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from promptengine import Engine, GenerationRequest, GenerationResult, HiresPass, read_infotext
from promptengine.generation.from_infotext import recipe_from_infotext
from promptengine.networks.lora.inject import LoraInjection, LoraStack
from promptengine.plugins import isolated_plugins
from promptengine.prompt.dialects import (
    COMPEL_RULE,
    FROM_EMPTY,
    WeightRule,
    find_dialect,
    register_dialect,
)
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI

LORAS = WEBUI.parent / "webui-2" / "loras"
BASE = GenerationRequest(
    prompt="a cat", seed=7, steps=4, width=64, height=64, sampler="Euler", dialect="extended"
)
Chosen = list[list[float]]


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.set_num_threads(1)
    folders = {"lora": LORAS, "hypernet": NETWORKS}
    return Engine.open(CHECKPOINT, models=folders, config=CONFIG, device="cpu")


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """The multipliers of each row at each call, of the LoRA that it has first."""
    found: Chosen = []
    choose = LoraInjection.choose

    def recorded(injection: LoraInjection, *stacks: LoraStack, **over: tuple[int, ...]) -> None:
        found.append([stack[0].unet for stack in stacks])
        choose(injection, *stacks, **over)

    monkeypatch.setattr(LoraInjection, "choose", recorded)
    return found


@pytest.fixture
def generate(engine: Engine) -> Callable[..., GenerationResult]:
    def generated(tags: str, **changes: object) -> GenerationResult:
        return engine.generate(replace(BASE, prompt=f"a cat{tags}", **changes))

    return generated


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("sampler", "calls"), [("Euler", [0.0, 0.5, 1.0, 1.0]), ("Heun", [0, 0.25, 0.5, 0.75, 1, 1, 1])]
)
def test_a_multiplier_moves_with_the_calls(
    generate: Callable[..., GenerationResult], chosen: Chosen, sampler: str, calls: list[float]
) -> None:
    result = generate("<lora:lo-kohya:te=1:unet=0@0,1@0.5>", sampler=sampler)
    assert chosen == [[value] * 2 for value in calls]
    (report,) = result.networks
    assert report.applied and report.multipliers[: len(calls)] == pytest.approx(calls)


def test_what_does_not_move_is_the_same_to_the_last_bit(
    generate: Callable[..., GenerationResult],
) -> None:
    constant = generate("<lora:lo-kohya:0.5>", dialect="webui")
    assert torch.equal(generate("<lora:lo-kohya:0.5@0,0.5@1>").latents, constant.latents)
    assert torch.equal(generate("<lora:lo-kohya:0.5:start=0>").latents, constant.latents)


def test_what_moves_for_texts_alone_leaves_the_unet_merged(
    generate: Callable[..., GenerationResult],
) -> None:
    once = generate("<lora:lo-kohya:te=0.4:unet=0.8>")
    moving = generate("<lora:lo-kohya:te=0.4@0,1@1:unet=0.8>")
    assert torch.equal(moving.latents, once.latents)
    assert moving.networks[0].text_multipliers and not moving.networks[0].multipliers


def test_an_infotext_makes_it_again(
    engine: Engine, generate: Callable[..., GenerationResult]
) -> None:
    result = generate("<lora:lo-kohya:0.2@0,1@2:stop=3>")
    entries = read_infotext(result.infotexts[0]).entries
    assert entries["Lora schedule"] == "lo-kohya: 0.2@1 0.6@2 1@3 0@4"
    recipe = recipe_from_infotext(read_infotext(result.infotexts[0]), engine.registry)
    again = engine.generate(replace(recipe.request, seed=7))
    assert torch.equal(again.latents, result.latents)


def test_each_text_is_encoded_under_the_multiplier_of_its_first_call(
    generate: Callable[..., GenerationResult],
) -> None:
    """Two texts under two multipliers are each what they are where the whole prompt has that one."""
    moving = generate("<lora:lo-kohya:te=1@0,0.2@3:unet=0> [red:blue:2]", steps=4)
    one, two = (generate(f"<lora:lo-kohya:{value}:0> [red:blue:2]", steps=4) for value in (1, 0.2))
    assert not torch.allclose(moving.latents, one.latents, atol=1e-3)
    assert not torch.allclose(moving.latents, two.latents, atol=1e-3)
    by_tags = generate("[<lora:lo-kohya:1:0> red:<lora:lo-kohya:0.2:0> blue:2]", steps=4)
    close(moving.latents, by_tags.latents)


@pytest.mark.parametrize("rule", [FROM_EMPTY, COMPEL_RULE], ids=["from empty", "compel"])
def test_rules_of_weights_encode_each_text_under_its_own_multiplier(
    generate: Callable[..., GenerationResult], rule: WeightRule
) -> None:
    def made(tags: str) -> Tensor:
        return generate(f"{tags} [(red:1.4):(blue:0.5):2]", dialect="moving").latents

    with isolated_plugins():
        register_dialect(replace(find_dialect("extended"), name="moving", weights=rule))
        moving, one, two = (
            made(f"<lora:lo-kohya:te={te}:unet=0>") for te in ("1@0,0.2@3", "1", "0.2")
        )
        by_tags = "[<lora:lo-kohya:1:0> (red:1.4):<lora:lo-kohya:0.2:0> (blue:0.5):2]"
        close(moving, generate(f" {by_tags}", dialect="moving").latents)
    assert not torch.allclose(moving, one, atol=1e-3)
    assert not torch.allclose(moving, two, atol=1e-3)


def test_the_second_pass_has_multipliers_of_its_own(
    generate: Callable[..., GenerationResult], chosen: Chosen
) -> None:
    hires = HiresPass(scale=2, steps=2, denoising_strength=0.9, upscaler="Latent")
    result = generate("<lora:lo-kohya:0.5:hr=0.1@0,0.9@1>", steps=2, hires=hires)
    assert [rows[0] for rows in chosen] == [0.5, 0.5, 0.1, 0.5]
    assert result.hires_networks[0].multipliers[:2] == pytest.approx((0.1, 0.5))


def test_images_with_regions_have_loras_of_their_own(engine: Engine) -> None:
    """What regions make of a row has that row's LoRAs: in cross-attention, and under networks in self-attention."""
    ink = "<hypernet:hn-relu:0.8>"
    prompts = (
        "a cat<lora:lo-kohya:1>",
        f"<lora:lo-locon:0.7:0.9> ADDCOMM a dog ADDCOL a cow{ink} ADDROW [a bird:a fish:2]",
        "a cow",
        "a<lora:lo-kohya:0.2@0,1@1> ADDBASE a cat ADDCOL a dog",
        f"a bird ADDCOL a fish{ink}",
    )
    requests = [replace(BASE, prompt=prompt, seed=n) for n, prompt in enumerate(prompts)]
    for request, result in zip(requests, engine.generate_batch(requests), strict=True):
        alone = engine.generate(request)
        assert not result.diagnostics
        # Merged weights and factors beside them round differently.
        assert (result.latents - alone.latents).abs().max() <= 1e-4 * alone.latents.abs().max()
        assert result.networks == alone.networks


def test_images_of_a_batch_have_loras_of_their_own(engine: Engine) -> None:
    prompts = (
        "a cat",
        "a cat<lora:lo-kohya:1>",
        "a dog<lora:lo-locon:0.7:0.3><hypernet:hn-relu:0.5>",
        "a [<lora:lo-loha:1>:<lora:lo-kohya:0.5>:2] cow",
        "a cat<lora:lo-full-norm-ia3:0.8><lora:lo-locon:0.2@0,1@1>",
    )
    requests = [replace(BASE, prompt=prompt, seed=n) for n, prompt in enumerate(prompts)]
    sizes: list[int] = []
    unet = engine.checkpoint.unet
    handle = unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    weights = [tensor.clone() for tensor in unet.state_dict().values()]
    try:
        together = engine.generate_batch(requests)
        assert sizes == [2 * len(prompts)] * BASE.steps
    finally:
        handle.remove()
    assert all(map(torch.equal, weights, unet.state_dict().values()))
    for request, result in zip(requests, together, strict=True):
        alone = engine.generate(request)
        close(result.latents, alone.latents)
        assert result.infotexts == alone.infotexts
        assert result.networks == alone.networks


def test_whoever_stops_it_leaves_the_model_as_it_was(engine: Engine) -> None:
    before = engine.generate(BASE).latents
    requests = [replace(BASE, prompt=f"a cat<lora:lo-kohya:{n}@0,1@1>") for n in (0, 0.5)]

    def stop(_progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate_batch(requests, on_progress=stop)
    assert torch.equal(engine.generate(BASE).latents, before)
