"""ComfyUI's file of further folders."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from promptengine import Registry, RequestError, read_extra_model_paths
from promptengine.registry.registry import folders_below
from tests.model_folders import touch

EXAMPLE = """\
# as ComfyUI's example has it
a111:
    base_path: webui/
    checkpoints: models/Stable-diffusion
    vae: models/VAE
    loras: |
         models/Lora
         models/LyCORIS
    upscale_models: |
                  models/ESRGAN
                  models/RealESRGAN
    embeddings: embeddings
    hypernetworks: models/hypernetworks
    controlnet: models/ControlNet
comfyui:
    is_default: true
    base_path: /srv/comfyui
    loras: [models/loras, "models/more loras"]
    unet: models/unet
empty:
other_ui:
    checkpoints: /srv/checkpoints
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "extra_model_paths.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_sections_become_folders_of_kinds(tmp_path: Path) -> None:
    found = read_extra_model_paths(written(tmp_path, EXAMPLE))
    webui = tmp_path / "webui"
    assert found.last["checkpoint"] == (
        webui / "models" / "Stable-diffusion",
        Path("/srv/checkpoints"),
    )
    assert found.last["lora"] == (webui / "models" / "Lora", webui / "models" / "LyCORIS")
    assert found.last["upscaler"][1] == webui / "models" / "RealESRGAN"
    assert found.last["embedding"] == (webui / "embeddings",)
    assert found.first["lora"] == (
        Path("/srv/comfyui/models/loras"),
        Path("/srv/comfyui/models/more loras"),
    )
    assert found.left_out == ("controlnet", "unet")


def test_default_sections_go_first_and_others_last(tmp_path: Path) -> None:
    found = read_extra_model_paths(written(tmp_path, EXAMPLE))
    folders = found.added_to(folders_below(tmp_path / "models"))
    own = folders_below(tmp_path / "models")["lora"]
    assert folders["lora"] == [*found.first["lora"], *own, *found.last["lora"]]
    touch(tmp_path / "models" / "Lora" / "ink.safetensors")
    touch(tmp_path / "webui" / "models" / "Lora" / "ink.safetensors")
    entry = Registry.open(folders).find("lora", "ink")
    assert entry is not None and entry.path == tmp_path / "models" / "Lora" / "ink.safetensors"


def test_a_home_and_variables_count_in_a_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("STORE", "/store")
    text = "a: {base_path: ~/ui, vae: vae}\nb: {base_path: $STORE/ui, vae: $STORE}\n"
    found = read_extra_model_paths(written(tmp_path, text))
    assert found.last["vae"] == (Path("/home/ann/ui/vae"), Path("/store/ui/$STORE"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "a:\n", "null\n", "a: {is_default: }\n"])
def test_files_that_name_nothing(tmp_path: Path, text: str) -> None:
    found = read_extra_model_paths(written(tmp_path, text))
    assert (found.first, found.last, found.left_out) == ({}, {}, ())


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)
MERGES = "a: &a {vae: x}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join(['*' + chr(97 + n)] * 9)}]}}\n"
    for n in range(20)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "line 2, column 8: an alias (*name) stands there"),
        (MERGES, "an alias (*name) stands there"),
        ("a: " + "[" * 30_000, "nests deeper than 3 levels"),
        ("a: " + "{a: " * 10_000, "nests deeper than 3 levels"),
        ("a: {b: {c: d}}", "column 8: text must stand there"),
        ("- a\n", "line 1, column 1: entries must stand there"),
        ("a: text\n", "line 1, column 4: entries must stand there"),
        ("a: {[b]: c}\n", "text must stand there"),
        ("a: {is_default: maybe}\n", "is_default is 'maybe'; it must be true or false"),
        ("a: {base_path: [x]}\n", "text must stand there"),
        ('a: {vae: "x\\0y"}\n', "is no path of a folder"),
        ('a: {vae: "\\uD800"}\n', "is no path of a folder"),
        ("a: {vae: x", "line 1, column 11: no YAML"),
        ("a: b: c\n", "line 1, column 5: no YAML"),
        ("\x07", "no YAML"),
        (b"\xff", "no text in UTF-8 (byte 0)"),
        ("a: {vae: [" + "x," * 2000 + "]}", "more than 1000 folders"),
        ("a: b\n" * 13_000, "more than 5000 pieces, which no such file has"),
        (" " * (65 << 10), "cannot be read: more than 64 KiB"),
        ("a: !!python/object/apply:os.system [touch ran]\n", "entries must stand there"),
    ],
)
def test_hostile_files_are_told_with_their_place(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    path = written(tmp_path, text)
    begin = time.process_time()
    with pytest.raises(RequestError) as caught:
        read_extra_model_paths(path)
    assert time.process_time() - begin < 3
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("gone", "is not there"), ("pipe", "is no file"), ("", "is no file")):
        with pytest.raises(RequestError, match=words):
            read_extra_model_paths(tmp_path / name)
