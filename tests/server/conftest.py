"""A models folder, and one live server with the tiny model for all tests of the server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")

import torch

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.state import Service
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS
from tests.server.live import Painter, running
from tests.text.textual_inversion.builders import vectors

STYLES = 'name,prompt,negative_prompt\nink,"{prompt}, ink drawing",color\nplain,plain,\n'


def fill(folder: Path) -> Path:
    """Make a models folder with a checkpoint under two names, networks and an embedding."""
    for name in ("hypernetworks", "Stable-diffusion", "Lora", "VAE", "embeddings"):
        (folder / name).mkdir(parents=True)
    for path in NETWORKS.glob("*.pt"):
        shutil.copy(path, folder / "hypernetworks" / path.name)
    for name in ("tiny", "other"):
        shutil.copy(CHECKPOINT, folder / "Stable-diffusion" / f"{name}.safetensors")
        yaml = CHECKPOINT.with_suffix(".yaml")
        shutil.copy(yaml, folder / "Stable-diffusion" / f"{name}.yaml")
    torch.save(
        {"string_to_param": {"*": vectors(2, 48)}, "name": "sketchy"},
        folder / "embeddings" / "sketchy.pt",
    )
    return folder


@dataclass(frozen=True)
class Live:
    """A server that runs."""

    url: str
    service: Service
    config: ServerConfig
    http: httpx.Client

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("server")
    (folder / "styles.csv").write_text(STYLES, encoding="utf-8")
    config = ServerConfig(
        models=fill(folder / "models"),
        checkpoint="tiny",
        model_config=CONFIG,
        devices=("cpu",),
        output=folder / "outputs",
        training=folder / "training",
        styles=folder / "styles.csv",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        app = create_app(config)
    with running(app) as url, httpx.Client(base_url=url, timeout=120) as http:
        yield Live(url, app.state.service, config, http)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers whose tests name no folders have the usual ones, in a folder of their own."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("current")
    (folder / "models").mkdir()
    os.chdir(folder)
    yield
    os.chdir(before)


@pytest.fixture
def painter() -> Iterator[Painter]:
    painter = Painter()
    yield painter
    painter.gate.set()


@pytest.fixture(scope="session")
def empty_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint's file that nothing will open."""
    folder = tmp_path_factory.mktemp("nearly-empty")
    (folder / "Stable-diffusion").mkdir()
    (folder / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    return folder
