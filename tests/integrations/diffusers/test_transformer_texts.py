"""What transformers are asked with: the pipeline's own texts, and WebUI's syntax."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchHeunDiscreteScheduler

from promptengine import attach
from tests.checkpoints.transformer_pipelines import sd3_pipeline
from tests.integrations.diffusers.transformer_runs import (
    BOTH,
    GUIDED,
    UNGUIDED,
    asked,
    latents,
    own_texts,
)

pytestmark = pytest.mark.usefixtures("nothing_told_unasked")


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "SD3": ("SD3", {}),
    "SD3 with a negative prompt": ("SD3", {"negative_prompt": "dog snow"}),
    "SD3 without guidance": ("SD3", {"guidance_scale": 1.0}),
    "SD3 with clip skip": ("SD3", {"clip_skip": 1}),
    "SD3 with skipped layers": (
        "SD3",
        {"skip_guidance_layers": [0], "skip_layer_guidance_stop": 0.9, "steps": 3},
    ),
    "Flux": ("Flux", {}),
    "Flux with a negative prompt": ("Flux", {"negative_prompt": "dog", "true_cfg_scale": 3.0}),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_prompt_without_marks_gives_the_pipelines_own_image(
    case: str, pipes: dict[str, Any], models: Path
) -> None:
    family, more = CALLS[case]
    pipe = pipes[family]
    for prompt in ("a photo of a cat", "", "Cat, dog & snow! " * 3):
        before = latents(pipe, prompt, **more)
        with attach(pipe, models, ignored_diagnostics=["prompt-cut-off"]):
            torch.testing.assert_close(latents(pipe, prompt, **more), before, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(latents(pipe, "dog", **more), before, atol=1e-2)


@BOTH
def test_a_batch_gives_the_pipelines_own_images(
    family: str, pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes[family]
    more: dict[str, Any] = {"num_images_per_prompt": 2, "true_cfg_scale": 2.0}
    if family == "SD3":
        more = {"num_images_per_prompt": 2}
    prompts, negative = ["a cat", "a dog of snow"], ["dog", "cat"]
    before = latents(pipe, prompts, negative_prompt=negative, **more)
    with attach(pipe, models):
        found = latents(pipe, prompts, negative_prompt=negative, **more)
        # A text that is longer than its neighbors is asked with on its own.
        longer = latents(pipe, ["a cat", "a dog BREAK snow"], negative_prompt=negative, **more)
    assert found.shape == before.shape == longer.shape
    torch.testing.assert_close(found, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(longer[:2], before[:2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(longer[2:], before[2:], atol=1e-3)


def test_weights_act_on_clip_with_the_mean_and_on_t5_without(
    pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes["SD3"]
    states, pooled = own_texts(pipe, "a cat dog")
    weights = torch.ones(77)
    weights[2] = 1.5
    clip = states[:77] * weights[:, None]
    clip = clip * (states[:77].mean() / clip.mean())
    t5 = states[77:].clone()
    t5[1] *= 1.5
    expected = {
        None: states[77:],
        "weighted": t5,
        "unweighted": states[77:],
        "off": torch.zeros_like(t5),
    }
    for setting, rest in expected.items():
        with asked(pipe) as found, attach(pipe, models, t5=setting):  # type: ignore[arg-type]
            latents(pipe, "a (cat:1.5) dog", guidance_scale=1.0)
        torch.testing.assert_close(found[0][0][0], torch.cat([clip, rest]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[0][1][0], pooled)


def test_weights_act_on_fluxs_t5_and_not_on_its_pooled_clip(
    pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes["Flux"]
    states, pooled = own_texts(pipe, "a cat dog")
    weighted = states.clone()
    weighted[1] *= 1.5
    for setting, expected in ((None, weighted), ("weighted", weighted), ("unweighted", states)):
        with asked(pipe) as found, attach(pipe, models, t5=setting):  # type: ignore[arg-type]
            latents(pipe, "a (cat:1.5) dog")
        torch.testing.assert_close(found[0][0][0], expected)
        torch.testing.assert_close(found[0][1][0], pooled)


def test_a_break_begins_a_chunk_of_clip_and_no_other_text_of_t5(
    pipes: dict[str, Any], models: Path
) -> None:
    for family, chunks in (("SD3", 77), ("Flux", 0)):
        pipe = pipes[family]
        (cat, pooled), (dog, _) = own_texts(pipe, "cat"), own_texts(pipe, "dog")
        both, _ = own_texts(pipe, "cat dog")
        with asked(pipe) as found, attach(pipe, models):
            latents(pipe, "cat BREAK dog", guidance_scale=1.0)
        expected = torch.cat([cat[:chunks], dog[:chunks], both[chunks:]])
        torch.testing.assert_close(found[0][0][0], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[0][1][0], pooled)


def test_sd3_reads_prompts_of_any_length(pipes: dict[str, Any], models: Path) -> None:
    pipe = pipes["SD3"]
    with (
        asked(pipe) as found,
        attach(pipe, models),
        pytest.warns(UserWarning, match="T5 has no room"),
    ):
        latents(pipe, "cat " * 100 + "dog", negative_prompt="snow")
    # A negative prompt of another length is asked with on its own.
    assert [text.shape[1] for text, _ in found] == [77 + 12, 2 * 77 + 12] * 2


@BOTH
@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a [cat:dog:0.5]", ["a cat"] * 3 + ["a dog"]),
        ("a [cat:dog:1]", ["a cat", "a cat", "a dog"]),
        ("a [cat|dog]", ["a cat", "a cat", "a dog"]),
    ],
)
def test_texts_change_over_the_steps_as_in_webui(
    family: str, prompt: str, texts: Sequence[str], pipes: dict[str, Any], models: Path
) -> None:
    """WebUI compares a counter from 0 with steps from 1, so that the first text holds one call longer."""
    pipe, steps = pipes[family], len(texts)
    known = {text: own_texts(pipe, text) for text in (*texts, "snow", "fox")}
    negative = ["snow", "snow", *["fox"] * steps][:steps]
    pairs = (
        zip(negative, texts, strict=True) if family == "SD3" else zip(texts, negative, strict=True)
    )
    guided = {"negative_prompt": "[snow:fox:1]", **GUIDED[family]}
    for more, expected in (
        (UNGUIDED[family], texts),
        (guided, [one for pair in pairs for one in pair]),
    ):
        with asked(pipe) as found, attach(pipe, models):
            latents(pipe, prompt, steps=steps, **more)
        rows = [row for both in found for row in zip(*both, strict=True)]
        for (states, pooled), text in zip(rows, expected, strict=True):
            torch.testing.assert_close(states, known[text][0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(pooled, known[text][1], atol=1e-5, rtol=1e-5)


def test_a_step_is_one_however_often_the_transformer_is_asked(
    pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes["SD3"]
    skipping = {"skip_guidance_layers": [0], "skip_layer_guidance_stop": 1.0}
    with asked(pipe) as found, attach(pipe, models):
        latents(pipe, "[cat:dog:2]", steps=4, skip_layer_guidance_start=-1.0, **skipping)
    cat, dog = own_texts(pipe, "cat")[0], own_texts(pipe, "dog")[0]
    assert len(found) == 2 * 4
    for number, (states, _) in enumerate(found):
        expected = cat if number // 2 <= 2 else dog
        torch.testing.assert_close(states[-1], expected, atol=1e-5, rtol=1e-5)


def test_a_scheduler_of_second_order_has_two_calls_to_a_step(models: Path) -> None:
    pipe = sd3_pipeline()
    pipe.scheduler = FlowMatchHeunDiscreteScheduler()
    before = latents(pipe, "cat", steps=3)
    with asked(pipe) as found, attach(pipe, models):
        torch.testing.assert_close(latents(pipe, "cat", steps=3), before, atol=1e-5, rtol=1e-5)
        found.clear()
        latents(pipe, "[cat:dog:0.5]", steps=3)
    cat = own_texts(pipe, "cat")[0]
    alike = [torch.allclose(states[-1], cat, atol=1e-5) for states, _ in found]
    assert alike == [True] * 4 + [False]


@BOTH
def test_parts_add_up_as_in_webui(family: str, pipes: dict[str, Any], models: Path) -> None:
    """A step of Euler's is linear in what the transformer says."""
    pipe = pipes[family]
    one = {"steps": 1}
    alone, scale = UNGUIDED[family], GUIDED[family]
    cat, dog, snow, empty = (
        latents(pipe, text, **one, **alone) for text in ("a cat", "dog", "snow", "")
    )
    prompt = "a cat AND dog :0.5"
    with attach(pipe, models, ignored_diagnostics=["weight-of-whole-prompt"]):
        found = latents(pipe, prompt, **one, **alone)
        torch.testing.assert_close(
            found, empty + (cat - empty) + 0.5 * (dog - empty), atol=1e-4, rtol=1e-4
        )
        guided = latents(pipe, prompt, negative_prompt="snow", **one, **scale)
        added = snow + 3 * ((cat - snow) + 0.5 * (dog - snow))
        torch.testing.assert_close(guided, added, atol=1e-4, rtol=1e-4)
        weak = latents(pipe, "a cat :0.5", negative_prompt="snow", **one, **scale)
        torch.testing.assert_close(weak, snow + 1.5 * (cat - snow), atol=1e-4, rtol=1e-4)
        several = latents(pipe, [prompt, "snow"], **one, **alone, seed=5)
        torch.testing.assert_close(several[:1], found, atol=1e-4, rtol=1e-4)


