"""Images of templates: each is what its own prompt alone makes, and says so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from promptengine import Engine, GenerationRequest, Interrupt, RequestError, read_infotext
from promptengine.generation.from_infotext import request_from_infotext
from promptengine.request.result import Progress

BASE = GenerationRequest(
    prompt="a {cat|dog|fox} {<hypernet:hn-relu:1>|in, snow}",
    negative_prompt="{blurry|dark}",
    seed=7,
    steps=2,
    width=64,
    height=64,
    sampler="Euler",
    batch_size=2,
    batch_count=2,
    dynamic=True,
)


def test_each_image_is_what_its_prompt_alone_makes(tiny_engine: Engine) -> None:
    seen: list[tuple[int, int]] = []

    def on_progress(progress: Progress) -> None:
        seen.append((progress.batch, progress.batches))

    result = tiny_engine.generate(BASE, on_progress=on_progress)
    assert result.seeds == (7, 8, 9, 10)
    assert len(set(result.prompts)) > 1
    assert seen == [(0, 2)] * 2 + [(1, 2)] * 2
    for number, (prompt, negative) in enumerate(result.prompts):
        alone = replace(
            BASE,
            dynamic=False,
            prompt=prompt,
            negative_prompt=negative,
            seed=7 + number,
            batch_size=1,
            batch_count=1,
        )
        made = tiny_engine.generate(alone)
        assert torch.allclose(made.latents[0], result.latents[number], atol=1e-4)


def test_infotexts_hold_the_prompt_that_was_drawn_and_its_template(tiny_engine: Engine) -> None:
    result = tiny_engine.generate(BASE)
    for infotext, prompts in zip(result.infotexts, result.prompts, strict=True):
        read = read_infotext(infotext)
        assert (read.prompt, read.negative_prompt) == prompts
        assert read.entries["Template"] == BASE.prompt
        assert read.entries["Negative Template"] == BASE.negative_prompt


def test_an_infotext_makes_its_image_again_from_the_drawn_prompt(tiny_engine: Engine) -> None:
    result = tiny_engine.generate(BASE)
    again, said = request_from_infotext(result.infotexts[1], tiny_engine.registry)
    assert (again.prompt, again.negative_prompt) == result.prompts[1]
    assert again.dynamic is False and again.seed == 8
    assert not [one for one in said if "emplate" in one.message and one.severity != "info"]
    made = tiny_engine.generate(again)
    assert torch.allclose(made.latents[0], result.latents[1], atol=1e-4)


def test_combinations_end_where_there_are_no_more(tiny_engine: Engine) -> None:
    request = replace(
        BASE, prompt="{a|b|c}", negative_prompt="", dynamic_method="combinatorial", batch_count=9
    )
    result = tiny_engine.generate(request)
    assert [prompt for prompt, _ in result.prompts] == ["a", "b", "c"]
    assert len(result.images) == len(result.latents) == 3
    assert [use.batch for use in result.models] == [0, 1]


def test_a_stop_keeps_what_there_is(tiny_engine: Engine) -> None:
    interrupt = Interrupt()

    def on_progress(progress: Progress) -> None:
        if progress.batch == 0 and progress.step == 1:
            interrupt.stop()

    result = tiny_engine.generate(BASE, on_progress=on_progress, interrupt=interrupt)
    assert result.unfinished == (0, 1)
    assert len(result.images) == len(result.prompts) == 2


def test_a_template_that_cannot_be_used_costs_no_image(tiny_engine: Engine) -> None:
    steps: list[object] = []
    with pytest.raises(RequestError, match="unknown wildcard 'nobody'"):
        tiny_engine.generate(replace(BASE, prompt="a __nobody__"), on_progress=steps.append)
    assert steps == []


def test_where_one_prompt_is_wanted_templates_are_refused(tiny_engine: Engine) -> None:
    with pytest.raises(RequestError, match="expand it first"):
        tiny_engine.generate_batch([BASE])


def test_without_asking_marks_are_words_and_the_hint_names_the_remedy(tiny_engine: Engine) -> None:
    result = tiny_engine.generate(replace(BASE, dynamic=False, batch_size=1, batch_count=1))
    read = read_infotext(result.infotexts[0])
    assert read.prompt == BASE.prompt.replace("<hypernet:hn-relu:1>", "<hypernet:hn-relu:1>")
    assert "Template" not in json.dumps(dict(read.entries))
    assert any("--dynamic" in one.hint for one in result.diagnostics)
