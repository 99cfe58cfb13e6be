"""An attacker against a live page: every input of it, every route of its toolkit."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio.components.image_editor import EditorDataBlobs
from gradio.context import LocalContext
from gradio.exceptions import InvalidPathError
from PIL import Image
from starlette.routing import Mount

from promptengine.ui.controls.img2img import RecentDrawings
from tests.ui.conftest import Live

API = "/gradio_api"
SECRET = "a secret of the machine"
OPEN = {
    *("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/assets/x", "/static/x"),
    *(f"/gradio_api/{name}" for name in ("theme.css", "info", "app_id", "startup-events")),
    *(f"/gradio_api/{name}" for name in ("upload_progress", "queue/data", "heartbeat/x", "file=x")),
    *(f"/gradio_api/{name}" for name in ("queue/join", "cancel", "reset", "run/x", "upload")),
    *("/gradio_api/component_server", "/svelte/x"),
}
"""What the page needs of its toolkit."""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret.svg"
    file.write_text(SECRET, encoding="utf-8")
    return file


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server that must not be asked for anything; yields where, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/x.png", asked
    finally:
        server.shutdown()
        server.server_close()


def toolkit(live: Live) -> Any:
    """The toolkit's application, without what guards it."""
    mount = next(route for route in live.app.routes if isinstance(route, Mount))
    return mount.app.app


def takes_files(component: Any) -> bool:
    """Whether a component's values hold files, by its own account."""
    model = getattr(component, "data_model", None)
    return model is not None and "orig_name" in json.dumps(model.model_json_schema())


def file_of(path: object, **facts: object) -> dict[str, object]:
    return {"path": path, "orig_name": "x.svg", "meta": {"_type": "gradio.FileData"}, **facts}


def shapes(file: dict[str, object]) -> list[object]:
    """All ways to hand a file over."""
    drawn = {"background": file, "layers": [], "composite": None, "id": None}
    layered = {"background": None, "layers": [file], "composite": None, "id": None}
    composed = {"background": None, "layers": [], "composite": file, "id": None}
    return [
        file,
        [file],
        drawn,
        layered,
        composed,
        {"image": file, "caption": None},
        {"value": file},
    ]


def inputs(live: Live) -> list[tuple[int, list[Any], int]]:
    """Every function of the page with its inputs, and the place of one that takes files."""
    functions = toolkit(live).get_blocks().fns
    return [
        (number, list(function.inputs), place)
        for number, function in functions.items()
        for place, component in enumerate(function.inputs)
        if takes_files(component)
    ]


