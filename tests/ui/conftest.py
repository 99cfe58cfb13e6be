"""One server with the tiny model and one browser for all tests of the page."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHECKPOINT, CONFIG, NETWORKS

pytest.importorskip("gradio")
pytest.importorskip("selenium")

import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.state import Service
from promptengine.ui.app import add_page
from tests.ui.browser import Page, opened


@dataclass(frozen=True)
class Live:
    """A server with a page."""

    url: str
    service: Service
    folder: Path
    app: FastAPI


def fill(models: Path) -> None:
    """A checkpoint, networks and what lies beside them."""
    for name in ("hypernetworks", "Stable-diffusion", "Lora", "VAE", "embeddings"):
        (models / name).mkdir(parents=True)
    shutil.copy(CHECKPOINT, models / "Stable-diffusion" / "tiny.safetensors")
    shutil.copy(CHECKPOINT.with_suffix(".yaml"), models / "Stable-diffusion" / "tiny.yaml")
    for name, source in (("ink", "hn-relu"), ("neon", "hn-linear")):
        shutil.copy(NETWORKS / f"{source}.pt", models / "hypernetworks" / f"{name}.pt")
    Image.new("RGB", (600, 300), "teal").save(models / "hypernetworks" / "ink.png")
    (models / "hypernetworks" / "ink.txt").write_text("Pen & <wash>", encoding="utf-8")


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("page")
    fill(folder / "models")
    config = ServerConfig(
        models=folder / "models",
        checkpoint="tiny",
        model_config=CONFIG,
        devices=("cpu",),
        output=folder / "outputs",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        app = create_app(config)
        add_page(app)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Live(f"http://127.0.0.1:{port}", app.state.service, folder, app)
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def browser(live: Live) -> Iterator[Page]:
    with opened(f"{live.url}/") as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Page:
    browser.load()
    return browser
