"""The checks for GPUs, in their small form on the CPU: they run, and they can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from promptengine import Engine
from tests.gpu.__main__ import Report, main
from tests.gpu.checks import Finding, Setup, precision

pytestmark = pytest.mark.slow


def test_the_small_form_holds_on_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    options = ["--device", "cpu", "--small", "--dtype", "float32", "--backend", "", "--rounds", "1"]
    assert main([*options, "--json", str(figures)]) == 0, capsys.readouterr().out
    found = json.loads(figures.read_text("utf-8"))
    assert found["precision: float32, rows with networks of their own"] <= 1e-4
    for kind in ("model", "layers"):
        assert found[f"leaving: offload {kind} from none, float32"] <= 1e-4
    assert found["graphs: graphs compiled again for other networks"] == 0
    for model in ("tiny", "tiny sdxl"):
        assert "ours, relu network" in found[f"UNet of {model}, 1 images, float32"]


def test_a_device_that_computes_otherwise_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(tmp_path, "cpu:0", dtypes=("float32",), tags=("",))
    plain = Setup.opened

    def spoiled(self: Setup, dtype: str = "float32", *, device: str | None = None) -> Engine:
        engine = plain(self, dtype, device=device)
        if device is None:
            with torch.no_grad():
                engine.checkpoint.unet.get_parameter("conv_out.bias").fill_(float("nan"))
        return engine

    assert all(found.holds for found in precision(setup))
    monkeypatch.setattr(Setup, "opened", spoiled)
    assert not any(found.holds for found in precision(setup))


def test_a_part_without_time_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--device", "cpu", "--small", "--seconds", "0", "--backend", ""]
    assert main(options) == 0
    assert "precision: left out" in capsys.readouterr().out


def test_a_part_that_breaks_fails_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(_: Setup) -> Iterator[Finding]:
        raise RuntimeError("no kernel image")

    report = Report(60)
    report.run("noise", partial(broken, Setup(Path(), "cpu")), needs=0)
    report.run("graphs", lambda: iter([Finding("graphs", 0.0, 0.0)]), needs=0)
    assert report.failed == ["noise"]
    assert "FAIL RuntimeError: no kernel image" in capsys.readouterr().out
    assert report.figures == {"graphs: graphs": 0.0}
