"""What an image costs beside the UNet calls it is made of: ``python -m tests.bench.bench_starter``.

Times whole generations with the starter checkpoint (20 steps, Euler a, CFG 7) and single UNet calls of the
same batch, in turns, with and without a hypernetwork. Prints medians and ratios.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

import torch

from promptengine import Engine, GenerationRequest
from tests.bench.timing import calibration, timed

ROOT = Path(__file__).parent.parent.parent
PROMPT = "a red house and two green trees, lake, sunset"
STEPS = 20
ROUNDS = 5


def unet_call(engine: Engine) -> None:
    """One guided step's share of the UNet: the prompt and the negative prompt together."""
    checkpoint = engine.checkpoint
    side, width = checkpoint.native_size // 8, checkpoint.text_encoder.config.hidden_size
    unet: Any = checkpoint.unet
    x, context = torch.zeros(2, 4, side, side), torch.zeros(2, 77, width)
    with torch.no_grad():
        unet(x, torch.full((2,), 500), context, return_dict=False)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(options.parse_args().threads)
    engine = Engine.open("starter", models=ROOT / "models", device="cpu")
    requests = {
        "plain": GenerationRequest(prompt=PROMPT, seed=1, steps=STEPS),
        "with <hypernet:neon:1>": GenerationRequest(
            prompt=f"{PROMPT} <hypernet:neon:1>", seed=1, steps=STEPS, policy="strict"
        ),
    }
    for request in requests.values():
        engine.generate(request)
    calls: list[float] = []
    wholes: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(ROUNDS):
        calls += timed(lambda: unet_call(engine), STEPS)
        for name, request in requests.items():
            wholes[name] += timed(lambda made=request: engine.generate(made), 1)
    call = median(calls)
    print(f"calibration {calibration():.2f} ms, one UNet call of batch 2 {call * 1e3:.1f} ms")
    for name, seconds in wholes.items():
        whole = median(seconds)
        print(
            f"{name}: {STEPS} steps {whole:.2f} s = {whole / (STEPS * call):.2f} x the UNet calls"
        )


if __name__ == "__main__":
    main()
