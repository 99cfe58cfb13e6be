"""What other programs write: strangers among the weights, other noise, folders in every spelling."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptengine.checkpoints.diffusers_folder import part_weights
from promptengine.checkpoints.load import open_checkpoint
from promptengine.errors import CheckpointError
from promptengine.families import METADATA_KEY
from promptengine.inspection import inspect_file
from promptengine.sampling.parameterization import noise_table
from tests.checkpoints.diffusers_pipelines import pipeline
from tests.checkpoints.original import tiny
from tests.conftest import CHECKPOINT, CONFIG

USUAL = {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.set_num_threads(1)
    return load_file(CHECKPOINT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of a tiny model."""
    made = pipeline(tiny("SD1"))
    made.register_modules(tokenizer=None)
    path = tmp_path_factory.mktemp("folder")
    made.save_pretrained(path)
    return path


def notes(path: Path) -> str:
    return " ".join(inspect_file(path).notes)


def test_unknown_weights_are_left_aside_and_said(
    tmp_path: Path, weights: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    strangers = {
        "first_stage_model.loss.logvar": torch.zeros(()),
        "cond_stage_model.transformer.vision_model.x.weight": torch.zeros(3),
        "model.diffusion_model.something": torch.zeros(3),
        "left.by.a.merge": torch.zeros(3),
    }
    path = tmp_path / "m.safetensors"
    save_file(weights | strangers, path)
    with caplog.at_level(logging.WARNING):
        opened = open_checkpoint(path, config=CONFIG)
    assert set(opened.left_aside) == set(strangers)
    (message,) = caplog.messages
    assert "4 weights that no part reads are left aside" in message
    for name in strangers:
        assert name in message and name in notes(path)
    plainly = open_checkpoint(CHECKPOINT, config=CONFIG)
    assert plainly.left_aside == () and "left aside" not in notes(CHECKPOINT)
    for one, other in ((opened.unet, plainly.unet), (opened.vae, plainly.vae)):
        found = other.state_dict()
        assert all(torch.equal(t, found[name]) for name, t in one.state_dict().items())


@pytest.mark.parametrize(
    "lost",
    [
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "first_stage_model.decoder.mid.attn_1.k.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    ],
)
def test_a_needed_weight_that_is_missing_is_named_alike(
    lost: str, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    path = tmp_path / "m.safetensors"
    save_file({n: t for n, t in weights.items() if n != lost} | {"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path, config=CONFIG)
    assert lost in str(caught.value)
    assert str(caught.value) in notes(path)


@pytest.mark.parametrize(
    "mark", ["edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min"]
)
def test_edm_in_a_file_is_refused_by_name(
    mark: str, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    path = tmp_path / "m.safetensors"
    save_file({**weights, mark: torch.tensor(120.0)}, path)
    with pytest.raises(CheckpointError, match=f"EDM.*{mark}") as caught:
        open_checkpoint(path, config=CONFIG)
    assert str(caught.value) in notes(path)


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}, "EDMEulerScheduler"),
    ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "EDMDPMSolver"),
    ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatch"),
    ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "continuous"),
    ({"beta_schedule": "sigmoid"}, "beta_schedule sigmoid"),
    ({"use_flow_sigmas": True}, "flow matching"),
    ({"prediction_type": "flow_prediction"}, "flow_prediction"),
    ({"prediction_type": "sample"}, "sample"),
    ({"trained_betas": [0.1] * 999}, "trained_betas are 999"),
    ({"trained_betas": [2.0] * 1000}, "between 0 and 1"),
]


@pytest.mark.parametrize(("settings", "reason"), OTHERS)
def test_other_noise_is_refused_by_name_in_folder_and_file(
    settings: dict[str, Any], reason: str, folder: Path, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), **settings}))
    try:
        with pytest.raises(CheckpointError, match=reason):
            open_checkpoint(folder)
    finally:
        file.write_text(before)
    path = tmp_path / "m.safetensors"
    stored = {name: t for name, t in weights.items() if name != "alphas_cumprod"}
    save_file(stored, path, {METADATA_KEY: json.dumps({"scheduler": settings})})
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.001 + 0.00001 * step for step in range(1000)]},
    ],
)
def test_stated_noise_is_that_of_diffusers(settings: dict[str, Any]) -> None:
    expected = DDPMScheduler(num_train_timesteps=1000, **settings).alphas_cumprod
    found = noise_table(None, {**USUAL, **settings}).alphas_cumprod
    torch.testing.assert_close(found.float(), expected, rtol=2e-4, atol=1e-6)


