"""Styles over our own API: WebUI's file, read and written, and what a job makes of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from promptengine.errors import RequestError
from promptengine.request.styles import read_styles, with_styles
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.state import Service
from promptengine.server.v1.schemas import JobForm
from promptengine.server.v1.to_request import work_from_form
from tests.server.live import Painter, client_of
from tests.server.v1.test_routes import JOBS, SMALL, waited

STYLES = "/promptengine/v1/styles"
WEBUIS = (
    "\ufeffname,prompt,negative_prompt\r\n"
    "None,,\r\n"
    'ink,"{prompt}, ink drawing","color, ""neon"""\r\n'
    '"a, b","two\nlines",\r\n'
    "plain,plain,dull\r\n"
)
"""A file as WebUI writes it."""


@dataclass
class Served:
    """A server with a file of styles."""

    http: httpx.Client
    file: Path
    painter: Painter
    service: Service

    def names(self) -> list[str]:
        return [one["name"] for one in self.http.get(STYLES).json()]

    def prompts(self, **form: object) -> list[str]:
        """The prompt that a job is made with."""
        self.painter.batches.clear()
        job = self.http.post(JOBS, json={**SMALL, **form}).json()["id"]
        waited(self.http, job)
        return self.painter.batches[0]


@pytest.fixture
def served(empty_models: Path, tmp_path: Path) -> Iterator[Served]:
    file = tmp_path / "styles.csv"
    file.write_text(WEBUIS, encoding="utf-8", newline="")
    painter = Painter()
    painter.gate.set()
    config = ServerConfig(models=empty_models, output=tmp_path / "out", styles=file)
    app = create_app(config, [painter])
    with client_of(app) as http:
        yield Served(http, file, painter, app.state.service)


