"""Every example runs as its first lines say, with a tiny model and few steps."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptengine import read_image_info
from tests.conftest import CHECKPOINT, NETWORKS
from tests.public_surface import ROOT

EXAMPLES = ROOT / "examples"

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an example in a folder of its own, and returns what it prints.

    Its models folder holds the tiny checkpoint, made out to be for small images, and one network.
    """
    models = tmp_path / "models"
    for name in ("Stable-diffusion", "hypernetworks"):
        (models / name).mkdir(parents=True)
    checkpoint = models / "Stable-diffusion" / "tiny.safetensors"
    checkpoint.symlink_to(CHECKPOINT)
    wide = CHECKPOINT.with_suffix(".yaml").read_text(encoding="utf-8")
    small = wide.replace("image_size: 64", "image_size: 8", 1)
    checkpoint.with_suffix(".yaml").write_text(small, encoding="utf-8")
    shutil.copy(NETWORKS / "hn-relu.pt", models / "hypernetworks" / "neon.pt")
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    names = [path.name for path in EXAMPLES.glob("*.py")]
    assert names
    assert all(f'run("{name}"' in source for name in names)


def test_a_bot_answers_everybody(run: Run, tmp_path: Path) -> None:
    told = run("chat_bot.py", "models", "4")
    assert "ada: seed" in told
    assert "bob: seed" in told
    assert "cy: stopped (0 bytes)" in told
    said = read_image_info(tmp_path / "ada.png").infotext
    assert said is not None
    assert said.entries["Hypernet hashes"].startswith("neon: ")


def test_a_batch_goes_on_where_it_stopped(run: Run, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\n\na house <hypernet:none of these>\n", encoding="utf-8")
    told = run("batch.py", "prompts.txt", "images", "models", "2")
    assert [Path(line).name for line in told.splitlines()] == ["0000.png", "0002.png"]
    (tmp_path / "images" / "0000.png").unlink()
    told = run("batch.py", "prompts.txt", "images", "models", "2")
    assert [Path(line).name for line in told.splitlines()] == ["0000.png"]


def test_a_preview_needs_no_torch(run: Run) -> None:
    prompt = "a [cat:(dog:1.3):0.5] <hypernet:neon:0.8> <b>"
    page = run("prompt_preview.py", prompt)
    assert "steps 1 to 10: " in page
    assert '<span style="font-size: 1.30em">dog</span>' in page
    assert "hypernet: neon, 0.8" in page
    assert "<b>" not in page
    code = (
        "import sys, runpy; p = sys.argv.pop(1);"
        "runpy.run_path(p)['preview']('a cat'); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(EXAMPLES / "prompt_preview.py")]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_pipeline_reads_prompts_and_lends_its_modules(run: Run, tmp_path: Path) -> None:
    told = run("diffusers_pipeline.py", "models", "2")
    assert "neon: applied" in told
    for name in ("diffusers.png", "engine.png"):
        assert Image.open(tmp_path / name).getextrema() != ((0, 0),) * 3


def test_tiles_fit_together(run: Run, tmp_path: Path) -> None:
    run("game_tiles.py", "tiles", "models", "8")
    sheet = Image.open(BytesIO((tmp_path / "tiles" / "grass-sheet.png").read_bytes()))
    tile = np.asarray(Image.open(tmp_path / "tiles" / "grass.png"), float)
    assert sheet.size == (tile.shape[1] * 3, tile.shape[0] * 3)
    inside = np.abs(np.diff(tile, axis=1)).mean(axis=(0, 2))
    seam = np.abs(tile[:, 0] - tile[:, -1]).mean()
    assert seam == pytest.approx(inside.mean(), abs=3 * inside.std() + 1)
