"""What different networks in one batch cost: ``python -m tests.bench.bench_batch``.

Eight rows with eight different stacks against eight rows with one, and against eight runs, in turns, with
the starter checkpoint. Prints times as ratios to that of the different stacks: a ratio above 1 is slower.

The floor. Rows with stacks of their own share convolutions, feed-forward layers and attention; only key
and value projections of self-attention, and the networks before them, run group by group, on an eighth of
the rows each. Their arithmetic is the same; what is left is the smaller products' lower rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from promptengine import Engine, GenerationRequest
from tests.bench.floor import measured, quickest_product
from tests.bench.results import report
from tests.bench.timing import Rows, options

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


def measure(*, steps: int, rounds: int) -> Iterator[tuple[str, Rows]]:
    """Time batches and single runs in turns, beside the mixed batch."""
    engine = Engine.open("starter", models=MODELS, device="cpu")
    mixed, equal = requests(steps=steps, different=True), requests(steps=steps, different=False)
    rows = measured(
        {
            "eight equal rows": lambda: engine.generate_batch(equal),
            "eight different rows": lambda: engine.generate_batch(mixed),
            "eight runs": lambda: [engine.generate(request) for request in mixed],
        },
        "eight different rows",
        rounds=rounds,
        floor=quickest_product(torch.float32),
    )
    yield f"eight images of {steps} steps", rows


def main() -> None:
    """Read the options, measure and print."""
    parser = options(rounds=5)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    report("bench_batch", given, measure(steps=given.steps, rounds=given.rounds))


if __name__ == "__main__":
    main()
