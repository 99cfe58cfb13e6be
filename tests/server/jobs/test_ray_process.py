"""A server of its own with Ray: its log stays JSON, and its end is quick, whatever its replicas do."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx
import pytest

pytest.importorskip("ray")

from tests.server.jobs.test_ray import replica_processes
from tests.server.live import SMALL, until
from tests.server.test_faults import process

pytestmark = pytest.mark.slow


def test_the_log_stays_json_and_the_end_is_quick(tmp_path: Path) -> None:
    options = ("--ray", "--grace", "3", "--no-page")
    with process(tmp_path, *options, patience_s=240) as (server, url):
        begun = (tmp_path / "log").read_text().count("\n")
        (replica,) = replica_processes(server.pid)
        os.kill(replica, signal.SIGKILL)
        until(lambda: (tmp_path / "log").read_text().count("\n") > begun, 60)
        with ThreadPoolExecutor() as pool:
            body = {**SMALL, "steps": 150, "n_iter": 50}
            asked = pool.submit(httpx.post, f"{url}/sdapi/v1/txt2img", json=body, timeout=120)
            until(lambda: httpx.get(f"{url}/healthz").json()["running"] == 1, 60)
            server.send_signal(signal.SIGTERM)
            assert asked.result().status_code == 503
        server.wait(60)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    at = {line["event"].split(" [")[0]: datetime.fromisoformat(line["time"]) for line in lines}
    taken = at["Finished server process"] - at["Shutting down"]
    assert 2 <= taken.total_seconds() <= 3 + 3
