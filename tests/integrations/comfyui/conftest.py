"""The tiny checkpoint as ComfyUI has models, and the golden data's networks in its folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from promptengine.checkpoints.load import Checkpoint, open_checkpoint
from tests.conftest import CHECKPOINT, CONFIG, DATA, NETWORKS, WEBUI
from tests.integrations.comfyui.host_modules import standing_in
from tests.integrations.comfyui.stand_in import CLIP, BaseModel, ModelPatcher


@pytest.fixture(scope="session")
def checkpoint() -> Iterator[Checkpoint]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield open_checkpoint(CHECKPOINT, config=CONFIG)
    torch.set_num_threads(threads)


@pytest.fixture
def model(checkpoint: Checkpoint) -> ModelPatcher:
    return ModelPatcher(BaseModel(checkpoint))


@pytest.fixture
def clip(checkpoint: Checkpoint) -> CLIP:
    return CLIP(checkpoint)


@pytest.fixture(autouse=True)
def comfyui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """ComfyUI's modules, and its output folder."""
    output = tmp_path / "output"
    output.mkdir()
    folders = {
        "hypernetworks": NETWORKS,
        "embeddings": WEBUI / "embeddings",
        "loras": DATA / "webui-2" / "loras",
        "checkpoints": WEBUI / "model",
        "output": output,
    }
    standing_in(monkeypatch, folders)
    return output
