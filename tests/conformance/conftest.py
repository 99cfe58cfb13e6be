"""Where the golden data lies, and the tiny checkpoint it was computed with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.golden import DATA, device, folder

if TYPE_CHECKING:
    from promptengine.generation.engine import Engine
    from promptengine.registry.registry import Registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what compares with WebUI; pytest hands over the tests of all folders."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.parity)


@pytest.fixture(scope="session")
def conformance_dir() -> Path:
    """The folder of golden data: the project's own copy, or what PROMPTENGINE_CONFORMANCE names."""
    return folder()


@pytest.fixture(scope="session")
def goldens(conformance_dir: Path) -> Path:
    """The tables and tensors of WebUI's first half."""
    return conformance_dir / "webui" / "goldens"


@pytest.fixture(scope="session")
def model_dir(conformance_dir: Path) -> Path:
    """The tiny checkpoint's folder; data without one use the project's own."""
    own = conformance_dir / "webui" / "model"
    return own if own.is_dir() else DATA / "webui" / "model"


@pytest.fixture(scope="session")
def engine(conformance_dir: Path, model_dir: Path) -> Engine:
    """The tiny checkpoint with the folder's networks and embeddings, float32 on one CPU thread."""
    import torch

    from promptengine import Engine

    torch.set_num_threads(1)
    return Engine.open(
        model_dir / "tiny-sd1.safetensors",
        models={
            "hypernet": conformance_dir / "webui" / "hypernetworks",
            "embedding": conformance_dir / "webui" / "embeddings",
        },
        config=model_dir / "diffusers_config",
        device=device(),
        dtype="float32",
    )


@pytest.fixture(scope="session")
def second_models(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry of the tiny checkpoint, the second one, the VAE, networks and embeddings."""
    from tests.conformance import second_models as build

    return build.second_models(model_dir, tmp_path_factory.mktemp("second-models"))
