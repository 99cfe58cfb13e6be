"""A server under more clients than it has room for: ``python -m tests.bench.bench_server``.

Starts ``promptengine serve`` with the tests' tiny checkpoint, or that of ``--models``, and lets 200 clients ask for images for a
minute, each again as soon as it is answered; one that is refused waits a moment. Every request must be
answered with 200 or 503, every image's infotext must be that of its request, and the server must be idle
afterwards. Prints how many were answered, the 95th percentile of ``/progress`` meanwhile, how much the
process grew once it was warm, and how many times as fast eight jobs with different networks are when they wait
together as one after another.

The floor. Clients and server share this machine's cores, so ``/progress`` waits for both; what is left is
the time that torch and the encoding of images keep the interpreter's lock.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import random
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from promptengine.infotext.read import read_infotext
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS


@dataclass
class Findings:
    """What was seen.

    Attributes:
        statuses: How often each was answered.
        mixed_up: Images whose infotext is not that of their request.
    """

    statuses: Counter[int] = field(default_factory=Counter[int])
    mixed_up: int = 0


@contextmanager
def served(models: Path | None, queue: int, log: Path) -> Iterator[tuple[str, int]]:
    """A server's address and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if models is None:
        arguments = ["--checkpoint", str(CHECKPOINT), "--config", str(CONFIG)]
        arguments += ["--hypernetwork-dir", str(NETWORKS)]
    else:
        arguments = ["--models", str(models)]
    arguments += ["--device", "cpu", "--port", str(port), "--queue", str(queue)]
    command = [sys.executable, "-m", "promptengine", "serve", *arguments]
    with log.open("wb") as file, subprocess.Popen(command, stderr=file) as process:
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        try:
            yield url, process.pid
        finally:
            process.terminate()


async def client(
    http: httpx.AsyncClient, number: int, names: Sequence[str], until: float, seen: Findings
) -> None:
    """Ask again and again, with one of the networks."""
    draw = random.Random(number)
    turn = 0
    while time.monotonic() < until:
        turn += 1
        prompt = f"cat {number} of {turn} <hypernet:{draw.choice(names)}:0.{draw.randint(1, 9)}>"
        body = {"prompt": prompt, "seed": number * 1000 + turn, "steps": 2}
        answer = await http.post("/sdapi/v1/txt2img", json={**body, "width": 64, "height": 64})
        seen.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            seen.mixed_up += not matches(answer.json(), body)
        else:
            await asyncio.sleep(0.5 + draw.random())


def matches(answer: dict[str, Any], body: dict[str, Any]) -> bool:
    """Whether an image was made by a request."""
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        infotext = read_infotext(str(image.info["parameters"]))
    return infotext.prompt == body["prompt"] and infotext.entries["Seed"] == str(body["seed"])


def watch(url: str, pid: int, seconds: float) -> list[tuple[float, int]]:
    """Seconds of each ``/progress``, and the server's bytes then; in a process of its own, so that the
    clients do not hold it up.
    """
    found: list[tuple[float, int]] = []
    process, until = psutil.Process(pid), time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=30) as http:
        while time.monotonic() < until:
            begin = time.perf_counter()
            http.get("/sdapi/v1/progress").raise_for_status()
            found.append((time.perf_counter() - begin, process.memory_info().rss))
            time.sleep(0.1)
    return found


def names_at(url: str) -> list[str]:
    """The hypernetworks that a server has."""
    return [network["name"] for network in httpx.get(f"{url}/sdapi/v1/hypernetworks").json()]


async def load(url: str, clients: int, seconds: float) -> Findings:
    """Let all clients ask at once, until the time is over and all are answered."""
    names = names_at(url)
    seen, until = Findings(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients + 1, max_keepalive_connections=clients + 1)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        asking = [client(http, number, names, until, seen) for number in range(clients)]
        await asyncio.gather(*asking)
        idle = (await http.get("/sdapi/v1/progress")).json()
    assert idle["progress"] == 0
    assert idle["state"]["job_count"] == 0
    return seen


async def joined(url: str, rounds: int) -> float:
    """How many times as fast eight jobs with different networks are that wait together."""
    names = names_at(url)

    async def ask(http: httpx.AsyncClient, number: int) -> None:
        prompt = f"cat <hypernet:{names[number % len(names)]}:0.{number + 1}>"
        body = {"prompt": prompt, "seed": number, "steps": 10, "width": 128, "height": 128}
        (await http.post("/sdapi/v1/txt2img", json=body)).raise_for_status()

    ratios: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=300) as http:
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            for number in range(8):
                await ask(http, number)
            apart = time.perf_counter() - begin
            begin = time.perf_counter()
            await asyncio.gather(*(ask(http, number) for number in range(8)))
            ratios.append(apart / (time.perf_counter() - begin))
    return statistics.median(ratios[1:])


def main() -> int:
    """Read the options, load a server and print."""
    parser = argparse.ArgumentParser(description="A server under load.")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--models", type=Path, help="default: the tests' tiny checkpoint")
    parser.add_argument("--log", type=Path, default=Path("bench_server.log"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with (
        served(given.models, given.queue, given.log) as (url, pid),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        watching = pool.submit(watch, url, pid, given.seconds)
        seen = asyncio.run(load(url, given.clients, given.seconds))
        watched = watching.result()
        speed = asyncio.run(joined(url, rounds=5))
    # At first the server grows by what it loads.
    warm = [taken for _, taken in watched[len(watched) // 4 :]]
    part = max(len(warm) // 4, 1)
    early, late = statistics.median(warm[:part]), statistics.median(warm[-part:])
    delays = [seconds for seconds, _ in watched]
    figures = {
        "answered": dict(seen.statuses),
        "mixed_up": seen.mixed_up,
        "progress_p95_ms": round(1000 * statistics.quantiles(delays, n=20)[-1], 1),
        "growth_percent": round(100 * (late - early) / early, 2),
        "joined_speed": round(speed, 2),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return int(seen.mixed_up > 0 or not seen.statuses.keys() <= {200, 503})


if __name__ == "__main__":
    sys.exit(main())
