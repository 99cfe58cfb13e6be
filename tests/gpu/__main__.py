"""What only a GPU can show: goldens, precision, rows, graphs, what leaves the device, speed, memory. ``python -m tests.gpu --device cuda``.

Each part is done while there is time, and what was left out for want of it is told. Ends with 1 where a figure
is beyond its limit.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from promptengine import Engine
from promptengine.accel.offload import OFFLOADS
from tests.bench.machine import Machine
from tests.bench.timing import print_table, write_json
from tests.checkpoints.full_size import DTYPE, configured, write_random
from tests.gpu.checks import BASE as BASE_REQUEST
from tests.gpu.checks import CHECKS, TAGS, Finding, Setup, apart
from tests.gpu.speed import BASE, CACHED, measure

ROOT = Path(__file__).parent.parent.parent
GOLDENS = ("components", "txt2img", "img2img", "hires", "lora", "lora_kinds", "sched", "tome")
"""Conformance tests whose tensors a device computes; their tolerances are those of the CPU."""
LIMITS = {"ours compiled, linear network": 1.0, "ours compiled, relu network": 1.05}
"""Ratios to diffusers compiled that full-size UNets keep."""


class Report:
    """What was found so far, and how much time is left.

    Args:
        seconds: In all.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.figures: dict[str, object] = {}
        self.failed: list[str] = []

    def run(self, name: str, part: Callable[[], Iterator[Finding]], *, needs: float) -> None:
        """Do a part, if ``needs`` seconds are left; an exception is a finding too."""
        left = self._end - time.monotonic()
        if left < needs:
            print(f"\n{name}: left out, {left:.0f} s are left and it needs {needs:.0f}", flush=True)
            self.figures[name] = "left out"
            return
        print(f"\n{name}", flush=True)
        start = time.monotonic()
        try:
            for found in part():
                print(f"  {found}", flush=True)
                self.figures[f"{name}: {found.name}"] = found.value
                if not found.holds:
                    self.failed.append(found.name)
        except Exception as error:  # noqa: BLE001 - one part must not cost the others their turn
            print(f"  FAIL {type(error).__name__}: {error}", flush=True)
            self.failed.append(name)
        print(f"  {time.monotonic() - start:.0f} s", flush=True)


def goldens(device: str, workers: int, names: Sequence[str]) -> Iterator[Finding]:
    """Run conformance tests with the engine on the device, in float32 without TF32."""
    files = [f"tests/conformance/test_{name}.py" for name in names]
    present = [file for file in files if (ROOT / file).is_file()]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *present,
        "-n",
        str(workers),
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "PROMPTENGINE_TEST_DEVICE": device, "NVIDIA_TF32_OVERRIDE": "0"}
    done = subprocess.run(
        [*command, "-W", "default", "--tb=line"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    for line in (*failures[:40], *lines[-1:]):
        print(f"  {line}")
    yield Finding("golden tests that fail", len(failures) + (done.returncode > 1), 0)


def speed(model: str, batch: int, report: Report, given: argparse.Namespace) -> Iterator[Finding]:
    """Time one UNet; limits hold on a GPU, where diffusers is compiled too."""
    on_gpu = given.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    title = f"UNet of {model}, {batch} images, {given.dtype}"
    rows = measure(
        model,
        batch,
        dtype=getattr(torch, given.dtype),
        device=given.device,
        rounds=given.rounds,
        backend=given.backend,
    )
    print_table(title, rows)
    report.figures[title] = rows
    for name, limit in LIMITS.items() if on_gpu and BASE in rows else ():
        yield Finding(f"{name}, to diffusers compiled", rows[name].ratio.value, limit)
    shared = rows[CACHED].seconds / rows["ours, no network"].seconds
    yield Finding("a call at cache interval 3", shared, 1 / 1.8 if on_gpu else None)
    if on_gpu:
        peak = torch.cuda.max_memory_allocated() / 2**30
        yield Finding("peak GiB of all copies together", peak)


def peaks(model: str, device: str) -> Iterator[Finding]:
    """Tell the memory that an image of a full-size model takes on a GPU, for each way to keep the model there.

    The weights are random; each way must take less than the one before, and make the same image.
    """
    stays: torch.Tensor | None = None
    before = math.inf
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model}.safetensors"
        write_random(configured(model).weights(), path, DTYPE[model])
        for kind in OFFLOADS:
            with Engine.open(path, folder, None, device, "float16", offload=kind.name) as engine:
                torch.cuda.reset_peak_memory_stats()
                start = time.monotonic()
                made = engine.generate(replace(BASE_REQUEST, width=None, height=None)).latents
                seconds = time.monotonic() - start
            peak = torch.cuda.max_memory_allocated() / 2**30
            yield Finding(f"offload {kind.name}, peak GiB", peak, before)
            yield Finding(f"offload {kind.name}, seconds of an image", seconds)
            stays, before = made if stays is None else stays, peak
            yield Finding(f"offload {kind.name}, from none, float16", apart(made, stays), 0.05)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options and do all parts; returns 1 where some figure is beyond its limit."""
    parser = argparse.ArgumentParser(description="Show what only a GPU can show.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="tiny models, no goldens")
    parser.add_argument("--seconds", type=float, default=450, metavar="N", help="in all")
    parser.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32"])
    parser.add_argument("--backend", default="inductor", help="of torch.compile; empty for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args(arguments)
    print(Machine.here(given.device))
    report = Report(given.seconds)
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(Path(folder), given.device, backend=given.backend or "eager")
        if given.small:
            setup = replace(setup, dtypes=("float32", "bfloat16"), tags=TAGS[:1] + TAGS[3:5])
        for name, check in CHECKS.items():
            report.run(name, partial(check, setup), needs=10)
    if not given.small:
        workers = min(8, os.cpu_count() or 1)
        report.run("goldens", partial(goldens, given.device, workers, GOLDENS), needs=90)
    models = ("tiny", "tiny sdxl") if given.small else ("sd15", "sdxl")
    for model in models if given.device.startswith("cuda") and not given.small else ():
        report.run(f"memory: {model}", partial(peaks, model, given.device), needs=90)
    for model in models:
        for batch in (1,) if given.small else (1, 4, 8):
            part = partial(speed, model, batch, report, given)
            report.run(f"speed: {model}, {batch}", part, needs=0 if given.small else 60)
            torch._dynamo.reset()
    write_json(given.json, report.figures)
    print(
        f"\n{len(report.failed)} figures beyond their limits: {', '.join(report.failed) or 'none'}"
    )
    return bool(report.failed)


if __name__ == "__main__":
    sys.exit(main())
