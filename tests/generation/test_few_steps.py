"""Each sampler with as few steps as there can be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promptengine.generation.engine import Engine
from promptengine.request.samplers import SAMPLERS
from tests.generation.test_engine import BASE


@pytest.mark.parametrize(
    ("sampler", "steps"),
    # One that picks its own steps takes the same whatever it is asked for.
    [(s, n) for s in sorted(SAMPLERS) for n in (1, 2, 3) if n == 1 or s != "DPM adaptive"],
)
def test_no_sampler_fails_with_few_steps(tiny_engine: Engine, sampler: str, steps: int) -> None:
    request = replace(BASE, sampler=sampler, steps=steps, width=16, height=16)
    assert tiny_engine.generate(request).latents.isfinite().all()
