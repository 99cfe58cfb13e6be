"""Words of negative weight that are subtracted, through the whole engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine, GenerationRequest, GenerationResult, HiresPass
from promptengine.generation.from_infotext import apply_recipe
from promptengine.infotext.read import read_infotext
from promptengine.infotext.recipe import recipe_from_infotext
from promptengine.request.options import Options
from tests.networks.builders import turned_values

SUBTRACTS = Options(negative_weights="subtract")
BASE = GenerationRequest(
    prompt="a cat", seed=7, steps=3, width=64, height=64, sampler="Euler", options=SUBTRACTS
)


def with_options(request: GenerationRequest, **changes: Any) -> GenerationRequest:
    return replace(request, options=replace(request.options, **changes))


def row(tokens: int, *places: int) -> Tensor:
    signs = torch.ones(tokens)
    signs[list(places)] = -1
    return signs


PLAIN = row(77)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[Tensor]]] = {
    "prompt": (
        {"prompt": "a (cat:-1.3)"},
        {"prompt": "a (cat:1.3)"},
        [torch.stack([row(77, 2), PLAIN])],
    ),
    "negative prompt": (
        {"negative_prompt": "(dog:-1.2) b"},
        {"negative_prompt": "(dog:1.2) b"},
        [torch.stack([PLAIN, row(77, 1)])],
    ),
    "break": (
        {"prompt": "a (cat:-1.3) BREAK (dog:-0.5)", "negative_prompt": "b"},
        {"prompt": "a (cat:1.3) BREAK (dog:0.5)", "negative_prompt": "b"},
        [torch.stack([row(154, 2, 78), row(154)])],
    ),
    "parts": (
        {"prompt": "a cat :0.7 AND a (dog:-1) :0.6"},
        {"prompt": "a cat :0.7 AND a dog :0.6"},
        [torch.stack([PLAIN, row(77, 2), PLAIN])],
    ),
    "schedule": (
        {"prompt": "[a (cat:-1.1)|a b (dog:-1.1)]"},
        {"prompt": "[a (cat:1.1)|a b (dog:1.1)]"},
        [torch.stack([row(77, place), PLAIN]) for place in (2, 2, 3)],
    ),
    "networks": (
        {"prompt": "a (cat:-1.3) <hypernet:hn-relu:0.8>"},
        {"prompt": "a (cat:1.3) <hypernet:hn-relu:0.8>"},
        [torch.stack([row(77, 2), PLAIN])],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("emphasis", ["Original", "No norm"])
def test_values_are_turned_around(tiny_engine: Engine, case: str, emphasis: str) -> None:
    asked, same, signs = CASES[case]
    base = with_options(BASE, emphasis=emphasis)
    found = tiny_engine.generate(replace(base, **asked))
    # The same words with weights above 0, and their values turned around from outside.
    with turned_values(tiny_engine.checkpoint.unet, signs):
        expected = tiny_engine.generate(replace(base, **same))
    torch.testing.assert_close(found.latents, expected.latents, atol=1e-3, rtol=1e-3)
    for other in (
        replace(base, **same),
        with_options(replace(base, **asked), negative_weights="scale"),
    ):
        assert not torch.allclose(found.latents, tiny_engine.generate(other).latents, atol=1e-2)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a (cat:1.2) BREAK dog"},
        {"prompt": "a (cat:-1.2)", "emphasis": "Ignore"},
        {"prompt": "a (cat:-1.2)", "emphasis": "None"},
    ],
)
def test_where_no_word_is_negative_images_are_bit_equal(
    tiny_engine: Engine, changes: dict[str, str]
) -> None:
    base = with_options(
        replace(BASE, prompt=changes["prompt"]), emphasis=changes.get("emphasis", "Original")
    )
    found = tiny_engine.generate(base)
    scaled = tiny_engine.generate(with_options(base, negative_weights="scale"))
    assert torch.equal(found.latents, scaled.latents)
    assert found.infotexts == scaled.infotexts
    assert "Negative weights" not in found.infotexts[0]


def test_the_option_leaves_nothing_behind(tiny_engine: Engine) -> None:
    scaled = with_options(replace(BASE, prompt="a (cat:-1.2)"), negative_weights="scale")
    before = tiny_engine.generate(scaled).latents
    tiny_engine.generate(replace(BASE, prompt="a (cat:-1.2)"))
    assert torch.equal(tiny_engine.generate(scaled).latents, before)


def test_prompts_of_one_batch_keep_their_signs(tiny_engine: Engine) -> None:
    requests = [
        replace(BASE, prompt="a (cat:-1.3)"),
        replace(BASE, prompt="a cat", negative_prompt="(b:-1)", seed=8),
        replace(BASE, prompt="a BREAK (dog:-1)", seed=9),
    ]
    alone = [tiny_engine.generate(one).latents for one in requests]
    together = [one.latents for one in tiny_engine.generate_batch(requests)]
    for one, found in zip(alone, together, strict=True):
        torch.testing.assert_close(found, one, atol=1e-3, rtol=1e-3)
    for padded in ("pad_with_empty", "pad_with_last"):
        options = with_options(requests[2], **{padded: True})
        apart = with_options(options, batch_guidance=False)
        torch.testing.assert_close(
            tiny_engine.generate(options).latents,
            tiny_engine.generate(apart).latents,
            atol=1e-3,
            rtol=1e-3,
        )


def hires(engine: Engine, **options: Any) -> GenerationResult:
    second = HiresPass(scale=1.25, steps=2, denoising_strength=0.8, prompt="a (cat:-1.2)")
    return engine.generate(with_options(replace(BASE, hires=second), **options))


def test_a_second_pass_subtracts_its_own_words(tiny_engine: Engine) -> None:
    found, scaled = hires(tiny_engine), hires(tiny_engine, negative_weights="scale")
    assert not torch.allclose(found.latents, scaled.latents, atol=1e-2)
    assert "Negative weights: subtract" in found.infotexts[0]


@pytest.mark.parametrize("prompt", ["a (cat:-1.3)", "[(a:-1):b:2] cat"])
def test_an_infotext_makes_the_image_again(tiny_engine: Engine, prompt: str) -> None:
    made = tiny_engine.generate(replace(BASE, prompt=prompt))
    assert made.diagnostics == ()
    assert "Negative weights: subtract" in made.infotexts[0]
    recipe = recipe_from_infotext(read_infotext(made.infotexts[0]), tiny_engine.registry)
    request, _ = apply_recipe(recipe)
    assert request.options.negative_weights == "subtract"
    assert torch.equal(tiny_engine.generate(request).latents, made.latents)


def test_scaled_words_are_told_of_the_option(tiny_engine: Engine) -> None:
    base = with_options(BASE, negative_weights="scale")
    request = replace(base, prompt="a (big cat:-1.2)", negative_prompt="b")
    (told,) = tiny_engine.generate(request).diagnostics
    assert told.severity == "info" and told.span is not None
    assert request.prompt[told.span.start : told.span.end] == "big cat"
    assert (
        "'big cat' has a negative weight; by default -1.2 scales it" in told.message
        and "negative_weights" in told.hint
    )
    for silent in (
        replace(base, prompt="a (cat:1.2) BREAK dog"),
        with_options(request, emphasis="Ignore"),
        with_options(request, old_emphasis=True),
    ):
        assert tiny_engine.generate(silent).diagnostics == ()
