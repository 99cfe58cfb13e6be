"""``tests/cases/infotexts.jsonl``: every text there is read, refused or told of as its line says."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from promptengine import (
    ImageError,
    Registry,
    RequestError,
    read_image_info,
    read_infotext,
    recipe_from_infotext,
)
from promptengine.cli.from_image import read_recipe
from promptengine.generation.from_infotext import apply_recipe
from promptengine.request.request import GenerationRequest
from promptengine.server.config import Limits
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.options import ServerSettings
from promptengine.server.sdapi.requests import Text2Image
from promptengine.server.sdapi.to_request import parse_webui_request
from tests.cases import lines
from tests.cli.test_main import Capture, run

LINES = lines("infotexts", "infotext")
SCHEDULES = [text for text, right in LINES.items() if "--scheduler" in right]
REFUSED = {"Fooocus": "Fooocus", "SwarmUI": "SwarmUI", "empty file": "empty"}
"""A word of what is right, and of the refusal."""


def scheduler_of(text: str) -> str:
    return text.partition("Schedule type: ")[2].partition(",")[0]


EXPECTED: dict[str, dict[str, Any]] = {
    **{text: {"sampler": "Euler", "scheduler": scheduler_of(text)} for text in SCHEDULES},
    "Denoising strength": {
        "said": ("warning", "this image may have been made from another one"),
    },
    "Sampler: LCM": {"sampler": "LCM"},
    "Sampler: Undefined": {
        "sampler": "Euler a",
        "said": ("warning", "Sampler: 'Undefined' cannot be used (unknown sampler"),
    },
    "Civitai resources": {
        "entry": (
            "Civitai resources",
            '[{"type":"checkpoint","modelVersionId":1},'
            '{"type":"lora","weight":0.8,"modelVersionId":2}]',
        ),
        "said": (
            "warning",
            "Civitai resources are named by numbers alone and are not applied: 1 lora",
        ),
    },
    "Version: v1.7.0": {
        "sampler": "DPM++ 2M",
        "scheduler": "Uniform",
        "said": ("info", "before WebUI 1.9 DPM++ 2M alone meant the plain list"),
    },
    "Schedule type: Automatic": {"sampler": "DPM++ 2M", "scheduler": "Karras"},
}
"""What is read, by the text or a piece of it."""


def expected(text: str) -> dict[str, Any]:
    if text in EXPECTED:
        return EXPECTED[text]
    (found,) = [value for piece, value in EXPECTED.items() if piece in text]
    return found


def refusal(right: str) -> str | None:
    return next((word for mark, word in REFUSED.items() if mark in right), None)


READ = [text for text, right in LINES.items() if refusal(right) is None]
NOT_READ = [(text, refusal(right)) for text, right in LINES.items() if refusal(right)]


def test_every_line_has_its_check() -> None:
    assert len(LINES) == 20 and len(NOT_READ) == 3
    assert all(expected(text) for text in READ)


def check(request: GenerationRequest, wanted: dict[str, Any]) -> None:
    for name in ("sampler", "scheduler"):
        if name in wanted:
            assert getattr(request, name) == wanted[name]


@pytest.mark.parametrize("text", READ)
def test_the_library_reads_it(text: str, tmp_path: Path) -> None:
    wanted, infotext = expected(text), read_infotext(text)
    recipe = recipe_from_infotext(infotext, Registry.open(tmp_path))
    request, left_out = apply_recipe(recipe)
    check(request, wanted)
    if "entry" in wanted:
        key, value = wanted["entry"]
        assert infotext.entries[key] == value
    assert infotext.strays == ()
    told = [(d.severity, d.message) for d in (*recipe.diagnostics, *left_out)]
    told = [one for one in told if "not in the models folder" not in one[1]]
    if "said" in wanted:
        severity, words = wanted["said"]
        assert [one for one in told if one[0] == severity and words in one[1]], told
        told.pop()
    assert told == []


def asked(text: str, tmp_path: Path) -> Any:
    """What the API makes of a request with an infotext."""
    registry = Registry.open(tmp_path)
    settings = ServerSettings(registry, Model(tmp_path / "a.safetensors", "Automatic"))
    return parse_webui_request(Text2Image(infotext=text), settings, registry, [], Limits())


@pytest.mark.parametrize("text", READ)
def test_the_api_reads_it(text: str, tmp_path: Path) -> None:
    found = asked(text, tmp_path)
    check(found.work.requests[0], expected(text))
    if "said" in expected(text):
        assert any(expected(text)["said"][1] in warning for warning in found.warnings)


@pytest.mark.parametrize(("text", "word"), NOT_READ)
def test_what_is_no_infotext_is_refused(
    text: str, word: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(RequestError, match=word):
        recipe_from_infotext(read_infotext(text), Registry.open(tmp_path))
    if text:
        with pytest.raises(RequestError, match=word):
            asked(text, tmp_path)
        # Files of other programs are read, and not for infotexts.
        assert run("info", str(path)) == 0
        (made,) = [s for s in capsys.readouterr().out.splitlines() if s.startswith("made by")]
        assert word in made
        return
    with pytest.raises(ImageError, match=word):
        read_recipe(argparse.Namespace(origin=path), tmp_path)
    assert run("info", str(path)) == 1
    assert word in capsys.readouterr().err
    assert run("txt2img", "--from", str(path), "--checkpoint", "none.safetensors") == 2
    assert word in capsys.readouterr().err


COMFY = '{"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}'


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (COMFY, "ComfyUI"),
        ('{"last_node_id": 4, "nodes": [], "links": []}', "ComfyUI"),
        ('{"app_version": "4.2.0", "generation_mode": "txt2img", "seed": 1}', "InvokeAI"),
        ('{"use_stable_diffusion_model": "sd-v1-4", "prompt": "a"}', "Easy Diffusion"),
        ('{"c": "a cat", "uc": "", "v2": {}, "seed": 1}', "Draw Things"),
        ('{"prompt": "a", "uc": "b", "sampler": "k_euler", "noise_schedule": "karras"}', "NovelAI"),
        ('{"prompt": "a", "software": "RuinedFooocus"}', "RuinedFooocus"),
        ("a cat --ar 16:9 Job ID: 01234567-89ab-cdef-0123-456789abcdef", "Midjourney"),
        ("Include in Image: a cat; Exclude from Image: b; Steps: 5", "Mochi Diffusion"),
        ('{"prompt": "foo: bar, baz: qux, steps: 5"}', "another program, as JSON"),
        ('[{"prompt": "a"}]', "another program, as JSON"),
    ],
)
def test_programs_are_told_by_their_name(text: str, program: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    found = read_image_info(tmp_path / "a.txt")
    assert (found.infotext, found.program) == (None, program)
    with pytest.raises(RequestError, match=program):
        recipe_from_infotext(read_infotext(text), Registry.open(tmp_path))


@pytest.mark.parametrize("text", ["{a|b} cat", "[cat:dog:0.5]", "[]", "{}", "[1, 2]", '"a cat"'])
def test_prompts_in_braces_are_prompts(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    infotext = read_image_info(tmp_path / "a.txt").infotext
    assert infotext is not None and infotext.prompt == text
