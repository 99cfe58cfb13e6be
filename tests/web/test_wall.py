"""The page behind passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gradio")

from fastapi.testclient import TestClient

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.web.page import add_page
from tests.conftest import CHECKPOINT, CONFIG


def test_nobody_sees_the_page_without_a_password(tmp_path: Path) -> None:
    config = ServerConfig(
        models=tmp_path, checkpoint=str(CHECKPOINT), model_config=CONFIG, users=(("ann", "secret"),)
    )
    # What makes pictures is not asked for any.
    app = create_app(config, runs=[lambda *_arguments: []])
    add_page(app)
    client = TestClient(app, base_url=f"http://127.0.0.1:{config.port}")
    for path in ("/", "/ui/", "/ui/config", "/ui/preview/hypernet/ink"):
        assert client.get(path, follow_redirects=False).status_code == 401
    assert client.get("/ui/", auth=("ann", "secret")).status_code == 200
    at_the_root = client.head("/", auth=("ann", "secret"), follow_redirects=False)
    assert at_the_root.headers["location"] == "/ui/"
    app.state.service.queue.close(1)
