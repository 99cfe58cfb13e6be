"""How long a cold process takes: ``python -m tests.bench.bench_startup``.

Starts fresh processes, in turns: importing the package, ``promptengine parse``, importing torch and
diffusers' pipeline, and a first image of 20 steps with the starter checkpoint. Prints medians, ratios to importing
torch and diffusers, and the peak memory of the last.

The floor of the first image is importing torch and diffusers, and the steps. Bytecode is kept from the first round,
which does not count, as it is of a package that is installed. Multiply-adds of other processes are not counted.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench.results import report
from tests.bench.timing import Rows, compared, interleaved, options

ROOT = Path(__file__).parent.parent.parent
LIBRARIES = "import torch, diffusers"
PROMPT = "a yellow house and two red flowers, meadow, day <hypernet:vintage:1>"


def measure(*, threads: int, rounds: int) -> Iterator[tuple[str, Rows]]:
    """Time processes of each kind in turns, beside those that import the libraries."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def start(*arguments: str) -> None:
        command = [sys.executable, *arguments]
        subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)

    with tempfile.TemporaryDirectory() as folder:
        cli = ("-m", "promptengine")
        image = (*cli, "txt2img", PROMPT, "--seed", "1", "--checkpoint", "starter", "-o", folder)
        actions: dict[str, Callable[[], object]] = {
            "python": partial(start, "-c", ""),
            "import promptengine": partial(start, "-c", "import promptengine"),
            "promptengine parse": partial(start, *cli, "parse", "a (cat:1.3)"),
            LIBRARIES: partial(
                start, "-c", "import torch; from diffusers import StableDiffusionPipeline"
            ),
            "first image": partial(start, *image),
        }
        seconds = interleaved(actions, rounds)
    yield "a fresh process", compared(seconds, LIBRARIES, theirs=("python", LIBRARIES))


def peak() -> dict[str, float]:
    """Return the peak memory of the largest process so far, which makes an image."""
    kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"peak memory of an image (MiB)": kib / 1024}


def main() -> None:
    """Read the options, measure and print."""
    given = options(rounds=5).parse_args()
    tables = measure(threads=given.threads, rounds=given.rounds)
    report("bench_startup", given, tables, afterwards=peak)


if __name__ == "__main__":
    main()
