"""Tiny pipelines with a transformer, and files that tags name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from promptengine.networks.hypernetwork.files import save_hypernetwork
from tests.integrations.diffusers.transformer_runs import PIPELINES
from tests.networks.builders import random_network
from tests.networks.lora.builders import plain, write_lora


@pytest.fixture(scope="module")
def pipes() -> dict[str, Any]:
    torch.set_num_threads(1)
    return {name: make() for name, make in PIPELINES.items()}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "hypernetworks").mkdir()
    (folder / "embeddings").mkdir()
    save_hypernetwork(random_network([64, 128]), folder / "hypernetworks" / "ink.pt")
    write_lora(folder / "Lora" / "line.safetensors", plain("lora_unet_x", 4, 4))
    return folder


@pytest.fixture
def nothing_told_unasked() -> Iterator[None]:
    with warnings.catch_warnings(action="error", category=UserWarning):
        yield
