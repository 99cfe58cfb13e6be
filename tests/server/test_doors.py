"""An attacker against a live server: other names, other pages, half-sent requests, paths of proxies."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Message, Receive, Scope, Send

from promptengine.errors import RequestError
from promptengine.server.app import create_app
from promptengine.server.auth import BodyLimit
from promptengine.server.config import Limits, ServerConfig
from promptengine.server.origins import Authority, Hosts
from tests.server.live import Painter, attacked, client_of, sent_raw

POKED = "poked"
PORT = 7860


def pokable(config: ServerConfig, painter: Painter) -> FastAPI:
    """A server with a route, and a WebSocket, that note who got through."""
    app = create_app(config, [painter])
    app.state.poked = []

    @app.api_route("/poke", methods=["GET", "POST"], include_in_schema=False)
    def poke() -> str:
        app.state.poked.append(POKED)
        return POKED

    @app.websocket("/poke")
    async def poke_socket(socket: WebSocket) -> None:
        await socket.accept()
        app.state.poked.append(POKED)
        await socket.close()

    return app


@pytest.fixture
def config(empty_models: Path, tmp_path: Path) -> ServerConfig:
    return ServerConfig(models=empty_models, output=tmp_path)


@pytest.fixture
def app(config: ServerConfig, painter: Painter) -> Iterator[FastAPI]:
    app = pokable(config, painter)
    yield app
    app.state.service.queue.close(1)


OURS = ["127.0.0.1:7860", "localhost:7860", "LocalHost:7860", "[::1]:7860", "127.8.9.1:7860"]
LITERAL = ["192.168.1.5:80", "10.0.0.1", "[fe80::1]:8080", "127.0.0.1:9", "localhost:8080"]
NEVER = [
    *["x.localhost:7860", "localhost.:7860", "[::ffff:127.0.0.1]:7860", "[::ffff:7f00:1]:7860"],
    *["evil.example:7860", "127.0.0.1.evil.example:7860", "127.0.0.1.:7860", "2130706433:7860"],
    *["0x7f.1:7860", "127.1:7860", "localhost:7860@evil.example", "evil.example#localhost:7860"],
    *["localhost:07860x", "localhost:7860 ", "", ":7860", "[::1", "[::1%lo]:7860", "*"],
    *["lоcalhost:7860", "localhost,evil.example", "localhost:7860, evil.example"],
]


@pytest.mark.parametrize(
    ("settings", "answered", "refused"),
    [
        ({}, OURS, [*NEVER, *LITERAL, "localhost", "127.0.0.1"]),
        ({"host": "localhost"}, OURS, [*NEVER, *LITERAL]),
        ({"host": "0.0.0.0"}, [*OURS, *LITERAL], NEVER),
        ({"host": "::"}, [*OURS, *LITERAL], NEVER),
        ({"host": "192.168.1.5"}, [*OURS, "192.168.1.5:7860"], [*NEVER, *LITERAL]),
        ({"host": "box.lan"}, [*OURS, "Box.LAN:7860"], [*NEVER, *LITERAL, "box.lan"]),
        ({"host": "fe80::1%eth0"}, [*OURS, "[fe80:0:0::1]:7860"], NEVER),
        (
            {"allowed_hosts": ("art.example", "b.example:8443", "::2")},
            [*OURS, "art.example", "ART.example:8443", "b.example:8443", "[::2]"],
            [*NEVER, "x.art.example", "art.example.", "b.example", "b.example:7860"],
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_names(
    settings: dict[str, object], answered: list[str], refused: list[str], empty_models: Path
) -> None:
    hosts = Hosts.by(ServerConfig(models=empty_models, **settings))  # type: ignore[arg-type]

    def answers(text: str) -> bool:
        asked = Authority.read(text)
        return asked is not None and hosts.allow(asked, "http", PORT)

    assert [text for text in answered if not answers(text)] == []
    assert [text for text in refused if answers(text)] == []


def test_the_port_of_the_scheme_need_not_be_written() -> None:
    hosts, asked = Hosts(Authority("localhost", None)), Authority("localhost", None)
    assert hosts.allow(asked, "http", 80)
    assert hosts.allow(asked, "https", 443)
    assert not hosts.allow(asked, "http", 443)


@pytest.mark.parametrize("name", ["*", "*.example", "http://a", "a/b", "bücher.example", "a:99999"])
def test_names_that_nobody_can_ask_for_are_refused(name: str, config: ServerConfig) -> None:
    with pytest.raises(RequestError, match="--allowed-hosts"):
        create_app(ServerConfig(models=config.models, allowed_hosts=(name,)), [])


def test_a_live_server_answers_to_its_own_names_alone(app: FastAPI) -> None:
    with client_of(app) as http:
        port = http.base_url.port
        for name, status in (
            ("localhost", 200),
            ("[::1]", 200),
            *((name, 421) for name in ("x.localhost", "[::ffff:127.0.0.1]", "evil.example")),
            ("localhost.", 400),
        ):
            for path in ("/poke", "/docs", "/healthz", "/openapi.json", "/sdapi/v1/options", "/no"):
                answer = http.get(path, headers={"Host": f"{name}:{port}"})
                assert answer.status_code == (404 if (path, status) == ("/no", 200) else status)
        assert (
            "--allowed-hosts evil.example" in http.get("/", headers={"Host": "evil.example"}).text
        )
        fine = f"Host: 127.0.0.1:{port}\r\n".encode()
        for head in (b"", fine + fine, fine + b"Host: evil.example\r\n", b"Host: evil.example\r\n"):
            asked = b"POST /poke HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n"
            assert re.match(rb"HTTP/1.1 4(00|21) ", sent_raw(port, asked + head + b"\r\n"))
        assert b" 400 " in sent_raw(port, b"GET /poke HTTP/1.0\r\n\r\n")[:20]
        assert app.state.poked == [POKED, POKED]


def test_pages_of_other_origins_get_nothing(app: FastAPI) -> None:
    foreign = ["null", "http://evil.example", "http://localhost:1", "http://127.0.0.1", "", "x"]
    with client_of(app) as http:
        own = str(http.base_url).rstrip("/")
        foreign += [
            own.replace("127.0.0.1", name) for name in ("localhost", "x.localhost", "[::1]")
        ]
        foreign += [f"{own}.evil.example", f"{own}/", f"{own}, {own}", own.replace("http", "ftp")]
        for origin in foreign:
            for method, path in (("POST", "/poke"), ("GET", "/poke"), ("GET", "/sdapi/v1/options")):
                answer = http.request(method, path, headers={"Origin": origin})
                assert (answer.status_code, origin) == (403, origin)
                assert "access-control-allow-origin" not in answer.headers
        twice = [("Origin", own), ("Origin", "http://evil.example")]
        assert http.post("/poke", headers=twice).status_code == 403
        for site in ("cross-site", "same-site"):
            headers = {
                "Sec-Fetch-Site": site,
                "Sec-Fetch-Mode": "no-cors",
                "Sec-Fetch-Dest": "image",
            }
            assert http.get("/poke", headers=headers).status_code == 403
        assert app.state.poked == []
        link = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        for headers in (
            {},
            {"Origin": own},
            # What a proxy makes of a page's request that came over TLS.
            {"Origin": own.replace("http", "https")},
            {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
            {"Sec-Fetch-Site": "cross-site", **link},
        ):
            assert http.get("/poke", headers=headers).status_code == 200
        assert len(app.state.poked) == 5


def test_a_page_without_tls_is_not_that_of_a_server_with_it(app: FastAPI) -> None:
    with TestClient(app, base_url="https://localhost") as client:
        assert client.post("/poke", headers={"Origin": "https://localhost"}).status_code == 200
        assert client.post("/poke", headers={"Origin": "http://localhost"}).status_code == 403
        assert client.post("/poke", headers={"Origin": "http://localhost:443"}).status_code == 403


def test_named_origins_may_ask(empty_models: Path, painter: Painter) -> None:
    config = ServerConfig(
        models=empty_models,
        cors_origins=("https://a.example",),
        cors_origins_regex=r"https://[a-z]+\.b\.example",
    )
    app = pokable(config, painter)
    with client_of(app) as http:
        for origin, status in (
            ("https://a.example", 200),
            ("https://x.b.example", 200),
            ("https://x.b.example.evil.example", 403),
            ("http://a.example", 403),
            ("https://a.example:8443", 403),
            ("null", 403),
        ):
            answer = http.post("/poke", headers={"Origin": origin})
            assert answer.status_code == status
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            assert http.options("/poke", headers=asked).status_code == status
            allowed = answer.headers.get("access-control-allow-origin")
            assert allowed == (origin if status == 200 else None)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Origin: http://evil.example", 403),
        (b"Origin: null", 403),
        (b"X-Nothing: a", 101),
    ],
)
def test_sockets_are_behind_the_same_walls(app: FastAPI, head: bytes, status: int) -> None:
    with client_of(app) as http:
        port = http.base_url.port
        for name, expected in ((b"127.0.0.1", status), (b"evil.example", 421)):
            answer = sent_raw(
                port,
                b"GET /poke HTTP/1.1\r\nHost: %s:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
                b"%s\r\n\r\n" % (name, port, head),
                whole=False,
            )
            assert answer.startswith(b"HTTP/1.1 %d " % expected)
    assert app.state.poked == ([POKED] if status == 101 else [])


def test_sockets_ask_for_the_password(empty_models: Path, painter: Painter) -> None:
    app = pokable(ServerConfig(models=empty_models, users=(("me", "word"),)), painter)
    client, url = TestClient(app), "ws://localhost/poke"
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(url):
        pass
    assert denied.value.status_code == 401
    token = base64.b64encode(b"me:word").decode()
    with client.websocket_connect(url, headers={"Authorization": f"Basic {token}"}):
        pass
    assert app.state.poked == [POKED]


def test_half_sent_requests_end(empty_models: Path, painter: Painter) -> None:
    limits = Limits(send_s=0.4, send_rate=1 << 20)
    config = ServerConfig(models=empty_models, limits=limits)
    with attacked(create_app(config, [painter]), config) as port:
        post = b"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost:%d\r\n" % port
        json = b"Content-Type: application/json\r\nContent-Length: 900\r\n\r\n"
        start = time.monotonic()
        slow = sent_raw(port, post + json + b'{"prompt": "')
        assert slow.startswith(b"HTTP/1.1 408 ")
        assert b"did not come within 0.4 seconds" in slow
        # A head that never ends, nothing at all, and a body that goes on after its answer.
        assert sent_raw(port, post) == b""
        assert sent_raw(port, b"") == b""
        nowhere = post.replace(b"/sdapi/v1/txt2img", b"/nothing")
        assert sent_raw(port, nowhere + json + b"{", b" ").startswith(b"HTTP/1.1 404 ")
        assert time.monotonic() - start < 60
        assert httpx.get(f"http://localhost:{port}/healthz").status_code == 200


@pytest.mark.parametrize(("rate", "status"), [(100, 200), (1 << 30, 408)])
def test_slow_bodies_have_a_second_more_for_what_has_come(rate: int, status: int) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)

    limits = Limits(send_s=0.2, send_rate=rate)
    app = ExceptionMiddleware(BodyLimit(echo, limits))
    pieces = [{"body": b" " * 1000, "more_body": True}, {"body": b"", "more_body": False}]

    async def receive() -> Message:
        # The second piece comes after the time for a body of nothing.
        await asyncio.sleep(0.3 * (2 - len(pieces)))
        return {"type": "http.request", **pieces.pop(0)}

    answers: list[Message] = []

    async def send(message: Message) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(app(scope, receive, send))
    assert answers[0]["status"] == status


def test_documentation_comes_from_here(app: FastAPI) -> None:
    with client_of(app) as http:
        for path in ("/docs", "/redoc"):
            page = http.get(path)
            policy = page.headers["content-security-policy"]
            assert "script-src 'self';" in policy
            assert "frame-ancestors 'none'" in policy
            assert page.headers["x-frame-options"] == "DENY"
            loaded = re.findall(r"(?:src|href|spec-url|data-address)=\"([^\"]+)\"", page.text)
            assert len(loaded) >= 3
            for address in loaded:
                assert address.startswith("/")
                assert http.get(address).status_code == 200
            assert not re.search(r"<script>|//(?!w3)", page.text.replace("://www.w3", ""))
        assert http.get("/docs/..%2fapp.py").status_code == 404
        assert http.get("/docs/docs.js").headers["content-type"].startswith("text/javascript")
        for path in ("/healthz", "/nothing", "/sdapi/v1/samplers"):
            headers = http.get(path).headers
            assert (
                headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            )
            assert headers["x-content-type-options"] == "nosniff"


def test_behind_a_proxy_with_a_path(empty_models: Path, painter: Painter) -> None:
    config = ServerConfig(models=empty_models, subpath="/a/sd", users=(("me", "word"),))
    with client_of(create_app(config, [painter]), auth=("me", "word")) as http:
        # A proxy takes the path off, or leaves it.
        for prefix in ("", "/a/sd"):
            assert http.get(f"{prefix}/sdapi/v1/samplers/").status_code == 200
            assert http.get(f"{prefix}/healthz", auth=None).status_code == 200
            assert http.get(f"{prefix}/nothing").status_code == 404
            entrance = http.get(f"{prefix}/")
            assert entrance.headers["location"] == "/a/sd/docs"
            assert 'data-address="/a/sd/openapi.json"' in http.get(f"{prefix}/docs").text
            assert http.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/a/sd"}]
        assert http.get("/a/sdx/healthz").status_code == 404
        assert 'path="/sdapi/v1/samplers"' in http.get("/metrics").text


@pytest.mark.parametrize(
    "subpath", ["sd", "/studio", "/sdapi", "/sdapi/v1", "/docs", "/a//b", "/..", "/a?"]
)
def test_a_path_that_cannot_be_is_refused(subpath: str, config: ServerConfig) -> None:
    with pytest.raises(RequestError, match="--subpath"):
        create_app(ServerConfig(models=config.models, subpath=subpath), [])


def test_tls(empty_models: Path, tmp_path: Path, painter: Painter) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    own.private_key_pem.write_to_path(certificate, append=False)
    for blob in own.cert_chain_pems:
        blob.write_to_path(certificate, append=True)
    own.private_key_pem.write_to_path(key)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    for files in ({"tls_certfile": certificate}, {"tls_certfile": certificate, "tls_keyfile": key}):
        config = ServerConfig(models=empty_models, **files)
        with attacked(create_app(config, [painter]), config) as port:
            url = f"https://localhost:{port}/healthz"
            assert httpx.get(url, verify=trusted).json()["status"] == "ok"
            headers = {"Origin": f"https://localhost:{port}"}
            assert httpx.get(url, verify=trusted, headers=headers).status_code == 200
            headers = {"Origin": f"http://localhost:{port}"}
            assert httpx.get(url, verify=trusted, headers=headers).status_code == 403
