"""What different networks in one batch cost: ``python -m tests.bench.bench_batch``.

Eight rows with eight different stacks against eight rows with one, and against eight runs, in turns, with
the starter checkpoint. Prints times as ratios to that of the different stacks: a ratio above 1 is slower.

The floor. Rows with stacks of their own share convolutions, feed-forward layers and attention; only key
and value projections of self-attention, and the networks before them, run group by group, on an eighth of
the rows each. Their arithmetic is the same; what is left is the smaller products' lower rate.
"""

from __future__ import annotations

from pathlib import Path

import torch

from promptengine import Engine, GenerationRequest
from tests.bench.timing import (
    Rows,
    calibration,
    compared,
    interleaved,
    options,
    print_table,
    write_json,
)

MODELS = Path(__file__).parent.parent.parent / "models"
NAMES = ("neon", "vintage", "pastel")
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


def measure(*, steps: int, rounds: int) -> Rows:
    """Time batches and single runs in turns; returns seconds, ratios to the mixed batch and spreads."""
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
    return compared(seconds, "eight different rows")


def main() -> None:
    """Read the options, measure and print."""
    parser = options(rounds=5)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"calibration: 100,000 turns of a plain loop {calibration():.3f} ms")
    rows = measure(steps=given.steps, rounds=given.rounds)
    print_table(f"eight images of {given.steps} steps", rows)
    write_json(given.json, rows)


if __name__ == "__main__":
    main()
