"""Checkpoints in every form there is, and broken ones."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptengine import CheckpointError, Engine, GenerationRequest, RequestError
from promptengine.checkpoints.load import open_checkpoint
from promptengine.families import CLIP_PREFIX as TEXT_PREFIX
from promptengine.families import METADATA_KEY
from tests.conftest import CHECKPOINT, CONFIG

REQUEST = GenerationRequest(prompt="a cat", seed=7, steps=2, width=64, height=64, sampler="Euler")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return load_file(CHECKPOINT)


@pytest.fixture(scope="module")
def expected(tiny_engine: Engine) -> Tensor:
    return tiny_engine.generate(REQUEST).latents


def latents(path: Path, config: Path | None = CONFIG) -> Tensor:
    engine = Engine.open(path, models=path.parent, config=config, device="cpu")
    return engine.generate(REQUEST).latents


@pytest.mark.parametrize("wrap", [lambda w: {"state_dict": w, "epoch": 1}, lambda w: w])
def test_a_pickled_checkpoint(
    tmp_path: Path, weights: dict[str, Tensor], expected: Tensor, wrap: Callable[..., object]
) -> None:
    torch.save(wrap(weights), tmp_path / "tiny.ckpt")
    assert torch.equal(latents(tmp_path / "tiny.ckpt"), expected)


def test_metadata_says_what_weights_leave_open(
    tmp_path: Path, weights: dict[str, Tensor], expected: Tensor
) -> None:
    config = {"text_encoder": {"num_attention_heads": 4}}
    path = tmp_path / "tiny.safetensors"
    save_file(weights, path, metadata={METADATA_KEY: json.dumps(config)})
    assert torch.equal(latents(path, config=None), expected)
    save_file(weights, path)
    assert not torch.equal(latents(path, config=None), expected)


def test_a_yaml_beside_the_file_is_read(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "tiny.safetensors"
    save_file({k: v for k, v in weights.items() if k != "alphas_cumprod"}, path)
    plain = CHECKPOINT.with_suffix(".yaml").read_text()
    (tmp_path / "tiny.yaml").write_text(plain.replace("0.012", "0.02"))
    steeper = open_checkpoint(path, config=CONFIG).noise_table
    (tmp_path / "tiny.yaml").write_text(plain.replace("image_size: 64", "image_size: 16", 1))
    small = open_checkpoint(path, config=CONFIG)
    assert steeper.sigmas[-1] > small.noise_table.sigmas[-1]
    assert small.native_size == 128


def test_a_diffusers_folder(tmp_path: Path, tiny_engine: Engine, expected: Tensor) -> None:
    parts = tiny_engine.checkpoint
    parts.unet.save_pretrained(tmp_path / "unet")
    parts.vae.save_pretrained(tmp_path / "vae")
    parts.text_encoder.save_pretrained(tmp_path / "text_encoder")
    (tmp_path / "scheduler").mkdir()
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
    schedule["_class_name"] = "PNDMScheduler"
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule))
    with pytest.raises(CheckpointError, match=r"model_index\.json"):
        open_checkpoint(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    torch.testing.assert_close(latents(tmp_path, None), expected, atol=1e-3, rtol=0)


def test_an_old_file_without_text_model_in_its_names(
    tmp_path: Path, weights: dict[str, Tensor], expected: Tensor
) -> None:
    old = {name.replace(TEXT_PREFIX + "text_model.", TEXT_PREFIX): t for name, t in weights.items()}
    save_file(old, tmp_path / "old.safetensors")
    assert torch.equal(latents(tmp_path / "old.safetensors"), expected)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("pwned_marker_file"),))


def broken_files(weights: dict[str, Tensor], folder: Path) -> dict[str, Path]:
    paths = {
        name: folder / name for name in ("cut.safetensors", "cut.ckpt", "evil.ckpt", "text.ckpt")
    }
    paths["cut.safetensors"].write_bytes(CHECKPOINT.read_bytes()[:1_000_000])
    torch.save(weights, paths["cut.ckpt"])
    paths["cut.ckpt"].write_bytes(paths["cut.ckpt"].read_bytes()[:1_000_000])
    paths["evil.ckpt"].write_bytes(pickle.dumps(Evil()))
    paths["text.ckpt"].write_text("no model")
    for name, lost in {
        "no-unet": "model.diffusion_model.input_blocks.0.0.weight",
        "one-lost": "model.diffusion_model.middle_block.0.in_layers.2.weight",
        "no-text": TEXT_PREFIX + "text_model.embeddings.token_embedding.weight",
    }.items():
        paths[name] = folder / f"{name}.safetensors"
        save_file({k: v for k, v in weights.items() if k != lost}, paths[name])
    paths["wrong-shape"] = folder / "wrong-shape.safetensors"
    wrong = {"model.diffusion_model.time_embed.0.weight": torch.zeros(3, 3)}
    save_file({**weights, **wrong}, paths["wrong-shape"])
    paths["missing"] = folder / "missing.safetensors"
    return paths


def test_what_cannot_be_opened_is_one_clear_line(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, path in broken_files(weights, tmp_path).items():
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(path)
        assert str(path) in str(caught.value), name
        assert "\n" not in str(caught.value), name
    assert not (tmp_path / "pwned_marker_file").exists()


def test_broken_side_files_are_named(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "tiny.safetensors"
    save_file(weights, path, metadata={METADATA_KEY: "[]"})
    with pytest.raises(CheckpointError, match=METADATA_KEY):
        open_checkpoint(path)
    save_file(weights, path)
    with pytest.raises(CheckpointError, match="no such folder"):
        open_checkpoint(path, config=tmp_path / "nowhere")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        open_checkpoint(path, config=tmp_path)
    (tmp_path / "tiny.yaml").write_text("model: [")
    with pytest.raises(CheckpointError, match=r"tiny\.yaml"):
        open_checkpoint(path)


def test_a_checkpoint_is_found_by_name_or_by_being_the_first(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    with pytest.raises(CheckpointError, match="Stable-diffusion"):
        Engine.open(models=tmp_path)
    folder = tmp_path / "Stable-diffusion"
    folder.mkdir()
    save_file(weights, folder / "tiny.safetensors")
    for name in (None, "tiny", "tiny.safetensors"):
        engine = Engine.open(name, models=tmp_path, config=CONFIG, device="cpu")
        assert engine.checkpoint.path == folder / "tiny.safetensors"
    with pytest.raises(CheckpointError, match="did you mean 'tiny'"):
        Engine.open("tinny", models=tmp_path)


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="device 'abacus'"):
        Engine.open(CHECKPOINT, models=tmp_path, config=CONFIG, device="abacus")
