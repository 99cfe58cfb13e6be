"""What an image costs beside the UNet calls it is made of: ``python -m tests.bench.bench_starter``.

Times whole generations with the starter checkpoint (20 steps, Euler a, CFG 7), with and without a hypernetwork, and
as many UNet calls of the same batch, in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from promptengine import Engine, GenerationRequest
from tests.bench.floor import measured, quickest_product
from tests.bench.results import report
from tests.bench.timing import Rows, options

ROOT = Path(__file__).parent.parent.parent
PROMPT = "a red house and two green trees, lake, sunset"
STEPS = 20


def unet_calls(engine: Engine) -> None:
    """The UNet's share of all guided steps: the prompt and the negative prompt together."""
    checkpoint = engine.checkpoint
    side, width = checkpoint.native_size // 8, checkpoint.text_encoder.config.hidden_size
    unet: Any = checkpoint.unet
    x, context = torch.zeros(2, 4, side, side), torch.zeros(2, 77, width)
    with torch.no_grad():
        for _ in range(STEPS):
            unet(x, torch.full((2,), 500), context, return_dict=False)


def measure(*, rounds: int) -> Iterator[tuple[str, Rows]]:
    """Time images in turns, beside their UNet calls."""
    engine = Engine.open("starter", models=ROOT / "models", device="cpu")
    plain = GenerationRequest(prompt=PROMPT, seed=1, steps=STEPS)
    prompt = f"{PROMPT} <hypernet:neon:1>"
    with_network = GenerationRequest(prompt=prompt, seed=1, steps=STEPS, policy="strict")
    actions: dict[str, Callable[[], object]] = {
        "UNet calls alone": partial(unet_calls, engine),
        "plain": partial(engine.generate, plain),
        "with <hypernet:neon:1>": partial(engine.generate, with_network),
    }
    base, floor = "UNet calls alone", quickest_product(torch.float32)
    yield f"{STEPS} steps", measured(actions, base, rounds=rounds, floor=floor, theirs=(base,))


def main() -> None:
    """Read the options, measure and print."""
    given = options(rounds=5).parse_args()
    report("bench_starter", given, measure(rounds=given.rounds))


if __name__ == "__main__":
    main()
