"""``--offload``, and what a WebUI's ``webui-user`` script says in its place."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from promptengine.checkpoints import resolve
from promptengine.cli import serve
from promptengine.cli.main import main
from promptengine.cli.offload import offload_of
from promptengine.server import run as serving
from promptengine.server.config import ServerConfig
from tests.conftest import CHECKPOINT, CONFIG
from tests.integrations.webui.builders import make_webui

Capture = pytest.CaptureFixture[str]
ENGINE = ["--checkpoint", str(CHECKPOINT), "--config", str(CONFIG), "--device", "cpu"]


@pytest.fixture
def webui(tmp_path: Path) -> Path:
    root = make_webui(tmp_path)
    (root / "webui-user.sh").write_text('export COMMANDLINE_ARGS="--medvram"\n', encoding="utf-8")
    return root


@pytest.mark.skipif(os.name == "nt", reason="reads webui-user.bat there")
@pytest.mark.parametrize(
    ("given", "devices", "offload"),
    [
        (None, ["cuda"], "model"),
        ("none", ["cuda"], "none"),
        ("layers", ["cpu"], "layers"),
        (None, ["cpu"], "auto"),
        (None, ["cuda", "cpu"], "auto"),
    ],
)
def test_a_webui_is_asked_where_nothing_is_given(
    webui: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    devices: list[str],
    offload: str,
) -> None:
    monkeypatch.setattr(resolve, "resolve_device", torch.device)
    assert offload_of(Namespace(offload=given, webui=webui), devices) == offload


def test_nothing_given_lets_memory_decide() -> None:
    assert offload_of(Namespace(offload=None, webui=None), ["cuda"]) == "auto"
    assert offload_of(Namespace(webui=None), ["cuda"]) == "none"


def test_what_cannot_be_had_is_refused(capsys: Capture) -> None:
    assert main(["txt2img", "a cat", *ENGINE, "--offload", "layers"]) != 0
    told = capsys.readouterr().err
    assert "offload is 'layers', but the model works on the CPU" in told
    assert "Traceback" not in told


def test_a_server_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[ServerConfig] = []
    monkeypatch.setattr(serving, "serve", lambda config, _page: configs.append(config))
    monkeypatch.setattr(serve, "_NEEDED", ())
    monkeypatch.chdir(tmp_path)
    assert main(["serve", *ENGINE, "--offload", "model"]) == 0
    assert [config.offload for config in configs] == ["model"]


def test_trainings_have_no_such_option(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["train", "hypernetwork", "x", "--data", ".", "--offload", "model"])
    assert "--offload" in capsys.readouterr().err
