"""The page behind passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gradio")

from fastapi.testclient import TestClient

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.ui.app import add_page
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


def test_a_proxy_may_show_the_page_elsewhere(tmp_path: Path) -> None:
    config = ServerConfig(
        models=tmp_path, checkpoint=str(CHECKPOINT), model_config=CONFIG, subpath="/sd"
    )
    app = create_app(config, runs=[lambda *_arguments: []])
    add_page(app)
    client = TestClient(app, base_url=f"http://127.0.0.1:{config.port}")
    # A proxy takes the path off, or leaves it.
    for prefix in ("", "/sd"):
        entrance = client.get(f"{prefix}/", follow_redirects=False)
        assert entrance.headers["location"] == "/sd/ui/"
        assert client.get(f"{prefix}/ui", follow_redirects=False).status_code in (200, 307)
        page = client.get(f"{prefix}/ui/")
        assert page.status_code == 200
        assert "frame-ancestors" in page.headers["content-security-policy"]
        settings = client.get(f"{prefix}/ui/config").json()
        assert settings["root"] == f"http://127.0.0.1:{config.port}/sd/ui"
        assert client.get(f"{prefix}/ui/theme.css").status_code == 200
        assert client.get(f"{prefix}/ui/monitoring").status_code == 404
        assert client.get(f"{prefix}/ui/gradio_api/file=/etc/passwd").status_code == 403
        assert client.get(f"{prefix}/manifest.json").json()["start_url"] == "ui/"
    app.state.service.queue.close(1)
