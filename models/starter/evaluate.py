"""Does the checkpoint draw what it is told? ``python -m models.starter.evaluate``.

Prompts state whole scenes whose combinations were held out from training; a probe that knows drawings
only says what the pictures show. ``--networks`` judges the hypernetworks instead: their style at rising
multipliers, and what they leave of the content. Prints the tables of the model card.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.starter.probe import (
    PROBE_FILE,
    Probe,
    Verdict,
    drawing,
    judge,
    load_probe,
    probe_scene,
    probe_style,
    save_probe,
    stacked,
    style_shares,
    train_probe,
)
from models.starter.train import TARGET
from models.starter.world import STYLES, Scene, full_caption, sample_scene
from promptengine import Engine, GenerationRequest
from promptengine.request.edit import append_hypernetwork

__all__ = ["StyleVerdict", "evaluate", "evaluate_style", "held_out_scenes", "main"]

MULTIPLIERS = (0.0, 0.25, 0.5, 0.75, 1.0)
AT_ONCE = 8


def held_out_scenes(count: int) -> list[Scene]:
    """The scenes of the evaluation, always the same: each has a combination training never showed."""
    rng = random.Random("evaluation")
    return [sample_scene(rng, held_out=True) for _ in range(count)]


def pictures_of(
    engine: Engine,
    scenes: Sequence[Scene],
    *,
    steps: int = 20,
    use: tuple[str, float] | None = None,
    cache_interval: int = 1,
) -> torch.Tensor:
    """Draw scenes with Euler a at CFG 7, scene i from seed i.

    Args:
        engine: The model.
        scenes: What to draw; the prompt is the caption that states all of it.
        steps: Of the sampler.
        use: A hypernetwork's name and multiplier.
        cache_interval: As requests have it.

    Returns:
        ``[scenes, 3, 128, 128]`` in -1..1.
    """
    requests: list[GenerationRequest] = []
    for seed, scene in enumerate(scenes):
        prompt = full_caption(scene)
        if use is not None:
            prompt = append_hypernetwork(prompt, use[0], f"{use[1]:g}")
        requests.append(
            GenerationRequest(
                prompt=prompt,
                seed=seed,
                steps=steps,
                cache_interval=cache_interval,
                policy="strict",
            )
        )
    images: list[Image.Image] = []
    for start in range(0, len(requests), AT_ONCE):
        for result in engine.generate_batch(requests[start : start + AT_ONCE]):
            images += result.images
    return stacked(images)


def evaluate(
    engine: Engine, probe: Probe, *, pictures: int, steps: int = 20, cache_interval: int = 1
) -> Verdict:
    """Draw held-out scenes and judge them."""
    scenes = held_out_scenes(pictures)
    drawn = pictures_of(engine, scenes, steps=steps, cache_interval=cache_interval)
    return judge(probe, drawn, scenes)


@dataclass(frozen=True, slots=True)
class StyleVerdict:
    """What a hypernetwork does at one multiplier.

    Attributes:
        multiplier: The multiplier.
        style: Mean probability of its style, from 0 to 1.
        content: What the pictures show.
    """

    multiplier: float
    style: float
    content: Verdict


def evaluate_style(
    engine: Engine, probe: Probe, name: str, *, pictures: int, steps: int = 20
) -> list[StyleVerdict]:
    """Judge the hypernetwork ``name``, which stands for the style of the same name."""
    scenes = held_out_scenes(pictures)
    verdicts: list[StyleVerdict] = []
    for multiplier in MULTIPLIERS:
        pixels = pictures_of(engine, scenes, steps=steps, use=(name, multiplier))
        style = style_shares(probe, pixels)[:, STYLES.index(name)].mean()
        verdicts.append(StyleVerdict(multiplier, float(style), judge(probe, pixels, scenes)))
    return verdicts


def probe_accuracy(probe: Probe, *, pictures: int, styles: Sequence[str]) -> Verdict:
    """Judge drawings in some styles that the probe has not seen: what it can be trusted with."""
    first = 10**9
    indices = [i for i in range(first, first + 8 * pictures) if probe_style(i) in styles][:pictures]
    pixels = stacked([drawing(index) for index in indices])
    return judge(probe, pixels, [probe_scene(index) for index in indices])


def main() -> None:
    """Read the options, evaluate and print."""
    options = argparse.ArgumentParser(description="Judge the starter checkpoint.")
    options.add_argument("--checkpoint", type=Path, default=TARGET, metavar="FILE")
    options.add_argument("--work", type=Path, default=Path("outputs/starter"), metavar="DIR")
    options.add_argument("--pictures", type=int, default=300, metavar="N")
    options.add_argument("--networks", nargs="*", metavar="NAME", help="judge these instead")
    options.add_argument(
        "--train-probe", action="store_true", help="train the probe anew, an hour on two cores"
    )
    options.add_argument(
        "--cache",
        type=int,
        nargs="*",
        default=[],
        metavar="N",
        help="judge these intervals instead",
    )
    chosen = options.parse_args()
    if chosen.train_probe:
        chosen.work.mkdir(parents=True, exist_ok=True)
        device = torch.device("cpu")
        save_probe(
            train_probe(chosen.work, pictures=40_000, steps=6_000, device=device), PROBE_FILE
        )
    probe = load_probe()
    engine = Engine.open(chosen.checkpoint, models=chosen.checkpoint.parent.parent, device="cpu")
    if chosen.cache:
        _print_contents(
            {
                f"every {interval}": evaluate(
                    engine, probe, pictures=chosen.pictures, cache_interval=interval
                )
                for interval in chosen.cache
            }
        )
    elif chosen.networks is None:
        _print_contents(
            {
                "held-out drawings": probe_accuracy(probe, pictures=1_000, styles=STYLES[:1]),
                "in other styles": probe_accuracy(probe, pictures=1_000, styles=STYLES[1:]),
                "generated pictures": evaluate(engine, probe, pictures=chosen.pictures),
            }
        )
    for name in chosen.networks or ():
        _print_style(name, evaluate_style(engine, probe, name, pictures=chosen.pictures))


def _print_contents(columns: dict[str, Verdict]) -> None:
    print("| judged | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name in asdict(next(iter(columns.values()))):
        shares = (f"{getattr(verdict, name):.1%}" for verdict in columns.values())
        print(f"| {name} | " + " | ".join(shares) + " |")


def _print_style(name: str, verdicts: Sequence[StyleVerdict]) -> None:
    print(f"| {name} | " + " | ".join(f"{v.multiplier:g}" for v in verdicts) + " |")
    print("|---|" + "---|" * len(verdicts))
    print("| style | " + " | ".join(f"{v.style:.1%}" for v in verdicts) + " |")
    contents = [np.mean(list(asdict(v.content).values())) for v in verdicts]
    print("| content | " + " | ".join(f"{share:.1%}" for share in contents) + " |")


if __name__ == "__main__":
    main()
