"""An image, its infotext, and the same image again: whatever sampler and schedule type made it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from promptengine import Engine, GenerationRequest, HiresPass, Options, Registry
from promptengine.generation.from_infotext import apply_recipe
from promptengine.generation.infotext_entries import hires_schedule_told, pass_entries
from promptengine.infotext.read import read_infotext
from promptengine.infotext.recipe import recipe_from_infotext
from promptengine.infotext.write import InfotextContext, generation_entries, write_infotext
from promptengine.request.request import samplers_of
from promptengine.request.samplers import (
    SAMPLERS,
    Sampler,
    SigmaSampler,
    find_sampler,
    sampler_settings,
)
from promptengine.request.schedulers import SCHEDULERS, scheduler_label
from promptengine.sampling.sigmas import DiscreteSchedule, scaled_linear_alphas
from tests.cases import lines

TABLE = DiscreteSchedule(scaled_linear_alphas())
USUAL = GenerationRequest(prompt="a red house, lake", steps=3, seed=5, width=16, height=16)
BARE = "a\nSteps: 3, Sampler: {}, Seed: 1"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path)


PAIRS = list(product(SAMPLERS, ["automatic", *SCHEDULERS]))


class _Even:
    """Guidance whose prompts are as long as each other."""

    uneven = False


def told(request: GenerationRequest) -> str:
    """The infotext of a request, as an engine writes it, without making the image."""
    first, second = passes(request)
    options = request.options
    sampling = {
        key: value
        for one in (first, second)
        for key, value in pass_entries(one, _Even(), TABLE, options).items()  # type: ignore[arg-type]
        if value is not None
    }
    making = InfotextContext(
        sampler=first.name,
        scheduler=scheduler_label(first.scheduler),
        hires_sampler=second.name if request.hires else None,
        hires_scheduler=hires_schedule_told(first, second) if request.hires else None,
        size=(16, 16),
        model="tiny",
        sampling=sampling,
    )
    return write_infotext(
        request.prompt, "", generation_entries(request, making, seed=request.seed)
    )


def passes(request: GenerationRequest) -> tuple[Sampler, Sampler]:
    """The samplers of both passes; the first one's twice where there is one pass."""
    first, second = samplers_of(request)
    return first, second or first


def levels(request: GenerationRequest) -> list[object]:
    """What decides how latents are sampled."""
    return [
        (
            one.run,
            sampler_settings(one, request.options),
            one.schedule(TABLE, 3, request.options).tolist(),
        )
        for one in passes(request)
    ]


def remade(infotext: str, registry: Registry) -> GenerationRequest:
    recipe = recipe_from_infotext(read_infotext(infotext), registry)
    request, left_out = apply_recipe(recipe)
    assert left_out == [], infotext
    return request


BENT = Options(sigma_min=0.1, sigma_max=9.0, rho=3.0, beta_alpha=0.4, beta_beta=0.9)


@pytest.mark.slow
@pytest.mark.parametrize("options", [Options(), BENT], ids=["plain", "bent"])
def test_every_sampler_with_every_schedule_type(options: Options, registry: Registry) -> None:
    assert len(PAIRS) == 240
    for sampler, scheduler in PAIRS:
        request = replace(USUAL, sampler=sampler, scheduler=scheduler, options=options)
        again = remade(told(request), registry)
        assert levels(again) == levels(request), told(request)
        assert remade(told(again), registry) == again, told(again)


SECOND = ["", "Euler", "Euler Karras", "DPM++ 2M", "DPM++ 2M Karras", "DPM++ 2M Beta", "DDIM"]


@pytest.mark.parametrize("kind", [None, "automatic", "karras", "beta"])
@pytest.mark.parametrize("second", SECOND)
def test_every_second_pass(second: str, kind: str | None, registry: Registry) -> None:
    firsts = ("Euler", "DPM++ 2M", "DPM++ 2M Karras", "DDIM")
    for sampler, scheduler in product(firsts, ("automatic", "uniform", "karras", "simple")):
        hires = HiresPass(sampler=second or None, scheduler=kind, upscaler="Latent")
        request = replace(USUAL, sampler=sampler, scheduler=scheduler, hires=hires)
        again = remade(told(request), registry)
        assert levels(again) == levels(request), told(request)


def latents(engine: Engine, request: GenerationRequest) -> tuple[torch.Tensor, str]:
    result = engine.generate(request)
    return result.latents, result.infotexts[0]


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [*product(["DPM++ 2M"], SCHEDULERS), ("Restart", "uniform"), ("DPM++ 3M SDE", "ddim")],
)
def test_images_are_bit_equal(tiny_engine: Engine, sampler: str, scheduler: str) -> None:
    made, infotext = latents(tiny_engine, replace(USUAL, sampler=sampler, scheduler=scheduler))
    request, _ = apply_recipe(recipe_from_infotext(read_infotext(infotext), tiny_engine.registry))
    again, second = latents(tiny_engine, request)
    assert torch.equal(made, again)
    assert infotext == second


