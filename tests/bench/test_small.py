"""Benchmarks in their smallest form: they run, and what they write can be read."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.bench import __main__ as driver
from tests.bench import bench_unet, openvino_unet
from tests.bench.machine import Machine
from tests.bench.results import changes, read

pytestmark = pytest.mark.slow


def small() -> SimpleNamespace:
    """A UNet with the two outer widths of Stable Diffusion 1."""
    unet = UNet2DConditionModel(
        block_out_channels=(320, 640),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    return SimpleNamespace(unet=unet)


def test_a_unet_stands_beside_others_and_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    monkeypatch.setattr(bench_unet, "configured", lambda _: small())
    arguments = ["--sizes", "64", "--dtypes", "float32", "--counts", "0", "1", "--rounds", "1"]
    threads = ["--threads", str(torch.get_num_threads())]
    monkeypatch.setattr(sys, "argv", ["bench_unet", *arguments, *threads, "--json", str(path)])
    bench_unet.main()
    said = capsys.readouterr().out
    found = read(path)["bench_unet"]
    assert str(found.machine) == str(Machine.here()) == said.splitlines()[0]
    rows = found.tables["float32, 64×64"]
    ours = {"none, ours", "1 relu, ours", "1 linear, ours", "1 text-only, ours"}
    assert {name for name, row in rows.items() if row.ours} == ours
    assert {"floor", "diffusers", "1 relu, hooks", "1 relu, products alone"} <= set(rows)
    for row in rows.values():
        assert row.rate
        assert row.floor
    work = {name: row.rate * row.seconds for name, row in rows.items() if row.rate}
    assert work["none, ours"] == pytest.approx(work["1 text-only, ours"])
    assert work["none, ours"] < work["diffusers"] < work["1 relu, hooks"]
    products = pytest.approx(work["1 relu, products alone"])
    assert work["1 relu, ours"] - work["none, ours"] == products
    reason = openvino_unet.missing(torch.float32, "cpu")
    assert (openvino_unet.NAME in rows) == (not reason)
    assert (f"OpenVINO is left out: {reason}" in said) == bool(reason)


def test_why_a_library_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_unet, "find_spec", lambda _: None)
    assert openvino_unet.missing(torch.float32, "cpu") == "it is not installed"
    assert "on a processor only" in openvino_unet.missing(torch.float32, "cuda")


def test_all_benchmarks_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("--rounds", "2", "--threads", "1")
    monkeypatch.setattr(driver, "QUICK", {"bench_switch": arguments})
    path = tmp_path / "figures.json"
    assert driver.main(["--json", str(path)]) == 0
    found = read(path)
    assert found["bench_switch"].machine.threads == 1
    moved = {change.place: change.now.value for change in changes(found, found)}
    assert moved["bench_switch: two requests: switching"] > 0
