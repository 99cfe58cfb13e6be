"""A server whose images cost nothing, for tests of its jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from tests.server.live import Painter, client_of, until
from tests.server.v1.test_routes import JOBS as PATH
from tests.server.v1.test_routes import SMALL

EVENTS = "/promptengine/v1/events"


@dataclass
class Server:
    """A server whose images cost nothing, as its clients see it."""

    app: FastAPI
    http: httpx.Client
    painter: Painter = field(default_factory=Painter)

    def submit(self, prompt: str, **form: Any) -> str:
        """Submit a job; return its id."""
        answer = self.http.post(PATH, json={**SMALL, "prompt": prompt, **form})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def listed(self, **asked: Any) -> list[dict[str, Any]]:
        return self.http.get(PATH, params=asked).json()

    def prompts(self, *states: str) -> list[str]:
        """The prompts of the jobs in some states, in the order of the list."""
        return [one["prompt"] for one in self.listed() if not states or one["state"] in states]

    def runs(self, prompt: str) -> None:
        until(lambda: self.prompts("running") == [prompt])

    def idle(self) -> None:
        """Let all be made that waits, and wait until it is written down."""
        self.painter.gate.set()
        records = self.app.state.service.records
        until(lambda: not records.unfinished)

    def kill(self) -> None:
        """Let it know of nothing any more, as if its process had been killed."""
        self.app.state.service.records.close()


@contextmanager
def server(models: Path, output: Path, **options: Any) -> Iterator[Server]:
    painter = Painter()
    app = create_app(ServerConfig(models=models, output=output, **options), [painter])
    with client_of(app, headers={"authorization": ANN} if options.get("users") else {}) as http:
        try:
            yield Server(app, http, painter)
        finally:
            # What still runs need not be waited for.
            app.state.service.queue.close(0)


ANN, BEN = "Basic YW5uOmE=", "Basic YmVuOmI="
USERS = (("ann", "a"), ("ben", "b"))
