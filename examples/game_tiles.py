"""Ground for a game: tiles whose opposite edges fit, and a sheet of each repeated to look at.

Run it: ``python examples/game_tiles.py tiles``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from promptengine import Engine, GenerationRequest, save_image

GROUNDS = ("grass", "sand", "water")


def draw_tiles(engine: Engine, names: tuple[str, ...], *, steps: int = 20) -> list[Image.Image]:
    """Make all tiles as one batch, with one seed so that they look like each other's kin."""
    requests = [
        GenerationRequest(prompt=f"{name}, seen from above", seed=7, steps=steps, tiling=True)
        for name in names
    ]
    return [result.images[0] for result in engine.generate_batch(requests)]


def repeat(tile: Image.Image, times: int = 3) -> Image.Image:
    """Lay a tile out side by side."""
    width, height = tile.size
    sheet = Image.new("RGB", (width * times, height * times))
    for row in range(times):
        for column in range(times):
            sheet.paste(tile, (column * width, row * height))
    return sheet


def main(target: str = "tiles", models: str = "models", steps: str = "8") -> None:
    """Write tiles and sheets."""
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    with Engine.open(models=models) as engine:
        tiles = draw_tiles(engine, GROUNDS, steps=int(steps))
    for name, tile in zip(GROUNDS, tiles, strict=True):
        save_image(tile, folder / f"{name}.png")
        save_image(repeat(tile), folder / f"{name}-sheet.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
