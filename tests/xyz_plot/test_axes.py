"""Axes: read from text as WebUI writes values, and written into requests."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import PromptEngineError, RequestError
from promptengine.prompt import parse
from promptengine.request.hires_pass import HiresPass
from promptengine.request.request import GenerationRequest
from promptengine.xyz_plot.axes import MOST_VALUES, Axis, request_at


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=1,2, 5", (1, 2, 5)),
        ("seed=1-5", (1, 2, 3, 4, 5)),
        ("Seed = 5-3", (5, 4, 3)),
        ("steps=1-10 (+3)", (1, 4, 7, 10)),
        ("steps=10-1 (-4)", (10, 6, 2)),
        ("steps=1-10 [4]", (1, 4, 7, 10)),
        ("multiplier=0-1 [5]", (0, 0.25, 0.5, 0.75, 1)),
        ("multiplier=0-0.3 (+0.1), 1", (0, 0.1, 0.2, 0.3, 1)),
        ("multiplier=-1-1 (+1)", (-1, 0, 1)),
        ("multiplier=-0.5", (-0.5,)),
        ("cfg=1-3", (1, 2, 3)),
        ("clip-skip=1,2", (1, 2)),
        ("hypernetwork=none, ink", ("none", "ink")),
        ('prompt="a, b", c', ("a, b", "c")),
        ("prompt=cat,,dog", ("cat", "", "dog")),
        ("sampler=Euler a,DDIM", ("Euler a", "DDIM")),
    ],
)
def test_values_are_read(text: str, values: tuple[object, ...]) -> None:
    axis = Axis.parse(text)
    assert axis.values == values
    assert Axis.parse(f"{axis.kind}={axis.written()}") == axis


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ink", "write KIND=VALUES; `promptengine grid --help` lists the kinds"),
        ("sead=1", "no axis 'sead'; did you mean 'seed'?"),
        ("seed=x", "'x' is no whole number"),
        ("seed=1.5", "'1.5' is no whole number"),
        ("seed=", "axis seed has 0 values"),
        ("multiplier=nan", "'nan' is no number"),
        ("steps=1-5 (+0)", "is no whole number"),
        ("steps=1-5 (-1)", "is no whole number"),
        ("seed=1-1000000000000", f"it must be 1 to {MOST_VALUES}"),
        ("multiplier=0-1 [99999999]", f"it must be 1 to {MOST_VALUES}"),
        ("steps=1-5 [0]", "has 0 values"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        Axis.parse(text)
    assert said in str(caught.value)


@given(st.text(alphabet='seedprompt=0123456789-+()[]., "x\n\0', max_size=60))
def test_any_text_is_an_axis_or_an_error_of_ours(text: str) -> None:
    for kind in ("seed", "cfg", "prompt"):
        with contextlib.suppress(PromptEngineError):
            assert Axis.parse(f"{kind}={text}").values


def at(prompt: str, *place: tuple[str, str | float], negative: str = "") -> GenerationRequest:
    request = GenerationRequest(prompt=prompt, negative_prompt=negative, seed=7)
    pairs = [(Axis.parse(text), value) for text, value in place]
    return request_at(request, pairs)


def test_prompt_search_and_replace_works_on_both_prompts() -> None:
    request = at("a cat, one cat", ("prompt=cat,dog", "dog"), negative="blurry cat")
    assert request.prompt == "a dog, one dog"
    assert request.negative_prompt == "blurry dog"
    with pytest.raises(RequestError, match="'cat', is not in the prompt"):
        at("a fox", ("prompt=cat,dog", "cat"))


def test_a_hypernetwork_is_appended_and_then_gets_its_multiplier() -> None:
    place = ("multiplier=0,0.5", 0.5), ("hypernetwork=ink,none", "ink")
    assert at("a cat", *place).prompt == "a cat<hypernet:ink:0.5>"
    assert at("a cat # note", *place).prompt == "a cat # note\n<hypernet:ink:0.5>"
    assert at("a cat", place[0], ("hypernetwork=ink,none", "None")).prompt == "a cat"


def test_the_multiplier_is_set_in_every_tag_of_the_prompt_and_nothing_else_changes() -> None:
    prompt = "<hypernet:a> x <lora:b:0.3> (y:1.2) <hypernet:c:0.1:more> # <hypernet:d:1>"
    changed = at(prompt, ("multiplier=0.25", 0.25)).prompt
    assert changed == (
        "<hypernet:a:0.25> x <lora:b:0.3> (y:1.2) <hypernet:c:0.25:more> # <hypernet:d:1>"
    )
    with pytest.raises(RequestError, match="holds no <hypernet"):
        at("a cat", ("multiplier=1", 1.0))


def test_the_other_axes_set_fields() -> None:
    request = at(
        "a", ("seed=3", 3), ("steps=4", 4), ("cfg=5", 5.0), ("sampler=DDIM", "DDIM"),
        ("clip-skip=2", 2),
    )  # fmt: skip
    fields = (request.seed, request.steps, request.cfg_scale, request.sampler, request.clip_skip)
    assert fields == (3, 4, 5.0, "DDIM", 2)
    with pytest.raises(RequestError, match="steps is 0"):
        at("a", ("steps=0", 0))


def test_axes_set_settings_and_sizes() -> None:
    request = at(
        "a", ("churn=3", 3.0), ("noise-source=NV", "NV"), ("sgm-noise=true", "true"),
        ("token-merging=0.5", 0.5), ("size=72x56", "72x56"), ("variation-seed=4", 4),
        ("scheduler=Karras", "Karras"),
    )  # fmt: skip
    options = request.options
    assert (options.churn, options.noise_source, options.sgm_noise) == (3, "nv", True)
    assert (options.token_merging, options.token_merging_img2img) == (0.5, 0.5)
    assert (request.width, request.height, request.variation_seed) == (72, 56, 4)
    assert request.scheduler == "Karras"
    for axis, value, said in (
        ("sgm-noise=perhaps", "perhaps", "must be true or false"),
        ("churn=-1", -1.0, "option s_churn is -1"),
        ("size=72", "72", "'72' is no size such as 512x768"),
        ("denoising=0.5", 0.5, "belongs to Hires. fix or Image to image, which is off"),
    ):
        with pytest.raises(RequestError, match=said):
            at("a", (axis, value))


def test_eta_is_that_of_the_sampler_beside_it() -> None:
    options = at("a", ("eta=0.5", 0.5), ("sampler=DDIM", "DDIM")).options
    assert (options.eta_ddim, options.eta_ancestral) == (0.5, 1)
    options = at("a", ("eta=0.5", 0.5), ("sampler=Euler a", "Euler a")).options
    assert (options.eta_ddim, options.eta_ancestral) == (0, 0.5)
    with pytest.raises(RequestError, match="axis eta: Euler takes none"):
        at("a", ("eta=0.5", 0.5), ("sampler=Euler", "Euler"))


def test_the_second_pass_has_axes_of_its_own() -> None:
    request = GenerationRequest(prompt="a", hires=HiresPass())
    places = {"hires-steps=4": 4, "hires-sampler=DDIM": "DDIM", "denoising=0.5": 0.5}
    hires = request_at(request, [(Axis.parse(text), value) for text, value in places.items()]).hires
    assert hires is not None
    assert (hires.steps, hires.sampler, hires.denoising_strength) == (4, "DDIM", 0.5)


@given(st.text(max_size=40), st.sampled_from([0.0, 0.1, 0.3, -1.5, 1e-7, 1 / 3]))
def test_the_appended_tag_is_read_back_with_its_multiplier(prompt: str, multiplier: float) -> None:
    changed = at(prompt, ("hypernetwork=ink", "ink"), ("multiplier=1", multiplier)).prompt
    last = parse(changed).tags[-1]
    if "<" not in prompt:
        assert last.arguments[0] == "ink"
        assert float(last.arguments[1]) == pytest.approx(multiplier, rel=1e-8)


def test_labels() -> None:
    assert Axis.parse("multiplier=0.1").label(0.1) == "multiplier 0.1"
    assert Axis.parse("seed=4294967295").label(4294967295) == "seed 4294967295"
    assert Axis.parse("hypernetwork=none").label("none") == "no hypernetwork"
    assert Axis.parse("prompt=old fox").label("old fox") == "old fox"
