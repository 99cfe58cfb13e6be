"""WebUI's X/Y/Z plot without an engine: what it asks for in which order, what it returns, what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promptengine import GenerationRequest, GenerationResult
from promptengine.errors import RequestError
from promptengine.registry.registry import Registry
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart
from promptengine.scripts.script import ScriptContext, ScriptOutput, ScriptStep, ScriptTab
from promptengine.scripts.table import find_script, named_arguments
from promptengine.scripts.xyz_axes import PLOT_AXES, plot_axes
from promptengine.scripts.xyz_plot import MOST_IMAGES, XYZ_PLOT

CONTEXT = ScriptContext(Registry.open("nowhere"), 64)
REQUEST = GenerationRequest(
    prompt="a cat, a dog", seed=7, variation_seed=3, steps=3, width=64, height=64
)
TXT2IMG = [axis.title for axis in plot_axes("txt2img")]
IMG2IMG = [axis.title for axis in plot_axes("img2img")]


def begin(request: GenerationRequest = REQUEST, **arguments: Any) -> Any:
    """Begin a plot; ``x="Steps=1,2"`` names an axis by its title, and texts count unless it is said otherwise."""
    titles = TXT2IMG if request.start is None else IMG2IMG
    given: dict[str, Any] = {"csv_mode": True, "draw_legend": False}
    for name, value in arguments.items():
        if name in "xyz":
            title, _, values = value.partition("=")
            given |= {f"{name}_type": titles.index(title), f"{name}_values": values}
        else:
            given[name] = value
    return XYZ_PLOT.run(request, named_arguments(XYZ_PLOT, given), CONTEXT)


def painted(request: GenerationRequest) -> GenerationResult:
    size = request.width or 64, request.height or 64
    color = (request.steps * 9 % 256, int(request.cfg_scale * 9) % 256, request.seed % 256)
    infotext = (
        f"{request.prompt}\nSteps: {request.steps}, Seed: {request.seed}, Version: promptengine 1.0"
    )
    image = Image.new("RGB", size, color)
    return GenerationResult((image,), torch.zeros(1), (infotext,), (request.seed,), (), ())


def made(run: Any) -> tuple[list[ScriptStep], ScriptOutput]:
    """All steps of a run, and what it comes to."""
    steps: list[ScriptStep] = []
    try:
        step = next(run)
        while True:
            steps.append(step)
            step = run.send(tuple(painted(one) for one in step.requests))
    except StopIteration as end:
        return steps, end.value


def requests_of(**arguments: Any) -> list[GenerationRequest]:
    return [step.requests[0] for step in made(begin(**arguments))[0]]


def test_the_lists_of_both_tabs_are_those_of_webui() -> None:
    assert (len(TXT2IMG), len(IMG2IMG)) == (42, 41)
    places = {"Nothing": 0, "Steps": 4, "CFG Scale": 6, "Prompt order": 8, "Sampler": 9}
    places |= {"Checkpoint name": 11, "Eta": 23, "VAE": 29, "RNG source": 39, "Size": 41}
    assert {title: TXT2IMG.index(title) for title in places} == places
    assert [IMG2IMG.index(title) for title in ("CFG Scale", "Denoising", "Extra noise")] == [
        5,
        24,
        26,
    ]
    assert find_script("x/y/z PLOT") is XYZ_PLOT


def test_x_runs_fastest_and_z_slowest() -> None:
    found = requests_of(x="Steps=1,2", y="CFG Scale=3,4", z="Seed=5,6")
    assert [(one.steps, one.cfg_scale, one.seed) for one in found] == [
        *((1, 3, 5), (2, 3, 5), (1, 4, 5), (2, 4, 5)),
        *((1, 3, 6), (2, 3, 6), (1, 4, 6), (2, 4, 6)),
    ]


@pytest.mark.parametrize(
    ("x", "y", "z", "outer"),
    [
        ("UniPC Order=1,2", "Steps=3,4", "Seed=5,6", "xzy"),
        ("Seed=5,6", "UniPC Order=1,2", "Steps=3,4", "yzx"),
        ("Seed=5,6", "Steps=3,4", "UniPC Order=1,2", "zyx"),
        ("UniPC Order=1,2", "UniPC Order=1,2", "Steps=3,4", "yxz"),
    ],
)
def test_the_costliest_axis_is_the_outermost(x: str, y: str, z: str, outer: str) -> None:
    run = begin(x=x, y=y, z=z, include_lone_images=True)
    steps, output = made(run)
    places: list[tuple[int, ...]] = [
        tuple(number >> bit & 1 for bit in (2, 1, 0)) for number in range(8)
    ]
    in_order = [dict(zip(outer, place, strict=True)) for place in places]
    expected = [(one["x"], one["y"], one["z"]) for one in in_order]
    lone = [image.infotext for image in output.images[1:]]
    # The images are returned with x running fastest, whatever was made first.
    told = [result.infotexts[0] for result in output.results]
    by_place = dict(zip(expected, told, strict=True))
    assert lone == [by_place[ix, iy, iz] for iz in (0, 1) for iy in (0, 1) for ix in (0, 1)]
    assert len(steps) == 8


def test_each_place_may_have_a_seed_of_its_own() -> None:
    axes = {"x": "Steps=1-3", "y": "CFG Scale=1,2", "z": "Sigma noise=1,2"}
    seeds = [one.seed for one in requests_of(**axes, vary_seeds_x=True, vary_seeds_z=True)]
    assert seeds == [7, 8, 9, 7, 8, 9, 10, 11, 12, 10, 11, 12]
    seeds = [one.seed for one in requests_of(**axes, vary_seeds_y=True)]
    assert seeds == [7, 7, 7, 8, 8, 8] * 2


def test_seeds_left_open_are_drawn_once_or_for_each_image() -> None:
    axes = {"x": "Steps=1-3", "y": "Seed=5,-1"}
    fixed = [one.seed for one in requests_of(**axes)]
    assert fixed[:3] == [5] * 3
    assert len(set(fixed[3:])) == 1
    assert fixed[3] >= 0
    assert len({one.seed for one in requests_of(**axes, no_fixed_seeds=True)}) == 4


def test_grids_come_first_and_tell_of_their_axes() -> None:
    axes = {"x": "Steps=1-3", "y": "CFG Scale=3,4", "z": "Seed=5,6"}
    _, output = made(begin(**axes, include_sub_grids=True, include_lone_images=True))
    sizes = [image.image.size for image in output.images]
    assert sizes == [(384, 128), (192, 128), (192, 128), *[(64, 64)] * 12]
    assert [image.grid for image in output.images] == [True] * 3 + [False] * 12
    whole, first, second, *_ = (image.infotext.partition("\n")[2] for image in output.images)
    script = 'Script: X/Y/Z plot, X Type: Steps, X Values: 1-3, Y Type: CFG Scale, Y Values: "3,4"'
    z = 'Z Type: Seed, Z Values: "5,6", Fixed Z Values: "5, 6"'
    assert whole == f"Steps: 1, Seed: 5, {script}, {z}, Version: promptengine 1.0"
    assert first == f"Steps: 1, Seed: 5, {script}, Version: promptengine 1.0"
    assert second == f"Steps: 1, Seed: 6, {script}, Version: promptengine 1.0"
    for number, image in enumerate(output.images[3:]):
        across, down, deep = number % 3, number // 3 % 2, number // 6
        place = (64 * (across + 3 * deep) + 9, 64 * down + 9)
        assert output.images[0].image.getpixel(place) == image.image.getpixel((0, 0))
    assert len(made(begin(**axes))[1].images) == 1


def test_a_legend_takes_the_room_that_webui_gives_it_and_margins_need_one() -> None:
    axes = {"x": "Steps=1,2", "y": "CFG Scale=3,4"}
    sizes = [
        made(begin(**axes, draw_legend=legend, margin_size=margin))[1].images[0].image.size
        for legend, margin in ((False, 0), (False, 6), (True, 0), (True, 6))
    ]
    plain, same, (wide, high), spread = sizes
    assert plain == same == (128, 128)
    # Three quarters of an image on the left.
    assert wide == 176
    assert 128 < high < 145
    assert spread == (wide + 6, high + 6)


def test_images_of_several_sizes_are_in_the_middle_of_their_cells() -> None:
    _, output = made(begin(x="Size=64x64, 72x56"))
    grid = output.images[0].image
    assert grid.size == (144, 64)
    assert [grid.getpixel(place) for place in ((1, 9), (75, 2), (75, 9))] == [
        *((0, 0, 0), (0, 0, 0)),
        output.results[1].images[0].getpixel((0, 0)),
    ]


def test_an_axis_without_values_makes_nothing_and_says_so() -> None:
    steps, output = made(begin(x="Steps="))
    assert (steps, output.images, output.results) == ([], (), ())
    assert output.notes == (
        "X/Y/Z plot: axis 'Steps' has no values, so that there is nothing to make",
    )


def test_choices_count_where_texts_do_not() -> None:
    chosen = {"x_values_dropdown": ["Euler", "Heun"], "csv_mode": False}
    run = begin(x="Sampler=DDIM", **chosen, draw_legend=True)
    steps, output = made(run)
    assert [step.requests[0].sampler for step in steps] == ["Euler", "Heun"]
    assert 'X Values: "Euler,Heun"' in output.images[0].infotext
    assert [one.sampler for one in requests_of(x="Sampler=DDIM", csv_mode=False)] == ["DDIM"]
    # Numbers are no choices.
    assert [one.steps for one in requests_of(x="Steps=4", **chosen)] == [4]


def test_orders_swap_texts_of_the_prompt() -> None:
    prompts = [one.prompt for one in requests_of(x="Prompt order=dog, cat")]
    assert prompts == ["a dog, a cat", "a cat, a dog"]
    with pytest.raises(RequestError, match="axis 'Prompt order': 'fox' is not in the prompt"):
        begin(x="Prompt order=dog, fox")


@given(st.permutations(["one", "two", "three"]), st.text(alphabet=" ,xyz", max_size=9))
def test_any_order_holds_the_same_texts(parts: list[str], between: str) -> None:
    request = GenerationRequest(prompt=between.join(parts), width=64, height=64)
    steps, _ = made(begin(request, x=f"Prompt order={','.join(parts)}"))
    assert {step.requests[0].prompt for step in steps} == {
        between.join((a, b, c)) for a in parts for b in parts for c in parts if len({a, b, c}) == 3
    }


def test_searches_follow_each_other_from_x_to_z() -> None:
    found = requests_of(x="Prompt S/R=cat,fox", y="Prompt S/R=a,the")
    prompts = ["a cat, a dog", "a fox, a dog", "the cthet, the dog", "the fox, the dog"]
    assert [one.prompt for one in found] == prompts


def test_eta_is_that_of_the_sampler_of_the_place() -> None:
    found = requests_of(x="Eta=0.5", y="Sampler=Euler a, DDIM")
    assert [(one.options.eta_ancestral, one.options.eta_ddim) for one in found] == [
        *((0.5, 0.0), (1.0, 0.5)),
    ]


def test_fields_of_parts_need_these() -> None:
    hires = GenerationRequest(
        prompt="a", width=64, height=64, hires=HiresPass(steps=9, denoising_strength=0.9)
    )
    steps, _ = made(begin(hires, x="Hires steps=1,2", y="Denoising=0.3"))
    found = [step.requests[0].hires for step in steps]
    assert [(one.steps, one.denoising_strength) for one in found if one] == [(1, 0.3), (2, 0.3)]
    for axis in ("Hires steps=1", "Denoising=0.5", "Hires upscaler=Latent"):
        with pytest.raises(RequestError, match=r"varies what belongs to .*, which is off"):
            begin(x=axis)
    image = Image.new("RGB", (64, 64))
    start = GenerationRequest(prompt="a", width=64, height=64, start=ImageStart(images=(image,)))
    (step,), _ = made(begin(start, x="Denoising=0.25"))
    assert step.requests[0].start is not None
    assert step.requests[0].start.denoising_strength == 0.25


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_every_axis_varies_something_or_is_refused_by_name(tab: ScriptTab) -> None:
    samples = {int: "2", float: "0.5", str: ""}
    texts = {
        **{"Prompt S/R": "cat,fox", "Prompt order": "cat,dog", "Sampler": "Heun", "Size": "72x56"},
        **{"Hires sampler": "Heun", "Schedule type": "Karras", "Hires upscaler": "Lanczos"},
        **{"Always discard next-to-last sigma": "True", "SGM noise multiplier": "true"},
        **{"RNG source": "NV", "VAE": "None"},
    }
    more: dict[str, Any] = (
        {"hires": HiresPass()}
        if tab == "txt2img"
        else {"start": ImageStart(images=(Image.new("RGB", (64, 64)),))}
    )
    request = GenerationRequest(prompt="a cat, a dog", seed=7, width=64, height=64, **more)
    refused: list[str] = []
    for axis in plot_axes(tab):
        if axis.write is None:
            with pytest.raises(RequestError, match=f"axis '{axis.title}' cannot be honored"):
                begin(request, x=f"{axis.title}=1")
            refused.append(axis.title)
        elif axis.title not in ("Nothing", "Checkpoint name", "VAE"):
            whole = "seed" in axis.title.lower() or axis.title in (
                "Steps",
                "Hires steps",
                "Clip skip",
            )
            kind = int if whole or axis.title == "UniPC Order" else float
            text = texts.get(axis.title, samples[kind])
            steps, _ = made(begin(request, x=f"{axis.title}={text}"))
            assert steps[-1].requests[0] != request, axis.title
    never = {"Styles", "Face restore", "FP8 mode", "Image CFG Scale"}
    assert never & {axis.title for axis in plot_axes(tab)} <= set(refused)
    assert set(refused) <= never | {"Refiner checkpoint", "Refiner switch at"}


def test_models_are_named_in_steps_and_must_be_there(tmp_path: Any) -> None:
    for folder, name in (
        ("Stable-diffusion", "one"),
        ("Stable-diffusion", "two"),
        ("VAE", "sharp"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.safetensors").write_bytes(b"")
    context = ScriptContext(Registry.open(tmp_path), 64)

    def steps_of(title: str, values: str) -> list[ScriptStep]:
        given = {"y_type": TXT2IMG.index(title), "y_values": values, "x_type": 4, "x_values": "1,2"}
        run = XYZ_PLOT.run(REQUEST, named_arguments(XYZ_PLOT, {**given, "csv_mode": True}), context)
        return made(run)[0]

    assert [step.checkpoint for step in steps_of("Checkpoint name", "one, two")] == [
        *("one", "one", "two", "two"),
    ]
    assert [step.vae for step in steps_of("VAE", "None, sharp")] == [
        "None",
        "None",
        "sharp",
        "sharp",
    ]
    titles = "one.safetensors [0123456789], two.safetensors"
    assert [step.checkpoint for step in steps_of("Checkpoint name", titles)] == [
        *("one.safetensors", "one.safetensors", "two.safetensors", "two.safetensors"),
    ]
    with pytest.raises(RequestError, match=r"'twoo' is no checkpoint in .*; did you mean 'two'"):
        steps_of("Checkpoint name", "one, twoo")
    with pytest.raises(RequestError, match="'blurry' is no VAE"):
        steps_of("VAE", "blurry")


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"x": "Steps=0-1000000000"}, "axis 'Steps': an axis may have 1000 values at most"),
        (
            {"x": "Seed=1-1000", "y": "Steps=1-1000", "z": "CFG Scale=1-1000"},
            f"there would be 1000000000 images; {MOST_IMAGES} are the most",
        ),
        ({"x": "Steps=two"}, "axis 'Steps': 'two' is no whole number"),
        ({"x": "Steps=0"}, "axis 'Steps': steps is 0"),
        ({"x": "Steps=1", "y": "Sampler=Eulr"}, "axis 'Sampler': unknown sampler 'Eulr'"),
        ({"x": "Prompt S/R=zzz, castle"}, "its first value, 'zzz', is not in the prompt"),
        ({"x": "Size=1-5"}, "'1-5' is no size such as 512x768"),
        ({"x": "Size=64x64, 16384x16384"}, "million pixels; 200 million are the most"),
        ({"x": "RNG source=dice"}, "option randn_source is 'dice'"),
        ({"x_type": 42}, "X type must be from 0 to 41"),
        ({"y_type": -1}, "Y type must be from 0"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_first_step(
    axes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError) as caught:
        begin(**axes)
    assert said in str(caught.value)


def test_batches_count_towards_the_most_images() -> None:
    request = GenerationRequest(prompt="a", width=64, height=64, batch_size=2, batch_count=3)
    count = MOST_IMAGES // 6
    assert len(made(begin(request, x=f"Seed=1-{count}"))[0]) == count
    with pytest.raises(RequestError, match=f"{MOST_IMAGES} are the most"):
        begin(request, x=f"Seed=1-{count + 1}")
    large = GenerationRequest(prompt="a", width=2048, height=2048)
    with pytest.raises(RequestError, match="the grid would have 210 million pixels"):
        begin(large, x="Seed=1-50")


def test_the_steps_are_known_before_a_run() -> None:
    given = {"x_type": 4, "x_values": "1-3", "csv_mode": True}
    arguments = named_arguments(XYZ_PLOT, given)
    assert XYZ_PLOT.steps is not None
    steps = list(XYZ_PLOT.steps(REQUEST, arguments, CONTEXT))
    assert [step.requests[0].steps for step in steps] == [1, 2, 3]
    assert made(XYZ_PLOT.run(REQUEST, arguments, CONTEXT))[0] == steps


def test_values_are_told_as_they_were_written() -> None:
    _, output = made(begin(x='Prompt S/R=cat, "fox, red"'))
    told = output.images[0].infotext.partition("X Values: ")[2].partition(", Version")[0]
    assert json.loads(told) == 'cat, "fox, red"'
    assert len(PLOT_AXES) == len({(axis.title, axis.tabs) for axis in PLOT_AXES})
