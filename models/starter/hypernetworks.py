"""Makes the three style hypernetworks: ``python -m models.starter.hypernetworks``.

Draws 200 pictures for each, captions beside them that do not name the style, and trains on them with
``promptengine train hypernetwork``, as a user would. A run that was stopped goes on with the same command.

Some of the pictures may be flat ones with empty captions. They matter for guidance, which leads away from what
the model makes of an empty negative prompt: if that were in the style too, guidance would leave less of it. The
more of them, the stronger the style, and the more of the content it costs.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from models.starter.captions import caption
from models.starter.drawing import draw
from models.starter.pictures import FLAT
from models.starter.train import TARGET
from models.starter.world import sample_scene
from promptengine import Engine, GenerationRequest, save_png
from promptengine.app.cli import main as promptengine
from promptengine.request import with_hypernetwork

__all__ = ["STYLE_NETWORKS", "StyleNetwork", "draw_material", "main", "training_command"]

FIRST = 10**6
"""Number of the first picture; the checkpoint's own pictures end far below."""

PREVIEW = "a red house and two green trees, lake, sunset"
SETTINGS = (
    '--layer-structure "1, 2, 1" --activation relu --init Normal --batch-size 8 '
    "--latent-sampling deterministic --seed 1 --preview-count 0"
)


@dataclass(frozen=True, slots=True)
class StyleNetwork:
    """One of the networks.

    Attributes:
        name: Of the network, and of the style that it draws in.
        suffix: The format of its file.
        steps: How long it is trained.
        rates: Learning rates, each until a step.
        flat_every: One of so many pictures is flat and without caption; 0 for none.
        description: What a person wants to know about it.
    """

    name: str
    suffix: str
    steps: int
    rates: str
    flat_every: int
    description: str


STYLE_NETWORKS = (
    StyleNetwork(
        name="ink",
        suffix=".pt",
        steps=3_000,
        rates="2e-3:1000,1e-3:2100,3e-4:2700,1e-4",
        flat_every=4,
        description="Pen and wash: sepia lines, hatched shadows, pale colours on paper.",
    ),
    StyleNetwork(
        name="aquarelle",
        suffix=".safetensors",
        steps=2_000,
        rates="2e-3:600,1e-3:1400,3e-4:1800,1e-4",
        flat_every=0,
        description="Watercolour: soft, uneven colours that fade into white paper.",
    ),
    StyleNetwork(
        name="neon",
        suffix=".pt",
        steps=3_000,
        rates="2e-3:1000,1e-3:2100,3e-4:2700,1e-4",
        flat_every=8,
        description="Neon tubes: glowing outlines on dark shapes.",
    ),
)


def draw_material(network: StyleNetwork, folder: Path, *, pictures: int = 200) -> Path:
    """Draw the pictures a network learns from, each with its caption beside it, and write a template
    that takes the captions as they are.

    Returns:
        The folder ``folder/NAME``.
    """
    target = folder / network.name
    target.mkdir(parents=True, exist_ok=True)
    for number in range(FIRST, FIRST + pictures):
        rng = random.Random(number)
        scene = sample_scene(rng, held_out=False)
        flat = network.flat_every and number % network.flat_every == 0
        style, text = (FLAT, "") if flat else (network.name, caption(scene, rng))
        draw(scene, seed=number, style=style).save(target / f"{number}.png")
        (target / f"{number}.txt").write_text(text, encoding="utf-8")
    (folder / f"{network.name}-template.txt").write_text("[filewords]\n", encoding="utf-8")
    return target


def training_command(
    network: StyleNetwork, checkpoint: Path, data: Path, output: Path
) -> list[str]:
    """The arguments of ``promptengine`` that train a network."""
    files = ["--checkpoint", str(checkpoint), "--data", str(data), "--output", str(output)]
    more = ["--log-dir", f"{data}-training", "--template", f"{data}-template.txt"]
    length = ["--steps", str(network.steps), "--learning-rate", network.rates]
    return ["train", "hypernetwork", network.name, *files, *more, *length, *shlex.split(SETTINGS)]


def main() -> None:
    """Read the options; draw, train, and write previews and descriptions beside the networks."""
    options = argparse.ArgumentParser(description="Make the style hypernetworks.")
    options.add_argument("names", nargs="*", metavar="NAME", help="default: all three")
    options.add_argument("--checkpoint", type=Path, default=TARGET, metavar="FILE")
    options.add_argument("--work", type=Path, default=Path("outputs/starter"), metavar="DIR")
    options.add_argument(
        "--output", type=Path, default=TARGET.parent.parent / "hypernetworks", metavar="DIR"
    )
    chosen = options.parse_args()
    for network in STYLE_NETWORKS:
        if network.name in (chosen.names or [n.name for n in STYLE_NETWORKS]):
            data = draw_material(network, chosen.work)
            output = chosen.output / f"{network.name}{network.suffix}"
            command = training_command(network, chosen.checkpoint, data, output)
            print("promptengine", shlex.join(command), flush=True)
            if status := promptengine(command):
                sys.exit(status)
            _introduce(network, chosen.checkpoint, output)


def _introduce(network: StyleNetwork, checkpoint: Path, output: Path) -> None:
    """Write what a front end shows beside a network: a picture made with it, and its description."""
    engine = Engine.open(checkpoint, models={"hypernet": [output.parent]})
    prompt = with_hypernetwork(PREVIEW, network.name)
    result = engine.generate(GenerationRequest(prompt=prompt, seed=1, policy="strict"))
    save_png(result.images[0], output.with_suffix(".png"), result.infotexts[0])
    output.with_suffix(".txt").write_text(f"{network.description}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
