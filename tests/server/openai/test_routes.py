"""OpenAI's image API, asked by its own client, by people who mean harm, and by hand."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from promptengine.server.app import create_app
from promptengine.server.config import Limits, ServerConfig
from promptengine.server.jobs.job import Control, Made, Work
from promptengine.server.openai.links import LINKS, ImageLinks
from tests.server.conftest import STYLES, Live
from tests.server.live import Painter, client_of, until
from tests.server.v1.serving import USERS, Server, server

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
BIG_LIMITS = Limits(body_bytes=200_000, json_depth=8)


def png(color: Any = (255, 0, 0, 255), size: tuple[int, int] = (64, 64), mode: str = "RGBA") -> Any:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, "PNG")
    return ("../../etc/passwd", file.getvalue(), "text/html")


def opened(image: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json)))


def client(served: Server, key: str = "ann:a") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.http.base_url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def served(empty_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("openai")
    (folder / "styles.csv").write_text(STYLES, encoding="utf-8")
    options = {"styles": folder / "styles.csv", "users": USERS, "limits": BIG_LIMITS}
    with server(empty_models, folder / "outputs", **options) as found:
        found.painter.gate.set()
        yield found


def test_images_come_in_base64_by_default(served: Server) -> None:
    made = client(served).images.generate(
        prompt="a (cat:1.2)", n=2, size="64x72", quality="high", user="someone"
    )
    assert [opened(image).size for image in made.data] == [(64, 72)] * 2
    assert opened(made.data[0]).text["parameters"].startswith("a (cat:1.2)\nSteps: 40,")
    assert (made.size, made.quality, made.output_format) == ("64x72", "high", "png")
    assert made.background == "opaque"
    assert made.safety_identifier == "someone"
    first, second = made.promptengine["seeds"]
    assert second == first + 1
    assert f"Seed: {first}," in made.promptengine["infotexts"][0]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_images_come_in_the_format_that_is_asked_for(served: Server, form: str) -> None:
    compressed = {} if form == "png" else {"output_compression": 0}
    made = client(served).images.generate(
        prompt="a", size="64x64", output_format=form, **compressed
    )
    assert opened(made.data[0]).format == form.upper()
    assert made.output_format == form


def test_a_text_too_long_for_the_format_costs_neither_image_nor_format(served: Server) -> None:
    prompt = "ö" * 19_000
    extra = {"promptengine": {"negative_prompt": prompt, "seed": 5}}
    made = client(served).images.generate(
        prompt=prompt, size="64x64", output_format="jpeg", extra_body=extra
    )
    assert opened(made.data[0]).format == "JPEG"
    assert made.promptengine["seeds"] == [5]


def test_links_need_no_key_and_are_not_guessed(served: Server) -> None:
    made = client(served).images.generate(
        prompt="a", size="64x64", response_format="url", output_format="webp"
    )
    url = made.data[0].url
    assert made.data[0].b64_json is None
    answer = httpx.get(url)
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
    for wrong in (url[:-1], url.replace(LINKS, f"{LINKS}%2e%2e%2f"), f"{url}/x"):
        assert httpx.get(wrong).status_code == 404
    for below in ("../../models", "..%2f..%2fmodels"):
        assert httpx.get(f"{served.http.base_url}{LINKS}{below}").status_code in (401, 404)


def test_links_end_with_their_hour_and_where_there_is_no_room() -> None:
    now = [0.0]
    links = ImageLinks(10, lambda: now[0])
    names = [links.add(bytes([n]) * 4, "png").removeprefix(LINKS) for n in range(3)]
    assert [links.find(name) and links.find(name)[0] for name in names] == [None, 1, 2]
    now[0] = 3599.0
    assert links.find(names[2])
    now[0] = 3600.0
    assert links.find(names[2]) is None
    whole = links.add(bytes(50), "png").removeprefix(LINKS)
    assert links.find(whole) == bytes(50)


def test_images_stream_with_partial_ones(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as served:
        served.painter.steps, served.painter.held_at = 4, 2
        served.painter.gate.set()
        events = client(served).images.generate(
            prompt="a", size="64x64", stream=True, partial_images=1
        )
        first = next(events)
        assert first.type == "image_generation.partial_image"
        assert (first.partial_image_index, first.size) == (0, "64x64")
        assert opened(first).getpixel((0, 0)) == (255, 0, 0)
        served.painter.go_on.set()
        (last,) = events
        assert last.type == "image_generation.completed"
        assert opened(last).getpixel((0, 0)) == (0, 0, 255)
        assert last.usage.total_tokens == 0


def test_every_image_of_a_stream_is_told(served: Server) -> None:
    events = list(client(served).images.generate(prompt="a", n=3, size="64x64", stream=True))
    assert [event.type for event in events] == ["image_generation.completed"] * 3
    assert len({event.promptengine["seeds"][0] for event in events}) == 3


def test_a_failure_in_a_stream_is_an_error_of_the_clients(
    empty_models: Path, tmp_path: Path
) -> None:
    with server(empty_models, tmp_path) as served:
        served.painter.fails = ("bad",)
        served.painter.gate.set()
        with pytest.raises(openai.APIError, match="its log says why") as caught:
            list(client(served).images.generate(prompt="bad", size="64x64", stream=True))
        assert "secret words" not in str(caught.value)
        with pytest.raises(openai.InternalServerError, match="its log says why"):
            client(served).images.generate(prompt="bad", size="64x64")


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_away_takes_the_job_along(
    empty_models: Path, tmp_path: Path, stream: bool
) -> None:
    with server(empty_models, tmp_path) as served:
        asked = {"prompt": "a", "size": "64x64", "stream": stream}
        queue = served.app.state.service.queue
        with pytest.raises(httpx.ReadTimeout):
            served.http.post(GENERATIONS, json=asked, timeout=0.5)
        until(lambda: not queue.running and not queue.waiting, 20)
        served.painter.gate.set()
        assert client(served).images.generate(prompt="b", size="64x64").data


class Watched(Painter):
    """A painter that remembers what it was to make."""

    def __call__(self, works: Sequence[Work], batch: int, control: Control) -> list[Made]:
        self.works = works
        return super().__call__(works, batch, control)


def test_an_image_is_painted_where_its_mask_is_transparent(
    empty_models: Path, tmp_path: Path
) -> None:
    painter = Watched()
    painter.gate.set()
    app = create_app(ServerConfig(models=empty_models, output=tmp_path), [painter])
    mask = Image.new("RGBA", (64, 64), "white")
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    file = io.BytesIO()
    mask.save(file, "PNG")
    with client_of(app) as http:
        own = openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="any")
        extra = {"promptengine": json.dumps({"start": {"denoising_strength": 0.3}, "seed": 9})}
        made = own.images.edit(
            image=png(), mask=("m", file.getvalue()), prompt="a dog", extra_body=extra
        )
        assert made.promptengine["seeds"] == [9]
        assert own.images.edit(image=[png()], prompt="x", n=2).size == "64x64"
        assert painter.works[0].requests[0].start.inpainting is None
        events = own.images.edit(image=png(), prompt="x", stream=True)
        assert [event.type for event in events] == ["image_edit.completed"]
        own.images.edit(image=png(), mask=("m", file.getvalue()), prompt="a dog", extra_body=extra)
        start = painter.works[0].requests[0].start
    assert start.denoising_strength == 0.3
    painted = start.inpainting.mask.convert("L")
    assert [painted.getpixel((x, 9)) for x in (0, 31, 32, 63)] == [255, 255, 0, 0]


def test_models_are_the_checkpoints(served: Server) -> None:
    own = client(served)
    (found,) = own.models.list().data
    assert (found.id, found.object) == ("none", "model")
    assert own.models.retrieve("none.safetensors").id == "none"
    for name in ("gpt-image-1", "../none", "/etc/passwd"):
        with pytest.raises(openai.NotFoundError) as caught:
            own.models.retrieve(name)
        assert caught.value.body["code"] == "model_not_found"


def test_a_key_is_a_name_with_its_password(served: Server) -> None:
    assert client(served, "ben:b").models.list().data
    for wrong in ("ann", "ann:b", "YW5uOmE=", "sk-any"):
        with pytest.raises(openai.AuthenticationError) as caught:
            client(served, wrong).models.list()
        assert caught.value.body["code"] == "invalid_api_key"
    answer = httpx.get(f"{served.http.base_url}/v1/models")
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_style_is_one_of_webuis(served: Server) -> None:
    made = client(served).images.generate(prompt="a cat", size="64x64", style="ink")
    assert made.data[0].revised_prompt == "a cat, ink drawing"


@pytest.mark.parametrize(
    ("asked", "param", "word"),
    [
        ({"model": "dall-e-3"}, "model", "Model not found"),
        ({"size": "64"}, "size", "WIDTHxHEIGHT"),
        ({"size": "65x64"}, "size", "multiple of 8"),
        ({"size": "8000x8000"}, "", "pixels"),
        ({"size": "64x64\n"}, "size", "WIDTHxHEIGHT"),
        ({"size": "٦٤x٦٤"}, "size", "WIDTHxHEIGHT"),
        ({"n": 11}, "n", "less than or equal to 10"),
        ({"n": "2"}, "n", "integer"),
        ({"n": True}, "n", "integer"),
        ({"prompt": None}, "prompt", "string"),
        ({"prompt": ["a"]}, "prompt", "string"),
        ({"background": "transparent"}, "background", "not possible"),
        ({"style": "vivid"}, "style", "not there"),
        ({"quality": "max"}, "quality", "'hd'"),
        ({"output_format": "svg"}, "output_format", "'webp'"),
        ({"output_compression": 50}, "output_compression", "PNG"),
        ({"partial_images": 1}, "partial_images", "stream"),
        ({"stream": True, "response_format": "url"}, "response_format", "stream"),
        ({"frame_count": 4}, "frame_count", "Unknown parameter"),
        ({"prompt": "<hypernet:nope:1>"}, "prompt", "unknown hypernetwork"),
        ({"promptengine": []}, "promptengine", "dictionary"),
        ({"promptengine": {"width": 64}}, "promptengine.width", "'size'"),
        ({"promptengine": {"script": {"name": "x"}}}, "promptengine.script", "not for this"),
        ({"promptengine": {"start": {}}}, "promptengine.start", "edits"),
        ({"promptengine": {"sampler": "x"}}, "promptengine.sampler", "unknown sampler"),
        ({"promptengine": {"steps": 1000}}, "promptengine.steps", "150"),
        ({"promptengine": {"steps": {}}, "quality": "hd"}, "promptengine.steps", "integer"),
        ({"promptengine": {"nothing": 1}}, "promptengine.nothing", "Unknown parameter"),
    ],
)
def test_what_cannot_be_honored_is_refused(
    served: Server, asked: dict[str, Any], param: str, word: str
) -> None:
    answer = served.http.post(GENERATIONS, json={"prompt": "a", "size": "64x64", **asked})
    assert answer.status_code == (404 if "unknown hyper" in word or "Model" in word else 400)
    error = answer.json()["error"]
    assert word in error["message"]
    assert error["type"] == "invalid_request_error"
    if param:
        assert error["param"] == param


@pytest.mark.parametrize(
    ("texts", "files", "param", "word"),
    [
        ({}, [("mask", png())], "image", "one file (got 0)"),
        ({}, [("image[]", png()), ("image[]", png())], "image", "one file (got 2)"),
        ({"image": "http://127.0.0.1/x.png"}, [("x", png())], "", "file"),
        ({"image": "a"}, [], "image", "form"),
        ({}, [("image", ("x", b"no image", "image/png"))], "image", "image"),
        ({}, [("image", ("x", b"", "image/png"))], "image", ""),
        ({}, [("image", png()), ("mask", png(size=(72, 64)))], "mask", "64x64"),
        ({}, [("image", png()), ("mask", png(mode="RGB", color="red"))], "mask", "alpha"),
        ({}, [("image", png()), ("mask", png()), ("mask", png())], "mask", "twice"),
        ({}, [("image", png()), ("mask", ("x", b"GIF89a", "x/y"))], "mask", "cannot be read"),
        ({"input_fidelity": "high"}, [("image", png())], "input_fidelity", "denoising_strength"),
        ({"n": "many"}, [("image", png())], "n", "integer"),
        ({"markup": "x"}, [("image", png())], "markup", "Unknown"),
        ({}, [("image", png()), ("markup", png())], "markup", "Unknown"),
        ({"promptengine": "[" * 100_000}, [("image", png())], "promptengine", "JSON"),
        (
            {"promptengine": '{"options":' * 9 + "1" + "}" * 9},
            [("image", png())],
            "promptengine",
            "deep",
        ),
        ({"promptengine": '{"start": 1}'}, [("image", png())], "promptengine.start", "object"),
        (
            {"promptengine": '{"start": {"images": ["x"]}}'},
            [("image", png())],
            "promptengine.start.images",
            "as a file",
        ),
    ],
)
def test_a_form_that_cannot_be_used_is_refused(
    served: Server, texts: dict[str, str], files: list[Any], param: str, word: str
) -> None:
    answer = served.http.post(EDITS, data={"prompt": "a", **texts}, files=files)
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert word in error["message"]
    if param:
        assert error["param"] == param


def test_texts_are_said_once(served: Server) -> None:
    answer = served.http.post(EDITS, data={"prompt": ["a", "b"]}, files=[("image", png())])
    assert "twice" in answer.json()["error"]["message"]


PART = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
HOSTILE = [
    b"",
    b"--x",
    b"--x--\r\n",
    b"\r\n" * 5000,
    PART % (b"prompt", b"") + b"a",
    PART % (b"image", b'; filename="' + b"a" * 50_000 + b'"') + b"b\r\n--x--\r\n",
    b"".join(PART % (b"f%d" % n, b"") + b"v\r\n" for n in range(300)) + b"--x--\r\n",
    b"".join(PART % (b"image", b'; filename="f"') + b"v\r\n" for n in range(300)) + b"--x--\r\n",
    PART % (b"prompt", b"") + b"a" * 150_000 + b"\r\n--x--\r\n",
    PART % (b"\xff\xfe\x00", b"") + b"\xff\xfe\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n",
    b"--x\r\nNo header at all\r\n\r\nv\r\n--x--\r\n",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_forms_are_answered(served: Server, number: int) -> None:
    for boundary in ("; boundary=x", "", "; boundary=", f"; boundary={'b' * 5000}"):
        headers = {"Content-Type": f"multipart/form-data{boundary}"}
        answer = served.http.post(EDITS, content=HOSTILE[number], headers=headers)
        assert 400 <= answer.status_code < 500
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "", "text/html"]
)
def test_other_bodies_than_forms_are_refused(served: Server, kind: str) -> None:
    answer = served.http.post(EDITS, content=b"image=a&" * 999, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]


def test_bodies_too_long_or_no_json_are_refused_in_openais_words(served: Server) -> None:
    for body, status in (
        (b'{"prompt": "' + b"a" * 300_000 + b'"}', 413),
        (b"{", 400),
        (b'{"prompt": ' + b"[" * 50_000, 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"prompt": "\xff"}', 400),
        (b'{"prompt": "a", "n": 1e999}', 400),
    ):
        headers = {"Content-Type": "application/json"}
        answer = served.http.post(GENERATIONS, content=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    chunks = (b"a" * 65_536 for _ in range(8))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert served.http.post(EDITS, content=chunks, headers=headers).status_code == 413
    assert served.http.get("/v1/nothing").json()["error"]["type"] == "invalid_request_error"
    assert served.http.get(GENERATIONS).status_code == 405


def test_a_full_queue_says_when_to_come_again(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path, queue=1) as served:
        served.submit("first")
        served.runs("first")
        served.submit("second")
        answer = served.http.post(GENERATIONS, json={"prompt": "a", "size": "64x64"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
        assert int(answer.headers["Retry-After"]) > 0


def test_an_interrupted_job_without_images_is_an_error(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as served:
        queue, answers = served.app.state.service.queue, list[httpx.Response]()
        served.submit("first")
        served.runs("first")
        asked = {"prompt": "a", "size": "64x64"}
        thread = threading.Thread(
            target=lambda: answers.append(served.http.post(GENERATIONS, json=asked))
        )
        thread.start()
        until(lambda: queue.waiting)
        queue.interrupt(queue.waiting[0])
        thread.join(20)
        assert answers[0].status_code == 400
        assert "interrupted before" in answers[0].json()["error"]["message"]


def test_the_tiny_model_answers(live: Live) -> None:
    own = openai.OpenAI(base_url=f"{live.url}/v1", api_key="any")
    extra = {"promptengine": {"steps": 2, "seed": 7, "sampler": "Euler"}}
    prompt = "a (cat:1.2) <hypernet:hn-relu:0.8>"
    made = own.images.generate(prompt=prompt, model="tiny", size="64x64", extra_body=extra)
    ours = live.http.post(
        "/sdapi/v1/txt2img",
        json={
            "prompt": prompt,
            "steps": 2,
            "seed": 7,
            "sampler_name": "Euler",
            "width": 64,
            "height": 64,
        },
    ).json()
    theirs = Image.open(io.BytesIO(base64.b64decode(ours["images"][0])))
    assert opened(made.data[0]).tobytes() == theirs.tobytes()
    form = {"promptengine": json.dumps(extra["promptengine"])}
    image = ("i.png", base64.b64decode(made.data[0].b64_json))
    events = list(
        own.images.edit(image=image, prompt="a dog", stream=True, partial_images=1, extra_body=form)
    )
    assert events[-1].type == "image_edit.completed"
    assert opened(events[-1]).size == (64, 64)
