"""Noise schedules and noise against WebUI's."""

from __future__ import annotations

from pathlib import Path

import torch

from promptengine import Engine
from promptengine.diffusion.noise import ImageNoise
from promptengine.diffusion.sampling import SAMPLERS
from promptengine.diffusion.schedules import NoiseTable, scaled_linear_alphas
from tests.conformance.golden import table, tensors


def test_schedules(goldens: Path, engine: Engine) -> None:
    golden = table(goldens / "schedules.json")
    for name in SAMPLERS.keys() & golden.keys():
        for steps, expected in golden[name]["schedules"].items():
            ours = SAMPLERS[name].schedule(engine.checkpoint.noise_table, int(steps))
            torch.testing.assert_close(
                ours.double(),
                torch.tensor(expected).double(),
                rtol=1e-5,
                atol=0,
                msg=f"{name} {steps}",
            )


def test_sampler_aliases(goldens: Path) -> None:
    golden = table(goldens / "schedules.json")
    for name in SAMPLERS.keys() & golden.keys():
        assert list(SAMPLERS[name].aliases) == golden[name]["aliases"]


def test_a_checkpoint_without_stored_alphas_has_the_same_levels(engine: Engine) -> None:
    stored = engine.checkpoint.noise_table.sigmas
    computed = NoiseTable(scaled_linear_alphas()).sigmas
    # The stored alphas are float32: next to 1 they hold sigma to about a hundred-thousandth only.
    torch.testing.assert_close(computed, stored, rtol=2e-5, atol=0)


def test_cpu_noise_is_exact(goldens: Path) -> None:
    golden = tensors(goldens / "noise.safetensors")
    calls = sorted(key for key in golden if key.startswith("CPU/") and "/call" in key)
    seeds = dict.fromkeys(int(key.split("/")[1]) for key in calls)
    for seed in seeds:
        drawn: ImageNoise | None = None
        for key in (key for key in calls if key.split("/")[1] == str(seed)):
            images, *shape = golden[key].shape
            drawn = drawn or ImageNoise.seeded(range(seed, seed + images), tuple(shape))
            assert torch.equal(drawn.draw(), golden[key]), key
