"""One image for each line of a text file, every one with its infotext inside.

Run it: ``python examples/batch.py prompts.txt images``. Lines that are images already are skipped, so
that it can be stopped and begun again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from promptengine import Engine, GenerationRequest, PromptEngineError, save_image


def draw_lines(engine: Engine, lines: list[str], target: Path, *, steps: int = 20) -> list[Path]:
    """Make what is not yet there, and return the files that were written."""
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for number, line in enumerate(lines):
        path = target / f"{number:04}.png"
        if not line.strip() or path.exists():
            continue
        try:
            result = engine.generate(GenerationRequest(prompt=line, seed=number, steps=steps))
        except PromptEngineError as error:
            print(f"line {number + 1}: {error}", file=sys.stderr)
            continue
        save_image(result.images[0], path, result.infotexts[0])
        for network in result.networks:
            if not network.applied:
                print(f"line {number + 1}: {network.name}: {network.reason}", file=sys.stderr)
        written.append(path)
    return written


def main(prompts: str, target: str = "images", models: str = "models", steps: str = "8") -> None:
    """Make the images of a file."""
    lines = Path(prompts).read_text(encoding="utf-8").splitlines()
    with Engine.open(models=models) as engine:
        for path in draw_lines(engine, lines, Path(target), steps=int(steps)):
            print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
