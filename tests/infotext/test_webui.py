"""WebUI's own reading of infotexts, beyond the golden cases."""

from __future__ import annotations

import pytest

from promptengine.infotext.webui import implied_labels, webui_fields

LINE = "Steps: 20, Sampler: Euler a, Seed: 1"


def test_the_old_setting_of_a_hypernetwork_becomes_a_tag() -> None:
    fields = webui_fields(f"a\n{LINE}, Hypernet: ink(0a1b2c3d)")
    assert fields["Prompt"] == "a<hypernet:ink(0a1b2c3d):1.0>"


def test_lines_are_stripped_and_empty_ones_dropped_at_the_beginning() -> None:
    fields = webui_fields(f"x\nNegative prompt:\n\n b \nNegative prompt: c\n\nd\n{LINE}")
    assert (fields["Prompt"], fields["Negative prompt"]) == ("x", "b\nc\n\nd")


def test_values_as_webui_takes_them() -> None:
    fields = webui_fields(f'{LINE}, Empty: , Size: 8x16, Odd: "5x6", Same , FP8 weight: Enable')
    assert "Empty" not in fields and "Size" not in fields and "Same" not in fields
    assert (fields["Size-1"], fields["Size-2"], fields["Odd-1"]) == ("8", "16", "5")
    assert fields["Cache FP16 weight for LoRA"] is False


@pytest.mark.parametrize(
    ("first", "size", "expected"),
    [
        ("512x512", "1024x1024", (512, 512, 1024, 1024)),
        ("0x0", "1024x1024", (512, 512, 1024, 1024)),
        ("0x0", "1920x1080", (704, 384, 1920, 1080)),
        ("0x0", "0x0", ("0", "0", 0, 0)),
        ("0x0", "9" * 5000 + "x1", ("9" * 5000, "1", 0, 0)),
    ],
)
def test_the_first_pass_of_2022(first: str, size: str, expected: tuple[object, ...]) -> None:
    fields = webui_fields(f"{LINE}, Size: {size}, First pass size: {first}")
    keys = ("Size-1", "Size-2", "Hires resize-1", "Hires resize-2")
    assert tuple(fields[key] for key in keys) == expected


TIMELINES, PADDING = "Old prompt editing timelines", "Pad conds v0"
DOWNCAST = "Downcast alphas_cumprod"


@pytest.mark.parametrize(
    ("version", "implied"),
    [
        ("1.5.2", {TIMELINES, PADDING, DOWNCAST}),
        ("v1.5.2-7-gabcdef0", {TIMELINES, PADDING, DOWNCAST}),
        ("1.6.0", {DOWNCAST}),
        ("v1.6.0", {DOWNCAST}),
        ("v1.6.0-1-gabcdef0", {DOWNCAST}),
        ("v1.7.0-224-gabcdef0", {DOWNCAST}),
        ("v1.7.0-225-gabcdef0", set()),
        ("v1.10.1", set()),
        ("f2.0.1v1.10.1-previous-665-gae278f79", set()),
        ("promptengine 1.2.3", set()),
        ("", set()),
        ("1" * 100_000, set()),
    ],
)
def test_old_versions_imply_settings(version: str, implied: set[str]) -> None:
    everywhere = implied & {DOWNCAST}
    for prompt, sampler, expected in (
        ("[a:b:0.5]", "DDIM", implied),
        ("[a:b:0.5]", "Euler", implied - {PADDING}),
        ("a", "PLMS", implied - {TIMELINES}),
        ("a", "Euler", everywhere),
    ):
        fields = {"Version": version, "Prompt": prompt, "Sampler": sampler}
        assert implied_labels(fields) == dict.fromkeys(expected, True)


@pytest.mark.parametrize(("version", "implied"), [("1.7.9", True), ("1.8.0", False), ("x", False)])
def test_old_refiners_switched_by_the_number_of_steps(version: str, implied: bool) -> None:
    found = implied_labels({"Version": version, "Refiner": "other [0123456789]"})
    assert found.get("Refiner switch by sampling steps", False) is implied


def test_the_settings_of_its_reader() -> None:
    text = f"a\n{LINE}, Version: 1.5.2"
    assert webui_fields(text)["Downcast alphas_cumprod"] is True
    assert "Downcast alphas_cumprod" not in webui_fields(text, backward_compatible=False)
    assert "Seed" not in webui_fields(text, left_out=["Seed"])


@pytest.mark.parametrize(
    ("prompt", "weighs"), [("a BREAK b", False), ("(a)", True), ("a [b]", True), ("a, b", False)]
)
def test_the_mode_of_emphasis_counts_where_there_is_some(prompt: str, weighs: bool) -> None:
    assert ("Emphasis" in webui_fields(f"{prompt}\n{LINE}")) is weighs
    assert ("Emphasis" in webui_fields(f"a\nNegative prompt: {prompt}\n{LINE}")) is weighs
