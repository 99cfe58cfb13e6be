"""``promptengine info``, and images made again with ``txt2img --from``."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from promptengine import (
    HiresPass,
    Infotext,
    Options,
    Registry,
    read_image_info,
    read_infotext,
    recipe_from_infotext,
    save_image,
)
from promptengine.cli.from_image import without_given
from promptengine.generation.from_infotext import apply_recipe
from tests.cli.test_main import TINY, Capture, run
from tests.conformance.golden import present
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI

GOLDEN = WEBUI / "goldens" / "png" / "hn-two-ab.png"
LINE = "Steps: 2, Sampler: Euler, Seed: 1, Size: 64x64, RNG: CPU"
OPENED = [
    *("--config", str(CONFIG), "--device", "cpu"),
    *("--hypernetwork-dir", str(NETWORKS)),
]


def differences(one: Path, other: Path) -> tuple[int, float]:
    """The largest difference of two images' levels, and the share of levels that differ."""
    with Image.open(one) as a, Image.open(other) as b:
        assert a.size == b.size
        pairs = list(zip(a.convert("RGB").tobytes(), b.convert("RGB").tobytes(), strict=True))
    found = [abs(x - y) for x, y in pairs]
    return max(found), sum(map(bool, found)) / len(found)


def test_info_shows_every_key(capsys: Capture) -> None:
    assert run("info", str(present(GOLDEN)), str(GOLDEN)) == 0
    output = capsys.readouterr().out
    for expected in ("<hypernet:hn-relu:0.8>", "blurry, low quality", "9e72892962", "parameters"):
        assert output.count(expected) == 2


