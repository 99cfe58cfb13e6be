"""The text inside images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from promptengine import GenerationRequest, NetworkReport, __version__, save_png
from promptengine.infotext.write import (
    InfotextContext,
    add_entries,
    generation_entries,
    write_infotext,
)
from promptengine.prompt import Span
from promptengine.request.options import Options


def report(name: str, *, applied: bool, reason: str = "", kind: str = "hypernet") -> NetworkReport:
    digest = "0123456789abcdef" if applied else None
    return NetworkReport(kind, name, 1.0, applied, reason, Span(0, 1), digest=digest)


MAKING = InfotextContext(sampler="Euler a", size=(64, 96), model="tiny", model_digest="f" * 64)


def entries(**changes: Any) -> dict[str, object]:
    return generation_entries(GenerationRequest(prompt="a"), replace(MAKING, **changes), seed=5)


def test_the_parameter_line() -> None:
    assert write_infotext("a cat", "", entries()) == (
        "a cat\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 5, Size: 64x96, "
        f"Model hash: ffffffffff, Model: tiny, RNG: CPU, Version: promptengine {__version__}"
    )


def test_a_negative_prompt_has_a_line_of_its_own() -> None:
    assert write_infotext("a", "b\nc", {"Steps": 1}) == "a\nNegative prompt: b\nc\nSteps: 1"
    assert write_infotext("", "", {"Steps": 1}) == "Steps: 1"


def test_entries_are_added_before_the_version() -> None:
    added = {"Script": "X", "Values": "1,2", "None": None}
    text = "a, Version: 2\nSteps: 1, Version: promptengine 1.0"
    expected = 'a, Version: 2\nSteps: 1, Script: X, Values: "1,2", Version: promptengine 1.0'
    assert add_entries(text, added) == expected
    assert add_entries("a\nSteps: 1", added) == 'a\nSteps: 1, Script: X, Values: "1,2"'
    # What another entry quotes is no version.
    quoted = 'a\nSteps: 1, Note: "b, Version: 3"'
    assert add_entries(quoted, added) == f'{quoted}, Script: X, Values: "1,2"'
    assert add_entries(text, {}) == text


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
    listed = generation_entries(request, replace(MAKING, model_digest=None), seed=0)
    assert (listed["CFG scale"], listed["Clip skip"], listed["Model hash"]) == (7.5, 2, None)
    assert "Clip skip" not in entries()


def test_a_vae_of_its_own_is_told_unless_options_say_no() -> None:
    making = replace(MAKING, vae="fine.vae.pt", vae_digest="e" * 64)
    told = generation_entries(GenerationRequest(prompt="a"), making, seed=5)
    assert (told["VAE hash"], told["VAE"]) == ("e" * 10, "fine.vae.pt")
    quiet = GenerationRequest(prompt="a", options=Options(name_vae=False, hash_vae=False))
    told = generation_entries(quiet, making, seed=5)
    assert (told["VAE hash"], told["VAE"]) == (None, None)


def test_any_text_can_stand_in_a_image(tmp_path: Path) -> None:
    for number, text in enumerate(("plain", "猫 🐱", "a\ud800b", "x" * 100_000, "é\nline")):
        path = tmp_path / f"{number}.png"
        save_png(Image.new("RGB", (8, 8)), path, text)
        with Image.open(path) as image:
            assert image.info["parameters"] == text.replace("\ud800", "\ufffd")
