"""A server whose images cost nothing, and a browser, for tests of the page at /studio/."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from promptengine.prompt.ast import Span
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult, NetworkReport
from promptengine.scripts.script import ScriptCall, ScriptOutput
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.jobs.job import Control, Work
from promptengine.ui.studio.routes import add_studio
from tests.server.live import Painter, running
from tests.ui.browser import Page, opened

SMALL = {"width": "64", "height": "64", "seed": "7", "steps": "3"}
"""What controls show for a request that is quick to meet."""

FORGET = """
const done = arguments[0];
const request = indexedDB.open('promptengine.studio', 1);
request.onupgradeneeded = () => request.result.createObjectStore('blobs');
request.onsuccess = () => {
  const store = request.result.transaction('blobs', 'readwrite').objectStore('blobs');
  store.clear().onsuccess = () => { request.result.close(); done(); };
};
"""
"""Empties what the browser keeps of images."""

HOSTILE = "<img src=x onerror=document.title='owned'>"
"""A name that would run code if it were taken for HTML."""


@dataclass
class Made:
    """Makes images of one color, and reports on the network that a prompt names.

    Attributes:
        painter: What sets the pace.
        requests: Those of each batch that was begun.
        scripts: Those of them that are run by one.
    """

    painter: Painter = field(default_factory=Painter)
    requests: list[GenerationRequest] = field(default_factory=list)
    scripts: list[ScriptCall] = field(default_factory=list)

    def __call__(
        self, works: Sequence[Work], batch: int, control: Control
    ) -> list[Sequence[GenerationResult] | ScriptOutput]:
        self.requests += [request for work in works for request in work.requests]
        self.scripts += [work.script for work in works if work.script is not None]
        made = self.painter(works, batch, control)
        return [
            results
            if isinstance(results, ScriptOutput)
            else [
                replace(one, networks=_reports(request))
                for one, request in zip(results, work.requests, strict=True)
            ]
            for results, work in zip(made, works, strict=True)
        ]


def _reports(request: GenerationRequest) -> tuple[NetworkReport, ...]:
    if "<hypernet:" not in request.prompt:
        return ()
    span = Span(0, len(request.prompt))
    region = 2 if "ADDCOL" in request.prompt else None
    return (
        NetworkReport("hypernet", "ink", 0.8, True, "", span, region=region),
        NetworkReport("hypernet", HOSTILE, 1.0, False, "not found", span),
    )


@dataclass(frozen=True)
class Studio:
    """A server with the page."""

    url: str
    app: FastAPI
    made: Made


def models_in(folder: Path) -> Path:
    """A models folder whose files nothing opens; the checkpoint's name is hostile."""
    for kind in ("Stable-diffusion", "hypernetworks", "embeddings"):
        (folder / kind).mkdir(parents=True)
    (folder / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    (folder / "Stable-diffusion" / f"{HOSTILE}.safetensors").write_bytes(b"")
    for name in ("ink", "neon"):
        (folder / "hypernetworks" / f"{name}.pt").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    made = Made()
    models = models_in(folder / "models")
    config = ServerConfig(
        models=models,
        checkpoint="none",
        output=folder / "outputs",
        training=folder / "training",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        app = create_app(config, [made])
    add_studio(app)
    with running(app) as url:
        yield Studio(f"{url}/studio/", app, made)
        made.painter.gate.set()


@dataclass(frozen=True)
class StudioPage(Page):
    """The page, loaded."""

    def load(self, **shown: str | bool) -> None:
        """Load it with nothing kept but what some controls show, and no job that has ended before."""
        self.driver.get(self.url)
        script = (
            "const [values, done] = arguments; localStorage.clear();"
            "localStorage.setItem('promptengine.studio.values', values);"
            "const root = location.origin + location.pathname.replace(/studio\\/.*$/, '');"
            "fetch(root + 'promptengine/v1/jobs?limit=500').then(answer => answer.json())"
            ".then(jobs => localStorage.setItem('promptengine.studio.dismissed',"
            " JSON.stringify(jobs.map(job => job.id)))).then(done)"
        )
        self.driver.execute_async_script(script, json.dumps({**SMALL, **shown}))
        self.driver.execute_async_script(FORGET)
        self.reload()

    def reload(self) -> None:
        """Load it again, with all that the browser keeps."""
        self.driver.get(self.url)
        self.one(".rail")
        self.read()

    def box(self, name: str = "prompt") -> Any:
        """The shadow tree of a prompt box."""
        return self.one(f"[data-prompt='{name}']").shadow_root

    @property
    def prompt_text(self) -> str:
        lines = self.box().find_elements(By.CSS_SELECTOR, ".cm-line")
        return "\n".join(line.get_property("textContent") for line in lines)

    def write(self, text: str) -> None:
        """Replace the prompt by keys."""
        content = self.box().find_element(By.CSS_SELECTOR, ".cm-content")
        content.click()
        self.press(Keys.CONTROL, "a")
        self.keys(Keys.DELETE + text)

    def keys(self, text: str) -> None:
        ActionChains(self.driver).send_keys(text).perform()

    def press(self, modifier: str, key: str) -> None:
        ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def read(self) -> None:
        """Wait until what is shown of the prompt is the server's reading of it."""
        self.until(lambda: self.all(".compose .prompt[data-read=current]"))
        self.until(lambda: not self.all(".compose .prompt[data-read=pending]"))

    def marked(self, css: str) -> list[str]:
        """The texts of the prompt that are marked so."""
        found = self.box().find_elements(By.CSS_SELECTOR, css)
        return [one.get_property("textContent") for one in found]

    def control(self, path: str) -> WebElement:
        return self.driver.find_element(By.ID, f"field-{path}")

    def type_into(self, path: str, text: str) -> None:
        self.control(path).send_keys(Keys.CONTROL, "a")
        self.control(path).send_keys(Keys.DELETE, text)

    def images(self) -> list[WebElement]:
        return self.all(".strip li")

    def wait_for_images(self, count: int = 1) -> None:
        self.until(lambda: len(self.images()) == count and not self.all(".queue li"), 30)

    def complaints(self) -> list[str]:
        """What the browser's console has said since this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def browser(studio: Studio) -> Iterator[StudioPage]:
    with opened(studio.url) as page:
        yield StudioPage(page.driver, page.url)


@pytest.fixture
def page(browser: StudioPage, studio: Studio) -> Iterator[StudioPage]:
    studio.made.painter.gate.set()
    studio.made.painter.batches.clear()
    studio.made.requests.clear()
    studio.made.scripts.clear()
    browser.load()
    browser.complaints()
    yield browser
    studio.made.painter.gate.set()
    records = studio.app.state.service.records
    browser.until(lambda: not records.unfinished, 30)
