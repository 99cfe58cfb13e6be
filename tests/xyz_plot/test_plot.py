"""Grids: images where they belong, from one noise, checked before the first is made."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from promptengine import Engine, GenerationRequest
from promptengine.errors import GenerationCancelled, RequestError, UnknownNetworkError
from promptengine.images import draw_sheet, stack_sheets
from promptengine.request.result import Progress
from promptengine.xyz_plot.axes import Axis
from promptengine.xyz_plot.plot import plan_grid, plot_grid

REQUEST = GenerationRequest(prompt="a cat", seed=3, steps=2, width=32, height=32)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.tobytes() == other.tobytes()


def test_rows_and_columns_hold_what_they_say(tiny_engine: Engine) -> None:
    x = Axis.parse("multiplier=0,0.5,1")
    y = Axis.parse("hypernetwork=hn-relu,hn-mish")
    seen: list[Progress] = []
    grid = plot_grid(tiny_engine, REQUEST, x, y, on_progress=seen.append)
    assert [(p.batch, p.batches, p.step) for p in seen[:3]] == [(0, 6, 1), (0, 6, 2), (1, 6, 1)]
    pictures = [result.images[0] for result in grid.results]
    bare = tiny_engine.generate(REQUEST).images[0]
    assert same(pictures[0], bare)
    assert same(pictures[3], bare)
    assert len({picture.tobytes() for picture in pictures}) == 5
    reports = [result.networks[0] for result in grid.results]
    assert [(r.name, r.multiplier, r.applied) for r in reports] == [
        (name, multiplier, multiplier > 0)
        for name in ("hn-relu", "hn-mish")
        for multiplier in (0, 0.5, 1)
    ]
    assert grid.infotext.endswith(
        'Script: X/Y/Z plot, X Type: multiplier, X Values: "0, 0.5, 1", '
        'Y Type: hypernetwork, Y Values: "hn-relu,hn-mish"'
    )
    expected = draw_sheet(
        [pictures[:3], pictures[3:]],
        ["hn-relu", "hn-mish"],
        ["multiplier 0", "multiplier 0.5", "multiplier 1"],
    )
    assert same(grid.image, expected)


def test_z_is_block_by_block_and_seeds_are_drawn_once(tiny_engine: Engine) -> None:
    x, z = Axis.parse("cfg=1,7"), Axis.parse("prompt=cat,dog")
    request = GenerationRequest(prompt="a cat", steps=1, width=32, height=32)
    requests = plan_grid(tiny_engine, request, x, None, z)
    assert [(r.prompt, r.cfg_scale) for r in requests] == [
        ("a cat", 1), ("a cat", 7), ("a dog", 1), ("a dog", 7)
    ]  # fmt: skip
    assert len({r.seed for r in requests}) == 1 and requests[0].seed >= 0
    grid = plot_grid(tiny_engine, requests[0], x, None, z)
    blocks = [
        draw_sheet([[r.images[0] for r in part]], [""], ["cfg 1", "cfg 7"], title)
        for part, title in ((grid.results[:2], "cat"), (grid.results[2:], "dog"))
    ]
    assert same(grid.image, stack_sheets(blocks))


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (["seed=1", "seed=2"], "two axes are seed"),
        (["steps=0,5"], "steps is 0"),
        (["sampler=Eulr a"], "did you mean 'Euler a'"),
        (["prompt=dog,fox"], "'dog', is not in the prompt"),
        (["multiplier=1"], "holds no <hypernet"),
        (["seed=1-1000", "steps=1-1000"], "million pixels"),
        (["size=64x64,16384x16384"], "the grid would have 268 million pixels"),
        (["hypernetwork=a>b"], "a>b"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    tiny_engine: Engine, axes: list[str], said: str
) -> None:
    with pytest.raises((RequestError, UnknownNetworkError)) as caught:
        plan_grid(tiny_engine, REQUEST, *map(Axis.parse, axes))
    assert said in str(caught.value)


def test_an_unknown_network_is_named_with_its_neighbor(tiny_engine: Engine) -> None:
    with pytest.raises(UnknownNetworkError, match=r"'hn-rel'.*did you mean 'hn-relu"):
        plan_grid(tiny_engine, REQUEST, Axis.parse("hypernetwork=hn-relu,hn-rel"))


def test_batches_are_refused(tiny_engine: Engine) -> None:
    several = GenerationRequest(prompt="a", batch_size=2)
    with pytest.raises(RequestError, match="one image in each place"):
        plan_grid(tiny_engine, several, Axis.parse("seed=1"))


def test_a_grid_can_be_cancelled(tiny_engine: Engine) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(GenerationCancelled):
        plot_grid(tiny_engine, REQUEST, Axis.parse("seed=1-9"), cancel=cancel)


def test_sheets_show_every_image_whole() -> None:
    rng = np.random.default_rng(0)
    rows = [
        [Image.fromarray(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8)) for _ in range(3)]
        for _ in range(2)
    ]
    long = "a very long label " * 20
    for labels, columns, title in (
        (["", ""], ["", "", ""], ""),
        (["one", long], ["x" * 300, "b\nc", "\x1b[31m"], "title"),
    ):
        sheet = np.array(draw_sheet(rows, labels, columns, title))
        windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], (24, 40))
        for picture in (picture for row in rows for picture in row):
            found = (windows == np.array(picture)[..., 0]).all(axis=(2, 3))
            assert found.sum() == 1


def test_images_of_several_sizes_are_in_the_middle_of_their_places() -> None:
    small, large = Image.new("RGB", (40, 60), "red"), Image.new("RGB", (80, 20), "blue")
    sheet = draw_sheet([[small, large]], [""], ["", ""])
    of_one_size = draw_sheet([[Image.new("RGB", (80, 60))] * 2], [""], ["", ""])
    assert sheet.size == of_one_size.size
    left, top = of_one_size.size[0] - 2 * 80 - 2 * 6, of_one_size.size[1] - 60 - 6
    part = sheet.crop((left, top, left + 80, top + 60))
    assert part.getbbox() is not None
    colors = [part.getpixel(place) for place in ((10, 30), (20, 0), (59, 59), (70, 30))]
    assert colors == [(255, 255, 255), (255, 0, 0), (255, 0, 0), (255, 255, 255)]
    start = left + 80 + 6
    part = sheet.crop((start, top, start + 80, top + 60))
    assert [part.getpixel((0, y)) for y in (19, 20, 39, 40)] == [
        *((255, 255, 255), (0, 0, 255), (0, 0, 255), (255, 255, 255)),
    ]
