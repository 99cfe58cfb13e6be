"""``--webui DIR``, several ``--models``, and ComfyUI's folders, as a user meets them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from promptengine.cli import serve
from promptengine.cli.main import main
from promptengine.server import run as serving
from promptengine.server.config import ServerConfig
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS
from tests.integrations.webui.builders import make_webui
from tests.model_folders import touch
from tests.super_resolution.builders import nearest_compact, write

Capture = pytest.CaptureFixture[str]
ENGINE = ["--config", str(CONFIG), "--device", "cpu"]
PAGE = {
    "customscript/sampler.py/txt2img/Sampling method/value": "DPM++ 2S a",
    "customscript/sampler.py/txt2img/Schedule type/value": "Karras",
    "customscript/sampler.py/txt2img/Sampling steps/value": 2,
    "customscript/seed.py/txt2img/Seed/value": 5.0,
    "txt2img/Width/value": 64,
    "txt2img/Height/value": 64,
    "txt2img/CFG Scale/value": 5.5,
    "txt2img/Negative prompt/value": "blurry",
    "txt2img/Styles/value": ["ink"],
    "txt2img/Upscale by/value": 1.5,
    "txt2img/Denoising strength/value": 0.5,
    "customscript/sampler.py/img2img/Sampling steps/value": 2,
    "img2img/Denoising strength/value": 0.6,
}
SETTINGS = {
    "sd_model_checkpoint": "tiny.safetensors [0123456789]",
    "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 2,
    "eta_noise_seed_delta": 31337,
    "randn_source": "NV",
    "outdir_samples": "",
    "localization": "None",
    "cross_attention_optimization": "Doggettx",
}


@pytest.fixture
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    root = make_webui(tmp_path / "webui", SETTINGS, PAGE, "a-first", "tiny")
    before = {path: path.read_bytes() for path in root.glob("*.*")}
    yield root
    assert {path: path.read_bytes() for path in root.glob("*.*")} == before


def run(*arguments: str | Path) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse leaves this way
        return int(stop.code or 0)


def made(out: Path) -> tuple[bytes, str]:
    (path,) = out.glob("*.png")
    with Image.open(path) as image:
        return image.tobytes(), image.info["parameters"]


def test_an_image_is_what_webuis_settings_and_page_say(
    webui: Path, tmp_path: Path, capsys: Capture
) -> None:
    prompt = "a cat <hypernet:hn-relu:0.8>"
    assert run("txt2img", prompt, "--webui", webui, *ENGINE, "-o", "by-webui") == 0
    output = capsys.readouterr()
    explicit = ["--sampler", "DPM++ 2S a", "--scheduler", "karras", "--steps", "2", "--seed", "5"]
    explicit += ["--width", "64", "--height", "64", "--cfg-scale", "5.5", "-n", "blurry, color"]
    explicit += [
        "--clip-skip",
        "2",
        "--noise-source",
        "nv",
        "--option",
        "eta_noise_seed_delta=31337",
    ]
    explicit += ["--checkpoint", str(webui / "models/Stable-diffusion/tiny.safetensors")]
    explicit += ["--models", str(webui / "models"), *ENGINE, "-o", "by-hand"]
    assert run("txt2img", f"{prompt}, ink drawing", *explicit) == 0
    assert made(tmp_path / "by-webui") == made(tmp_path / "by-hand")
    assert "applied hypernet hn-relu × 0.8" in output.out
    (note,) = output.err.splitlines()
    assert note == (
        f"note: {webui / 'config.json'}: cannot be had: cross_attention_optimization=Doggettx; "
        "not known here (2): localization, outdir_samples"
    )


def test_what_is_given_goes_before(webui: Path, tmp_path: Path) -> None:
    given = ["--steps", "1", "--option", "CLIP_stop_at_last_layers=1", "--noise-source", "cpu"]
    given += ["--option", "eta_noise_seed_delta=7", "--checkpoint", "a-first", "-n", "dull"]
    (tmp_path / "own.csv").write_text("name,prompt,negative_prompt\nplain,plain,\n")
    given += ["--style", "plain", "--styles", "own.csv", "--sampler", "Euler a"]
    assert run("txt2img", "a cat", "--webui", webui, *given, *ENGINE, "-o", "out") == 0
    _, text = made(tmp_path / "out")
    assert text.startswith("a cat, plain\nNegative prompt: dull\nSteps: 1, Sampler: Euler a, ")
    assert "Schedule type: Karras" in text
    assert "ENSD: 7" in text and "Model: a-first" in text and "RNG: CPU" in text
    assert "Clip skip" not in text


def test_a_wrong_setting_counts_only_where_nothing_is_given(webui: Path, capsys: Capture) -> None:
    settings = SETTINGS | {"eta_noise_seed_delta": "x"}
    root = make_webui(webui / "other", settings, PAGE | {"txt2img/Width/value": 70}, "tiny")
    small = ["--steps", "1", "-o", "out"]
    assert run("txt2img", "a", "--webui", root, *ENGINE, *small) == 2
    told = capsys.readouterr().err
    assert f"{root / 'config.json'}: option eta_noise_seed_delta is 'x'" in told
    given = ["--option", "eta_noise_seed_delta=0"]
    assert run("txt2img", "a", "--webui", root, *ENGINE, *small, *given) == 2
    assert f"{root / 'ui-config.json'}: txt2img/Width/value: width is 70" in capsys.readouterr().err
    assert run("txt2img", "a", "--webui", root, *ENGINE, *small, *given, "--width", "64") == 0


def test_the_second_pass_has_the_pages_numbers_once_it_is_asked_for(
    webui: Path, tmp_path: Path
) -> None:
    assert run("txt2img", "a", "--webui", webui, *ENGINE, "--hires-steps", "1", "-o", "out") == 0
    _, text = made(tmp_path / "out")
    assert "Denoising strength: 0.5" in text
    assert "Hires upscale: 1.5, Hires steps: 1" in text


def test_image_to_image_has_its_own_tab(webui: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    assert run("img2img", "red.png", "a", "--webui", webui, *ENGINE, "-o", "out") == 0
    _, text = made(tmp_path / "out")
    assert "Steps: 2, Sampler: Euler a" in text
    assert "Size: 64x64" in text and "Denoising strength: 0.6" in text


def test_what_an_infotext_tells_goes_before_and_the_rest_is_webuis(
    webui: Path, tmp_path: Path
) -> None:
    text = "a cat\nSteps: 1, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 64x64"
    (tmp_path / "old.txt").write_text(text)
    assert run("txt2img", "--from", "old.txt", "--webui", webui, *ENGINE, "-o", "out") == 0
    _, text = made(tmp_path / "out")
    assert "Negative prompt" not in text
    assert "CFG scale: 7" in text and "Model: tiny" in text
    assert "ENSD" not in text and "Clip skip" not in text


def test_a_vae_that_a_checkpoint_prefers(webui: Path, tmp_path: Path) -> None:
    prefix = "first_stage_model."
    own = {n.removeprefix(prefix): t for n, t in load_file(CHECKPOINT).items() if prefix in n}
    for number, name in enumerate(("told", "chosen"), start=1):
        (webui / "models" / "VAE").mkdir(exist_ok=True)
        scaled = {key: tensor * (1 - number / 10) for key, tensor in own.items()}
        save_file(scaled, webui / "models" / "VAE" / f"{name}.safetensors")
    card = webui / "models" / "Stable-diffusion" / "tiny.json"
    card.write_text(json.dumps({"vae": "told.safetensors"}))
    for settings, vae in (
        ({"sd_vae": "Automatic"}, "told"),
        ({"sd_vae": "chosen.safetensors"}, "chosen"),
        (
            {"sd_vae": "chosen.safetensors", "sd_vae_overrides_per_model_preferences": False},
            "told",
        ),
    ):
        root = make_webui(tmp_path / f"{len(list(tmp_path.iterdir()))}", SETTINGS | settings, PAGE)
        shutil.rmtree(root / "models")
        (root / "models").symlink_to(webui / "models")
        out = tmp_path / f"out-{root.name}"
        assert run("txt2img", "a", "--webui", root, *ENGINE, "-o", out) == 0
        assert f"VAE: {vae}.safetensors" in made(out)[1]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["txt2img", "a"], "gone is no folder; it must be that of a WebUI"),
        (["parse", "a"], "gone is no folder"),
        (["networks"], "gone is no folder"),
        (["expand", "a"], "gone is no folder"),
        (["merge", "ink", "-o", "x.pt"], "gone is no folder"),
    ],
)
def test_a_folder_that_is_none_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Sequence[str],
    words: str,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*command, "--webui", "gone") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_folders_are_listed_and_damaged_settings_do_not_matter_for_that(
    webui: Path, tmp_path: Path, capsys: Capture
) -> None:
    root = make_webui(tmp_path / "damaged", None, None, "tiny")
    (root / "config.json").write_text("{")
    assert run("networks", "--webui", root, "--json") == 0
    assert {one["name"] for one in json.loads(capsys.readouterr().out)} == {"hn-relu", "tiny"}
    assert run("parse", "a <hypernet:hn-rel:1>", "--webui", root) == 0
    assert "did you mean 'hn-relu'" in capsys.readouterr().out
    assert run("txt2img", "a", "--webui", root, *ENGINE) == 2
    assert "config.json, line 1, column 2: no JSON" in capsys.readouterr().err


def test_of_several_models_folders_the_first_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, network in (("a", "hn-relu"), ("b", "hn-mish")):
        touch(tmp_path / name / "Lora" / f"only-{name}.safetensors")
        (tmp_path / name / "hypernetworks").mkdir()
        shutil.copy(NETWORKS / f"{network}.pt", tmp_path / name / "hypernetworks" / "ink.pt")
        (tmp_path / name / "wildcards").mkdir()
        (tmp_path / name / "wildcards" / f"{name}.txt").write_text(name * 3)
    both = ["--models", "b", "--models", "a"]
    assert run("networks", *both, "--json") == 0
    found = {one["name"]: one["path"] for one in json.loads(capsys.readouterr().out)}
    assert found["ink"] == str(tmp_path / "b" / "hypernetworks" / "ink.pt")
    assert {"only-a", "only-b"} <= found.keys()
    assert run("expand", "__a__ __b__", "-n", "1", *both) == 0
    assert capsys.readouterr().out == "aaa bbb\n"
    assert run("networks", "--models", "none", "--models", "nothing") == 0
    assert "no model files in none, nothing" in capsys.readouterr().out


def test_folders_of_comfyui_are_read_and_the_others_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "comfy" / "models" / "loras" / "ink.safetensors")
    (tmp_path / "extra.yaml").write_text(
        "comfyui:\n  base_path: comfy\n  loras: models/loras\n  clip_vision: models/clip_vision\n"
    )
    assert run("networks", "--extra-model-paths-config", "extra.yaml", "--json") == 0
    output = capsys.readouterr()
    assert [one["name"] for one in json.loads(output.out)] == ["ink"]
    assert output.err == "note: extra.yaml: not used here: clip_vision\n"
    (tmp_path / "extra.yaml").write_text("a: {b: *c}")
    assert run("networks", "--extra-model-paths-config", "extra.yaml") == 2
    assert "extra.yaml, line 1, column 8: an alias" in capsys.readouterr().err


def test_upscalers_and_their_settings_are_webuis(webui: Path, tmp_path: Path) -> None:
    write(webui / "models" / "ESRGAN" / "Twice.pth", nearest_compact(2))
    Image.new("RGB", (24, 16), "red").save(tmp_path / "red.png")
    assert run("upscale", "red.png", "--upscaler", "Twice", "--webui", webui, "-o", "large") == 0
    with Image.open(tmp_path / "large" / "00001-red.png") as image:
        assert image.size == (48, 32)
    root = make_webui(tmp_path / "wrong", {"ESRGAN_tile": 8, "ESRGAN_tile_overlap": 8})
    arguments = ["--upscaler", "Twice", "--models", webui / "models", "--webui", root]
    assert run("upscale", "red.png", *arguments, "-o", "large") == 2
    assert run("upscale", "red.png", *arguments, "-o", "large", "--option", "ESRGAN_tile=16") == 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The settings that servers are started with."""
    asked: list[ServerConfig] = []
    monkeypatch.setattr(serving, "serve", lambda config, _extend: asked.append(config))
    monkeypatch.setattr(serve, "_NEEDED", ())
    return asked