def test_a_prompt_whose_comments_count_is_remade(tiny_engine: Engine) -> None:
    kept = replace(USUAL, prompt="a cat #1, lake", options=Options(comments=False))
    made, infotext = latents(tiny_engine, kept)
    assert "Prompt comments: False" in infotext
    request, _ = apply_recipe(recipe_from_infotext(read_infotext(infotext), tiny_engine.registry))
    assert torch.equal(latents(tiny_engine, request)[0], made)
    left_out, plain = latents(tiny_engine, replace(kept, options=Options()))
    assert not torch.equal(left_out, made) and "comments" not in plain


@pytest.mark.parametrize(
    ("sampler", "version", "scheduler"),
    [
        ("DPM++ 2M", "", "Uniform"),
        ("DPM++ 2M", "v1.7.0", "Uniform"),
        ("DPM++ 2M", "v1.8.0-RC-17-gabcdef0", "Uniform"),
        ("DPM++ 2M", "f0.0.17v1.8.0rc-latest-276-g29be1da7", "Uniform"),
        ("DPM++ 2M", "promptengine 0.1.0", "Uniform"),
        ("DPM++ 2M", "promptengine 2.0.0", "Uniform"),
        ("DPM++ 2M", "1.9.0", "Karras"),
        ("DPM++ 2M", "v1.10.1", "Karras"),
        ("DPM++ 2M", "f2.0.1v1.10.1-previous-665-gae278f79", "Karras"),
        ("DPM++ 3M SDE", "v1.10.1", "Exponential"),
        ("DPM++ 2M Karras", "v1.10.1", "automatic"),
        ("Euler", "v1.10.1", "automatic"),
        ("Euler", "v1.7.0", "automatic"),
    ],
)
@pytest.mark.parametrize("written", ["", ", Schedule type: Automatic"])
def test_a_bare_name_means_what_it_meant_then(
    sampler: str, version: str, scheduler: str, written: str, registry: Registry
) -> None:
    text = f"{BARE.format(sampler)}{written}, Version: {version}".removesuffix(", Version: ")
    recipe = recipe_from_infotext(read_infotext(text), registry)
    assert (recipe.request.sampler, recipe.request.scheduler) == (sampler, scheduler)
    old = scheduler == "Uniform"
    assert [d.severity for d in recipe.diagnostics] == ["info"] * old


@pytest.mark.parametrize(
    ("first", "named", "version", "expected"),
    [
        ("Euler, Schedule type: SGM Uniform", "DPM++ 2M", "v1.10.1", "sgm_uniform"),
        ("Euler, Schedule type: SGM Uniform", "DPM++ 2M", "v1.8.0", "uniform"),
        ("DPM++ 2M Karras", "Euler", "v1.8.0", "automatic"),
        ("DPM++ 2M Karras", "DPM++ 2M", "promptengine 0.1.0", "uniform"),
        ("DPM++ 2M Karras", "DPM++ SDE Karras", "v1.6.0", "karras"),
        ("DPM++ 2M, Schedule type: Karras", "Euler", "promptengine 0.1.0", "karras"),
        (
            "DPM++ 2M, Schedule type: Karras",
            "Euler, Hires schedule type: Automatic",
            "promptengine 0.1.0",
            "automatic",
        ),
        ("Euler, Schedule type: karras", "DPM++ SDE Exponential", "v1.8.0", "karras"),
    ],
)
def test_a_second_pass_takes_the_schedule_that_its_version_gave_it(
    first: str, named: str, version: str, expected: str, registry: Registry
) -> None:
    hires = f"Hires upscale: 2, Hires sampler: {named}, Version: {version}"
    _, second = samplers_of(remade(f"{BARE.format(first)}, {hires}", registry))
    assert second is not None and second.scheduler == expected


def test_the_old_emphasis_is_remade(tiny_engine: Engine) -> None:
    options = Options(old_emphasis=True, emphasis="No norm")
    made, infotext = latents(tiny_engine, replace(USUAL, prompt="((a)) cat", options=options))
    assert "Old emphasis: No norm" in infotext
    request, _ = apply_recipe(recipe_from_infotext(read_infotext(infotext), tiny_engine.registry))
    assert request.options == options
    assert torch.equal(latents(tiny_engine, request)[0], made)


SCHEDULED = [
    text for text, right in lines("infotexts", "infotext").items() if "--scheduler" in right
]


@pytest.mark.parametrize("text", SCHEDULED)
def test_the_cases_are_remade_as_asked_for(tiny_engine: Engine, text: str) -> None:
    kind = text.partition("Schedule type: ")[2].partition(",")[0]
    small = text.replace("128x128", "16x16").replace("Steps: 4", "Steps: 3")
    request = remade(small, tiny_engine.registry)
    asked = replace(USUAL, sampler="Euler", scheduler=kind, seed=5)
    assert request.scheduler == kind
    assert isinstance(find_sampler("Euler", kind), SigmaSampler)
    assert torch.equal(latents(tiny_engine, request)[0], latents(tiny_engine, asked)[0])
