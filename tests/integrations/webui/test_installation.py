"""A WebUI's folder: what of it is read, in which order, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from promptengine import (
    GenerationRequest,
    ModelNotFoundError,
    Registry,
    RequestError,
    apply_settings,
    chosen_checkpoint,
    chosen_vae,
    read_webui,
)
from promptengine.integrations.webui.installation import webui_folders
from promptengine.registry.registry import WILDCARDS, WORD_LISTS
from tests.integrations.webui.builders import make_webui
from tests.model_folders import touch

DEEP = b"[" * 200_000
DIGITS = b'{"rho": ' + b"9" * 100_000 + b"}"


def test_folders_are_where_webui_has_them(tmp_path: Path) -> None:
    folders = webui_folders(make_webui(tmp_path))
    assert tmp_path / "models" / "Lora" in folders["lora"]
    touch(tmp_path / "embeddings" / "sketchy.pt", tmp_path / "wildcards" / "animal.txt")
    touch(tmp_path / "tags" / "words.csv")
    registry = Registry.open(folders)
    assert registry.find("embedding", "sketchy") is not None
    assert registry.find("hypernet", "hn-relu") is not None
    assert [path.resolve() for path in folders[WILDCARDS]][1] == tmp_path / "wildcards"
    assert registry.word_lists == (tmp_path / "tags",)
    assert [path.resolve() for path in folders[WORD_LISTS]] == [tmp_path / "tags"]


def test_a_library_makes_the_request_that_webui_would(tmp_path: Path) -> None:
    config = {"CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 31337, "sd_vae": "None"}
    config |= {"sd_model_checkpoint": "sub/b.safetensors [0123456789]", "localization": "None"}
    ui = {
        "txt2img/CFG Scale/value": 5.5,
        "customscript/sampler.py/txt2img/Sampling steps/value": 28,
    }
    root = make_webui(tmp_path, config, ui)
    touch(
        *(root / "models" / "Stable-diffusion" / name for name in ("a.ckpt", "sub/b.safetensors"))
    )
    webui = read_webui(root)
    registry = Registry.open(webui.folders)
    assert chosen_checkpoint(webui.settings, registry) == (
        root / "models" / "Stable-diffusion" / "sub" / "b.safetensors"
    )
    assert chosen_vae(webui.settings, registry) == "None"
    assert webui.settings.left_out() == ("localization",)
    usual = webui.forms.of(GenerationRequest, "txt2img")
    request = apply_settings(GenerationRequest(prompt="a", **usual), webui.settings.known())
    assert (request.steps, request.cfg_scale, request.clip_skip) == (28, 5.5, 2)
    assert request.options.noise_seed_delta == 31337


def test_files_that_are_missing_say_nothing(tmp_path: Path) -> None:
    webui = read_webui(make_webui(tmp_path))
    assert webui.settings.known() == {}
    assert webui.settings.checkpoint is None
    assert (webui.settings.vae, webui.settings.vae_overrides) == ("Automatic", True)
    assert webui.forms.of(GenerationRequest, "img2img") == {}


def test_what_is_no_webui_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"gone is no folder; it must be that of a WebUI"):
        read_webui(tmp_path / "gone")
    with pytest.raises(RequestError, match="has no folder models"):
        read_webui(tmp_path)
    with pytest.raises(RequestError, match="is no folder"):
        read_webui("a\0b")


@pytest.mark.parametrize("name", ["config.json", "ui-config.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "line 1, column 2: no JSON"),
        (b'{\n  "rho": 1,\n}', "line 3, column 1: no JSON"),
        (b"", "line 1, column 1: no JSON"),
        (b"[]", "holds a list; it must hold a JSON object"),
        (b"null", "holds null"),
        (b"\xff\xfe", "no text in UTF-8 (byte 0)"),
        (DEEP, "nests too deep"),
        (b"{}" + b" " * (4 << 20), "cannot be read: more than 4096 KiB"),
    ],
)
def test_damaged_files_are_told_with_their_place(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    root = make_webui(tmp_path)
    (root / name).write_bytes(content)
    with pytest.raises(RequestError) as caught:
        read_webui(root)
    assert str(root / name) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_without_end_and_pipes_keep_nobody_waiting(tmp_path: Path) -> None:
    root = make_webui(tmp_path)
    (root / "config.json").write_bytes(DIGITS)
    with pytest.raises(RequestError, match=r"config\.json"):
        read_webui(root).settings.known()
    (root / "config.json").unlink()
    os.mkfifo(root / "config.json")
    with pytest.raises(RequestError, match="is no file"):
        read_webui(root)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"eta_ancestral": "much"}, "option eta_ancestral is 'much'; it must be a number"),
        ({"eta_ancestral": float("nan")}, "option eta_ancestral is nan; it must be 0 to 10"),
        ({"emphasis": ["Original"]}, "option emphasis is"),
        ({"CLIP_stop_at_last_layers": 0}, "option CLIP_stop_at_last_layers is 0"),
        ({"ESRGAN_tile": 1.5}, "option ESRGAN_tile is 1.5; it must be a whole number"),
    ],
)
def test_wrong_options_are_told_with_file_and_name(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    settings = read_webui(make_webui(tmp_path, config)).settings
    with pytest.raises(RequestError) as caught:
        settings.known()
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {words}")
    assert settings.known(given=config) == {}


def test_options_that_are_sliders_may_be_written_with_a_fraction(tmp_path: Path) -> None:
    settings = read_webui(make_webui(tmp_path, {"ESRGAN_tile": 256.0, "rho": None})).settings
    assert settings.known() == {"ESRGAN_tile": 256}


def test_options_with_one_answer_are_told_and_not_applied(tmp_path: Path) -> None:
    config = {"upcast_attn": True, "enable_batch_seeds": True, "ui_reorder_list": []}
    settings = read_webui(make_webui(tmp_path, config)).settings
    assert settings.known() == {}
    assert settings.differing == {"upcast_attn": True}
    assert settings.left_out() == ("ui_reorder_list",)


def test_an_infotext_leaves_open_only_what_none_tells(tmp_path: Path) -> None:
    config = {"eta_noise_seed_delta": 7, "comma_padding_backtrack": 5, "sd_hypernetwork": "ink"}
    config |= {"CLIP_stop_at_last_layers": 2}
    settings = read_webui(make_webui(tmp_path, config)).settings
    assert settings.untold() == {"comma_padding_backtrack": 5}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"sd_model_checkpoint": "gone.ckpt"}, "sd_model_checkpoint is 'gone.ckpt', which is no"),
        ({"sd_model_checkpoint": "../../secret.ckpt"}, "which is no checkpoint here"),
        ({"sd_model_checkpoint": "0123456789abcdef"}, "which is no checkpoint here"),
        ({"sd_model_checkpoint": "fox.ckp"}, "did you mean 'fox', or name one"),
    ],
)
def test_a_checkpoint_that_is_not_here_is_refused(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    webui = read_webui(make_webui(tmp_path / "webui", config))
    touch(tmp_path / "secret.ckpt", webui.root / "models" / "Stable-diffusion" / "fox.ckpt")
    registry = Registry.open(webui.folders)
    with pytest.raises(ModelNotFoundError) as caught:
        chosen_checkpoint(webui.settings, registry)
    assert str(webui.root / "config.json") in str(caught.value)
    assert words in str(caught.value)


def test_a_vae_is_found_among_vaes_and_beside_checkpoints(tmp_path: Path) -> None:
    config: dict[str, object] = {"sd_vae": "soft.vae.pt"}
    webui = read_webui(make_webui(tmp_path / "webui", config))
    home = webui.root / "models"
    beside, own = home / "Stable-diffusion" / "soft.vae.pt", home / "VAE" / "soft.vae.pt"
    touch(home / "Stable-diffusion" / "a.ckpt", beside)
    assert chosen_vae(webui.settings, Registry.open(webui.folders)) == beside
    touch(own, tmp_path / "out.vae.pt")
    assert chosen_vae(webui.settings, Registry.open(webui.folders)) == own
    for number, name in enumerate(("gone.pt", "../../../out.vae.pt", "a.vae.\0")):
        settings = read_webui(make_webui(tmp_path / f"{number}", {"sd_vae": name})).settings
        with pytest.raises(ModelNotFoundError, match="sd_vae is"):
            chosen_vae(settings, Registry.open(webui.folders))


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ({}, True),
        ({"sd_vae_overrides_per_model_preferences": False}, False),
        ({"sd_vae_as_default": True}, False),
        ({"sd_vae_as_default": True, "sd_vae_overrides_per_model_preferences": True}, True),
    ],
)
def test_whether_the_chosen_vae_goes_first(
    tmp_path: Path, config: dict[str, object], overrides: bool
) -> None:
    assert read_webui(make_webui(tmp_path, config)).settings.vae_overrides is overrides


def test_models_that_are_no_text_are_told(tmp_path: Path) -> None:
    config = {"sd_model_checkpoint": 5, "sd_vae": [], "sd_vae_overrides_per_model_preferences": 1}
    settings = read_webui(make_webui(tmp_path, config)).settings
    for name in ("checkpoint", "vae", "vae_overrides"):
        with pytest.raises(RequestError, match=r"config\.json: option sd_"):
            getattr(settings, name)