def as_webui_reads(path: Path) -> dict[str, tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        return {row["name"]: (row["prompt"], row["negative_prompt"]) for row in rows}


def test_webuis_file_is_listed(served: Served) -> None:
    assert served.http.get(STYLES).json()[1:3] == [
        {
            "name": "ink",
            "prompt": "{prompt}, ink drawing",
            "negative_prompt": 'color, "neon"',
        },
        {"name": "a, b", "prompt": "two\nlines", "negative_prompt": ""},
    ]


def test_what_is_saved_is_what_webui_reads(served: Served) -> None:
    hostile = 'a "b", c\nd\r\n;#é日本 {prompt}'
    for name in ("new, one", 'q"uote', "日本", "=cmd()", "x/y?z#w%41"):
        url = httpx.URL(
            f"{STYLES}/{name.replace('%', '%25').replace('?', '%3F').replace('#', '%23')}"
        )
        answer = served.http.put(url, json={"prompt": hostile, "negative_prompt": name})
        assert answer.json()["name"] == name
        assert as_webui_reads(served.file)[name] == (hostile, name)
    assert served.file.read_bytes().startswith(WEBUIS.encode())
    assert as_webui_reads(served.file)["ink"] == ("{prompt}, ink drawing", 'color, "neon"')


def test_a_style_is_replaced_in_its_place_and_deleted(served: Served) -> None:
    served.http.put(f"{STYLES}/ink", json={"prompt": "pen"})
    assert served.names() == ["None", "ink", "a, b", "plain"]
    assert as_webui_reads(served.file)["ink"] == ("pen", "")
    assert served.http.delete(f"{STYLES}/ink").status_code == 204
    assert served.names() == ["None", "a, b", "plain"]
    assert served.http.delete(f"{STYLES}/ink").status_code == 404


def test_comments_and_columns_of_others_are_kept(served: Served) -> None:
    served.file.write_text('name, text, mine\n#note,x,y\nold, "a, b",m\nold,again,\n')
    assert served.http.get(STYLES).json() == [
        {"name": "old", "prompt": "again", "negative_prompt": ""}
    ]
    served.http.put(f"{STYLES}/new", json={"prompt": "n", "negative_prompt": "m"})
    lines = served.file.read_text(encoding="utf-8-sig").splitlines()
    assert lines[0] == "name,prompt,mine,negative_prompt"
    assert lines[1:3] == ["#note,x,y", 'old,"a, b",m']
    assert lines[4] == "new,n,,m"


@pytest.mark.parametrize("name", ["%23x", "---", "None", "%0A", "a%0Db", "x" * 201, "%20a", "%00"])
def test_names_that_webui_would_not_read_are_refused(served: Served, name: str) -> None:
    answer = served.http.put(f"{STYLES}/{name}", json={"prompt": "a"})
    assert (answer.status_code, answer.json()["field"]) == (422, "name")
    assert served.file.read_bytes().decode() == WEBUIS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name,prompt\nx,\xff\n", "not written in UTF-8"),
        (b"a,b\n1,2\n", "does not name the columns"),
        (b"name,prompt\nx,\0\n", "no CSV|NUL"),
        (b'name,prompt\nx,"' + b"y" * 200_000 + b'"\n', "no CSV"),
        (b"name,prompt\n" + b"x,y\n" * (1 << 20 | 1), "larger than 4 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_not_lost(
    served: Served, content: bytes, reason: str
) -> None:
    served.file.write_bytes(content)
    answer = served.http.put(f"{STYLES}/new", json={"prompt": "a"})
    if answer.status_code == 200:
        # Newer Pythons read zeros.
        assert b"x,\0" in served.file.read_bytes()
        return
    assert answer.status_code == 409
    assert any(one in answer.json()["detail"] for one in reason.split("|"))
    assert served.file.read_bytes() == content


def test_forms_are_strict(served: Served) -> None:
    for form in ({}, {"prompt": 1}, {"prompt": "a", "path": "/x"}, {"prompt": "x" * 20_001}):
        assert served.http.put(f"{STYLES}/new", json=form).status_code == 422
    assert served.file.read_bytes().decode() == WEBUIS


def test_a_server_without_a_file_says_how_to_have_one(empty_models: Path, tmp_path: Path) -> None:
    config = ServerConfig(models=empty_models, output=tmp_path)
    with client_of(create_app(config, [Painter()])) as http:
        assert http.get(STYLES).json() == []
        answer = http.put(f"{STYLES}/new", json={"prompt": "a"})
        assert answer.status_code == 409
        assert "--styles" in answer.json()["detail"]


def test_a_file_is_made_when_the_first_style_is_saved(served: Served) -> None:
    served.file.unlink()
    served.http.put(f"{STYLES}/new", json={"prompt": "a"}).raise_for_status()
    assert served.file.read_bytes() == b"\xef\xbb\xbfname,prompt,negative_prompt\r\nnew,a,\r\n"


def test_a_job_has_its_styles_in_their_order(served: Served) -> None:
    assert served.prompts(styles=["ink", "plain"]) == ["a cat, ink drawing, plain"]
    assert served.prompts(styles=["plain", "ink"]) == ["a cat, plain, ink drawing"]
    assert served.prompts(styles=[], prompt=" a cat ") == [" a cat "]
    answer = served.http.post(JOBS, json={**SMALL, "styles": ["ink", "nobody"]})
    assert (answer.status_code, answer.json()["field"]) == (422, "styles")
    assert "'nobody'" in answer.json()["detail"]


def test_webuis_route_has_them_in_the_same_order(served: Served) -> None:
    form = {"prompt": "a cat", "styles": ["plain", "ink", "none such"], "steps": 2}
    served.http.post("/sdapi/v1/txt2img", json=form).raise_for_status()
    assert served.painter.batches == [["a cat, plain, ink drawing"]]


def test_styles_multiply_within_the_limits(served: Served) -> None:
    served.http.put(f"{STYLES}/many", json={"prompt": "{prompt}" * 2000}).raise_for_status()
    answer = served.http.post(JOBS, json={**SMALL, "styles": ["many"] * 100})
    assert (answer.status_code, answer.json()["field"]) == (422, "styles")


def test_the_second_pass_has_styles_as_well(served: Served) -> None:
    service = served.service
    form = JobForm(**SMALL, styles=["ink"], hires={"prompt": "a dog"})
    work = work_from_form(form, service.settings, service.registry, service.config.limits)
    (request,) = work.requests
    assert request.prompt == "a cat, ink drawing"
    assert request.hires is not None
    assert request.hires.prompt == "a dog, ink drawing"
    # Empty, it means the first pass's.
    assert request.hires.negative_prompt == ""
    assert request.negative_prompt == 'color, "neon"'


def test_texts_of_styles() -> None:
    assert with_styles(" a ", ["", "b {prompt} {prompt}", " c "], most=100) == "b a a, c"
    assert with_styles("", ["x"], most=100) == "x"
    with pytest.raises(RequestError):
        with_styles("a" * 60, ["{prompt}{prompt}"], most=100)


def test_a_broken_file_has_no_styles(tmp_path: Path) -> None:
    assert read_styles(tmp_path) == []
    assert read_styles(tmp_path / "none.csv") == []
