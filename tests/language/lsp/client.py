"""A client of the language server that speaks over a process's standard input and output, message by message."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0


class Client:
    """One server, and what it has said so far.

    Args:
        arguments: Of ``promptengine language-server``.
    """

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "promptengine", "language-server", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
        )
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._kept: list[dict[str, Any]] = []
        self._errors: list[bytes] = []
        self._threads = [
            threading.Thread(target=one, daemon=True) for one in (self._listen, self._read_errors)
        ]
        for thread in self._threads:
            thread.start()
        self._asked = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    @property
    def errors(self) -> str:
        """What it wrote on standard error."""
        return b"".join(self._errors).decode()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)

    def _listen(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while header := stream.readline():
            length = 0
            while header.strip():
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                header = stream.readline()
            self._said.put(json.loads(stream.read(length)))
        self._said.put(None)

    def raw(self, body: bytes) -> None:
        """Send anything."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def notify(self, method: str, params: object) -> None:
        """Send a message that has no answer."""
        self.raw(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())

    def request(self, method: str, params: object = None) -> dict[str, Any]:
        """Ask, and return the answer as it came: with ``result`` or ``error``."""
        self._asked += 1
        message = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        self.raw(json.dumps(message).encode())
        asked = self._asked
        return self._until(lambda one: one.get("id") == asked and "method" not in one)

    def ask(self, method: str, params: object = None) -> Any:
        """Ask, and return the result."""
        answer = self.request(method, params)
        assert "error" not in answer, answer
        return answer["result"]

    def told(self, method: str) -> Any:
        """Return the next notification of a kind."""
        return self._until(lambda one: one.get("method") == method)["params"]

    def _until(self, fits: Any) -> dict[str, Any]:
        for number, one in enumerate(self._kept):
            if fits(one):
                return self._kept.pop(number)
        while True:
            message = self._said.get(timeout=PATIENCE_S)
            assert message is not None, f"the server ended: {self.errors}"
            if fits(message):
                return message
            self._kept.append(message)

    def initialize(self, **options: object) -> Any:
        """Begin a session, and return what the server can do."""
        item = {"completionItem": {"snippetSupport": True}}
        capabilities = {"textDocument": {"completion": item}}
        given = options or None
        result = self.ask(
            "initialize",
            {"processId": None, "rootUri": None, "capabilities": capabilities}
            | {"initializationOptions": given},
        )
        self.notify("initialized", {})
        return result["capabilities"]

    def open(self, uri: str, text: str) -> list[dict[str, Any]]:
        """Open a text, and return its diagnostics."""
        document = {"uri": uri, "languageId": "prompt", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})
        return self.told("textDocument/publishDiagnostics")["diagnostics"]

    def change(self, uri: str, text: str, version: int = 2) -> list[dict[str, Any]]:
        """Change it."""
        params = {"textDocument": {"uri": uri, "version": version}}
        self.notify("textDocument/didChange", params | {"contentChanges": [{"text": text}]})
        return self.told("textDocument/publishDiagnostics")["diagnostics"]
