"""A server that may ask Civitai, and the site that it asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from promptengine.civitai.site import BASE_VARIABLE
from promptengine.civitai.web import TOKEN_VARIABLE
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from tests.civitai.site import FakeSite, running
from tests.server.live import Painter, client_of
from tests.server.v1.civitai.asking import TOKEN


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    with running() as site:
        monkeypatch.setenv(BASE_VARIABLE, site.url)
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        yield site


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "Stable-diffusion").mkdir(parents=True)
    (folder / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def config(models: Path, tmp_path: Path) -> ServerConfig:
    return ServerConfig(models=models, output=tmp_path / "out", civitai=True)


@pytest.fixture
def http(fake: FakeSite, config: ServerConfig, painter: Painter) -> Iterator[httpx.Client]:
    with client_of(create_app(config, [painter])) as http:
        yield http
        fake.gate.set()