def test_a_yaml_says_what_noise_is_meant(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "m.safetensors"
    save_file({n: t for n, t in weights.items() if n != "alphas_cumprod"}, path)
    plain = CHECKPOINT.with_suffix(".yaml").read_text()
    line = "    linear_start:"
    assert line in plain
    for stated, linear in (("sqrt_linear", True), ("linear", False)):
        text = plain.replace(line, f"    beta_schedule: {stated}\n{line}", 1)
        (tmp_path / "m.yaml").write_text(text)
        table = open_checkpoint(path, config=CONFIG).noise_table
        schedule = {"beta_schedule": "linear" if linear else "scaled_linear"}
        expected = noise_table(None, {**USUAL, **schedule})
        assert torch.equal(table.alphas_cumprod, expected.alphas_cumprod)
    (tmp_path / "m.yaml").write_text(plain.replace(line, f"    beta_schedule: cosine\n{line}", 1))
    with pytest.raises(CheckpointError, match="beta_schedule cosine"):
        open_checkpoint(path, config=CONFIG)
    denoiser = {"target": "sgm.modules.diffusionmodules.denoiser.Denoiser"}
    model = {"network_config": {"params": {}}, "denoiser_config": denoiser}
    (tmp_path / "m.yaml").write_text(json.dumps({"model": {"params": model}}))
    with pytest.raises(CheckpointError, match=r"EDM.*Denoiser"):
        open_checkpoint(path, config=CONFIG)
    assert "EDM" in notes(path)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"latents_mean": [0.1, 0, 0, 0], "latents_std": [1.0] * 4}, "latents_mean"),
        ({"latents_std": [2.0] * 4}, "latents_std"),
        ({"shift_factor": 0.1}, "shift_factor"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, "shift_factor": None}, None),
    ],
)
def test_latents_of_another_scale_are_refused_by_name(
    settings: dict[str, Any], refused: str | None, folder: Path
) -> None:
    file = folder / "vae" / "config.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), **settings}))
    try:
        if refused is None:
            assert open_checkpoint(folder).family == "SD1"
            return
        with pytest.raises(CheckpointError, match=refused):
            open_checkpoint(folder)
        with pytest.raises(CheckpointError, match=refused) as caught:
            open_checkpoint(CHECKPOINT, config=CONFIG, vae=folder / "vae")
        assert str(caught.value).startswith(str(folder / "vae"))
    finally:
        file.write_text(before)


SHARDED = [
    ("diffusion_pytorch_model.safetensors.index.json", "d-{}.safetensors"),
    ("diffusion_pytorch_model.safetensors.index.fp16.json", "d.fp16-{}.safetensors"),
    ("diffusion_pytorch_model.safetensors.fp16.index.json", "d-{}.fp16.safetensors"),
    ("diffusion_pytorch_model.fp16.safetensors.index.json", "d-{}.fp16.safetensors"),
    ("model.safetensors.index.fp16.json", "m.fp16-{}.safetensors"),
    ("diffusion_pytorch_model.bin.index.json", "d-{}.bin"),
    ("pytorch_model.bin.index.json", "p-{}.bin"),
    ("pytorch_model.bin.index.fp16.json", "p.fp16-{}.bin"),
    ("diffusion_pytorch_model.safetensors.index.non_ema.json", "d.non_ema-{}.safetensors"),
]


@pytest.mark.parametrize(("index", "pattern"), SHARDED)
def test_weights_in_several_files(index: str, pattern: str, tmp_path: Path) -> None:
    names = {"a": pattern.format("00001-of-00002"), "b": pattern.format("00002-of-00002")}
    for number, (name, file) in enumerate(names.items()):
        write(tmp_path / file, {name: torch.full((2,), float(number))})
    (tmp_path / index).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    found = part_weights(tmp_path)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [0, 0], "b": [1, 1]}
    (tmp_path / names["b"]).unlink()
    with pytest.raises(CheckpointError, match="00002-of-00002"):
        part_weights(tmp_path)
    (tmp_path / index).write_text("{}")
    with pytest.raises(CheckpointError, match="names no files"):
        part_weights(tmp_path)


def test_which_of_several_weights_of_a_part_are_taken(tmp_path: Path) -> None:
    stem = "diffusion_pytorch_model"
    order = ["safetensors", "fp16.safetensors", "non_ema.safetensors", "bin", "non_ema.bin"]
    for number, end in reversed(list(enumerate(order))):
        write(tmp_path / f"{stem}.{end}", {"a": torch.tensor([float(number)])})
        assert part_weights(tmp_path)["a"].tolist() == [number]


def test_a_folders_stray_and_packed_weights(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    (file,) = (tmp_path / "copy" / "unet").glob("*.safetensors")
    weights = load_file(file)
    save_file(weights | {"stray": torch.zeros(1)}, file)
    assert open_checkpoint(tmp_path / "copy").left_aside == ("UNet: stray",)
    save_file(weights | {"conv_in.scale_weight": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match="scaled fp8"):
        open_checkpoint(tmp_path / "copy")


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    if path.suffix == ".bin":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
