"""What it costs to use other networks than the request before: ``python -m tests.bench.bench_switch``.

Times requests of one step at 64×64 with the starter checkpoint: the same network again and again, and three
networks in turn, once all of them were used. Prints what two requests take.

The floor is nothing: networks, their folded weights and what texts come to are kept, within a number of
bytes; what a request must do in any case is parse, look files up, and see whether they changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import torch

from promptengine import Engine, GenerationRequest
from tests.bench.floor import measured, quickest_product
from tests.bench.results import report
from tests.bench.timing import Rows, options

MODELS = Path(__file__).parent.parent.parent / "models"
NAMES = ("neon", "vintage", "pastel")


def measure(*, rounds: int) -> Iterator[tuple[str, Rows]]:
    """Time two requests with the same network and two with others in turns."""
    engine = Engine.open("starter", models=MODELS, device="cpu")

    def ask(name: str) -> None:
        prompt = f"a red house, lake <hypernet:{name}:0.8>"
        request = GenerationRequest(
            prompt=prompt, seed=1, steps=1, width=64, height=64, policy="strict"
        )
        engine.generate(request)

    for name in NAMES:
        ask(name)
    turns = cycle(NAMES)

    def ask_twice() -> None:
        """Twice, so that the first of a pair never follows itself."""
        ask("neon")
        ask("neon")

    def ask_others() -> None:
        ask(next(turns))
        ask(next(turns))

    actions = {"same network": ask_twice, "switching": ask_others}
    floor = quickest_product(torch.float32)
    yield "two requests", measured(actions, "same network", rounds=rounds, floor=floor, warm=3)


def main() -> None:
    """Read the options, measure and print."""
    given = options(rounds=60).parse_args()
    report("bench_switch", given, measure(rounds=given.rounds))


if __name__ == "__main__":
    main()