def test_sd3_without_t5_reads_clip_alone(models: Path) -> None:
    pipe = sd3_pipeline(t5=False)
    before = latents(pipe, "a cat")
    with attach(pipe, models):
        torch.testing.assert_close(latents(pipe, "a cat"), before, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(latents(pipe, "a (cat:2)"), before, atol=1e-3)


@BOTH
def test_a_pipelines_sigmas_are_its_steps(family: str, pipes: dict[str, Any], models: Path) -> None:
    pipe = pipes[family]
    sigmas = [1.0, 0.8, 0.6, 0.4, 0.2]
    with asked(pipe) as found, attach(pipe, models):
        latents(pipe, "[cat:dog:0.6]", sigmas=sigmas, guidance_scale=1.0)
    cat = own_texts(pipe, "cat")[0]
    alike = [torch.allclose(states[-1], cat, atol=1e-5) for states, _ in found]
    assert alike == [True] * 4 + [False]


def test_rows_of_tokens_are_no_rows_of_images(pipes: dict[str, Any], models: Path) -> None:
    """Here T5 has as many tokens as there are images."""
    pipe = pipes["Flux"]
    with attach(pipe, models, ignored_diagnostics=["prompt-cut-off"]):
        both = latents(pipe, ["a AND dog", "cat"], max_sequence_length=2)
        alone = latents(pipe, "a AND dog", max_sequence_length=2)
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-5)
