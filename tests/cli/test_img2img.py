"""``promptengine img2img`` and the second pass of ``txt2img``, as a user meets them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.cli.test_main import TINY, Capture, run
from tests.conformance.golden import folder

IMAGES = folder() / "webui-2" / "images"


def text_of(path: Path) -> str:
    with Image.open(path) as image:
        return image.info["parameters"]


def test_a_masked_image_is_painted(tmp_path: Path) -> None:
    arguments = ["img2img", str(IMAGES / "init-64x64.png"), "a cat", *TINY, "--seed", "5"]
    arguments += ["--mask", str(IMAGES / "mask-64x64.png"), "--denoising", "0.5"]
    assert run(*arguments, "-o", str(tmp_path)) == 0
    assert "Denoising strength: 0.5" in text_of(tmp_path / "00001-5.png")
    assert "Mask blur: 4" in text_of(tmp_path / "00001-5.png")


def test_soft_inpainting_is_made_again_from_its_infotext(tmp_path: Path) -> None:
    given = ["img2img", str(IMAGES / "init-64x64.png"), "--mask", str(IMAGES / "mask-64x64.png")]
    given += [*TINY, "-o", str(tmp_path)]
    assert (
        run(*given[:2], "a cat", *given[2:], "--seed", "5", "--soft-inpainting", "--soft-bias", "3")
        == 0
    )
    first, again = tmp_path / "00001-5.png", tmp_path / "00002-5.png"
    assert run(*given, "--from", str(first)) == 0
    assert text_of(again) == text_of(first)
    assert "Soft inpainting schedule bias: 3" in text_of(first)
    with Image.open(first) as one, Image.open(again) as other:
        assert one.tobytes() == other.tobytes()


def test_masks_are_written_beside_the_image(tmp_path: Path) -> None:
    arguments = ["img2img", str(IMAGES / "init-64x64.png"), "a cat", *TINY, "--seed", "5"]
    arguments += ["--mask", str(IMAGES / "mask-64x64.png"), "--soft-inpainting"]
    arguments += ["--option", "return_mask=true", "--option", "return_mask_composite=true"]
    assert run(*arguments, "-o", str(tmp_path)) == 0
    assert "Soft inpainting enabled: True" in text_of(tmp_path / "00001-5.png")
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "00001-5.png",
        "00001-5-mask.png",
        "00001-5-mask-composite.png",
    }


def test_a_second_pass_enlarges(tmp_path: Path) -> None:
    arguments = ["txt2img", "a cat", *TINY, "--seed", "5", "--hires-scale", "1.5"]
    assert run(*arguments, "--hires-steps", "1", "-o", str(tmp_path)) == 0
    with Image.open(tmp_path / "00001-5.png") as image:
        assert image.size == (96, 96)
    assert "Hires upscale: 1.5, Hires steps: 1" in text_of(tmp_path / "00001-5.png")


def test_what_is_no_image_is_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "note.png").write_text("no image")
    assert run("img2img", str(tmp_path / "note.png"), "a cat", *TINY) == 2
    assert "note.png: not a readable image" in capsys.readouterr().err


def test_regions_by_masks_and_columns(tmp_path: Path, capsys: Capture) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (8, 8), 255).save(mask)
    given = ["txt2img", "a cat", *TINY, "--seed", "5", "-o", str(tmp_path / "out")]
    assert run(*given, "--region", str(mask), "a dog<hypernet:hn-relu:1>") == 0
    assert "hn-relu × 1 in region 1" in capsys.readouterr().out
    assert '"prompt\\": \\"a dog' in text_of(tmp_path / "out" / "00001-5.png")
    divided = [*given[:1], "a ADDCOL b ADDROW c", *given[2:], "--dialect", "extended"]
    ratios = ["--region-ratios", "1,2,1;3", "--region-layout", "horizontal"]
    assert run(*divided, *ratios) == 0
    assert 'Region ratios: "1,2,1;3"' in text_of(tmp_path / "out" / "00002-5.png")
    assert run(*divided, "--region-ratios", "1,2") == 2
    assert "3 regions in 2 rows" in capsys.readouterr().err
    assert run(*divided, "--hypernetwork", "hn-relu") == 2
    assert "last region" in capsys.readouterr().err
    assert run("parse", "a ADDBASE b ADDCOL c", "--dialect", "extended") == 0
    assert "region 2" in capsys.readouterr().out
