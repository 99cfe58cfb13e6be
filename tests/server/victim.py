"""A server in a process of its own that a test can kill; its images cost nothing, and wait for a file.

Arguments: the folder of models, that of outputs, the port, and the file that lets images be finished.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def victim(models: Path, output: Path, port: int, gate: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run such a server; it listens when this is entered, and is killed in the end, if not before."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.server.victim", *map(str, (models, output, port, gate))]
    cache = {"XDG_CACHE_HOME": str(output.parent / "cache"), "PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=root, env=os.environ | cache) as process:
        try:
            deadline = time.monotonic() + 120
            while process.poll() is None and not _listens(port):
                assert time.monotonic() < deadline, "waited in vain for the server"
                time.sleep(0.05)
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _main(models: str, output: str, port: str, gate: str) -> None:
    from promptengine.server.app import create_app
    from promptengine.server.config import ServerConfig
    from promptengine.server.run import server_of
    from promptengine.server.sockets import bound_sockets
    from promptengine.ui.studio.routes import add_studio
    from tests.server.live import Painter

    painter = Painter()

    def watch() -> None:
        while True:
            (painter.gate.set if Path(gate).exists() else painter.gate.clear)()
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    sockets = bound_sockets("127.0.0.1", int(port))
    config = ServerConfig(
        models=Path(models), checkpoint="none", output=Path(output), port=int(port), grace_s=1
    )
    app = create_app(config, [painter])
    add_studio(app)
    server_of(config, app).run(sockets)


if __name__ == "__main__":
    _main(*sys.argv[1:])
