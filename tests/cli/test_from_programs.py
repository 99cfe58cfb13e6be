"""``--from`` and ``info`` with images of other programs: made here, written as infotexts, and made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from promptengine import read_image_info
from tests.cli.test_main import Capture, run
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS
from tests.infotext.programs.samples import SAMPLES, api_graph

OPENED = [
    *("--checkpoint", str(CHECKPOINT), "--config", str(CONFIG), "--device", "cpu"),
    *("--hypernetwork-dir", str(NETWORKS)),
]
SMALL = ("--steps", "2", "--width", "64", "--height", "64")


def write(path: Path, **texts: str) -> Path:
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize("program", SAMPLES)
def test_images_of_each_program_are_made_and_made_again(program: str, tmp_path: Path) -> None:
    source = write(tmp_path / "theirs.png", **SAMPLES[program][0])
    theirs = read_image_info(source).image
    assert theirs is not None
    out = (*OPENED, "-o", str(tmp_path / "out"))
    assert run("txt2img", "--from", str(source), *SMALL, *out) == 0
    (first,) = (tmp_path / "out").iterdir()
    ours = read_image_info(first)
    assert ours.infotext is not None and ours.image is None
    assert ours.infotext.prompt == theirs.prompt
    assert ours.infotext.negative_prompt == theirs.negative_prompt
    for label in ("Seed", "Sampler", "Schedule type"):
        wanted = theirs.entries.get(label)
        assert wanted is None or ours.infotext.entries.get(label, wanted) == wanted
    written = "" if theirs.dialect == "webui" else theirs.dialect
    assert ours.infotext.entries.get("Prompt syntax", "") == written
    assert run("txt2img", "--from", str(first), *out) == 0
    (again,) = set((tmp_path / "out").iterdir()) - {first}
    assert again.read_bytes() == first.read_bytes()


def test_a_graph_makes_the_image_that_its_settings_make(tmp_path: Path, capsys: Capture) -> None:
    graph = api_graph(seed=3, steps=2, cfg=5, model=["10", 0])
    graph["5"]["inputs"] |= {"width": 64, "height": 64}
    inputs = {"hypernetwork_name": "hn-relu.pt", "strength": 0.8, "model": ["4", 0]}
    graph["10"] = {"class_type": "HypernetworkLoader", "inputs": inputs}
    graph["11"] = {"class_type": "ImageSharpen", "inputs": {"image": ["8", 0], "alpha": 1}}
    source = write(tmp_path / "theirs.png", prompt=json.dumps(graph))
    out = (*OPENED, "-o", str(tmp_path / "out"))
    assert run("txt2img", "--from", str(source), *out) == 0
    said = capsys.readouterr().err
    assert "made by ComfyUI; not the same image" in said
    assert "node 11 (ImageSharpen)" in said
    prompt = "a (kite:1.2) on a hill<hypernet:hn-relu:0.8>"
    given = (
        "--negative-prompt",
        "blurry",
        "--dialect",
        "swarmui",
        "--sampler",
        "Euler",
        "--cfg",
        "5",
    )
    given += ("--scheduler", "karras", "--seed", "3", *SMALL)
    assert run("txt2img", prompt, *given, *out) == 0
    first, second = sorted((tmp_path / "out").iterdir())
    with Image.open(first) as one, Image.open(second) as other:
        assert one.tobytes() == other.tobytes()
    assert "hn-relu" in read_image_info(first).infotext.entries["Hypernet hashes"]  # type: ignore[union-attr]


def test_info_names_the_program_and_what_is_left_out(tmp_path: Path, capsys: Capture) -> None:
    source = write(tmp_path / "theirs.png", **SAMPLES["Fooocus"][0])
    assert run("info", str(source)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "Fooocus; not the same image: Fooocus sharpens while it samples",
        "left out: parameters sharpness 2.0",
        "Sampler DPM++ 2M SDE",
    ):
        assert words in shown
    assert run("info", "--json", str(source)) == 0
    (told,) = json.loads(capsys.readouterr().out)
    other = told["other_program"]
    assert (told["program"], other["dialect"], other["same"]) == ("Fooocus", "webui", False)
    wanted = {"place": "parameters performance", "value": "'Speed'", "reason": ""}
    assert wanted in other["unmapped"]
