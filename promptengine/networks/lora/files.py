"""LoRA files: kohya's, LyCORIS', diffusers' and peft's layouts, as safetensors or pickles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from promptengine.bounds import json_object, read_small
from promptengine.errors import NetworkFormatError
from promptengine.networks.lora.deltas import LoraModule
from promptengine.networks.lora.keys import BUNDLE_PREFIX, parse_name
from promptengine.networks.lora.kinds import module_kind, module_rank, unused_tensors
from promptengine.tensorfiles import (
    file_format,
    is_plain_tensor,
    kind_of,
    read_pickled,
    read_safetensors,
)

__all__ = ["Lora", "load_lora"]

_PEFT_CONFIG: Final = "adapter_config.json"
_DIFFUSERS_METADATA: Final = "lora_adapter_metadata"
_OTHER_WEIGHTS: Final = "dora_scale", "lora_magnitude_vector"


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """A LoRA file's content.

    Attributes:
        path: The file.
        modules: By the module they change, as :func:`promptengine.networks.lora.keys.parse_name` spells
            it.
        embeddings: Textual-inversion vectors ``[vectors, width]`` by the word that they stand for.
        ignored: Names of tensors that mean nothing: to no module, or to their module's kind.
        nbytes: Memory of all tensors.
    """

    path: Path
    modules: Mapping[str, LoraModule]
    embeddings: Mapping[str, Tensor]
    ignored: tuple[str, ...]
    nbytes: int


def load_lora(path: Path) -> Lora:
    """Read a LoRA of any kind and layout, on the CPU, in the dtypes of the file.

    The content decides how it is read, not the suffix. The tensors are copies: the file may change or
    vanish afterwards.

    A module's scale is its tensor ``scale``, else ``alpha`` divided by the rank, else what diffusers'
    metadata or peft's ``adapter_config.json`` beside the file says, else 1.

    Raises:
        NetworkFormatError: A file that is missing, damaged, unsafe or holds no LoRA.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    modules: dict[str, dict[str, Tensor]] = {}
    paths: dict[str, str] = {}
    embeddings: dict[str, Tensor] = {}
    ignored: list[str] = []
    for name, tensor in tensors.items():
        found = parse_name(name)
        if name.startswith(BUNDLE_PREFIX) and tensor.ndim in (1, 2) and tensor.is_floating_point():
            word = name.removeprefix(BUNDLE_PREFIX).partition(".")[0]
            embeddings.setdefault(word, torch.atleast_2d(tensor.clone()))
        elif found is None:
            ignored.append(name)
        else:
            modules.setdefault(found.module, {})[found.tensor] = tensor.clone()
            paths[found.module] = found.path
    for name, found in modules.items():
        kind = module_kind(found)
        ignored += [f"{name}.{tensor}" for tensor in sorted(unused_tensors(kind, found))]
    if not modules and not embeddings:
        raise NetworkFormatError(f"no LoRA; it looks like: {kind_of(tensors)}", path=path)
    trained = _Settings.read(path, metadata, peft=any(n.startswith("base_model.") for n in tensors))
    return Lora(
        path=path,
        modules={
            name: _module(path, name, found, trained.scale(name, paths[name], found))
            for name, found in modules.items()
        },
        embeddings=embeddings,
        ignored=tuple(ignored),
        nbytes=sum(tensor.nbytes for tensor in tensors.values()),
    )


def _read(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    if file_format(path) == "safetensors":
        return read_safetensors(path)
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise NetworkFormatError(f"holds a {type(content).__name__}, not a LoRA", path=path)
    entries = cast("dict[object, object]", content)
    inner = entries.get("state_dict")
    if isinstance(inner, dict):
        entries = cast("dict[object, object]", inner)
    tensors = {n: t for n, t in entries.items() if isinstance(n, str) and is_plain_tensor(t)}
    if sum(tensor.nbytes for tensor in tensors.values()) > path.stat().st_size:
        # Tensors of a pickle may repeat or share numbers; copied, a small file could fill memory.
        raise NetworkFormatError("its tensors claim more numbers than the file holds", path=path)
    return tensors, {}


def _module(path: Path, name: str, tensors: dict[str, Tensor], trained: float | None) -> LoraModule:
    for tensor_name, tensor in tensors.items():
        if tensor.is_complex():
            message = f"{name}: {tensor_name!r} holds {tensor.dtype}, not weights"
            raise NetworkFormatError(message, path=path)
    kind = module_kind(tensors)
    if any(other in tensors for other in _OTHER_WEIGHTS):
        # DoRA scales the changed weight by columns: without that it is another change altogether.
        kind = None
    rank = _rank(tensors)
    scale = 1.0 if trained is None else trained
    if "alpha" in tensors and rank:
        scale = _number(tensors["alpha"], name, path) / rank
    if "scale" in tensors:
        scale = _number(tensors["scale"], name, path)
    return LoraModule(kind, tensors, scale)


def _number(tensor: Tensor, name: str, path: Path) -> float:
    if tensor.numel() != 1:
        raise NetworkFormatError(f"{name}: its alpha or scale is no single number", path=path)
    return float(tensor.item())


@dataclass(frozen=True, slots=True)
class _Settings:
    """How peft was told to scale, for files that do not say it by tensors.

    Attributes:
        parts: Settings by the prefix of the modules they are for.
    """

    parts: Mapping[str, Mapping[str, Any]]

    @staticmethod
    def read(path: Path, metadata: Mapping[str, str], *, peft: bool) -> _Settings:
        """Look beside a file of peft's, or in the metadata of one of diffusers'."""
        if peft:
            return _Settings({"": _beside(path.with_name(_PEFT_CONFIG))})
        document = json_object(metadata.get(_DIFFUSERS_METADATA, "")) or {}
        prefixes = {
            "unet.": ("unet_",),
            "text_encoder.": ("transformer_text_",),
            "text_encoder_2.": ("transformer_2_",),
        }
        return _Settings(
            {
                spelled: {
                    key.removeprefix(part): value
                    for key, value in document.items()
                    if key.startswith(part)
                }
                for part, spellings in prefixes.items()
                for spelled in spellings
            }
        )

    def scale(self, module: str, path: str, tensors: Mapping[str, Tensor]) -> float | None:
        """What peft scales a module's change with, or None where nothing says it."""
        for prefix, settings in self.parts.items():
            if module.startswith(prefix):
                # Of LoHa and LoKr peft calls it alpha.
                alpha = _of_module(settings, "alpha_pattern", ("lora_alpha", "alpha"), path)
                rank = _of_module(settings, "rank_pattern", ("r",), path) or _rank(tensors)
                if alpha is not None and rank and rank > 0:
                    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
        return None


def _of_module(
    settings: Mapping[str, Any], patterns: str, names: Sequence[str], path: str
) -> float | None:
    """A setting of a module: what a pattern says of the end of its path, else that of all modules."""
    value = next((settings[name] for name in names if name in settings), None)
    ends = settings.get(patterns)
    if isinstance(ends, dict):
        for end, special in cast("dict[str, object]", ends).items():
            if f".{path}".endswith(f".{end}"):
                value = special
    return float(value) if isinstance(value, int | float) else None


def _rank(tensors: Mapping[str, Tensor]) -> int | None:
    kind = module_kind(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return module_rank(kind, shapes) if kind else None


def _beside(path: Path) -> dict[str, Any]:
    try:
        return json_object(read_small(path)) or {}
    except (OSError, ValueError):
        return {}
