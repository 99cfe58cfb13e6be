"""Styles put around a request's prompts by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptengine.errors import RequestError
from promptengine.request.hires_pass import HiresPass
from promptengine.request.request import GenerationRequest
from promptengine.request.styles import Style, apply_styles, read_styles

STYLES = [
    Style("photo", "photo of {prompt}, sharp", "blurry"),
    Style("night", "at night", ""),
    Style("pair", "{prompt} and {prompt}", "{prompt}, text"),
]


def styled(*names: str, **fields: str) -> tuple[str, str]:
    request = GenerationRequest(**{"prompt": "a cat", "negative_prompt": "bad", **fields})
    changed = apply_styles(request, names, STYLES)
    return changed.prompt, changed.negative_prompt


def test_styles_go_around_or_behind_in_their_order() -> None:
    assert styled("photo", "night") == ("photo of a cat, sharp, at night", "bad, blurry")
    assert styled("night", "photo") == ("photo of a cat, at night, sharp", "bad, blurry")
    assert styled("pair") == ("a cat and a cat", "bad, text")
    assert styled() == ("a cat", "bad")


def test_a_second_passs_own_prompts_are_styled_too() -> None:
    request = GenerationRequest(prompt="a cat", hires=HiresPass(prompt="a big cat"))
    changed = apply_styles(request, ["photo"], STYLES)
    assert changed.hires is not None
    assert changed.hires.prompt == "photo of a big cat, sharp"
    assert changed.hires.negative_prompt == ""


def test_an_unknown_style_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="unknown style 'foto'; did you mean 'photo'") as caught:
        styled("foto")
    assert caught.value.field == "styles"
    with pytest.raises(RequestError, match="there are: photo, night, pair"):
        styled("x" * 300)


def test_a_prompt_that_styles_blow_up_is_refused() -> None:
    with pytest.raises(RequestError, match="longer than the 1000000 characters"):
        styled(*["pair"] * 40)


def test_styles_are_webuis_file(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_text('name,prompt,negative_prompt\nphoto,"photo of {prompt}, sharp",blurry\n')
    assert read_styles(path) == STYLES[:1]
    assert (
        apply_styles(GenerationRequest(prompt="x"), ["photo"], path).prompt == "photo of x, sharp"
    )
    with pytest.raises(RequestError, match="no file of styles"):
        apply_styles(GenerationRequest(prompt="x"), ["photo"], str(tmp_path / "none.csv"))