def test_info_as_json(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.txt").write_text(f"a\nNegative prompt: b\n{LINE}, odd?\nmore")
    Image.new("RGB", (8, 8)).save(tmp_path / "blank.png")
    (tmp_path / "cut.png").write_bytes(GOLDEN.read_bytes()[:60])
    paths = [str(tmp_path / name) for name in ("a.txt", "blank.png", "cut.png", "none.png")]
    assert run("info", "--json", *paths) == 1
    output = capsys.readouterr()
    good, *bad = json.loads(output.out)
    assert good == {
        "file": paths[0],
        "format": "text",
        "source": "a.txt",
        "infotext": {
            "prompt": "a",
            "negative_prompt": "b",
            "entries": dict(pair.split(": ") for pair in LINE.split(", ")),
            "strays": ["odd?"],
            "trailing": "more",
        },
        "texts": {},
    }
    assert [b["file"] for b in bad] == paths[1:]
    for said in ("holds no infotext", "ends early", "No such file"):
        assert output.err.count(said) == 1
    assert len(output.err.splitlines()) == 3


def test_info_never_drives_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    save_image(
        Image.new("RGB", (8, 8)),
        tmp_path / "a.png",
        Infotext("a\x1b[31m\nb", "\x07", {"x\x9b": "\x1b"}),
    )
    assert run("info", str(tmp_path / "a.png")) == 0
    output = capsys.readouterr().out
    assert not set("\x1b\x07\x9b") & set(output)
    assert "\\x1b[31m" in output


def test_a_image_is_made_again_from_itself(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    # Under another name: the hash finds it.
    shutil.copy(CHECKPOINT, folder / "renamed.safetensors")
    shutil.copy(CHECKPOINT.with_suffix(".yaml"), folder / "renamed.yaml")
    (folder / "another.safetensors").write_bytes(b"no checkpoint")
    out = tmp_path / "out"
    arguments = ["--models", str(tmp_path / "models"), *OPENED, "-o", str(out)]
    assert run("txt2img", "--from", str(present(GOLDEN)), *arguments) == 0
    output = capsys.readouterr()
    made = out / "00001-1636.png"
    worst, share = differences(GOLDEN, made)
    assert worst <= 1 and share < 0.02
    assert "is found here as 'renamed', by its hash" in output.err
    assert len(output.err.strip().splitlines()) == 1
    # And that one again, exactly, with nothing left to say.
    assert run("txt2img", "--from", str(made), *arguments, "--format", "webp") == 0
    assert capsys.readouterr().err.strip() == ""
    assert run("txt2img", "--from", str(out / "00002-1636.webp"), *arguments) == 0
    assert differences(made, out / "00003-1636.png") == (0, 0)


def test_the_command_line_wins_over_the_file(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.txt").write_text(
        f"a cat\nNegative prompt: b\n{LINE}, Model: gone, CFG scale: 3, Refiner: other"
    )
    out = tmp_path / "out"
    arguments = ["txt2img", "--from", str(tmp_path / "a.txt"), *TINY, "-o", str(out)]
    arguments += ["--seed", "7", "--batch-size", "2", "--format", "jpg"]
    assert run(*arguments, "--sampler", "DDIM", "--hypernetwork", "hn-relu:0.5") == 0
    output = capsys.readouterr()
    assert "applied hypernet hn-relu × 0.5" in output.out
    # The checkpoint was named, so nothing is said about the one in the file.
    assert "gone" not in output.err
    assert (
        "Refiner: 'other' is not in the models folder; the image is made without it" in output.err
    )
    infotext = read_image_info(out / "00002-8.jpg").infotext
    assert infotext is not None
    assert (infotext.prompt, infotext.negative_prompt) == ("a cat<hypernet:hn-relu:0.5>", "b")
    for key, value in (("Sampler", "DDIM"), ("CFG scale", "3"), ("Seed", "8"), ("Steps", "2")):
        assert infotext.entries[key] == value
    assert run(*arguments, "another", "-n", "") == 0
    infotext = read_image_info(out / "00003-7.jpg").infotext
    assert infotext is not None
    assert (infotext.prompt, infotext.negative_prompt) == ("another", "")


def test_an_unknown_checkpoint_is_said_to_be_replaced(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "Stable-diffusion"
    folder.mkdir()
    for path in (CHECKPOINT, CHECKPOINT.with_suffix(".yaml")):
        shutil.copy(path, folder / path.name)
    (tmp_path / "a.txt").write_text(f"a cat\n{LINE}, Model hash: 0123456789, Model: gone")
    arguments = ["--models", str(tmp_path), *OPENED, "-o", str(tmp_path / "out")]
    assert run("txt2img", "--from", str(tmp_path / "a.txt"), *arguments) == 0
    error = capsys.readouterr().err
    assert "checkpoint 'gone' [0123456789] is not in the models folder" in error
    assert "the first of the models folder is used (name one with --checkpoint)" in error


def test_a_prompt_that_looks_like_parameters_survives(tmp_path: Path) -> None:
    prompt = f"a\nNegative prompt: c\n{LINE}"
    assert run("txt2img", prompt, *TINY, "--seed", "1", "-o", str(tmp_path)) == 0
    infotext = read_image_info(tmp_path / "00001-1.png").infotext
    assert infotext is not None and (infotext.prompt, infotext.negative_prompt) == (prompt, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "PROMPT is missing"),
        (["--from", "none.png"], "none.png: No such file"),
        (["--from", "blank.png"], "blank.png: holds no infotext"),
        (["--from", "a.txt", "--steps", "0"], "steps is 0"),
    ],
)
def test_mistakes(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("blank.png")
    Path("a.txt").write_text("a")
    assert run("txt2img", *arguments, "--checkpoint", "none.safetensors") == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_settings_of_a_file_reach_the_request(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    usual = read_infotext(f"a\n{LINE}, Emphasis: Original, Eta: 1.0, VAE: Automatic, NGMS: 0")
    request, left_out = apply_recipe(recipe_from_infotext(usual, registry))
    assert (request.options, left_out) == (Options(), [])
    (tmp_path / "VAE").mkdir()
    (tmp_path / "VAE" / "fine.pt").write_bytes(b"x")
    entries = {
        **usual.entries,
        "RNG": "NV",
        "ENSD": "31337",
        "VAE": "fine.pt",
        "Variation seed": "5",
        "Variation seed strength": "0.5",
        "Hires upscale": "1.5",
        "Hires upscaler": "R-ESRGAN 4x+",
        "Hires sampler": "Euler",
        "Hires schedule type": "Karras",
        "Hires steps": "7",
        "Denoising strength": "0.4",
        "Seed resize from": "64x128",
        "Refiner": "other",
        "Tiling": "True",
    }
    recipe = recipe_from_infotext(replace(usual, entries=entries), Registry.open(tmp_path))
    request, left_out = apply_recipe(recipe)
    assert (request.options.noise_source, request.options.noise_seed_delta) == ("nv", 31337)
    assert (request.variation_seed, request.variation_strength) == (5, 0.5)
    assert request.tiling and request.seed_resize_from == (64, 128)
    assert request.hires == HiresPass(
        scale=1.5,
        upscaler="Lanczos",
        steps=7,
        sampler="Euler",
        scheduler="Karras",
        denoising_strength=0.4,
    )
    assert [d.message for d in left_out] == [
        "upscaler 'R-ESRGAN 4x+' is not here, so Lanczos is used",
    ]
    assert request.refiner is None
    assert [d.message for d in recipe.diagnostics if "Refiner" in d.message] == [
        "Refiner: 'other' is not in the models folder; the image is made without it"
    ]


def test_a_second_pass_out_of_range_is_left_out(tmp_path: Path) -> None:
    infotext = read_infotext(f"a\n{LINE}, Hires upscale: 2, Denoising strength: 7")
    request, left_out = apply_recipe(recipe_from_infotext(infotext, Registry.open(tmp_path)))
    assert request.hires is None
    assert "denoising_strength is 7" in left_out[0].message


def test_a_image_of_two_passes_is_made_again(tmp_path: Path) -> None:
    again = ("--checkpoint", str(CHECKPOINT), *OPENED, "-o", str(tmp_path))
    hires = ("--hires-scale", "1.5", "--hires-steps", "2", "--hires-upscaler", "Nearest")
    assert run("txt2img", "a cat", *TINY, "--seed", "1", *hires, "-o", str(tmp_path)) == 0
    first = tmp_path / "00001-1.png"
    assert run("txt2img", "--from", str(first), *again) == 0
    assert (tmp_path / "00002-1.png").read_bytes() == first.read_bytes()
    assert run("txt2img", "--from", str(first), *again, "--hires-steps", "3") == 0
    other = read_image_info(tmp_path / "00003-1.png").infotext
    assert other is not None and other.entries["Hires steps"] == "3"
    assert other.entries["Hires upscale"] == "1.5"


def test_a_image_from_a_image_is_made_again(tmp_path: Path, capsys: Capture) -> None:
    start, mask = tmp_path / "start.png", tmp_path / "mask.png"
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(start)
    Image.new("L", (64, 64), 255).save(mask)
    how = ("--denoising", "0.6", "--mask", str(mask), "--mask-blur", "2", "--mask-content", "fill")
    out = ("-o", str(tmp_path))
    assert run("img2img", str(start), "a cat", *TINY, "--seed", "1", *how, *out) == 0
    first = tmp_path / "00001-1.png"
    given = ("--mask", str(mask), "--checkpoint", str(CHECKPOINT), *OPENED, *out)
    assert run("img2img", str(start), "--from", str(first), *given) == 0
    assert (tmp_path / "00002-1.png").read_bytes() == first.read_bytes()
    assert run("img2img", str(start), "--from", str(first), *given, "--denoising", "0.9") == 0
    assert (tmp_path / "00003-1.png").read_bytes() != first.read_bytes()
    capsys.readouterr()
    checkpoint = ("--checkpoint", str(CHECKPOINT), *OPENED)
    assert run("txt2img", "--from", str(first), *checkpoint, *out) == 0
    said = capsys.readouterr().err
    assert said.count("made from another one (img2img)") == 1
    assert "means nothing here" not in said


def test_given_options_take_the_place_of_entries() -> None:
    nothing = dict.fromkeys(("seed", "steps", "sampler", "cfg_scale", "clip_skip"))
    nothing |= {"checkpoint": None, "prompt": None, "width": None, "height": None}
    infotext = read_infotext(f'a\n{LINE}, Model: m, Lora hashes: "a: 1"')
    assert without_given(infotext, argparse.Namespace(**nothing)) == infotext
    given = {**nothing, "seed": 0, "width": 64, "height": 64, "prompt": "", "checkpoint": "x"}
    left = without_given(infotext, argparse.Namespace(**given))
    assert (left.prompt, list(left.entries)) == ("", ["Steps", "Sampler", "RNG"])
    half = without_given(infotext, argparse.Namespace(**{**nothing, "width": 64}))
    assert "Size" in half.entries
