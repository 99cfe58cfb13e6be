"""What different networks in one batch cost: ``python -m tests.bench.bench_batch``.

Eight rows with eight different stacks against eight rows with one, and against eight runs, in turns, with
the starter checkpoint. Prints throughputs as ratios.

The floor. Rows with stacks of their own share convolutions, feed-forward layers and attention; only key
and value projections of self-attention, and the networks before them, run group by group, on an eighth of
the rows each. Their arithmetic is the same; what is left is the smaller products' lower rate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

import torch

from promptengine import Engine, GenerationRequest
from tests.bench.timing import calibration, interleaved, ratio

MODELS = Path(__file__).parent.parent.parent / "models"
NAMES = ("ink", "aquarelle", "neon")
PROMPTS = ("a red house, lake", "a blue boat, sea", "two green trees, meadow", "a yellow car, city")


def requests(*, steps: int, different: bool) -> list[GenerationRequest]:
    """Eight requests, each with a stack of its own or all with the same."""
    made: list[GenerationRequest] = []
    for index in range(8):
        name = NAMES[index % 3 if different else 0]
        multiplier = 0.3 + 0.1 * index if different else 0.8
        prompt = f"{PROMPTS[index % 4]} <hypernet:{name}:{multiplier:g}>"
        made.append(GenerationRequest(prompt=prompt, seed=index, steps=steps, policy="strict"))
    return made


def measure(*, steps: int, rounds: int) -> None:
    """Measure and print."""
    engine = Engine.open("starter", models=MODELS, device="cpu")
    mixed, equal = requests(steps=steps, different=True), requests(steps=steps, different=False)
    seconds = interleaved(
        {
            "eight equal rows": lambda: engine.generate_batch(equal),
            "eight different rows": lambda: engine.generate_batch(mixed),
            "eight runs": lambda: [engine.generate(request) for request in mixed],
        },
        rounds,
    )
    for name, spent in seconds.items():
        middle, spread = ratio(seconds, name, "eight different rows")
        rate = 8 / median(spent)
        print(f"{name:<24}{rate:7.3f} pictures/s {middle:8.3f} ± {spread:.3f} x the time")


def main() -> None:
    """Read the options and measure."""
    options = argparse.ArgumentParser()
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    print(f"calibration: 100,000 turns of a plain loop {calibration():.3f} ms")
    measure(steps=given.steps, rounds=given.rounds)


if __name__ == "__main__":
    main()
