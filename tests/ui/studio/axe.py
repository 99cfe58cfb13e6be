"""What axe-core says of the page; it comes with the tools that build the page, which ``.ci/page`` installs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import promptengine.ui.studio
from tests.ui.studio.conftest import StudioPage

AXE = Path(promptengine.ui.studio.__file__).parent / "node_modules/axe-core/axe.min.js"


def needs_axe(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test as one that ``.ci/page`` runs, and that skips where axe-core is not installed."""
    skips = pytest.mark.skipif(not AXE.is_file(), reason="axe-core comes with .ci/page")
    return pytest.mark.axe(skips(test))


def violations(page: StudioPage) -> list[str]:
    """Return what bars somebody from what the page shows, each with the element that does."""
    page.driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = page.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then(result => done(result.violations))"
    )
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]
