"""The golden data's second checkpoint and VAE, made of the first one and of what differs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from promptengine.registry.registry import Registry
from tests.conformance.golden import DATA, folder

PARITY = folder() / "webui-3"
_VAE = "first_stage_model."


def second_models(model_dir: Path, place: Path) -> Registry:
    """A registry of both checkpoints, the VAE, and all networks and embeddings.

    Args:
        model_dir: Where the first checkpoint lies.
        place: An empty folder.
    """
    own = PARITY / "models"
    deltas = own if own.is_dir() else DATA / "webui-3" / "models"
    checkpoints, vaes = place / "Stable-diffusion", place / "VAE"
    checkpoints.mkdir()
    vaes.mkdir()
    first = model_dir / "tiny-sd1.safetensors"
    (checkpoints / first.name).symlink_to(first)
    weights = load_file(first)
    for name, digest in json.loads((deltas / "sha256.json").read_text(encoding="utf-8")).items():
        changed = load_file(deltas / f"{Path(name).stem}.delta.safetensors")
        if changed.keys() <= weights.keys():
            path, whole = checkpoints / name, weights
        else:
            path = vaes / name
            whole = {k.removeprefix(_VAE): t for k, t in weights.items() if k.startswith(_VAE)}
        save_file({**whole, **changed}, path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, name
    loras = [one / "loras" for one in (folder() / "webui-2", PARITY)]
    return Registry.open(
        {
            "checkpoint": checkpoints,
            "vae": vaes,
            "hypernet": folder() / "webui" / "hypernetworks",
            "embedding": folder() / "webui" / "embeddings",
            "lora": [one for one in loras if one.is_dir()],
        }
    )
