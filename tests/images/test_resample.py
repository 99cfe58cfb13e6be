"""Scaled images: the same levels whatever order the installed Pillow would filter in."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling

from promptengine.images.resample import fit_image, resample


def noise(mode: str, width: int, height: int) -> Image.Image:
    levels = np.random.RandomState(7).randint(0, 256, (height, width, 4), np.uint8)
    return Image.fromarray(levels, "RGBA").convert(mode)


def checksum(image: Image.Image) -> int:
    return zlib.crc32(image.tobytes())


# Of Pillow 9.5, which WebUI pins.
@pytest.mark.parametrize(
    ("mode", "resampling", "size", "expected"),
    [
        ("RGB", Resampling.LANCZOS, (64, 88), 3002435489),
        ("RGB", Resampling.LANCZOS, (31, 20), 2604198006),
        ("RGB", Resampling.BICUBIC, (64, 88), 942041149),
        ("RGB", Resampling.BICUBIC, (31, 20), 933305436),
        ("RGB", Resampling.BILINEAR, (64, 88), 1479883368),
        ("RGB", Resampling.BILINEAR, (31, 20), 2915213108),
        ("RGB", Resampling.BOX, (64, 88), 2078570566),
        ("RGB", Resampling.BOX, (31, 20), 573361718),
        ("RGB", Resampling.NEAREST, (64, 88), 2447263478),
        ("RGB", Resampling.NEAREST, (31, 20), 475458489),
        ("L", Resampling.LANCZOS, (64, 88), 4293358577),
        ("L", Resampling.LANCZOS, (31, 20), 2893870511),
        ("L", Resampling.BICUBIC, (64, 88), 1836692906),
        ("L", Resampling.BICUBIC, (31, 20), 1785932213),
        ("L", Resampling.BILINEAR, (64, 88), 1273893058),
        ("L", Resampling.BILINEAR, (31, 20), 490006769),
        ("L", Resampling.BOX, (64, 88), 1986644777),
        ("L", Resampling.BOX, (31, 20), 2255184550),
        ("L", Resampling.NEAREST, (64, 88), 2830934074),
        ("L", Resampling.NEAREST, (31, 20), 2187693255),
        ("RGBA", Resampling.LANCZOS, (64, 88), 1546263821),
        ("LA", Resampling.BICUBIC, (31, 20), 573199972),
    ],
)
def test_rows_are_filtered_before_columns(
    mode: str, resampling: Resampling, size: tuple[int, int], expected: int
) -> None:
    assert checksum(resample(noise(mode, 66, 94), size, resampling)) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), 10823063),
        ((80, 30), 1089746732),
        ((24, 120), 810350950),
        ((33, 47), 379027226),
    ],
)
def test_what_protrudes_is_cut_off(size: tuple[int, int], expected: int) -> None:
    assert checksum(fit_image(noise("RGB", 66, 94), size, Resampling.LANCZOS)) == expected


def test_an_image_of_the_size_is_left_alone() -> None:
    image = noise("RGBA", 16, 24)
    assert resample(image, image.size).tobytes() == image.tobytes()
    assert fit_image(image.convert("L"), (2, 3)).size == (2, 3)
