"""Servers on this machine for tests: with the tiny model, or with images that cost nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import httpx
import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image

from promptengine.errors import GenerationCancelled
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult
from promptengine.scripts.run import drive_script
from promptengine.scripts.script import ScriptContext, ScriptOutput
from promptengine.scripts.table import find_script
from promptengine.server.config import ServerConfig
from promptengine.server.jobs.job import Control, Made, Work
from promptengine.server.run import server_of
from promptengine.server.sockets import bound_sockets

SMALL = {"prompt": "a cat", "steps": 2, "width": 64, "height": 64, "seed": 7}
"""A request that is quick to meet."""


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve an application on a port of its own; yields where."""
    # A client that listens to events does not go by itself.
    limits = {"timeout_graceful_shutdown": 5}
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, **limits)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def attacked(app: FastAPI, config: ServerConfig) -> Iterator[int]:
    """Serve an application as the command does; yields the port."""
    (own,) = bound_sockets("127.0.0.1", 0)
    server = server_of(config, app)
    thread = threading.Thread(target=server.run, args=([own],), daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield own.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


def sent_raw(port: int, *pieces: bytes, whole: bool = True) -> bytes:
    """What a server answers to some bytes, each sent after an answer to the one before.

    Args:
        port: Of the server, on this machine.
        pieces: What to send.
        whole: Whether to wait until the server closes the connection.
    """
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        for number, piece in enumerate(pieces, 1):
            connection.sendall(piece)
            if number < len(pieces) or not whole:
                answer += connection.recv(1 << 16)
        while whole and (received := connection.recv(1 << 16)):
            answer += received
    return answer


@contextmanager
def client_of(app: FastAPI, **options: object) -> Iterator[httpx.Client]:
    """A client of an application that is served."""
    with running(app) as url, httpx.Client(base_url=url, timeout=120, **options) as client:
        yield client


@dataclass
class Painter:
    """Makes images of one color, at the pace of a test; scripts are run with such images.

    Attributes:
        gate: Each step waits for it.
        steps: Steps of each batch.
        held_at: The step that waits for ``go_on`` as well, told of already; 0 for none.
        go_on: Lets the held step go on.
        fails: Prompts that make a batch fail.
        batches: The prompts of each batch that was begun.
    """

    gate: threading.Event = field(default_factory=threading.Event)
    steps: int = 3
    held_at: int = 0
    go_on: threading.Event = field(default_factory=threading.Event)
    fails: tuple[str, ...] = ()
    batches: list[list[str]] = field(default_factory=list)

    def __call__(self, works: Sequence[Work], batch: int, control: Control) -> list[Made]:
        prompts = [request.prompt for work in works for request in work.requests]
        self.batches.append(prompts)
        ended: dict[int, Made] = {}
        for step in range(1, self.steps + 1):
            while not self.gate.wait(0.005):
                if control.cancel.is_set():
                    raise GenerationCancelled("stopped")
                self._end(works, batch, control, ended)
                if len(ended) == len(works):
                    return [ended[number] for number in range(len(works))]
            if control.cancel.is_set():
                raise GenerationCancelled("stopped")
            previews = [Image.new("RGB", (8, 8), "red") for _ in works]
            control.on_step(step, self.steps, previews)
            if step == self.held_at:
                self.go_on.wait(60)
        if any(prompt in self.fails for prompt in prompts):
            raise RuntimeError("secret words of the machine")
        if works[0].script is not None:
            return [scripted(works[0], control)]
        return [
            ended.get(number) or [painted(request, batch) for request in work.requests]
            for number, work in enumerate(works)
        ]

    @staticmethod
    def _end(
        works: Sequence[Work],
        batch: int,
        control: Control,
        ended: dict[int, Made],
    ) -> None:
        """Take the works that were interrupted as they are."""
        for number, interrupt in enumerate(control.interrupts):
            if interrupt.ends_batch and number not in ended:
                made = [painted(request, batch) for request in works[number].requests]
                cut = [replace(one, unfinished=tuple(range(len(one.images)))) for one in made]
                ended[number] = cut
                if interrupt.stopped and len(ended) < len(works):
                    control.on_interrupted(number, cut)


def painted(request: GenerationRequest, batch: int) -> GenerationResult:
    """A result whose infotexts name prompt and seed."""
    count = request.batch_images
    seeds = tuple(request.seed + batch * count + number for number in range(count))
    own = request.start.images[0].size if request.start else (64, 64)
    size = (request.width or own[0], request.height or own[1])
    infotexts = tuple(
        f"{request.prompt}\nSteps: {request.steps}, Sampler: Euler, CFG scale: 7, Seed: {seed}, "
        "Size: 64x64, Version: test"
        for seed in seeds
    )
    return GenerationResult(
        images=tuple(Image.new("RGB", size, "blue") for _ in seeds),
        latents=torch.empty(0),
        infotexts=infotexts,
        seeds=seeds,
        networks=(),
        diagnostics=(),
    )


def scripted(work: Work, control: Control) -> ScriptOutput:
    """What a script comes to that is run with such images."""
    call = work.script
    assert call is not None
    context = ScriptContext(Registry.open({}), 64)
    run = find_script(call.name).run(work.requests[0], call.arguments, context)
    return drive_script(
        run, lambda step: [painted(one, 0) for one in step.requests], control.interrupts[0]
    )


def until(condition: object, seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
