"""What it costs to use other networks than the request before: ``python -m tests.bench.bench_switch``.

Times requests of one step at 64×64 with the starter checkpoint: the same network again and again, and three
networks in turn, once all of them were used. Prints medians and their difference.

The floor is nothing: networks, their folded weights and what texts come to are kept, within a number of
bytes; what a request must do in any case is parse, look files up, and see whether they changed.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from statistics import median

import torch

from promptengine import Engine, GenerationRequest
from tests.bench.timing import calibration, interleaved, options, write_json

MODELS = Path(__file__).parent.parent.parent / "models"
NAMES = ("neon", "vintage", "pastel")


def measure(*, rounds: int) -> dict[str, float]:
    """Return the milliseconds that a request takes, with the same network and with another one."""
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

    seconds = interleaved({"same": ask_twice, "switching": ask_others}, rounds, warm=3)
    same, switching = (median(spent) / 2 * 1e3 for spent in seconds.values())
    return {"same_ms": same, "switching_ms": switching}


def main() -> None:
    """Read the options, measure and print."""
    given = options(rounds=60).parse_args()
    torch.set_num_threads(given.threads)
    print(f"calibration: 100,000 turns of a plain loop {calibration():.3f} ms")
    found = measure(rounds=given.rounds)
    same, switching = found.values()
    print(f"same network     {same:8.2f} ms a request")
    print(f"switching        {switching:8.2f} ms a request, {switching - same:+.2f} ms")
    write_json(given.json, found)


if __name__ == "__main__":
    main()
