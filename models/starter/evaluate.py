"""Does the checkpoint draw what it is told? ``python -m models.starter.evaluate``.

Prompts state whole scenes whose combinations were held out from training; a probe that knows drawings
only says what the pictures show. Prints the table of the model card.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict
from pathlib import Path

import torch

from models.starter.probe import Probe, Verdict, drawn, judge, stacked, train_probe
from models.starter.train import TARGET
from models.starter.world import full_caption, sample_scene
from promptengine import Engine, GenerationRequest

__all__ = ["evaluate", "main"]


def evaluate(engine: Engine, probe: Probe, *, pictures: int, steps: int = 20) -> Verdict:
    """Draw ``pictures`` held-out scenes (Euler a, CFG 7) and judge them."""
    rng = random.Random("evaluation")
    scenes = [sample_scene(rng, held_out=True) for _ in range(pictures)]
    images = [
        engine.generate(
            GenerationRequest(prompt=full_caption(scene), seed=seed, steps=steps, sampler="Euler a")
        ).images[0]
        for seed, scene in enumerate(scenes)
    ]
    return judge(probe, stacked(images), scenes)


def probe_accuracy(probe: Probe, *, pictures: int) -> Verdict:
    """Judge drawings that the probe has not seen: what it can be trusted with."""
    first = 10**9
    seeds = range(first, first + pictures)
    pixels, _ = drawn(seeds)
    scenes = [sample_scene(random.Random(f"probe {seed}"), held_out=None) for seed in seeds]
    return judge(probe, pixels, scenes)


def main() -> None:
    """Read the options, evaluate and print."""
    options = argparse.ArgumentParser(description="Judge the starter checkpoint.")
    options.add_argument("--checkpoint", type=Path, default=TARGET, metavar="FILE")
    options.add_argument("--work", type=Path, default=Path("outputs/starter"), metavar="DIR")
    options.add_argument("--pictures", type=int, default=300, metavar="N")
    options.add_argument("--probe-steps", type=int, default=2_000, metavar="N")
    chosen = options.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    probe = train_probe(
        chosen.work / "probe.pt", steps=chosen.probe_steps, device=torch.device("cpu")
    )
    engine = Engine.open(chosen.checkpoint, models=chosen.checkpoint.parent, device="cpu")
    columns = {
        "held-out drawings": probe_accuracy(probe, pictures=1_000),
        "generated pictures": evaluate(engine, probe, pictures=chosen.pictures),
    }
    print("| judged | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name in asdict(next(iter(columns.values()))):
        shares = (f"{getattr(verdict, name):.1%}" for verdict in columns.values())
        print(f"| {name} | " + " | ".join(shares) + " |")


if __name__ == "__main__":
    main()
