"""Makes the images of the page about networks: ``python -m models.starter.networks_page``.

It runs what the page shows, in the page's order, and keeps what each block with an image below it wrote last. So
the images are those that a reader gets, and the commands are known to run.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from promptengine.cli.main import main as promptengine

__all__ = ["IMAGES", "PAGE", "main", "run_page"]

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "how-to" / "networks.md"
IMAGES = ROOT / "models" / "starter" / "networks"

_BLOCK = re.compile(
    r"^```(sh|python)\n(.*?)^```\n(?:\n!\[[^\]]*\]\(\.\./images/networks/([\w-]+)\.webp\))?",
    re.DOTALL | re.MULTILINE,
)
_MAKING = ("txt2img", "grid")


def run_page(*, steps: int | None = None) -> Iterator[tuple[str, Path]]:
    """Run the page's commands and examples in the current folder, where ``models`` must be the repository's.

    Args:
        steps: Of every command that makes images, in place of its own.

    Yields:
        For each image of the page its name, and the file that the block above it wrote last.

    Raises:
        RuntimeError: A command fails, or a block with an image below it writes none.
    """
    names: dict[str, object] = {}
    for language, block, image in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        before = _written()
        if language == "python":
            exec(compile(block, PAGE.name, "exec"), names)
        else:
            for line in block.replace("\\\n", " ").splitlines():
                _run(line, steps)
        if image:
            new = sorted(_written() - before, key=lambda path: path.stat().st_mtime_ns)
            if not new:
                raise RuntimeError(f"{PAGE.name}: no image was written for {image}")
            yield image, new[-1]


def _run(line: str, steps: int | None) -> None:
    command, *arguments = shlex.split(line)
    if command != "promptengine":
        raise RuntimeError(f"{PAGE.name}: {line!r} is no command of promptengine")
    if steps is not None and arguments[0] in _MAKING:
        arguments += ["--steps", str(steps)]
    if promptengine(arguments):
        raise RuntimeError(f"{PAGE.name}: {line!r} failed")


def _written() -> set[Path]:
    return {*Path().glob("*.png"), *Path().glob("outputs/*.png")}


def main() -> None:
    """Run the page in a folder of its own, and keep its images."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("models").symlink_to(ROOT / "models")
        for name, path in run_page():
            with Image.open(path) as image:
                image.save(IMAGES / f"{name}.webp", quality=90, method=6)


if __name__ == "__main__":
    main()
