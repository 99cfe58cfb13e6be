"""The command line as a user meets it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from promptengine.cli.main import main
from tests.conformance.golden import folder, rows
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI
from tests.text.textual_inversion.builders import as_json, vectors, write_text_image

Capture = pytest.CaptureFixture[str]
TINY = [
    *("--checkpoint", str(CHECKPOINT), "--config", str(CONFIG), "--device", "cpu"),
    *("--hypernetwork-dir", str(NETWORKS), "--width", "64", "--height", "64", "--steps", "2"),
]


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as stop:  # argparse leaves this way
        return int(stop.code or 0)


def test_txt2img_writes_images_with_their_text(tmp_path: Path, capsys: Capture) -> None:
    arguments = ["txt2img", "a cat <hypernet:hn-relu:0.8> <hypernet:nope:1>", "-n", "blurry", *TINY]
    arguments += ["--hypernetwork", "hn-mish:0.5", "--seed", "5", "--batch-size", "2"]
    arguments += ["--batch-count", "2", "-o", str(tmp_path / "out")]
    assert run(*arguments) == 0
    output = capsys.readouterr()
    paths = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in paths] == [f"0000{n}-{n + 4}.png" for n in range(1, 5)]
    assert all(str(path) in output.out for path in paths)
    assert "applied hypernet hn-relu × 0.8" in output.out
    assert "not applied hypernet nope × 1: not found" in output.out
    assert "applied hypernet hn-mish × 0.5" in output.out
    assert "unknown hypernetwork 'nope'" in output.err
    with Image.open(paths[2]) as image:
        assert image.size == (64, 64)
        text = image.info["parameters"]
    first, second, last = text.split("\n")
    assert first == "a cat <hypernet:hn-relu:0.8> <hypernet:nope:1><hypernet:hn-mish:0.5>"
    assert second == "Negative prompt: blurry"
    assert last.startswith(
        "Steps: 2, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 7, Size: 64x64, "
    )
    assert 'Hypernet hashes: "hn-relu: ' in last


def test_txt2img_takes_webuis_settings(tmp_path: Path) -> None:
    arguments = ["txt2img", "a cat", *TINY, "--sampler", "Euler a", "--scheduler", "karras"]
    arguments += ["--variation-seed", "9", "--variation-strength", "0.5", "--seed", "5"]
    arguments += ["--noise-source", "nv", "--tiling", "--batch-count", "2"]
    arguments += ["--option", "eta_ancestral=0.5", "--option", "CLIP_stop_at_last_layers=2"]
    assert run(*arguments, "-o", str(tmp_path)) == 0
    texts: list[str] = []
    for path in sorted(tmp_path.glob("*.png")):
        with Image.open(path) as image:
            texts.append(image.info["parameters"])
    for number, text in enumerate(texts):
        assert "Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 5," in text
        assert f"Variation seed: {9 + number}, Variation seed strength: 0.5, Clip skip: 2" in text
        assert "RNG: NV, Tiling: True, Eta: 0.5" in text
    assert len(texts) == 2


def test_the_hypernetwork_option_is_a_tag_at_the_end(tmp_path: Path) -> None:
    images: list[bytes] = []
    for number, arguments in enumerate(
        (
            ["a cat", "--hypernetwork", "hn-relu:0.5", "--hypernetwork", "hn-mish"],
            ["a cat<hypernet:hn-relu:0.5><hypernet:hn-mish>"],
            ["a cat"],
        )
    ):
        out = tmp_path / str(number)
        assert run("txt2img", *arguments, *TINY, "--seed", "1", "-o", str(out)) == 0
        with Image.open(next(out.iterdir())) as image:
            images.append(image.tobytes())
    assert images[0] == images[1] != images[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["txt2img", "a", "--steps", "0"], "steps is 0; it must be 1 to 1000"),
        (["txt2img", "a", "--width", "70"], "try 64 or 72"),
        (["txt2img", "a", "--checkpoint", "nowhere.ckpt"], "nowhere.ckpt: no such file"),
        (["txt2img", "a", "--hypernetwork", "ink:x"], "multiplier 'x' is no number"),
        (["txt2img", "a", "--hypernetwork", ""], "no name of a hypernetwork"),
        (["txt2img", "a", "--hypernetwork-dir", "nowhere"], "no such folder: nowhere"),
        (["txt2img", "a", "--option", "rho"], "--option 'rho': write NAME=VALUE"),
        (["txt2img", "a", "--option", "rho=much"], "option rho is 'much'; it must be a number"),
        (["txt2img", "a", "--option", "roh=1"], "unknown option 'roh'; did you mean 'rho'?"),
        (["parse", "a", "--steps", "0"], "steps is 0"),
        (["inspect", "nowhere.pt"], "nowhere.pt: no such file"),
        (["convert", "nowhere.pt", "x.safetensors"], "nowhere.pt: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: list[str],
    said: str,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}


def test_strict_refuses_and_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    arguments = ["txt2img", "a <hypernet:hn-rel:1>", *TINY, "--policy", "strict", "-o", str(out)]
    assert run(*arguments) == 2
    assert "'hn-rel' at column 3; did you mean 'hn-relu'" in capsys.readouterr().err
    assert not list(out.iterdir())


def test_parse_draws_tree_schedule_and_diagnostics(capsys: Capture) -> None:
    assert (
        run(
            "parse", "a (cat:1.3) [fox|[wolf:bear:0.5]] [x:y] BREAK b<hypernet:i:2>", "--steps", "4"
        )
        == 0
    )
    output = capsys.readouterr().out
    for expected in (
        "× 1.3",
        "alternate",
        "change at 0.5",
        "step 4",
        "BREAK",
        "tag hypernet i : 2",
    ):
        assert expected in output
    assert "warning at column 35" in output
    assert "^^^^^" in output


def test_parse_names_the_option_that_subtracts(capsys: Capture) -> None:
    assert run("parse", "a (cat:-1.2)") == 0
    told = capsys.readouterr().out
    assert "info at column 4" in told and "option negative_weights" in told


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_parse_leaves_out_what_is_not_to_be_told(form: list[str], capsys: Capture) -> None:
    assert run("parse", "(a #b", *form) == 0
    told = capsys.readouterr().out
    assert "unclosed-bracket" in told and "comment-in-text" in told
    assert run("parse", "(a #b", *form, "--ignore", "unclosed-bracket,comment-in-text") == 0
    silent = capsys.readouterr().out
    assert "unclosed-bracket" not in silent and "comment-in-text" not in silent


def test_lines_leave_out_what_is_not_to_be_told(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"id": 1, "prompt": "(a"}\n'))
    assert run("parse", "--jsonl", "--ignore", "unclosed-bracket") == 0
    assert json.loads(capsys.readouterr().out)["diagnostics"] == []


@pytest.mark.parametrize("command", [["parse", "a"], ["txt2img", "a", *TINY]])
def test_unknown_codes_are_refused(command: list[str], capsys: Capture) -> None:
    assert run(*command, "--ignore", "negative-wait") == 2
    assert "--ignore is 'negative-wait'; did you mean 'negative-weight'" in capsys.readouterr().err


def test_parse_never_drives_the_terminal(capsys: Capture) -> None:
    assert run("parse", "a \x1b[31m\x07 [b:\x9b2J] <x\x1b:1>") == 0
    assert not set("\x1b\x07\x9b") & set(capsys.readouterr().out)


@pytest.mark.parametrize("prompt", ["", "(" * 30_000, "[a|" * 3_000, "\ud800", "[[b]:(c|:0.5"])
def test_parse_answers_anything(prompt: str, capsys: Capture) -> None:
    assert run("parse", prompt) == 0
    assert run("parse", prompt, "--json") == 0
    assert capsys.readouterr().out


def test_parse_looks_names_up_where_there_is_a_models_folder(capsys: Capture) -> None:
    arguments = ["parse", "<hypernet:hn-rel:1>", "--hypernetwork-dir", str(NETWORKS), "--json"]
    assert run(*arguments) == 0
    (diagnostic,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert "did you mean 'hn-relu'" in diagnostic["message"]
    assert (diagnostic["column"], diagnostic["start"], diagnostic["end"]) == (1, 0, 19)


def test_jsonl_answers_in_the_form_of_the_golden_data(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = rows(folder() / "prompts" / "cases.jsonl")[::25]
    keys = ("id", "prompt", "steps", "hires_steps")
    questions = "".join(json.dumps({k: case[k] for k in keys}) + "\n" for case in cases)
    monkeypatch.setattr("sys.stdin", io.StringIO(questions))
    assert run("parse", "--jsonl") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["id"] for answer in answers] == [case["id"] for case in cases]
    for answer, case in zip(answers, cases, strict=True):
        assert answer["tags"] == case["expected"]["tags"]
        for ours, golden in zip(answer["subprompts"], case["expected"]["subprompts"], strict=True):
            assert (ours["text"], ours["weight"]) == (golden["text"], golden["weight"])
            assert [s["until"] for s in ours["schedule"]] == [
                s["until"] for s in golden["schedule"]
            ]


def test_jsonl_answers_bad_lines_and_goes_on(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = '{"prompt": 3}\nnonsense\n\n{"prompt": "a", "steps": "x"}\n{"id": 7, "prompt": "b"}\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert run("parse", "--jsonl") == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in answer for answer in answers] == [True, True, True, False]
    assert "line 2" in answers[1]["error"]
    assert answers[3]["id"] == 7


def test_networks_lists_what_is_there(tmp_path: Path, capsys: Capture) -> None:
    for place in ("hypernetworks/ink.pt", "hypernetworks/old/ink.pt", "Lora/style.safetensors"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(NETWORKS / "hn-relu.pt", tmp_path / place)
    (tmp_path / "hypernetworks" / "ink.txt").write_text("like a brush\r\nand a pen\n")
    vera = {f"base_model.model.x.vera_lambda_{part}": torch.zeros(2) for part in "bd"}
    save_file(vera, tmp_path / "Lora" / "a-vera.safetensors")
    lora = WEBUI.parent / "webui-2" / "loras" / "lo-file-name.safetensors"
    shutil.copy(lora, tmp_path / "Lora" / "line.safetensors")
    assert run("networks", "--models", str(tmp_path)) == 0
    output = capsys.readouterr()
    assert "like a brush" in output.out and "and a pen" in output.out
    assert "\\n" not in output.out and "\\r" not in output.out
    assert "not usable: VeRA is not supported" in output.out
    assert "old/ink" in output.out
    assert "ink" in output.err
    assert "12 modules" in output.out
    assert run("networks", "--models", str(tmp_path), "--json") == 0
    entries = json.loads(capsys.readouterr().out)
    assert [(e["kind"], e["name"]) for e in entries] == [
        ("hypernet", "ink"),
        ("hypernet", "old/ink"),
        ("lora", "a-vera"),
        ("lora", "line"),
        ("lora", "style"),
    ]
    assert entries[2]["misfit"] == "VeRA is not supported"
    assert entries[3]["layers"] == ["text encoder: 12 modules, LoRA of rank 6"]
    assert [entry["base_model"] for entry in entries] == [None, None, None, "sd_v1", None]
    assert entries[0]["sha256"].startswith("d2c1e0f09e")
    assert run("networks", "--models", str(tmp_path / "nowhere")) == 0
    assert "no model files" in capsys.readouterr().out


def test_networks_says_what_embeddings_hold(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "embeddings"
    shutil.copytree(WEBUI / "embeddings", folder)
    (folder / "broken.pt").write_bytes(b"text")
    Image.new("RGB", (8, 8)).save(folder / "holiday.png")
    write_text_image(folder / "conan-250.png", as_json(vectors(1, 768)))
    assert run("networks", "--models", str(tmp_path)) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "tiembpt 0.0 3 vectors of width 48" in output
    assert "broken 0.0 not usable: neither a safetensors file" in output
    assert "1 vector of width 768, word conan" in output
    assert "holiday" not in output
    assert run("networks", "--models", str(tmp_path), "--json") == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(entries) == ["broken", "conan-250", "tiembpt", "tiembst"]
    found = entries["tiembst"]
    assert (found["word"], found["vectors"], found["widths"]) == ("tiembst", 2, [48])
    assert found["misfit"] is None and "neither" in entries["broken"]["misfit"]


def test_inspect_says_what_a_file_is(capsys: Capture) -> None:
    assert run("inspect", str(NETWORKS / "hn-relu.pt")) == 0
    assert "hypernetwork" in capsys.readouterr().out
    assert run("inspect", str(WEBUI / "hypernetworks_bad" / "hn-evil-zip.pt")) == 0
    output = capsys.readouterr().out
    assert "NO" in output
    assert "refused" in output
    assert run("inspect", str(CHECKPOINT), "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "checkpoint"


def test_convert_there_and_back(tmp_path: Path, capsys: Capture) -> None:
    source = NETWORKS / "hn-swish-ln.pt"
    there, back = tmp_path / "a.safetensors", tmp_path / "b.pt"
    assert run("convert", str(source), str(there)) == 0
    assert run("convert", str(there), str(back)) == 0
    assert run("convert", str(source), str(there)) == 2
    assert "--force" in capsys.readouterr().err
    assert run("convert", str(source), str(there), "--force") == 0
    assert run("inspect", str(back), "--json") == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["kind"] == "hypernetwork"


def test_help_and_version(capsys: Capture) -> None:
    for arguments in (["--help"], ["txt2img", "--help"], ["parse", "--help"], ["--version"]):
        assert run(*arguments) == 0
    assert "promptengine" in capsys.readouterr().out


def test_parse_draws_networks_over_the_steps(capsys: Capture) -> None:
    prompt = "[<hypernet:ink:1>:fox:2] <hypernet:neon:0@0,1@2>"
    assert run("parse", prompt, "--dialect", "extended", "--steps", "4") == 0
    drawn = capsys.readouterr().out
    assert "timeline ink" in drawn and "calls 1–3" in drawn
    assert "timeline neon" in drawn and "× 0.5" in drawn
    assert run("parse", prompt, "--dialect", "extended", "--steps", "4", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["multipliers"] == {"0": [1, 1, 1, 0, 0], "1": [0, 0.5, 1, 1, 1]}
    assert run("parse", prompt, "--steps", "4") == 0
    assert "timeline" not in capsys.readouterr().out


def test_profile_says_where_the_time_went(tmp_path: Path, capsys: Capture) -> None:
    assert (
        run("txt2img", "a cat", *TINY, "--profile", "--batch-count", "2", "-o", str(tmp_path)) == 0
    )
    lines = [line.split() for line in capsys.readouterr().err.splitlines() if line.endswith("%")]
    stages = ["import", "open", "parse", "plan", "load", "encode", "sample", "decode", "save"]
    assert [stage for stage, _, _ in lines] == stages
    assert all(float(seconds) >= 0 for _, seconds, _ in lines)
    assert 95 <= sum(int(share.removesuffix("%")) for _, _, share in lines) <= 105


def test_grid_writes_one_labeled_sheet_and_says_what_ran(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    axes = ["-x", "multiplier=0,1", "-y", "hypernetwork=none,hn-relu"]
    arguments = ["grid", "a cat <lora:b:1>", *axes, *TINY, "--seed", "5", "-o", str(out)]
    assert run(*arguments, "--keep-images") == 0
    output = capsys.readouterr()
    assert sorted(p.name for p in out.iterdir()) == [
        "00001-5.png", "00002-5.png", "00003-5.png", "00004-5.png", "grid-00001-5.png"
    ]  # fmt: skip
    assert str(out / "grid-00001-5.png") in output.out
    assert output.out.count("applied hypernet hn-relu × 1") == 1
    assert output.out.count("not applied hypernet hn-relu × 0") == 1
    assert output.err.count("unknown LoRA 'b'") == 1
    with Image.open(out / "grid-00001-5.png") as sheet:
        assert sheet.width > 2 * 64 and sheet.height > 2 * 64
        assert "X Type: multiplier" in sheet.info["parameters"]
        assert json.loads(sheet.info["promptengine"])["prompt"] == "a cat <lora:b:1>"
    assert run(*arguments[:2], "-x", "seed=x", *TINY) == 2
    assert "axis seed: 'x' is no whole number" in capsys.readouterr().err
