"""What reusing deep layers' states saves: ``python -m tests.bench.bench_cache``.

Whole images with a cache interval of 1, 2, 3 and 5, in turns: Euler, CFG 7, float32, one relu network, from the
starter checkpoint and from a model of Stable Diffusion 1.5's shape with random weights, both at 256×256. Prints the
seconds, and their ratio to an interval of 1.

The floor is the share of whole calls, and what the outermost skip costs in the others (of SD1.5's multiplications
a fifteenth here, a ninth at 1024×1024).
"""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import count
from pathlib import Path

import torch

from promptengine import GenerationRequest
from tests.bench.bench_run import PIXELS, opened, run
from tests.bench.floor import measured, quickest_product
from tests.bench.timing import Rows

INTERVALS = (1, 2, 3, 5)


def measure(model: str, *, steps: int, rounds: int) -> Rows:
    """Time whole images in turns, beside an interval of 1."""
    seeds = count()
    with tempfile.TemporaryDirectory() as folder:
        engine = opened(model, Path(folder))

        def make(interval: int) -> None:
            request = GenerationRequest(
                prompt="a cat <hypernet:relu:0.8>",
                seed=next(seeds),
                sampler="Euler",
                steps=steps,
                width=PIXELS,
                height=PIXELS,
                cache_interval=interval,
                policy="strict",
            )
            engine.generate(request)

        actions = {f"every {interval}": partial(make, interval) for interval in INTERVALS}
        floor = quickest_product(torch.float32)
        return measured(actions, "every 1", rounds=rounds, floor=floor)


if __name__ == "__main__":
    run("bench_cache", measure)
