"""One stream of events for all jobs of a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptengine.server.v1 import events
from tests.server.live import until
from tests.server.v1.serving import EVENTS, server


def told_events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Names and data of events."""
    name = ""
    for line in lines:
        key, _, value = line.partition(": ")
        name = value if key == "event" else name
        if key == "data":
            yield name, json.loads(value)


def test_one_stream_tells_of_all_jobs(
    empty_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_ALIVE_S", 0.05)
    with server(empty_models, tmp_path) as own:
        own.submit("first")
        own.runs("first")
        with own.http.stream("GET", EVENTS, params={"limit": 1}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            told = told_events(lines)
            name, jobs = next(told)
            assert (name, [one["prompt"] for one in jobs]) == ("jobs", ["first"])
            assert next(told)[0] == "progress"
            assert next(line for line in lines if line) == ": nothing new"
            second = own.submit("second")
            name, jobs = next(told)
            assert [(one["prompt"], one["position"]) for one in jobs] == [
                ("first", None),
                ("second", 0),
            ]
            own.painter.held_at = 2
            own.painter.gate.set()
            seen: list[tuple[str, Any]] = []
            for name, data in told:
                seen.append((name, data))
                if name == "progress" and data["preview"]:
                    own.painter.go_on.set()
                if name == "jobs" and data[0]["id"] == second and data[0]["saved"]:
                    break
            steps = [data for name, data in seen if name == "progress"]
            assert any(one["preview"] for one in steps)
            assert [len(data) for name, data in seen if name == "jobs"][-1] == 1
            own.app.state.service.queue.close(0)
            assert all(name == "jobs" for name, _ in told)
        listeners = own.app.state.service.queue.listeners
        until(lambda: len(listeners) == 0)


def test_a_client_that_goes_away_is_told_nothing_more(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as own:
        listeners = own.app.state.service.queue.listeners
        with own.http.stream("GET", EVENTS) as stream:
            lines = stream.iter_lines()
            next(lines)
            assert len(listeners) == 1
        until(lambda: len(listeners) == 0)


def test_only_so_many_may_listen(
    empty_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptengine.server.v1.queue._MOST_STREAMS", 1)
    with server(empty_models, tmp_path) as own, own.http.stream("GET", EVENTS) as stream:
        lines = stream.iter_lines()
        next(lines)
        answer = own.http.get(EVENTS)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
