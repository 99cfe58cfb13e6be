"""Requests with templates: which image gets which prompt, and what is told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from promptengine.errors import RequestError
from promptengine.prompt.templates import Wildcards
from promptengine.registry.registry import Registry
from promptengine.request.dynamic import expand_request, expand_template
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart
from promptengine.request.request import GenerationRequest


def asked(prompt: str, **fields: Any) -> GenerationRequest:
    fields = {
        "seed": 5,
        "variation_seed": 0,
        "batch_size": 2,
        "batch_count": 2,
        "dynamic": True,
        **fields,
    }
    return GenerationRequest(prompt=prompt, **fields)


def expanded(prompt: str, **fields: Any) -> list[GenerationRequest]:
    return list(expand_request(asked(prompt, **fields), Wildcards()))


def test_image_i_has_the_prompt_of_seed_plus_i() -> None:
    images = expanded("{a|b|c|d|e|f} {g|h|i|j}")
    assert [one.seed for one in images] == [5, 6, 7, 8]
    assert len({one.prompt for one in images}) > 1
    for one in images:
        alone = expanded("{a|b|c|d|e|f} {g|h|i|j}", seed=one.seed, batch_size=1, batch_count=1)
        assert alone == [one]
        assert (one.batch_size, one.batch_count, one.dynamic) == (1, 1, False)


def test_with_a_variation_all_images_have_one_prompt() -> None:
    images = expanded("{a|b|c|d|e|f}", variation_strength=0.3, variation_seed=10)
    assert {one.prompt for one in images} == {images[0].prompt}
    assert [one.seed for one in images] == [5] * 4
    assert [one.variation_seed for one in images] == [10, 11, 12, 13]


def test_combinations_are_as_many_as_there_are_and_no_more_than_asked_for() -> None:
    few = expanded("{a|b}", negative_prompt="{c|d}", batch_count=50, dynamic_method="combinatorial")
    pairs = [(one.prompt, one.negative_prompt) for one in few]
    assert pairs == [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")]
    many = expanded("{a|b|c}{d|e|f}", dynamic_method="combinatorial")
    assert [one.prompt for one in many] == ["ad", "ae", "af", "bd"]


def test_cyclical_prompts_go_by_the_images_number() -> None:
    images = expanded("{a|b|c}", dynamic_method="cyclical")
    assert [one.prompt for one in images] == ["a", "b", "c", "a"]


def test_the_templates_are_told() -> None:
    (image,) = expanded("{a|b}", negative_prompt="{c|d}", batch_size=1, batch_count=1)
    assert image.script_entries == (("Template", "{a|b}"), ("Negative Template", "{c|d}"))
    (image,) = expanded("{a|b}", batch_size=1, batch_count=1)
    assert image.script_entries == (("Template", "{a|b}"),)


def test_a_second_pass_has_prompts_of_its_own() -> None:
    text = "{a|b|c|d}"
    for hires in (HiresPass(prompt=text), HiresPass()):
        for one in expanded(text, hires=hires):
            assert one.hires is not None
            assert one.hires.prompt == (one.prompt if hires.prompt else "")
    others = expanded(text, hires=HiresPass(prompt="{x|y}"))
    assert {one.hires.prompt for one in others if one.hires} == {"x", "y"}


def test_start_images_stay_with_their_places() -> None:
    pair = Image.new("RGB", (64, 64)), Image.new("RGB", (64, 64), "red")
    images = expanded("{a|b}", start=ImageStart(images=pair))
    starts = [one.start for one in images]
    assert [one.images for one in starts if one] == [(pair[0],), (pair[1],)] * 2
    assert [one.noise_seed for one in starts if one] == [5, 6, 5, 6]


def test_a_plain_prompt_stays_as_it_is() -> None:
    assert {one.prompt for one in expanded("a (cat:1.2), [b|c]")} == {"a (cat:1.2), [b|c]"}


def test_a_template_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="gives no prompt"):
        expanded("{2$$a|a}", dynamic_method="combinatorial")


def test_a_method_without_templates_is_refused() -> None:
    with pytest.raises(RequestError, match="set dynamic as well") as caught:
        GenerationRequest(prompt="a", dynamic_method="cyclical")
    assert caught.value.field == "dynamic_method"
    with pytest.raises(RequestError, match="set dynamic as well"):
        replace(asked("a", dynamic_method="cyclical"), dynamic=False)


@pytest.mark.parametrize(
    "place", ["models/wildcards", "wildcards", "extensions/sd-dynamic-prompts/wildcards"]
)
def test_wildcards_lie_in_the_models_folder_or_beside_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "a.txt").write_text("b\n")
    registry = Registry.open(tmp_path / "models")
    assert expand_template("x __a__", registry.wildcards(), 1) == ["x b"]
    (tmp_path / place / "a.txt").write_text("c\n")
    assert expand_template("x __a__", registry.wildcards(), 1) == ["x c"]


def test_folders_of_wildcards_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("b\n")
    registry = Registry.open({"wildcards": tmp_path})
    assert registry.wildcards().names == ("a",)
    assert Registry.open({}).wildcards().names == ()


def test_a_template_can_be_written_out() -> None:
    assert expand_template("{a|b}", method="combinatorial") == ["a", "b"]
    assert expand_template("{a|b|c}", count=4, method="cyclical") == ["a", "b", "c", "a"]
    drawn = expand_template("{a|b|c}{d|e|f}", count=10, seed=3)
    assert drawn[4:] == expand_template("{a|b|c}{d|e|f}", count=6, seed=7)
    for count in (0, 10_001, 2.5):
        with pytest.raises(RequestError, match="count"):
            expand_template("a", count=count)  # type: ignore[arg-type]
