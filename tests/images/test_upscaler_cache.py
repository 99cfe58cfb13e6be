"""Upscalers by name: those of the package, of plugins and in files, with a request's tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptengine import NetworkFormatError, Options, Registry, RequestError, register_upscaler
from promptengine.images.resize import upscale_image
from promptengine.images.upscaler_cache import NetworkUpscaler, UpscalerCache
from promptengine.images.upscalers import (
    LatentUpscaler,
    PixelUpscaler,
    is_known_upscaler,
    pixel_upscalers,
)
from promptengine.plugins import isolated_plugins
from tests.super_resolution.builders import compact, nearest_compact, rrdb, swinir, write

IMAGE = Image.new("RGB", (20, 12), (200, 100, 50))
USUAL = Options()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write(tmp_path / "ESRGAN" / "Twice.pth", nearest_compact(2))
    write(tmp_path / "RealESRGAN" / "real.pth", rrdb())
    write(tmp_path / "SwinIR" / "swin.pth", swinir())
    write(tmp_path / "upscaler" / "other-swin.pth", swinir())
    write(tmp_path / "upscaler" / "other.pt", compact())
    return tmp_path


def test_files_are_known_by_their_stems(models: Path) -> None:
    registry = Registry.open(models)
    names = ["Twice", "real", "swin", "other-swin", "other"]
    assert pixel_upscalers(registry) == ["None", "Lanczos", "Nearest", *names]
    assert all(is_known_upscaler(name, registry) for name in [*names, "Latent", "None"])
    assert not is_known_upscaler("twice", registry), "case counts"
    assert not is_known_upscaler("Twice", None)


def test_a_file_enlarges(models: Path) -> None:
    found = UpscalerCache(Registry.open(models)).find_pixel("Twice", USUAL)
    assert found.enlarge is not None
    made = found.enlarge(IMAGE, (40, 24))
    assert np.array_equal(made, IMAGE.resize((40, 24), Image.Resampling.NEAREST))


def test_unknown_names_are_errors_that_name_what_there_is(models: Path) -> None:
    cache = UpscalerCache(Registry.open(models))
    with pytest.raises(
        RequestError, match=r"'x'; there are Latent, .*Lanczos, .*Twice, real"
    ) as no:
        cache.find("x", USUAL, field="hires.upscaler")
    assert no.value.field == "hires.upscaler"
    with pytest.raises(RequestError, match="'Latent'; there are None, Lanczos, Nearest, Twice"):
        cache.find_pixel("Latent", USUAL)
    assert isinstance(cache.find("Latent", USUAL), LatentUpscaler)


def test_tiles_are_joined_by_the_rule_of_the_folder(models: Path) -> None:
    write(models / "ESRGAN" / "swin-there.pth", swinir())
    write(models / "SwinIR" / "esrgan-there.pth", rrdb())
    cache = UpscalerCache(Registry.open(models))
    kept = {
        name: found.kept
        for name in ("real", "swin", "other", "other-swin", "swin-there", "esrgan-there")
        if isinstance(found := cache.find(name, USUAL), NetworkUpscaler)
    }
    assert kept == {
        "real": False,
        "swin": True,
        "other": False,
        "other-swin": True,
        "swin-there": False,
        "esrgan-there": True,
    }


def test_tiles_that_do_not_go_forward_are_refused(models: Path) -> None:
    cache = UpscalerCache(Registry.open(models))
    with pytest.raises(RequestError, match="ESRGAN_tile_overlap is 8; it must be less than ESRGAN"):
        cache.find("Twice", Options(upscaler_tile=8))
    with pytest.raises(RequestError, match=r"SWIN_tile_overlap is 48; .* SWIN_tile, which is 32"):
        cache.find("swin", Options(swinir_tile=32, swinir_tile_overlap=48))
    assert cache.find("Twice", Options(upscaler_tile=0)), "one piece has no overlap"


def test_who_watches_hears_of_every_tile(models: Path) -> None:
    cache = UpscalerCache(Registry.open(models))
    found = cache.find_pixel("Twice", Options(upscaler_tile=12, upscaler_tile_overlap=4))
    assert found.enlarge is not None
    outer: list[tuple[int, int]] = []
    inner: list[tuple[int, int]] = []
    with cache.watching(lambda *tile: outer.append(tile)):
        with cache.watching(lambda *tile: inner.append(tile)):
            found.enlarge(IMAGE, (40, 24))
        found.enlarge(IMAGE, (40, 24))
    found.enlarge(IMAGE, (40, 24))
    assert inner == [(1, 2), (2, 2)]
    assert outer == inner * 2


def test_a_file_that_was_replaced_is_read_again(models: Path) -> None:
    cache = UpscalerCache(Registry.open(models))
    first = cache.find("Twice", USUAL)
    assert isinstance(first, NetworkUpscaler)
    write(models / "ESRGAN" / "Twice.pth", nearest_compact(3))
    second = cache.find_pixel("Twice", USUAL)
    assert second.enlarge is not None
    assert second.enlarge(IMAGE, (60, 36)).size == (60, 36)
    (models / "ESRGAN" / "Twice.pth").write_bytes(b"damaged")
    with pytest.raises(NetworkFormatError, match=r"Twice\.pth"):
        cache.find("Twice", USUAL)


def test_plugins_go_before_files_of_their_name(models: Path) -> None:
    with isolated_plugins():
        own = PixelUpscaler("Twice", lambda image, _size: image)
        register_upscaler(own)
        registry = Registry.open(models)
        assert UpscalerCache(registry).find("Twice", USUAL) is own
        assert pixel_upscalers(registry).count("Twice") == 1


@pytest.mark.parametrize(
    ("factor", "rounds", "size"),
    [
        (0.5, 0, (32, 24)),
        (1, 1, (64, 48)),
        (1.2, 1, (72, 56)),
        (2, 1, (128, 96)),
        (3, 2, (192, 144)),
        (5, 3, (320, 240)),
        (8, 3, (512, 384)),
        (16, 3, (1024, 768)),
    ],
)
def test_an_upscaler_is_asked_until_it_is_large_enough(
    factor: float, rounds: int, size: tuple[int, int]
) -> None:
    asked: list[tuple[int, int]] = []

    def double(image: Image.Image, aim: tuple[int, int]) -> Image.Image:
        asked.append(aim)
        return image.resize((image.width * 2, image.height * 2))

    image = Image.new("RGB", (64, 48))
    assert upscale_image(image, factor, PixelUpscaler("x", double)).size == size
    assert asked == [(int(64 * factor), int(48 * factor))] * rounds


def test_an_upscaler_that_changes_no_size_is_asked_once() -> None:
    asked: list[int] = []

    def same(image: Image.Image, _aim: tuple[int, int]) -> Image.Image:
        asked.append(1)
        return image.copy()

    assert upscale_image(IMAGE, 4, PixelUpscaler("x", same)).size == (80, 48)
    assert asked == [1]