def test_a_server_begins_with_webuis_settings(
    webui: Path, asked: list[ServerConfig], capsys: Capture
) -> None:
    more = ["--option", "eta_noise_seed_delta=7", "--models", webui / "models"]
    root = make_webui(webui / "other", SETTINGS | {"samples_format": "webp"}, PAGE)
    assert run("serve", "--webui", root, *more) == 0
    (config,) = asked
    home = webui / "models" / "Stable-diffusion"
    assert config.checkpoint == str(home / "tiny.safetensors")
    assert config.styles == root / "styles.csv"
    assert isinstance(config.models, dict)
    assert config.models["checkpoint"] == [home, root / "models" / "Stable-diffusion"]
    assert config.settings["eta_noise_seed_delta"] == 7
    assert config.settings["samples_format"] == "webp"
    assert config.form_defaults["clip_skip"] == 2
    assert config.form_defaults["sampler"] == "DPM++ 2S a"
    assert config.form_defaults["hires.scale"] == 1.5
    assert config.form_defaults["start.denoising_strength"] == 0.6
    assert "not known here (2): localization, outdir_samples" in capsys.readouterr().err
    wrong = make_webui(webui / "wrong", SETTINGS | {"samples_format": "tiff"}, PAGE)
    assert run("serve", "--webui", wrong, *more) == 2
    assert f"{wrong / 'config.json'}: option samples_format is 'tiff'" in capsys.readouterr().err
