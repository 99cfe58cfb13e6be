"""Folders with files that cannot be used: all are named at once, the unreadable ones skipped."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from PIL import Image

from promptengine import Engine, TrainingError
from promptengine.training.dataset import find_images
from tests.training.builders import config, files, make_images, train

GOOD = ["01-red cat, snow.png", "02-blue dog, night.png", "03-fox.png"]


def damage(folder: Path) -> list[str]:
    """Images that cannot be read, each in another way."""
    whole = (folder / GOOD[0]).read_bytes()
    contents = {
        "04-text.png": b"no image",
        "05-empty.jpg": b"",
        "06-short.png": whole[: len(whole) // 2],
        "07-broken.png": whole[:40] + bytes(40) + whole[80:],
        "08-huge.bmp": b"BM" + b"\xff" * 60,
        "09-odd.webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(12),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "10-folder.png").mkdir()
    return [*contents, "10-folder.png"]


def test_unreadable_images_are_skipped_and_named_in_one_warning(tmp_path: Path) -> None:
    asked = config(tmp_path)
    bad = damage(asked.data)
    told: list[str] = []
    found = find_images(asked, on_warning=told.append)
    assert [image.path.name for image in found] == GOOD
    (said,) = told
    assert "7 of 10 images cannot be read and are left out" in said
    assert all(f"{name}: not a readable image (" in said for name in bad)
    assert "\n" not in said
    with pytest.warns(UserWarning, match="7 of 10 images"):
        find_images(asked)


def test_strict_data_refuses_them(tmp_path: Path) -> None:
    asked = config(tmp_path, strict_data=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(find_images(asked)) == 3
        bad = damage(asked.data)
        with pytest.raises(TrainingError, match="7 of 10 images cannot be used") as caught:
            find_images(asked)
    assert all(name in str(caught.value) for name in bad)
    assert "mend them or take them out" in str(caught.value)


def test_bad_captions_and_images_are_named_at_once(tmp_path: Path) -> None:
    asked = config(tmp_path, resize=False, alpha_weights=True)
    damage(asked.data)
    (asked.data / "01-red cat, snow.txt").write_bytes(b"\xff\xfe")
    (asked.data / "02-blue dog, night.txt").write_bytes(b"caf\xe9")
    Image.new("RGB", (63, 70)).save(asked.data / "11-small.png")
    Image.new("RGBA", (64, 64)).save(asked.data / "12-hidden.png")
    with pytest.raises(TrainingError, match="11 of 12 images cannot be used") as caught:
        find_images(asked)
    for said in (
        "01-red cat, snow.txt: not UTF-8",
        "02-blue dog, night.txt: not UTF-8",
        "11-small.png: 63×70 is too small",
        "12-hidden.png: nothing of it is visible",
        "04-text.png: not a readable image",
    ):
        assert said in str(caught.value)


def test_the_list_of_bad_images_is_bounded(tmp_path: Path) -> None:
    asked = config(tmp_path)
    for number in range(200):
        (asked.data / f"bad-{number:03}.png").touch()
    with pytest.warns(UserWarning, match="200 of 203 .* and 180 more$"):
        find_images(asked)
    for name in GOOD:
        (asked.data / name).unlink()
    with pytest.raises(TrainingError, match="200 of 200 images cannot be used"):
        find_images(asked)


def test_a_training_goes_on_without_them(tiny_engine: Engine, tmp_path: Path) -> None:
    make_images(tmp_path / "data")
    asked, told = config(tmp_path, steps=1), list[str]()
    train(tiny_engine, tmp_path, config=asked, files=files(tmp_path / "whole"))
    damage(tmp_path / "data")
    places = files(tmp_path / "damaged")
    result = train(tiny_engine, tmp_path, config=asked, files=places, on_warning=told.append)
    assert result.finished
    assert len(told) == 1
    same = (tmp_path / "whole" / "ink.pt").read_bytes()
    assert (tmp_path / "damaged" / "ink.pt").read_bytes() == same
