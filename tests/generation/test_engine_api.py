"""What an engine offers beside making images: its life, pipelines, previews, networks in memory."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from promptengine import (
    Engine,
    EngineClosedError,
    GenerationRequest,
    ModelNotFoundError,
    Progress,
    RequestError,
    count_tokens,
    load_hypernetwork,
    read_infotext,
    recipe_from_infotext,
    request_from_infotext,
)
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS
from tests.generation.test_engine import fingerprint, same

REQUEST = GenerationRequest(prompt="a cat", seed=1, steps=3, width=64, height=64)


def test_a_closed_engine_says_so(tiny_engine: Engine) -> None:
    with Engine.open(CHECKPOINT, models=tiny_engine.registry, config=CONFIG) as engine:
        assert repr(engine) == f"<Engine: {CHECKPOINT.name} (SD1) on {engine.device}, float32>"
        pipe = engine.to_pipeline()
    assert engine.closed
    assert repr(engine) == "<Engine: closed>"
    engine.close()
    with pytest.raises(EngineClosedError, match="open another"):
        engine.generate(REQUEST)
    with pytest.raises(EngineClosedError), engine:
        pass
    assert next(pipe.unet.parameters()).isfinite().all()


def test_an_engine_lends_its_modules_to_a_pipeline_and_back(tiny_engine: Engine) -> None:
    own = tiny_engine.checkpoint
    pipe = tiny_engine.to_pipeline()
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert (pipe.unet, pipe.vae, pipe.text_encoder) == (own.unet, own.vae, own.text_encoder)
    again = Engine.from_pipeline(pipe, tiny_engine.registry)
    request = replace(REQUEST, prompt="a (cat:1.2) <hypernet:hn-relu:0.8>")
    ours, theirs = tiny_engine.generate(request), again.generate(request)
    assert torch.allclose(ours.latents, theirs.latents, atol=1e-2)
    assert theirs.networks[0].applied
    assert "Model hash" not in read_infotext(theirs.infotexts[0]).entries


def test_a_pipeline_with_a_more_precise_vae_takes_the_unets_latents(tiny_engine: Engine) -> None:
    with Engine.open(
        CHECKPOINT, models=tiny_engine.registry, config=CONFIG, dtype="bfloat16"
    ) as engine:
        pipe = engine.to_pipeline()
        vae = cast("Any", engine.checkpoint.vae)
    pipe.set_progress_bar_config(disable=True)
    assert next(pipe.vae.parameters()) is next(vae.parameters())
    made = pipe("a cat", num_inference_steps=1, height=64, width=64, output_type="np").images
    assert made.shape == (1, 64, 64, 3)


def test_progress_can_be_seen(tiny_engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    tiny_engine.generate(
        replace(REQUEST, batch_size=2), on_progress=lambda p: seen.append(p.preview(1).size)
    )
    assert seen == [(8, 8)] * 3
    with pytest.raises(RequestError, match="no image"):
        Progress(0, 1, 1, 3).preview()


def test_a_task_makes_the_same_image(tiny_engine: Engine) -> None:
    made = asyncio.run(tiny_engine.generate_async(REQUEST))
    assert torch.equal(made.latents, tiny_engine.generate(REQUEST).latents)


def test_cancelling_a_task_stops_the_generation_and_leaves_the_model(tiny_engine: Engine) -> None:
    before, threads = fingerprint(tiny_engine), set[int]()

    async def cancel_at_first_step() -> None:
        loop = asyncio.get_running_loop()

        def on_progress(progress: Progress) -> None:
            threads.add(threading.get_ident())
            loop.call_soon_threadsafe(task.cancel)

        long = replace(REQUEST, steps=900, prompt="a cat <hypernet:hn-relu:0.8>")
        task = asyncio.create_task(tiny_engine.generate_async(long, on_progress=on_progress))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_at_first_step())
    assert threads != {threading.get_ident()}
    assert same(before, fingerprint(tiny_engine))


def test_a_network_in_memory_acts_as_its_file_does(tiny_engine: Engine) -> None:
    network = load_hypernetwork(NETWORKS / "hn-relu.pt")
    made = tiny_engine.generate(replace(REQUEST, networks=((network, 0.8),)))
    tagged = tiny_engine.generate(replace(REQUEST, prompt="a cat<hypernet:hn-relu:0.8>"))
    assert torch.equal(made.latents, tagged.latents)
    (report,) = made.networks
    assert (report.origin, report.applied, report.multiplier) == ("request", True, 0.8)
    entries = read_infotext(made.infotexts[0]).entries
    assert entries["Hypernet objects"] == f"{network.name}: 0.8 {(report.digest or '')[:10]}"
    assert "Hypernet hashes" not in entries
    _, remarks = request_from_infotext(made.infotexts[0], tiny_engine.registry)
    assert any("Hypernet objects" in remark.message for remark in remarks)


def test_a_network_in_memory_is_taken_as_it_is_now(tiny_engine: Engine) -> None:
    network = load_hypernetwork(NETWORKS / "hn-relu.pt")
    request = replace(REQUEST, networks=((network, 0.8),))
    before = tiny_engine.generate(request)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2)
    after = tiny_engine.generate(request)
    assert not torch.equal(before.latents, after.latents)
    assert before.networks[0].digest != after.networks[0].digest


@pytest.mark.parametrize("wrong", [5, [5], [(5, 1)], ["ink"], [(torch.nn.Linear(1, 1), 1.0)]])
def test_what_is_no_network_is_refused(wrong: Any) -> None:
    with pytest.raises(RequestError, match="networks"):
        GenerationRequest(prompt="", networks=wrong)


def test_tokens_are_counted_without_a_model_and_with_embeddings(tiny_engine: Engine) -> None:
    assert (count_tokens("").tokens, count_tokens("").limit) == (0, 75)
    assert (count_tokens("a cat, a dog").tokens, count_tokens("a cat, a dog").chunks) == (5, 1)
    assert count_tokens("a AND a cat in [the:the deep:5] snow").tokens == 6
    long = count_tokens("cat " * 80)
    assert (long.tokens, long.limit) == (80, 150)
    assert tiny_engine.count_tokens("a cat") == count_tokens("a cat")
    with pytest.raises(RequestError, match="steps"):
        count_tokens("a", steps=0)


def test_an_infotext_becomes_a_request_in_one_call(tiny_engine: Engine) -> None:
    text = (
        "a cat\nSteps: 4, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 3, Size: 64x64, "
        "ENSD: 31337, Eta: 0.5, Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: Latent"
    )
    request, _ = request_from_infotext(text, tiny_engine.registry)
    assert (request.options.noise_seed_delta, request.options.eta_ancestral) == (31337, 0.5)
    assert request.hires is not None
    assert request.hires.scale == 2
    recipe = recipe_from_infotext(read_infotext(text), tiny_engine.registry)
    assert recipe.request.hires is None


def test_a_checkpoint_of_no_such_name_is_told_as_that(tiny_engine: Engine) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Engine.open("no-such-model", models=tiny_engine.registry)
    assert (caught.value.kind, caught.value.name) == ("checkpoint", "no-such-model")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "wrong",
    [
        {"checkpoint": 5},
        {"models": 5},
        {"models": {"hypernets": "a"}},
        {"config": 5},
        {"device": 5},
        {"dtype": 5},
        {"vae": 5},
    ],
)
def test_engines_refuse_arguments_of_wrong_types_in_words(wrong: dict[str, Any]) -> None:
    arguments = {"checkpoint": CHECKPOINT, "models": {}, **wrong}
    with pytest.raises(RequestError, match=next(iter(wrong))):
        Engine.open(**arguments)


def test_what_is_no_request_is_refused(tiny_engine: Engine) -> None:
    wrong: Any = "a cat"
    with pytest.raises(RequestError, match="must be a GenerationRequest"):
        tiny_engine.generate(wrong)
    with pytest.raises(RequestError, match="GenerationRequest"):
        tiny_engine.generate_batch(wrong)
