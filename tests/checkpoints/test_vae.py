"""VAEs in files of their own."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptengine import CheckpointError, Engine, GenerationRequest
from promptengine.checkpoints.load import open_checkpoint
from promptengine.checkpoints.vae import find_vae, read_vae
from promptengine.infotext.read import read_infotext
from promptengine.registry.registry import Registry
from tests.conftest import CHECKPOINT, CONFIG

PREFIX = "first_stage_model."


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return load_file(CHECKPOINT)


@pytest.fixture(scope="module")
def other(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Another VAE under the names it has in a file of its own."""
    own = {n.removeprefix(PREFIX): t for n, t in weights.items() if n.startswith(PREFIX)}
    return {name: tensor * 0.9 for name, tensor in own.items()}


def decoded(checkpoint: Path, vae: Path | None) -> Tensor:
    opened = open_checkpoint(checkpoint, config=CONFIG, vae=vae)
    assert opened.vae_path == vae
    assert opened.scaling_factor == 0.18215
    with torch.no_grad():
        return opened.vae.decode(torch.ones(1, 4, 2, 2)).sample


def test_every_form_of_a_vae(
    tmp_path: Path, weights: dict[str, Tensor], other: dict[str, Tensor]
) -> None:
    with_loss = {**other, "loss.logvar": torch.zeros(1), "model_ema.decay": torch.zeros(1)}
    torch.save({"state_dict": with_loss}, tmp_path / "a.vae.pt")
    save_file(with_loss, tmp_path / "a.safetensors")
    named = {PREFIX + name: tensor for name, tensor in other.items()}
    save_file({**weights, **named}, tmp_path / "whole.safetensors")
    opened = open_checkpoint(tmp_path / "whole.safetensors", config=CONFIG)
    opened.vae.register_to_config(scaling_factor=0.5)
    opened.vae.save_pretrained(tmp_path / "folder")
    expected = decoded(tmp_path / "whole.safetensors", None)
    assert not torch.allclose(decoded(CHECKPOINT, None), expected)
    for name in ("a.vae.pt", "a.safetensors", "whole.safetensors", "folder"):
        torch.testing.assert_close(decoded(CHECKPOINT, tmp_path / name), expected)


def test_a_checkpoint_without_a_vae_needs_one(
    tmp_path: Path, weights: dict[str, Tensor], other: dict[str, Tensor]
) -> None:
    bare = {name: t for name, t in weights.items() if not name.startswith(PREFIX)}
    save_file(bare, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no VAE.*--vae, or put bare.vae"):
        Engine.open(tmp_path / "bare.safetensors", models=tmp_path, config=CONFIG, device="cpu")
    save_file(other, tmp_path / "bare.vae.safetensors")
    engine = Engine.open(
        tmp_path / "bare.safetensors", models=tmp_path, config=CONFIG, device="cpu"
    )
    assert engine.checkpoint.vae_path == tmp_path / "bare.vae.safetensors"
    request = GenerationRequest(prompt="a cat", seed=1, steps=1, width=32, height=32)
    (text,) = engine.generate(request).infotexts
    digest = sha256((tmp_path / "bare.vae.safetensors").read_bytes()).hexdigest()[:10]
    assert read_infotext(text).entries["VAE"] == "bare.vae.safetensors"
    assert read_infotext(text).entries["VAE hash"] == digest


def test_which_vae_is_meant(tmp_path: Path) -> None:
    (tmp_path / "VAE").mkdir()
    (tmp_path / "Stable-diffusion").mkdir()
    checkpoint = tmp_path / "Stable-diffusion" / "fox.safetensors"
    for name in ("foxes.pt", "hen.vae.pt", "other.pt"):
        (tmp_path / "VAE" / name).touch()
    registry = Registry.open(tmp_path)

    def found(choice: str | Path | None, path: Path = checkpoint) -> str | None:
        vae = find_vae(choice, path, registry)
        return None if vae is None else vae.name

    assert found("Automatic") == "foxes.pt"
    assert found("Automatic", checkpoint.with_name("hen.ckpt")) == "hen.vae.pt"
    assert found("Automatic", checkpoint.with_name("owl.ckpt")) is None
    assert found("other") == found(tmp_path / "VAE" / "other.pt") == "other.pt"
    assert found(None) is found("None") is None
    (tmp_path / "VAE" / "fox.ckpt").touch()
    registry = Registry.open(tmp_path)
    assert found("Automatic") == "fox.ckpt"
    (checkpoint.parent / "fox.vae.pt").touch()
    assert found("Automatic") == "fox.vae.pt"
    with pytest.raises(CheckpointError, match="did you mean 'other'"):
        found("othr")


def test_what_is_no_vae(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "x.safetensors"
    for tensors, reason in (
        ({"decoder.up_blocks.0.x": torch.zeros(1)}, "diffusers' form"),
        ({"x": torch.zeros(1)}, "holds no VAE"),
    ):
        save_file(tensors, path)
        with pytest.raises(CheckpointError, match=reason):
            read_vae(path)
    save_file({"decoder.conv_in.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no weight"):
        open_checkpoint(CHECKPOINT, config=CONFIG, vae=path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_vae(tmp_path / "nowhere.pt")


def test_a_side_car_names_the_vae_that_goes_with_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "Stable-diffusion"
    (tmp_path / "VAE").mkdir()
    home.mkdir()
    for path in (home / "fox.ckpt", home / "hen.vae.pt", tmp_path / "VAE" / "fox.pt"):
        path.touch()
    (tmp_path / "VAE" / "other.pt").touch()
    registry, card = Registry.open(tmp_path), home / "fox.json"

    def found(choice: str, *, overrides: bool = True) -> str | None:
        vae = find_vae(choice, home / "fox.ckpt", registry, overrides=overrides)
        return None if vae is None else vae.name

    assert found("other.pt", overrides=False) == "fox.pt"
    assert found("None", overrides=False) == "fox.pt"
    for text, chosen in (
        ('{"vae": "other.pt"}', "other.pt"),
        ('{"vae": "hen.vae.pt"}', "hen.vae.pt"),
        ('{"vae": "None"}', None),
        ('{"vae": "Automatic"}', "fox.pt"),
        ('{"vae": ["other.pt"]}', "fox.pt"),
        ('{"vae": "../VAE/other.pt"}', "fox.pt"),
        ('{"vae": "a.vae.\\u0000"}', "fox.pt"),
        ("[" * 100_000, "fox.pt"),
    ):
        card.write_text(text)
        assert found("Automatic") == chosen
        assert found("fox.pt", overrides=False) == chosen
        assert found("fox") == "fox.pt"
    card.write_text('{"vae": "gone.pt"}')
    assert found("Automatic") == "fox.pt"
    assert "names the VAE 'gone.pt', which is not here" in caplog.text
