"""How long a cold process takes: ``python -m tests.bench.bench_startup``.

Starts fresh processes, in turns: importing the package, ``promptengine parse``, importing torch and
diffusers' pipeline, and a first image of 20 steps with the starter checkpoint. Prints medians, and the peak
memory of the last.

The floor of the first image is importing torch and diffusers, and the steps. Bytecode is kept from the first round,
which does not count, as it is of a package that is installed.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from tests.bench.timing import calibration, interleaved, options, write_json

ROOT = Path(__file__).parent.parent.parent
PROMPT = "a yellow house and two red flowers, meadow, day <hypernet:vintage:1>"


def measure(*, threads: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of each kind of process, and the peak memory of an image in MiB."""
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
            "import torch, diffusers": partial(
                start, "-c", "import torch; from diffusers import StableDiffusionPipeline"
            ),
            "first image": partial(start, *image),
        }
        seconds = interleaved(actions, rounds)
    found = {name: median(spent) for name, spent in seconds.items()}
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return found | {"peak_mib": peak}


def main() -> None:
    """Read the options, measure and print."""
    given = options(rounds=5).parse_args()
    print(f"calibration: 100,000 turns of a plain loop {calibration():.3f} ms")
    found = measure(threads=given.threads, rounds=given.rounds)
    *seconds, (_, peak) = found.items()
    for name, spent in seconds:
        print(f"{name:<28}{spent:8.2f} s")
    print(f"peak memory of an image    {peak:8.0f} MiB")
    write_json(given.json, found)


if __name__ == "__main__":
    main()