@pytest.fixture(scope="module")
def http(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{live.url}/ui", timeout=60) as http:
        yield http


def join(http: httpx.Client, number: int, data: list[object]) -> httpx.Response:
    body = {"fn_index": number, "data": data, "session_hash": "attacker", "event_data": None}
    return http.post(f"{API}/queue/join", json=body)


def upload(http: httpx.Client, name: str, data: bytes) -> str:
    files = {"files": (name, data)}
    return http.post(f"{API}/upload", files=files).json()[0]


def test_the_page_has_inputs_of_every_kind(live: Live) -> None:
    kinds = {(type(found[place]).__name__) for _, found, place in inputs(live)}
    assert kinds == {"Image", "ImageEditor", "File"}
    assert len(inputs(live)) >= 6


def test_no_input_takes_a_file_that_was_not_uploaded(
    live: Live, http: httpx.Client, secret: Path
) -> None:
    folder = live.folder / "gradio"
    folder.mkdir(exist_ok=True)
    link = folder / "link.svg"
    link.symlink_to(secret)
    deep = "../" * 20 + str(secret)
    with canary() as (url, asked):
        evil = [
            *(file_of(path) for path in (str(secret), "/etc/passwd", deep, f"{folder}/../{deep}")),
            *(file_of(path) for path in (str(link), str(folder), "", ".", "/\0", 7, [str(secret)])),
            *(file_of(path) for path in (url, "file:///etc/passwd", "data:image/png;base64,AAAA")),
            *(file_of(None, url=address) for address in (url, "data:image/png;base64,AAAA")),
            file_of(upload(http, "x.png", b"x"), url=url),
            {"path": str(secret)},
        ]
        statuses = [
            (number, place, json.dumps(value)[:80], answer.status_code)
            for number, found, place in inputs(live)
            for file in evil
            for value in (shapes(file) if file is evil[0] else shapes(file)[:4:3])
            if (
                answer := join(
                    http, number, [value if at == place else None for at in range(len(found))]
                )
            ).status_code
            != 403
            or SECRET in answer.text
        ]
        assert statuses == []
        for field in ("event_data", "trigger_id", "anything"):
            body = {"fn_index": 0, "data": [], "session_hash": "x", field: [file_of(str(secret))]}
            for path in ("queue/join", "run/predict", "reset", "cancel"):
                answer = http.post(f"{API}/{path}", json=body)
                assert (answer.status_code, path) == (403, path)
        assert asked == []
    link.unlink()


def test_the_toolkit_refuses_such_files_itself(live: Live, secret: Path) -> None:
    blocks = toolkit(live).get_blocks()

    async def handed(number: int, data: list[object]) -> None:
        LocalContext.blocks.set(blocks)
        await blocks.preprocess_data(blocks.fns[number], data, None)

    for number, found, place in inputs(live):
        values = [
            file_of(str(secret)) if at == place else getattr(component, "value", None)
            for at, component in enumerate(found)
        ]
        with pytest.raises(InvalidPathError):
            asyncio.run(handed(number, values))


def test_what_was_uploaded_is_taken(live: Live, http: httpx.Client) -> None:
    path = upload(http, "note.txt", b"a caption")
    number, found, place = next(
        one for one in inputs(live) if type(one[1][one[2]]).__name__ == "File"
    )
    value = file_of(path, url=f"{live.url}/ui{API}/file={path}")
    answer = join(http, number, [[value] if at == place else None for at in range(len(found))])
    assert answer.status_code == 200
    given = http.get(f"{API}/file={path}")
    assert given.text == "a caption"
    assert "script" not in given.headers["content-security-policy"]


def test_no_file_outside_is_given(live: Live, http: httpx.Client, secret: Path) -> None:
    models = live.folder / "models" / "hypernetworks" / "ink.pt"
    with canary() as (url, asked):
        for path in (secret, models, "/etc/passwd", "pyproject.toml", live.folder / "gradio", url):
            for route in ("file=", "file/", "proxy=", "stream/", "custom_component/"):
                answer = http.get(f"{API}/{route}{path}")
                assert answer.status_code in (403, 404)
                assert SECRET not in answer.text
        assert asked == []


def routes_of(router: Any) -> Iterator[Any]:
    """All routes of an application, those of its parts included."""
    for route in router.routes:
        part = getattr(route, "original_router", None)
        yield from [route] if part is None else routes_of(part)


def test_no_other_route_of_the_toolkit_is_there(live: Live, http: httpx.Client) -> None:
    shut: set[str] = set()
    for route in routes_of(toolkit(live)):
        path = re.sub(r"{[^}]*}", "x", getattr(route, "path", "")).rstrip("/") or "/"
        if path not in OPEN and getattr(route, "methods", None):
            statuses = {http.request(method, path).status_code for method in route.methods}
            assert (statuses, path) == ({404}, path)
            shut.add(path)
    assert {"/monitoring", "/monitoring/summary", "/monitoring/x", "/login"} <= shut
    assert {"/gradio_api/vibe-edit", "/gradio_api/process_recording"} <= shut
    assert {"/gradio_api/proxy=x", "/gradio_api/stream/x", "/gradio_api/call/x"} <= shut


@pytest.mark.parametrize("index", ["16", "1000000000", "-1", "²", "1" * 30])
def test_a_drawing_has_few_layers(http: httpx.Client, index: str) -> None:
    fields = {"type": "layer", "index": index, "id": "x", "fn_name": "accept_blobs"}
    fields |= {"component_id": "1", "session_hash": "x"}
    answer = http.post(f"{API}/component_server", data=fields, files={"x": b"x"})
    assert answer.status_code == 403


def test_drawings_that_nobody_uses_do_not_fill_the_memory() -> None:
    kept, large = RecentDrawings(), b" " * (100 << 20)
    for name in "abc":
        kept[name] = EditorDataBlobs(background=large, layers=[None], composite=None)
    assert list(kept) == ["b", "c"]
    for number in range(600):
        kept[str(number)] = EditorDataBlobs(background=None, layers=[], composite=None)
    assert len(kept) == 256


def test_drawings_alone_are_sent_as_forms(http: httpx.Client) -> None:
    for body in (
        {"json": {"fn_name": "accept_blobs"}},
        {"data": {"fn_name": "ls"}, "files": {"x": b""}},
    ):
        assert http.post(f"{API}/component_server", **body).status_code == 403


def test_pictures_that_would_fill_the_memory_are_refused(live: Live, http: httpx.Client) -> None:
    file = io.BytesIO()
    Image.new("1", (6_000, 6_000)).save(file, format="PNG")
    value = file_of(upload(http, "bomb.png", file.getvalue()))
    number, found, place = inputs(live)[0]
    answer = join(http, number, [value if at == place else None for at in range(len(found))])
    assert (answer.status_code, "pixels" in answer.text) == (403, True)


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 50 + "1" + "}" * 50, "{", "\udcff"])
def test_what_cannot_be_read_is_refused(http: httpx.Client, body: str) -> None:
    content = body.encode("utf-8", "surrogateescape")
    assert http.post(f"{API}/queue/join", content=content).status_code == 403


def test_other_names_and_pages_see_no_page(live: Live, http: httpx.Client) -> None:
    port = live.url.rpartition(":")[2]
    for path in ("/", "/ui/", "/ui/config", f"/ui{API}/info", "/ui/preview/hypernet/ink"):
        assert http.get(live.url + path, headers={"Host": f"x.localhost:{port}"}).status_code == 421
        answer = http.get(live.url + path, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    names = {"X-Forwarded-Host": "evil.example", "X-Gradio-Server": "http://evil.example"}
    assert "evil.example" not in http.get("/config", headers=names).text
