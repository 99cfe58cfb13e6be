"""Other sites' pages in a real browser, by every name that leads to this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from fastapi import FastAPI

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from tests.server.live import Painter, running
from tests.ui.browser import Page, opened

pytestmark = pytest.mark.browser

EVERYWHERE = "--host-resolver-rules=MAP * 127.0.0.1"
NAMES = [
    "127.0.0.1",
    "localhost",
    "x.localhost",
    "localhost.",
    "[::ffff:127.0.0.1]",
    "evil.example",
]

ATTACK = """
const [url, frame, done] = arguments;
const tries = [
  fetch(url, {method: "POST", mode: "no-cors", body: "x"}),
  fetch(url, {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}}),
  fetch(url, {credentials: "include"}),
  fetch(url, {mode: "no-cors"}),
  new Promise((end) => { const i = new Image(); i.onload = i.onerror = end; i.src = url; }),
  new Promise((end) => { const s = new WebSocket(url.replace("http", "ws")); s.onclose = end; }),
];
const form = document.createElement("form");
Object.assign(form, {method: "POST", action: url, target: "framed"});
const box = document.createElement("iframe");
box.name = "framed";
document.body.append(box, form);
form.submit();
Promise.allSettled(tries.map((one) => one.then((a) => a.text && a.text()))).then(
  (all) => setTimeout(() => done(all.map((one) => one.value || "").join("")), 300));
"""


@contextmanager
def elsewhere() -> Iterator[int]:
    """A web server of an attacker's; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<body>evil</body>")

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    (tmp_path / "Stable-diffusion").mkdir()
    (tmp_path / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    app = create_app(ServerConfig(models=tmp_path, output=tmp_path / "outputs"), [Painter()])
    app.state.poked = []

    @app.api_route("/poke", methods=["GET", "POST"], include_in_schema=False)
    def poke() -> str:
        app.state.poked.append("poked")
        return "a secret"

    return app


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with opened("about:blank", EVERYWHERE) as page:
        page.driver.set_script_timeout(120)
        yield page


def test_no_other_page_gets_through(app: FastAPI, page: Page) -> None:
    with running(app) as url, elsewhere() as port:
        own = urlsplit(url).port
        for site in ("evil.example", "localhost", "x.localhost"):
            page.driver.get(f"http://{site}:{port}/")
            for name in NAMES:
                target = f"http://{name}:{own}/poke"
                read = page.driver.execute_async_script(ATTACK, target, None)
                assert "a secret" not in read, (site, name)
        # A name of the attacker's that leads here from now on is of one origin with what it asks.
        for name in NAMES[2:]:
            page.driver.get(f"http://{name}:{own}/poke")
            assert "a secret" not in page.text("body")
        assert app.state.poked == []


def test_the_servers_own_page_gets_through(app: FastAPI, page: Page) -> None:
    with running(app) as url:
        for name in NAMES[:2]:
            own = f"http://{name}:{urlsplit(url).port}"
            page.driver.get(f"{own}/docs")
            page.until(lambda: len(page.all(".opblock")) > 20)
            before = len(app.state.poked)
            script = (
                "fetch(arguments[0], {method: 'POST'}).then((a) => a.text()).then(arguments[1])"
            )
            read = page.driver.execute_async_script(script, f"{own}/poke")
            assert "a secret" in read
            assert len(app.state.poked) == before + 1


def test_documentation_asks_nobody_else(app: FastAPI, page: Page) -> None:
    with running(app) as url:
        for path, css in (("/docs", ".opblock"), ("/redoc", "[data-section-id]")):
            page.asked()
            page.driver.get(url + path)
            page.until(lambda css=css: page.all(css))
            hosts = {urlsplit(one).netloc for one in page.asked() if one.startswith("http")}
            assert hosts == {urlsplit(url).netloc}
