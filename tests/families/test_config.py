"""What stands beside the weights, and which of it holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptengine.errors import CheckpointError
from promptengine.families import METADATA_KEY, stated_parts, stated_prediction, vae_beside
from tests.conftest import CHECKPOINT

DDPM = """
model:
  params:
    {line}
    linear_start: 0.001
    linear_end: 0.02
    timesteps: 1000
    image_size: {size}
    scale_factor: 0.2
    unet_config:
      params: {{model_channels: 320, channel_mult: [1, 2, 4, 4], num_head_channels: 64}}
"""
STABILITY = """
model:
  params:
    scale_factor: 0.13025
    denoiser_config:
      params:
        scaling_config: {{target: sgm.modules.diffusionmodules.denoiser_scaling.{scaling}}}
        discretization_config: {{target: sgm.LegacyDDPMDiscretization}}
    network_config:
      params: {{model_channels: 320, channel_mult: [1, 2, 4], num_head_channels: 64}}
"""


def stated(path: Path, names: tuple[str, ...] = (), **metadata: str) -> dict[str, object]:
    parts = stated_parts(
        names, path, metadata={k.replace("__", "."): v for k, v in metadata.items()}
    )
    return {**parts["scheduler"], "heads": parts["unet"].get("attention_head_dim")}


def prediction(path: Path, names: tuple[str, ...] = (), **metadata: str) -> str | None:
    return stated_prediction(stated(path, names, **metadata), path)


def test_an_original_yaml(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    assert prediction(path) is None
    side = tmp_path / "m.yaml"
    side.write_text(DDPM.format(line='parameterization: "v"', size=64))
    assert prediction(path) == "v"
    said = stated(path)
    assert said["heads"] == [5, 10, 20, 20]
    assert (said["beta_start"], said["beta_end"]) == (0.001, 0.02)
    side.write_text(DDPM.format(line="", size=64))
    assert prediction(path) == "epsilon"
    assert "sample_size" not in stated_parts((), path, metadata={})["unet"]
    side.write_text(DDPM.format(line="parameterization: x0", size=96))
    assert stated_parts((), path, metadata={})["unet"]["sample_size"] == 96
    with pytest.raises(CheckpointError, match="'x0' is not supported"):
        prediction(path)


@pytest.mark.parametrize(("scaling", "said"), [("EpsScaling", "epsilon"), ("VScaling", "v")])
def test_a_yaml_of_sdxl(scaling: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(STABILITY.format(scaling=scaling))
    assert prediction(tmp_path / "m.safetensors") == said
    (tmp_path / "m.yaml").write_text(STABILITY.format(scaling="EDMScaling"))
    with pytest.raises(CheckpointError, match="EDMScaling"):
        prediction(tmp_path / "m.safetensors")


def test_the_nearest_statement_holds(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    assert prediction(path, ("v_pred",)) == "v"
    assert stated(path, ("ztsnr",))["rescale_betas_zero_snr"] is True
    assert prediction(path, ("v_pred",), modelspec__prediction_type="epsilon") == "epsilon"
    own = json.dumps({"scheduler": {"prediction_type": "v_prediction"}})
    metadata = {METADATA_KEY: own, "modelspec.prediction_type": "epsilon"}
    assert stated_prediction(stated_parts((), path, metadata=metadata)["scheduler"], path) == "v"
    (tmp_path / "m.yaml").write_text(DDPM.format(line="", size=64))
    assert prediction(path, ("v_pred",), modelspec__prediction_type="v") == "epsilon"
    with pytest.raises(CheckpointError, match="'sample' is not supported"):
        prediction(tmp_path / "o.safetensors", modelspec__prediction_type="sample")


@pytest.mark.parametrize("text", ["", "model: [", "model: 3", "model: {params: {}}", "- a", "\0"])
def test_a_yaml_that_is_none_is_one_clear_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        stated_parts((), tmp_path / "m.ckpt", metadata={})
    assert "m.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_the_golden_yaml_says_epsilon() -> None:
    assert prediction(CHECKPOINT) == "epsilon"
    assert stated(CHECKPOINT)["heads"] == 8


def test_a_vae_beside_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "m.v2.ckpt"
    assert vae_beside(checkpoint) is None
    for end in (".vae.ckpt", ".vae.pt", ".vae.safetensors"):
        (tmp_path / f"m.v2{end}").touch()
        assert vae_beside(checkpoint) == tmp_path / f"m.v2{end}"
