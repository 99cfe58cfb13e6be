"""Noise schedules and noise against WebUI's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from promptengine import Engine
from promptengine.request.samplers import (
    SAMPLERS,
    Sampler,
    SigmaSampler,
    find_sampler,
    split_sampler,
)
from promptengine.request.schedulers import AUTOMATIC
from promptengine.sampling.noise import ImageNoise, Seeding
from promptengine.sampling.sigmas import DiscreteSchedule, scaled_linear_alphas
from tests.conformance.golden import rows, table, tensors
from tests.conformance.test_txt2img import bare_name


def meant(name: str) -> Sampler:
    """The sampler of a name of February 2024, with the schedule type that it stood for then."""
    return find_sampler(name, bare_name(name) or AUTOMATIC)


def test_schedules(goldens: Path, engine: Engine) -> None:
    golden = table(goldens / "schedules.json")
    assert SAMPLERS.keys() - {"LCM", "DDIM CFG++"} == {
        split_sampler(name)[0].name for name in golden
    }
    for name in golden:
        for steps, expected in golden[name]["schedules"].items():
            ours = meant(name).schedule(engine.checkpoint.noise_table, int(steps))
            torch.testing.assert_close(
                ours.double(),
                torch.tensor(expected).double(),
                rtol=1e-5,
                atol=0,
                msg=f"{name} {steps}",
            )


def test_what_webui_says_of_its_samplers(goldens: Path) -> None:
    for name, golden in table(goldens / "schedules.json").items():
        ours, options = meant(name), golden["options"]
        assert all(find_sampler(alias).name == ours.name for alias in golden["aliases"])
        assert 20 * (1 + ours.second_order) == golden["total_steps_for_20"]
        assert isinstance(ours, SigmaSampler) == (golden["kind"] == "sigmas")
        if isinstance(ours, SigmaSampler):
            plain = ours.scheduler in ("automatic", "uniform")
            assert (None if plain else ours.scheduler) == options.get("scheduler")
            assert ours.discards == options.get("discard_next_to_last_sigma", False)
            assert ours.brownian == options.get("brownian_noise", False)
            # DPM2 alone and DPM2 Karras had it differently, and are one since.
            told = options.get("uses_ensd", False) and name != "DPM2 Karras"
            assert ours.delta_told == told


def test_a_checkpoint_without_stored_alphas_has_the_same_levels(engine: Engine) -> None:
    stored = engine.checkpoint.noise_table.sigmas
    computed = DiscreteSchedule(scaled_linear_alphas()).sigmas
    # The stored alphas are float32: next to 1 they hold sigma to about a hundred-thousandth only.
    torch.testing.assert_close(computed, stored, rtol=2e-5, atol=0)


@pytest.mark.parametrize("source", ["cpu", "nv"])
def test_noise_is_exact(goldens: Path, source: Any) -> None:
    golden = tensors(goldens / "noise.safetensors")
    calls = sorted(k for k in golden if k.startswith(source.upper()) and "/call" in k)
    seeds = dict.fromkeys(int(key.split("/")[1]) for key in calls)
    assert seeds
    for seed in seeds:
        drawn: ImageNoise | None = None
        for key in (key for key in calls if key.split("/")[1] == str(seed)):
            images, *shape = golden[key].shape
            batch = range(seed, seed + images)
            drawn = drawn or ImageNoise.seeded(batch, tuple(shape), source=source)
            assert torch.equal(drawn.draw(), golden[key]), key


@pytest.mark.parametrize("source", ["cpu", "nv"])
def test_variations_are_exact(goldens: Path, source: Any) -> None:
    golden = tensors(goldens / "noise.safetensors")
    keys = [k for k in golden if k.startswith(source.upper()) and k.endswith("/var0.35")]
    assert keys
    for key in keys:
        seed = int(key.split("/")[1])
        seeding = Seeding(seeds=(seed,), variation_seeds=(seed + 5,), strength=0.35, source=source)
        noise = ImageNoise(seeding, tuple(golden[key].shape[1:]), torch.device("cpu"))
        assert torch.equal(noise.first(), golden[key]), key


def test_first_noise_of_every_generation(goldens: Path) -> None:
    first = tensors(goldens / "txt2img_initial_noise.safetensors")
    for case in rows(goldens / "txt2img.jsonl"):
        resized = case.get("seed_resize_from_w"), case.get("seed_resize_from_h")
        count = case.get("batch_size", 1)
        seeding = Seeding(
            seeds=tuple(case["seeds"][:count]),
            variation_seeds=tuple((case["subseeds"] or [])[:count]),
            strength=case.get("subseed_strength", 0.0),
            resize_from=(resized[1] // 8, resized[0] // 8) if resized[0] else None,
            source=case.get("opts", {}).get("randn_source", "CPU").lower(),
        )
        shape = 4, case["height"] // 8, case["width"] // 8
        noise = ImageNoise(seeding, shape, torch.device("cpu")).first()
        assert torch.equal(noise, first[case["id"]]), case["id"]
