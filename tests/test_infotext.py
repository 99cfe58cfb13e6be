"""The text inside pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from promptengine import GenerationRequest, NetworkReport, __version__, save_png
from promptengine.infotext import generation_entries, write_infotext
from promptengine.syntax import Span


def report(name: str, *, applied: bool, reason: str = "", kind: str = "hypernet") -> NetworkReport:
    digest = "0123456789abcdef" if applied else None
    return NetworkReport(kind, name, 1.0, applied, reason, Span(0, 1), digest=digest)


def entries(**changes: object) -> dict[str, object]:
    options = {
        "sampler": "Euler a",
        "seed": 5,
        "size": (64, 96),
        "model": "tiny",
        "model_digest": "f" * 64,
        "networks": (),
    }
    return generation_entries(GenerationRequest(prompt="a"), **{**options, **changes})  # type: ignore[arg-type]


def test_the_parameter_line() -> None:
    assert write_infotext("a cat", "", entries()) == (
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x96, "
        f"Model hash: ffffffffff, Model: tiny, RNG: CPU, Version: promptengine {__version__}"
    )


def test_a_negative_prompt_has_a_line_of_its_own() -> None:
    assert write_infotext("a", "b\nc", {"Steps": 1}) == "a\nNegative prompt: b\nc\nSteps: 1"
    assert write_infotext("", "", {"Steps": 1}) == "Steps: 1"


def test_values_that_would_break_the_line_are_quoted() -> None:
    line = write_infotext(
        "a", "", {"Model": 'my, "mo:del"', "Kite": "Kite", "Gone": None, "Né": "é"}
    )
    assert line == 'a\nModel: "my, \\"mo:del\\"", Kite, Né: é'


def test_only_what_ran_is_listed_as_applied() -> None:
    listed = entries(
        networks=[
            report("ink", applied=True),
            report("wa,sh:\n", applied=True),
            report("nope", applied=False, reason="not found"),
            report("style", applied=False, reason="not found", kind="lora"),
            report("old", applied=False, reason="does not fit", kind="lyco"),
            replace(report("li:ne,", applied=True, kind="lora"), lora_hash="abababababab"),
            replace(
                report("zero", applied=False, reason="0", kind="lyco"), lora_hash="cdcdcdcdcdcd"
            ),
            report("other", applied=False, reason="tags of kind 'other' …", kind="other"),
        ]
    )
    assert listed["Lora hashes"] == "line: abababababab, zero: cdcdcdcdcdcd"
    assert listed["Lora skipped"] == "style (not found), old (does not fit), zero (0)"
    assert listed["Hypernet hashes"] == "ink: 0123456789, wash: 0123456789"
    assert listed["Hypernet skipped"] == "nope (not found)"
    assert list(listed)[-1] == "Version"
    assert "Hypernet hashes" not in entries()


def test_fractions_stay_and_defaults_are_left_out() -> None:
    request = GenerationRequest(prompt="a", cfg_scale=7.5, clip_skip=2)
    listed = generation_entries(
        request, sampler="Euler", seed=0, size=(8, 8), model="m", model_digest=None, networks=()
    )
    assert (listed["CFG scale"], listed["Clip skip"], listed["Model hash"]) == (7.5, 2, None)
    assert entries()["Clip skip"] is None


def test_any_text_can_stand_in_a_picture(tmp_path: Path) -> None:
    for number, text in enumerate(("plain", "猫 🐱", "a\ud800b", "x" * 100_000, "é\nline")):
        path = tmp_path / f"{number}.png"
        save_png(Image.new("RGB", (8, 8)), path, text)
        with Image.open(path) as image:
            assert image.info["parameters"] == text.replace("\ud800", "\ufffd")
