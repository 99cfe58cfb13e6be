"""Texts in the lowest bits of pixels: NovelAI's and those of WebUI's extension, and bits that mean harm."""

from __future__ import annotations

import gzip
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sd_parsers import Eagerness, ParserManager

from promptengine import read_image_info, read_infotext
from promptengine.images.hidden_text import hidden_texts
from promptengine.images.png_chunks import texts_of
from tests.infotext.programs.samples import SAMPLES

TEXT = (
    "a 猫 <hypernet:ink:0.8>\nNegative prompt: b\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 96x64"
)
NOVELAI = SAMPLES["NovelAI"][0]


def hide(
    content: bytes, signature: bytes, channels: str, size: tuple[int, int] = (96, 64)
) -> Image.Image:
    """Hide bytes bit by bit, down each column from the left, as these programs document it."""
    data = signature + (len(content) * 8).to_bytes(4, "big") + content
    bits = [byte >> place & 1 for byte in data for place in range(7, -1, -1)]
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(noise, "RGBA").convert("RGB" if channels == "RGB" else "RGBA")
    pixels = image.load()
    assert pixels is not None
    places = [
        (x, y, c)
        for x in range(size[0])
        for y in range(size[1])
        for c in ("A", *"RGB")
        if c in channels
    ]
    for (x, y, channel), bit in zip(places, bits, strict=False):
        pixel = list(pixels[x, y])
        index = image.getbands().index(channel)
        pixel[index] = pixel[index] & 0xFE | bit
        pixels[x, y] = tuple(pixel)
    return image


def packed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


FORMS = [
    (TEXT.encode(), b"stealth_pnginfo", "A"),
    (packed(TEXT), b"stealth_pngcomp", "A"),
    (TEXT.encode(), b"stealth_rgbinfo", "RGB"),
    (packed(TEXT), b"stealth_rgbcomp", "RGB"),
]


@pytest.mark.parametrize(("content", "signature", "channels"), FORMS)
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_webuis_parameters_in_the_pixels(
    content: bytes, signature: bytes, channels: str, form: str, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    hide(content, signature, channels).save(path, form, lossless=True, exact=True)
    found = read_image_info(path)
    assert (found.infotext, found.source) == (read_infotext(TEXT), "pixels")
    assert found.program == "" and found.remarks == ()
    assert read_image_info(path, hidden=False).infotext is None


def test_novelais_alpha_channel_says_what_its_texts_say(tmp_path: Path) -> None:
    image = hide(packed(json.dumps(NOVELAI)), b"stealth_pngcomp", "A")
    image.save(tmp_path / "a.png")
    found = read_image_info(tmp_path / "a.png")
    assert found.program == "NovelAI" and found.image is not None
    assert found.image.dialect == "novelai" and found.image.prompt == "a {kite}"
    assert found.image.entries["Size"] == "96x64"
    with Image.open(tmp_path / "a.png") as opened:
        told = ParserManager(eagerness=Eagerness.EAGER).parse(opened)
    assert told is not None
    assert [one.value for one in told.samplers[0].prompts] == [found.image.prompt]


def test_a_text_of_the_file_counts_before_the_pixels(tmp_path: Path) -> None:
    from promptengine import save_image

    image = hide(packed(TEXT), b"stealth_pngcomp", "A")
    save_image(image, tmp_path / "a.png", "b\nSteps: 5, Sampler: Euler, Seed: 3")
    found = read_image_info(tmp_path / "a.png").infotext
    assert found is not None and found.prompt == "b"


@pytest.mark.parametrize(
    ("content", "signature"),
    [
        (b"", b"stealth_pnginfo"),
        (b"nonsense", b"stealth_pngcomp"),
        (packed("a" * (9 << 20)), b"stealth_pngcomp"),
        (gzip.compress(b"\xff\xfe" * 20, mtime=0)[:-9], b"stealth_pngcomp"),
        (b"a" * 900, b"stealth_pngXnfo"),
    ],
)
def test_bits_that_are_no_text_are_nothing(
    content: bytes, signature: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    hide(content, signature, "A", (400, 300)).save(path)
    infotext = read_image_info(path).infotext
    assert infotext is None or set(infotext.prompt) <= {"\ufffd"}


def test_a_length_beyond_the_image_is_nothing() -> None:
    image = hide(TEXT.encode(), b"stealth_pnginfo", "A", (8, 8))
    file = BytesIO()
    image.save(file, "PNG")
    found = texts_of(file, Path("a"))
    assert found is not None and hidden_texts(file, found) is None


def test_huge_and_damaged_images_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (20_000, 1_000)).save(path)
    assert read_image_info(path).infotext is None
    hide(TEXT.encode(), b"stealth_pnginfo", "A").save(path)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\0" * 9 + content[middle + 9 :])
    assert read_image_info(path).infotext is None
