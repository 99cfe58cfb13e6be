"""The tiny checkpoint of the golden data, for tests that need a whole model.

Property tests draw the same examples on every run (hypothesis' profile ``fixed``), so that a run that
passed passes again, on any machine; nor have they a deadline, since a machine may be busy. To search
for new examples give ``--hypothesis-profile=search``, and ``--hypothesis-seed`` to repeat a search.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.conformance.golden import DATA

if TYPE_CHECKING:
    from promptengine import Engine

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None)
settings.load_profile("fixed")

WEBUI = DATA / "webui"
CHECKPOINT = WEBUI / "model" / "tiny-sd1.safetensors"
CONFIG = WEBUI / "model" / "diffusers_config"
NETWORKS = WEBUI / "hypernetworks"


_WHOLE_MODELS = {
    *("accel", "checkpoints", "cli", "fuzz", "generation", "integrations", "kinds", "networks"),
    *("server", "starter", "super_resolution", "text", "training", "ui"),
    *("test_docs.py", "test_examples.py", "test_exports.py", "test_inspection.py"),
    *("test_plugins.py", "test_profiles.py", "test_undo.py"),
}
"""Parts of the tests that open models, serve, or start processes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives a Chromium, by its fixture, and what opens a whole model, by its place or fixture."""
    here = Path(__file__).parent
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
        if item.path.relative_to(here).parts[0] in _WHOLE_MODELS or "tiny_engine" in fixtures:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep digests out of the user's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The tiny checkpoint with a models folder of its own, which tests may add networks to."""
    import torch

    from promptengine import Engine

    torch.set_num_threads(1)
    models = tmp_path_factory.mktemp("models")
    (models / "hypernetworks").mkdir()
    for path in NETWORKS.iterdir():
        shutil.copy(path, models / "hypernetworks" / path.name)
    engine = Engine.open(CHECKPOINT, models=models, config=CONFIG, device="cpu")
    places = _places(engine)
    yield engine
    # Tests share it: what was moved, be it there and back, is computed with in another way from then on.
    assert _places(engine) == places


def _places(engine: Engine) -> dict[str, int]:
    """Where the UNet's weights lie."""
    return {name: weight.data_ptr() for name, weight in engine.checkpoint.unet.named_parameters()}
