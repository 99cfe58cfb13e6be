"""Images in tiles: joined without seams, in bounded memory, and stopped between two of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from promptengine import OutOfMemoryError, RequestError
from promptengine.super_resolution import tiles
from promptengine.super_resolution.files import UpscalerNetwork, load_upscaler
from promptengine.super_resolution.tiles import Tiling, enlarge
from tests.super_resolution.builders import nearest_compact, rrdb, swinir, write


@pytest.fixture(scope="module")
def repeating(tmp_path_factory: pytest.TempPathFactory) -> UpscalerNetwork:
    """A network that gives every pixel twice each way."""
    path = tmp_path_factory.mktemp("upscalers") / "repeating.pth"
    return load_upscaler(write(path, nearest_compact(2)))


def speckled(width: int, height: int) -> Image.Image:
    levels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(levels.astype(np.uint8))


@given(
    width=st.integers(9, 24),
    height=st.integers(9, 24),
    size=st.integers(1, 30),
    overlap=st.integers(0, 8),
    blended=st.booleans(),
)
def test_tiles_join_to_what_the_whole_gives(
    repeating: UpscalerNetwork, width: int, height: int, size: int, overlap: int, *, blended: bool
) -> None:
    image = speckled(width, height)
    size = max(size, overlap + 1)
    assume(blended or all(size <= side or size >= side + overlap for side in image.size))
    tiling = Tiling(size, overlap, blended)
    counts: list[tuple[int, int]] = []
    made = enlarge(repeating, image, tiling, lambda done, total: counts.append((done, total)))
    # Where nothing depends on neighbors, fading and averaging change nothing but a last digit.
    whole = image.resize((2 * width, 2 * height), Image.Resampling.NEAREST)
    assert made.size == whole.size
    off = np.abs(np.asarray(made, int) - np.asarray(whole, int))
    assert off.max() <= (0 if blended else 1)
    assert [done for done, _ in counts] == list(range(1, counts[-1][1] + 1))


def test_an_image_a_little_smaller_than_a_tile_fades_in_as_in_webui(
    repeating: UpscalerNetwork,
) -> None:
    white = Image.new("RGB", (14, 14), "white")
    made = np.asarray(enlarge(repeating, white, Tiling(16, 4), lambda *_: None))
    # The tile begins 2 pixels before the image, and the ramp of 8 columns with it.
    assert made[20, :, 0].tolist() == [127, 159, 191, 223, *[255] * 24]


def test_a_strip_narrower_than_the_overlap_is_not_lost(repeating: UpscalerNetwork) -> None:
    image = speckled(3, 20)
    for blended in (True, False):
        made = enlarge(repeating, image, Tiling(16, 8, blended), lambda *_: None)
        off = np.asarray(made, int) - image.resize((6, 40), Image.Resampling.NEAREST)
        assert np.abs(off).max() <= 1


def test_no_tiles_is_one_piece_and_colors_stay_in_order(repeating: UpscalerNetwork) -> None:
    image = Image.new("RGBA", (5, 4), (10, 100, 200, 0))
    counts: list[tuple[int, int]] = []
    made = enlarge(repeating, image, Tiling(0, 8), lambda *tile: counts.append(tile))
    assert (made.mode, made.getpixel((0, 0)), counts) == ("RGB", (10, 100, 200), [(1, 1)])


def test_it_stops_between_two_tiles(repeating: UpscalerNetwork) -> None:
    done: list[int] = []

    def stop(number: int, _total: int) -> None:
        done.append(number)
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enlarge(repeating, speckled(64, 64), Tiling(16, 4), stop)
    assert done == [1, 2]


def test_too_large_a_result_is_refused_before_anything_runs(repeating: UpscalerNetwork) -> None:
    image = Image.new("L", (20_000, 20_000))
    with pytest.raises(RequestError, match="40000x40000 pixels of 20000x20000"):
        enlarge(repeating, image, Tiling(192, 8), lambda *_: None)


@pytest.mark.parametrize(("blended", "option"), [(False, "ESRGAN_tile"), (True, "SWIN_tile")])
def test_a_tile_for_which_there_is_no_memory_is_refused(
    repeating: UpscalerNetwork, monkeypatch: pytest.MonkeyPatch, *, blended: bool, option: str
) -> None:
    monkeypatch.setattr(tiles, "free_bytes", lambda _device: 1 << 20)
    with pytest.raises(OutOfMemoryError, match=f"set {option} to a smaller number"):
        enlarge(repeating, speckled(200, 200), Tiling(192, 8, blended), lambda *_: None)
    assert enlarge(repeating, speckled(60, 60), Tiling(32, 8, blended), lambda *_: None)


def test_the_estimate_of_memory_grows_with_what_a_network_holds(tmp_path: Path) -> None:
    small, large = (
        load_upscaler(write(tmp_path / f"{name}.pth", weights))
        for name, weights in (("a", rrdb(doublings=1)), ("b", rrdb(doublings=3)))
    )
    assert large.floats > 4 * small.floats > 0


def test_tiles_of_swinir_see_more_than_themselves(tmp_path: Path) -> None:
    """Averaged tiles of a network that looks around differ from the whole, but not by much."""
    network = load_upscaler(write(tmp_path / "x.pth", swinir(scale=2)))
    image = speckled(48, 40)
    whole, tiled = (
        np.asarray(enlarge(network, image, Tiling(size, 8, blended=True), lambda *_: None), int)
        for size in (0, 24)
    )
    assert whole.shape == tiled.shape == (80, 96, 3)
    assert 0 < np.abs(whole - tiled).mean() < 20


def test_nothing_of_the_global_random_numbers_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", rrdb())
    before = torch.get_rng_state()
    network = load_upscaler(path)
    enlarge(network, speckled(9, 9), Tiling(0, 0), lambda *_: None)
    assert torch.equal(torch.get_rng_state(), before)
