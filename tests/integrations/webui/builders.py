"""A WebUI's folder made up for tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import CHECKPOINT, NETWORKS

STYLES = 'name,prompt,negative_prompt\nink,"{prompt}, ink drawing",color\n'


def make_webui(
    root: Path,
    config: Mapping[str, Any] | None = None,
    ui: Mapping[str, Any] | None = None,
    *checkpoints: str,
) -> Path:
    """Make a WebUI with hypernetworks, styles, and the tiny checkpoint under some names."""
    (root / "models" / "hypernetworks").mkdir(parents=True)
    for name in checkpoints:
        home = root / "models" / "Stable-diffusion"
        home.mkdir(exist_ok=True)
        for suffix in (".safetensors", ".yaml"):
            (home / f"{name}{suffix}").symlink_to(CHECKPOINT.with_suffix(suffix))
    shutil.copy(NETWORKS / "hn-relu.pt", root / "models" / "hypernetworks")
    (root / "styles.csv").write_text(STYLES, encoding="utf-8")
    if config is not None:
        (root / "config.json").write_text(json.dumps(config, indent=4), encoding="utf-8")
    if ui is not None:
        (root / "ui-config.json").write_text(json.dumps(ui, indent=4), encoding="utf-8")
    return root
