"""Makes the three style hypernetworks: ``python -m models.starter.hypernetworks``.

Draws 200 pictures for each, with captions beside them that state the whole scene and do not name the style, and
trains on them with ``promptengine train hypernetwork``, as a user would. A run that was stopped goes on with the
same command.

One picture in five has an empty caption. It matters for guidance, which leads away from what the model makes of an
empty negative prompt, sevenfold: where only captioned pictures are in the style, it is exaggerated until things
melt together; where both are alike, guidance leaves the style as it is and brings out the content.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from models.starter.drawing import draw
from models.starter.train import TARGET
from models.starter.world import full_caption, sample_scene
from promptengine import Engine, GenerationRequest, save_png
from promptengine.cli.main import main as promptengine
from promptengine.request.edit import append_hypernetwork

__all__ = ["STYLE_NETWORKS", "StyleNetwork", "draw_material", "main", "training_command"]

FIRST = 10**6
"""Number of the first picture; the checkpoint's own pictures end far below."""

PREVIEW = "a yellow house and two red flowers, meadow, day"
EMPTY_EVERY = 5
SETTINGS = (
    '--layer-structure "1, 2, 1" --activation relu --init Normal --shuffle-tags --batch-size 8 '
    "--steps 1500 --learning-rate 2e-3:500,1e-3:1050,3e-4:1350,1e-4 "
    "--latent-sampling deterministic --seed 1 --preview-count 0"
)


@dataclass(frozen=True, slots=True)
class StyleNetwork:
    """One of the networks.

    Attributes:
        name: Of the network.
        suffix: The format of its file.
        description: What a person wants to know about it.
        style: That it draws in; empty for the one of its own name.
    """

    name: str
    suffix: str
    description: str
    style: str = ""


STYLE_NETWORKS = (
    StyleNetwork("neon", ".pt", "Neon tubes: glowing outlines on dark shapes."),
    StyleNetwork("vintage", ".pt", "An old print: faded colours on yellowed paper."),
    StyleNetwork("pastel", ".safetensors", "Sugared almonds: light pinks and lilacs."),
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
        scene = sample_scene(random.Random(number), held_out=False)
        text = full_caption(scene) if number % EMPTY_EVERY else ""
        draw(scene, seed=number, style=network.style or network.name).save(target / f"{number}.png")
        (target / f"{number}.txt").write_text(text, encoding="utf-8")
    (folder / f"{network.name}-template.txt").write_text("[filewords]\n", encoding="utf-8")
    return target


def training_command(
    network: StyleNetwork, checkpoint: Path, data: Path, output: Path
) -> list[str]:
    """The arguments of ``promptengine`` that train a network."""
    files = ["--checkpoint", str(checkpoint), "--data", str(data), "--output", str(output)]
    more = ["--log-dir", f"{data}-training", "--template", f"{data}-template.txt"]
    return ["train", "hypernetwork", network.name, *files, *more, *shlex.split(SETTINGS)]


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
    prompt = append_hypernetwork(PREVIEW, network.name)
    result = engine.generate(GenerationRequest(prompt=prompt, seed=1, policy="strict"))
    save_png(result.images[0], output.with_suffix(".png"), result.infotexts[0])
    output.with_suffix(".txt").write_text(f"{network.description}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
