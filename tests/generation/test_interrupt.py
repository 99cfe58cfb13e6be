"""Generations that are ended early and keep what they made, as WebUI's interrupt and skip do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from promptengine import (
    Engine,
    GenerationRequest,
    GenerationResult,
    HiresPass,
    ImageStart,
    Inpainting,
    Interrupt,
)
from promptengine.request.result import Progress
from tests.generation.test_engine import fingerprint, same

BASE = GenerationRequest(
    prompt="a cat<hypernet:hn-relu:1>", seed=7, steps=5, width=64, height=64, sampler="Euler"
)


def interrupted(
    engine: Engine,
    request: GenerationRequest,
    *,
    at: tuple[int, int],
    by: Callable[[Interrupt], None] = Interrupt.stop,
) -> tuple[GenerationResult, list[Tensor]]:
    """The result of a request that is ended in a batch, at a step, and the x0 of all its steps."""
    interrupt, seen = Interrupt(), list[Tensor]()

    def on_progress(progress: Progress) -> None:
        assert progress.denoised is not None
        seen.append(progress.denoised.clone())
        if (progress.batch, progress.step) == at:
            by(interrupt)

    return engine.generate(request, on_progress=on_progress, interrupt=interrupt), seen


def notes(result: GenerationResult) -> list[str]:
    return [one.message for one in result.diagnostics if one.message.startswith("unfinished")]


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M SDE", "Heun", "DDIM", "DPM adaptive"])
def test_a_stop_keeps_what_there_is(tiny_engine: Engine, sampler: str) -> None:
    before = fingerprint(tiny_engine)
    request = replace(BASE, sampler=sampler, batch_size=2, batch_count=3)
    whole = tiny_engine.generate(replace(request, batch_count=1))
    result, seen = interrupted(tiny_engine, request, at=(1, 2))
    assert result.seeds == (7, 8, 9, 10)
    assert len(result.images) == len(result.infotexts) == 4
    assert torch.equal(result.latents[:2], whole.latents)
    assert torch.equal(result.latents[2:], seen[-1])
    assert result.unfinished == (2, 3)
    (note,) = notes(result)
    assert note.startswith("unfinished: ended after step 2 of 5 (seed 9, 10)")
    assert result.images[2].getbbox() is not None
    assert same(before, fingerprint(tiny_engine))


def test_a_skip_goes_on_with_the_next_batch(tiny_engine: Engine) -> None:
    request = replace(BASE, batch_count=3)
    whole = tiny_engine.generate(request)
    result, seen = interrupted(tiny_engine, request, at=(1, 3), by=Interrupt.skip)
    assert result.seeds == (7, 8, 9)
    assert result.unfinished == (1,)
    assert torch.equal(result.latents[1:2], seen[7])
    assert torch.equal(result.latents[[0, 2]], whole.latents[[0, 2]])


def test_a_stop_at_the_last_step_leaves_a_finished_image(tiny_engine: Engine) -> None:
    result, _ = interrupted(tiny_engine, replace(BASE, batch_count=2), at=(0, 5))
    assert (result.seeds, result.unfinished, notes(result)) == ((7,), (), [])
    assert torch.equal(result.latents, tiny_engine.generate(BASE).latents)


def test_a_stop_before_the_first_step_makes_nothing(tiny_engine: Engine) -> None:
    interrupt = Interrupt()
    interrupt.stop()
    result = tiny_engine.generate(BASE, interrupt=interrupt)
    assert (result.images, result.infotexts, result.seeds) == ((), (), ())
    assert result.latents.shape == (0, 4, 8, 8)


def test_a_second_pass_is_not_begun(tiny_engine: Engine) -> None:
    hires = HiresPass(scale=1.5, steps=4, denoising_strength=0.5)
    request = replace(BASE, hires=hires, batch_count=2)
    result, _ = interrupted(tiny_engine, request, at=(1, 2))
    assert [image.size for image in result.images] == [(96, 96), (64, 64)]
    assert result.latents.shape == (1, 4, 12, 12)
    assert notes(result) == ["unfinished: ended after step 2 of 9 (seed 8)"]
    first, _ = interrupted(tiny_engine, request, at=(0, 5))
    assert [image.size for image in first.images] == [(64, 64)]
    assert first.unfinished == (0,)
    second, seen = interrupted(tiny_engine, request, at=(0, 7))
    assert [image.size for image in second.images] == [(96, 96)]
    assert torch.equal(second.latents, seen[-1])


def test_what_a_mask_keeps_stays(tiny_engine: Engine) -> None:
    from PIL import Image

    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    start = ImageStart(
        images=(Image.new("RGB", (64, 64), "red"),),
        denoising_strength=1.0,
        inpainting=Inpainting(mask=mask, blur=(0, 0)),
    )
    result, _ = interrupted(tiny_engine, replace(BASE, sampler="DDIM", start=start), at=(0, 2))
    assert result.unfinished == (0,)
    assert result.images[0].getpixel((60, 32)) == (255, 0, 0)


def test_one_request_of_a_batch_ends_and_the_others_go_on(tiny_engine: Engine) -> None:
    requests = [replace(BASE, seed=seed, batch_size=2) for seed in (1, 10, 20)]
    whole = tiny_engine.generate_batch(requests)
    interrupts = [Interrupt() for _ in requests]
    told: list[tuple[int, GenerationResult, int]] = []
    steps: list[int] = []

    def on_progress(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 2:
            interrupts[1].stop()

    results = tiny_engine.generate_batch(
        requests,
        on_progress=on_progress,
        interrupts=interrupts,
        on_interrupted=lambda number, result: told.append((number, result, steps[-1])),
    )
    assert steps == [1, 2, 3, 4, 5]
    ((number, early, when),) = told
    assert (number, when) == (1, 2)
    assert early.images == results[1].images
    assert results[1].unfinished == (0, 1)
    assert not torch.equal(results[1].latents, whole[1].latents)
    for one in (0, 2):
        assert torch.equal(results[one].latents, whole[one].latents)
        assert results[one].unfinished == ()
