"""Diffusers folders: configurations and weights of each part, read as every other file is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from torch import Tensor

from promptengine.checkpoints.build import read_weights
from promptengine.errors import CheckpointError
from promptengine.families import (
    TEXT_ENCODERS,
    Family,
    ModelConfig,
    PipelineConfigs,
    family_of_encoders,
    parts_in_folder,
)
from promptengine.files.size_limits import read_small

__all__ = ["DiffusersFolder", "part_config", "part_weights", "read_diffusers_folder"]

_STEMS: Final = ("diffusion_pytorch_model", "model", "pytorch_model")
_FORMATS: Final = ("safetensors", "bin")
# Weights as they are come before copies of less precision, and those of a moving average (EMA), which
# are meant for images, before those that are meant for going on with a training.
_VARIANTS: Final = ("", "fp32", "fp16", "bf16", "ema", "non_ema")
_OLD_ATTENTION: Final = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}


@dataclass(frozen=True, slots=True)
class DiffusersFolder:
    """What a diffusers folder says of itself.

    Attributes:
        family: Of the model.
        parts: Configurations.
    """

    family: Family
    parts: PipelineConfigs


def read_diffusers_folder(path: Path) -> DiffusersFolder:
    """Read a diffusers folder's configurations and tell its family.

    Raises:
        CheckpointError: Not such a folder, or of a family that is not supported.
    """
    index = path / "model_index.json"
    if not index.is_file():
        message = "a folder without model_index.json is not a diffusers model"
        raise CheckpointError(message, path=path)
    name = str(_json(index).get("_class_name", ""))
    parts = parts_in_folder(path)
    missing = [part for part in ("unet", "vae") if part not in parts]
    texts = _text_encoders(parts)
    if missing or not texts:
        missing = [*missing, TEXT_ENCODERS[0]]
        what = f" ({name})" if name else ""
        message = (
            f"a diffusers model{what} without {missing[0]}/config.json, which is not supported"
        )
        raise CheckpointError(message, path=path)
    unet = parts["unet"]
    for part in parts:
        if parts[part].get("quantization_config") is not None:
            message = f"its {part} is quantized, which is not supported; get an unpacked copy"
            raise CheckpointError(message, path=path)
    if unet.get("encoder_hid_dim_type") or unet.get("encoder_hid_dim"):
        message = f"a diffusers model of {name or 'another kind'} (Kolors or its like), which is not supported"
        raise CheckpointError(message, path=path)
    if unet.get("in_channels", 4) not in (4, 9) or unet.get("class_embed_type"):
        message = f"a diffusers model of {name or 'an unknown kind'}, which is not supported"
        raise CheckpointError(message, path=path)
    activation = str(parts[texts[0]].get("hidden_act", ""))
    return DiffusersFolder(family_of_encoders(texts, activation=activation), parts)


def _text_encoders(parts: PipelineConfigs) -> list[str]:
    """Return the text encoders that the UNet reads; a second one only where it is told sizes too."""
    sized = parts.get("unet", {}).get("addition_embed_type") == "text_time"
    return [part for part in TEXT_ENCODERS[: 1 + sized] if part in parts]


def part_config(folder: Path) -> ModelConfig:
    """Read the configuration of one part.

    Raises:
        CheckpointError: It is missing or no JSON object.
    """
    config = _json(folder / "config.json")
    return {name: value for name, value in config.items() if not name.startswith("_")}


def part_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of one part, in one file or several; safetensors before pickles.

    Returns:
        Weights under today's names of diffusers and transformers, without ``text_model.``.

    Raises:
        CheckpointError: No weights, or weights that cannot be read.
    """
    for form in _FORMATS:
        for variant in _VARIANTS:
            for stem in _STEMS:
                for name in _spellings(stem, form, variant):
                    if (folder / name).is_file():
                        return _named(_read(folder / name))
    raise CheckpointError(f"holds none of {_STEMS[0]}.safetensors and its like", path=folder)


def _spellings(stem: str, form: str, variant: str) -> Sequence[str]:
    """Names of an index of several files, and of one file. Programs put the variant here and there."""
    if not variant:
        return f"{stem}.{form}.index.json", f"{stem}.{form}"
    return (
        f"{stem}.{form}.index.{variant}.json",
        f"{stem}.{form}.{variant}.index.json",
        f"{stem}.{variant}.{form}.index.json",
        f"{stem}.{variant}.{form}",
    )


def _read(file: Path) -> dict[str, Tensor]:
    return _joined(file) if file.suffix == ".json" else read_weights(file)[0]


def _joined(index: Path) -> dict[str, Tensor]:
    """Read the files that an index names."""
    folder, shards = index.parent, _json(index).get("weight_map")
    named = cast("dict[str, Any]", shards) if isinstance(shards, dict) else {}
    # Only the names of files count: an index must not lead out of its folder.
    files = sorted({Path(str(shard)).name for shard in named.values()})
    if not files:
        raise CheckpointError("names no files in its weight_map", path=index)
    joined: dict[str, Tensor] = {}
    for file in files:
        joined |= read_weights(folder / file)[0]
    return joined


def _named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.endswith("position_ids"):
            continue
        new = name.removeprefix("text_model.")
        if ".mid_block.attentions." in new:
            for old, today in _OLD_ATTENTION.items():
                new = new.replace(old, today)
        named[new] = tensor
    return named


def _json(path: Path) -> dict[str, Any]:
    try:
        document: object = json.loads(read_small(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"not readable as JSON: {error}", path=path) from None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}
