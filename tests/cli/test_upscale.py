"""``promptengine upscale``, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from promptengine.cli.main import main
from promptengine.images import save_png
from promptengine.super_resolution import tiles
from tests.super_resolution.builders import nearest_compact, write

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and two images, to work in."""
    write(tmp_path / "models" / "ESRGAN" / "Twice.pth", nearest_compact(2))
    save_png(Image.new("RGB", (24, 16), "red"), tmp_path / "red.png", "a cat\nSteps: 5")
    Image.new("RGBA", (16, 16), (0, 0, 255, 9)).save(tmp_path / "blue.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_are_enlarged_one_by_one(home: Path, capsys: Capture) -> None:
    assert main(["upscale", "red.png", "blue.png", "--upscaler", "Twice"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(Path("outputs") / "00001-red.png"),
        str(Path("outputs") / "00002-blue.png"),
    ]
    with Image.open(home / "outputs" / "00001-red.png") as image:
        assert (image.size, image.getpixel((47, 31))) == ((48, 32), (255, 0, 0))
        assert image.info["parameters"] == "a cat\nSteps: 5"
        told = "Postprocess upscale by: 2.0, Postprocess upscaler: Twice"
        assert image.info["postprocessing"] == told
    with Image.open(home / "outputs" / "00002-blue.png") as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")


def test_sizes_settings_and_a_second_upscaler(home: Path) -> None:
    arguments = ["--width", "40", "--height", "40", "--upscaler", "Twice", "-o", "larger"]
    arguments += ["--upscaler-2", "Nearest", "--option", "ESRGAN_tile=16"]
    assert main(["upscale", "red.png", *arguments]) == 0
    with Image.open(home / "larger" / "00001-red.png") as image:
        assert image.size == (40, 40)
        assert image.info["postprocessing"] == (
            "Postprocess upscale to: 40x40, Postprocess crop to: 40x40, "
            "Postprocess upscaler: Twice, Postprocess upscaler 2: Nearest"
        )


def test_what_is_no_image_does_not_keep_others_from_being_enlarged(
    home: Path, capsys: Capture
) -> None:
    (home / "note.png").write_text("no image")
    assert main(["upscale", "note.png", "gone.png", "red.png"]) == 1
    told = capsys.readouterr()
    assert "note.png: not a readable image" in told.err and "gone.png: no such file" in told.err
    assert told.out.strip() == str(Path("outputs") / "00001-red.png")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--upscaler", "Thrice"],
            "unknown upscaler 'Thrice'; there are None, Lanczos, Nearest, Twice",
        ),
        (["--upscaler", "Latent"], "unknown upscaler 'Latent'"),
        (["--width", "40"], "--width and --height must be given together"),
        (["--width", "40", "--height", "40", "--scale", "2"], "--scale cannot be given with"),
        (["--visibility", "1"], "no --upscaler-2"),
        (["--scale", "100"], "it must be above 0 and at most 8"),
        (["--option", "ESRGAN_tile=many"], "ESRGAN_tile is 'many'; it must be a whole number"),
        (["--option", "ESRGAN_tile=4", "--upscaler", "Twice"], "ESRGAN_tile_overlap is 8"),
        (["--device", "abacus"], "abacus"),
    ],
)
@pytest.mark.usefixtures("home")
def test_mistakes_are_one_line_each(arguments: list[str], said: str, capsys: Capture) -> None:
    assert main(["upscale", "red.png", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not Path("outputs").exists()


def test_an_interrupt_keeps_what_is_finished(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run, seen = tiles.UpscalerNetwork.run, list[int]()

    def interrupted(self: tiles.UpscalerNetwork, x: object) -> object:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return run(self, x)  # type: ignore[arg-type]

    monkeypatch.setattr(tiles.UpscalerNetwork, "run", interrupted)
    assert main(["upscale", "red.png", "blue.png", "--upscaler", "Twice"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert [path.name for path in (home / "outputs").iterdir()] == ["00001-red.png"]
