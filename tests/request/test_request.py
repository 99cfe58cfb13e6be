"""Requests refuse what no engine can do when they are made, and say which field it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from promptengine import (
    Axis,
    GenerationRequest,
    HiresPass,
    ImageStart,
    Inpainting,
    Options,
    RequestError,
    TrainingConfig,
    TrainingFiles,
)
from promptengine.request.request import samplers_of, with_seeds
from promptengine.request.samplers import SAMPLERS, find_sampler
from promptengine.request.schedulers import SCHEDULERS

IMAGE = Image.new("RGB", (8, 8))
WRONG: dict[str, tuple[object, ...]] = {
    "int": (2.5, 2.0, "20", "", None, True, [1], {}, b"1", 1j, object(), 10**5000),
    "float": ("7", None, False, [1.0], float("nan"), float("inf"), 1j, IMAGE, 10**400),
    "str": (None, 5, 5.0, True, ["a"], b"a", Path("a"), IMAGE),
    "bool": (1, 0, "true", None, 1.0, [], np.bool_(True)),
    "image": ("a.png", b"", Path("a.png"), np.zeros((8, 8, 3)), None, 3),
}
OBJECTS = ({}, "a", 5, True, [], IMAGE, Options)


def request(**values: Any) -> GenerationRequest:
    return GenerationRequest(**{"prompt": "a", **values})


def masked(**values: Any) -> Inpainting:
    return Inpainting(**{"mask": IMAGE, **values})


def started(**values: Any) -> ImageStart:
    return ImageStart(**{"images": (IMAGE,), **values})


def training(**values: Any) -> TrainingConfig:
    return TrainingConfig(**{"data": Path("data"), **values})


def places(**values: Any) -> TrainingFiles:
    return TrainingFiles(**{"output": Path("a.pt"), "folder": Path("a"), **values})


Make = Callable[..., object]
BY_TYPE: dict[str, dict[Make, str]] = {
    "int": {
        request: "seed steps batch_size batch_count clip_skip variation_seed",
        HiresPass: "resize_x resize_y steps",
        masked: "padding",
        training: "steps batch_size accumulation clip_skip seed",
        places: "save_every keep preview_every",
    },
    "float": {
        request: "cfg_scale variation_strength",
        HiresPass: "scale denoising_strength",
        started: "denoising_strength",
        training: "tag_dropout",
    },
    "str": {
        request: "prompt negative_prompt sampler scheduler policy dialect",
        HiresPass: "prompt negative_prompt",
        masked: "content",
        started: "resize_mode",
        training: "learning_rate clip_at clipping latent_sampling word_pattern word_join",
    },
    "bool": {
        request: "tiling",
        masked: "inverted only_masked hard",
        training: "resize shuffle_tags alpha_weights gradient_checkpointing strict_data",
    },
    "image": {masked: "mask"},
}
CASES = [
    (make, name, WRONG[kind])
    for kind, made in BY_TYPE.items()
    for make, names in made.items()
    for name in names.split()
]
ODD: list[tuple[Make, str, tuple[object, ...]]] = [
    *((request, name, OBJECTS) for name in ("options", "hires", "start")),
    *((request, name, (512.0, "512", True, [512], 513)) for name in ("width", "height")),
    (request, "seed_resize_from", (512, "512", (512,), (512, 512, 512), (512, "a"))),
    (started, "images", (IMAGE, "a.png", (), ("a.png",), [IMAGE, None], None)),
    (started, "inpainting", (IMAGE, {}, "mask.png", True)),
    (started, "noise_seed", (1.5, "1", True, -1)),
    (masked, "blur", (4, "44", (4,), (4, "4"), (4, -1), (True, 4), None)),
    *((HiresPass, name, (5, [], IMAGE)) for name in ("sampler", "upscaler")),
    *((training, name, (None, 5, IMAGE)) for name in ("data", "template")),
    *((training, name, ({}, "320", (320, "a"), 5)) for name in ("network", "widths")),
    *((places, name, (None, 5, IMAGE)) for name in ("output", "folder")),
    (places, "preview", ({}, "a cat", 5)),
]


@pytest.mark.parametrize(
    ("make", "name", "values"), [*CASES, *ODD], ids=lambda v: getattr(v, "__name__", None)
)
def test_a_wrong_value_is_named_at_once(make: Make, name: str, values: tuple[object, ...]) -> None:
    for value in values:
        with pytest.raises(RequestError) as caught:
            make(**{name: value})
        told = str(caught.value)
        assert caught.value.field.rpartition(".")[2] == name
        assert told.startswith(("there is no image", caught.value.field))
        assert len(told) < 400
        assert "\n" not in told


@pytest.mark.parametrize("own", fields(Options), ids=lambda own: own.name)
def test_options_refuse_other_types(own: Any) -> None:
    kind = own.metadata["setting"].kind.__name__
    for value in (*WRONG[kind], [], {}):
        with pytest.raises(RequestError, match=own.metadata["setting"].webui):
            Options(**{own.name: value})


def test_numbers_of_other_libraries_become_pythons() -> None:
    made = request(
        seed=np.int64(5),
        steps=np.uint8(4),
        cfg_scale=np.float32(7.5),
        variation_strength=Fraction(1, 2),
        seed_resize_from=[np.int32(64), 64],
    )
    values = made.seed, made.steps, made.cfg_scale, made.variation_strength
    assert [(type(value), value) for value in values] == [
        (int, 5),
        (int, 4),
        (float, 7.5),
        (float, 0.5),
    ]
    assert made.seed_resize_from == (64, 64)
    assert hash(made)
    assert type(request(cfg_scale=7).cfg_scale) is int
    assert started(images=[IMAGE]).images == (IMAGE,)
    assert training(data="data").data == Path("data")


def test_messages_say_what_is_right() -> None:
    for make, said in {
        lambda: request(steps="20"): "steps is '20'; it must be a whole number",
        lambda: request(steps=0): "steps is 0; it must be 1 to 1000",
        lambda: request(width=100): "width is 100, no multiple of 8; try 96 or 104",
        lambda: request(width="a"): "width is 'a'; it must be a whole number or None",
        lambda: request(policy="some"): "policy 'some' is none of strict, warn, ignore",
        lambda: request(options={}): "options is {}; it must be of the type promptengine's Options",
        lambda: request(cfg_scale=float("nan")): "cfg_scale is nan; it must be a finite number",
        lambda: masked(
            blur=4
        ): "inpainting.blur is 4; it must be a tuple of 2, each of it a finite number",
        lambda: request(sampler="Eular a"): "unknown sampler 'Eular a'; did you mean 'Euler a'?",
        lambda: request(scheduler="karas"): "unknown scheduler 'karas'; did you mean 'karras'?",
    }.items():
        with pytest.raises(RequestError) as caught:
            make()
        assert str(caught.value) == said


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: request(sampler="zzz"), "sampler"),
        (lambda: request(sampler=""), "sampler"),
        (lambda: request(sampler="x" * 100_000), "sampler"),
        (lambda: request(scheduler="steep"), "scheduler"),
        (lambda: HiresPass(sampler="zzz"), "hires.sampler"),
        (lambda: HiresPass(scheduler="steep"), "hires.scheduler"),
    ],
)
def test_unknown_samplers_and_schedules_are_refused(make: Callable[[], object], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        make()
    assert caught.value.field == field
    assert len(str(caught.value)) < 1000


def test_the_names_are_those_of_the_samplers_that_there_are() -> None:
    for sampler in SAMPLERS.values():
        assert not any(sampler.name.lower().endswith(f" {kind}") for kind in SCHEDULERS)
        assert find_sampler(sampler.name) is sampler
        assert request(sampler=sampler.name).sampler == sampler.name


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("Euler", "automatic"), (None, None), ("Euler", "automatic")),
        (("Euler", "karras"), (None, None), ("Euler", "karras")),
        (("Euler Karras", "automatic"), (None, None), ("Euler", "karras")),
        (("Euler", "karras"), (None, "automatic"), ("Euler", "automatic")),
        (("Euler Karras", "automatic"), (None, "Automatic"), ("Euler", "automatic")),
        (("Euler", "sgm_uniform"), ("DPM++ 2M", None), ("DPM++ 2M", "sgm_uniform")),
        (("Euler", "automatic"), ("DPM++ 2M", None), ("DPM++ 2M", "karras")),
        (("DPM++ 2M", "automatic"), ("Euler", None), ("Euler", "automatic")),
        (("Euler", "beta"), ("DPM++ 2M Karras", None), ("DPM++ 2M", "karras")),
        (("Euler", "beta"), ("DPM++ 2M Karras", "simple"), ("DPM++ 2M", "simple")),
    ],
)
def test_the_sampler_of_a_second_pass(
    first: tuple[str, str], second: tuple[str | None, str | None], expected: tuple[str, str]
) -> None:
    hires = HiresPass(sampler=second[0], scheduler=second[1])
    _, found = samplers_of(request(sampler=first[0], scheduler=first[1], hires=hires))
    assert found is not None and (found.name, found.scheduler) == expected


NINES = "9" * 5000


@pytest.mark.parametrize(
    "text",
    [
        f"seed={NINES}",
        f"steps=1-{NINES}",
        f"cfg=0-1 [{NINES}]",
        f"multiplier={NINES}",
        NINES,
        f"{NINES}=1",
        "prompt=" + "a" * 200_000,
    ],
    ids=lambda text: text[:12],
)
def test_axes_that_cannot_be_read_are_request_errors(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        Axis.parse(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("steps", ("a",)),
        ("steps", (2.5,)),
        ("multiplier", ("x",)),
        ("sampler", (5,)),
        ("steps", "12"),
        ("steps", 5),
        ("color", ("red",)),
        ("steps", (True,)),
        ("steps", ()),
        (5, (5,)),
    ],
)
def test_axes_of_wrong_values_are_request_errors(kind: Any, values: Any) -> None:
    with pytest.raises(RequestError):
        Axis(kind, values)


def test_requests_load_no_torch_and_no_pillow() -> None:
    code = (
        "import sys, promptengine as p; p.GenerationRequest(prompt='a', hires=p.HiresPass());"
        "sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_seeds_are_drawn_where_they_are_left_open() -> None:
    said = GenerationRequest(prompt="a", seed=7, variation_seed=8)
    assert with_seeds(said) is said
    drawn = [with_seeds(GenerationRequest(prompt="a", seed=-1)) for _ in range(20)]
    assert all(0 <= seed < 2**32 for one in drawn for seed in (one.seed, one.variation_seed))
    assert len({one.seed for one in drawn}) > 1
    assert with_seeds(replace(said, seed=-1)).variation_seed == 8
