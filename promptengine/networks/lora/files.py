"""LoRA files: kohya's, LyCORIS', diffusers' and peft's layouts, as safetensors or pickles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from promptengine.errors import NetworkFormatError, UnsupportedNetworkError
from promptengine.files.weights import (
    detect_kind,
    file_format,
    is_plain_tensor,
    read_pickled,
    read_safetensors,
)
from promptengine.networks.lora.delta import LoraModule
from promptengine.networks.lora.keys import BUNDLE_PREFIX, parse_name
from promptengine.networks.lora.peft import PeftSettings
from promptengine.networks.lora.types import (
    module_kind,
    module_rank,
    unused_tensors,
    whole_tensors,
)
from promptengine.networks.lora.unsupported import unsupported

__all__ = ["Lora", "load_lora"]


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """A LoRA file's content.

    Attributes:
        path: The file.
        modules: By the module they change, as :func:`promptengine.networks.lora.keys.parse_name` spells
            it.
        embeddings: Textual-inversion vectors ``[vectors, width]`` by the word that they stand for.
        ignored: Names of tensors that mean nothing: to no module, or to their module's kind.
        whole: Names of weights and biases that were trained whole, not as changes (``modules_to_save``
            and ``bias`` of peft). They are not applied.
        nbytes: Memory of all tensors.
    """

    path: Path
    modules: Mapping[str, LoraModule]
    embeddings: Mapping[str, Tensor]
    ignored: tuple[str, ...]
    whole: tuple[str, ...]
    nbytes: int


def load_lora(path: Path) -> Lora:
    """Read a LoRA of any kind and layout, on the CPU, in the dtypes of the file.

    The content decides how it is read, not the suffix. The tensors are copies: the file may change or
    vanish afterwards.

    A module's scale is its tensor ``scale``, else ``alpha`` divided by the rank, else what diffusers'
    metadata or peft's ``adapter_config.json`` beside the file says, else 1.

    Raises:
        UnsupportedNetworkError: A network of a kind or for a family that cannot be applied.
        NetworkFormatError: A file that is missing, damaged, unsafe or holds no LoRA.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    noun = unsupported(tensors)
    if noun is not None:
        raise UnsupportedNetworkError(noun, path=path)
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
    whole = _without_whole(modules)
    for name, found in modules.items():
        kind = module_kind(found)
        ignored += [f"{name}.{tensor}" for tensor in sorted(unused_tensors(kind, found))]
    if whole and not modules:
        message = f"it holds nothing but {len(whole)} whole weights, which are not applied"
        raise NetworkFormatError(message, path=path)
    if not modules and not embeddings:
        raise NetworkFormatError(f"no LoRA; it looks like: {detect_kind(tensors)}", path=path)
    trained = PeftSettings.read(
        path, metadata, peft=any(n.startswith("base_model.") for n in tensors)
    )
    return Lora(
        path=path,
        modules={
            name: _module(path, name, found, trained.scale(name, paths[name], _rank(found)))
            for name, found in modules.items()
        },
        embeddings=embeddings,
        ignored=tuple(ignored),
        whole=whole,
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


def _without_whole(modules: dict[str, dict[str, Tensor]]) -> tuple[str, ...]:
    """Take whole weights out of modules, and modules that hold nothing else; return their names."""
    names: list[str] = []
    for module, tensors in list(modules.items()):
        for tensor in sorted(whole_tensors(tensors)):
            del tensors[tensor]
            names.append(f"{module}.{tensor}")
        if not tensors:
            del modules[module]
    return tuple(names)


def _module(path: Path, name: str, tensors: dict[str, Tensor], trained: float | None) -> LoraModule:
    for tensor_name, tensor in tensors.items():
        if tensor.is_complex():
            message = f"{name}: {tensor_name!r} holds {tensor.dtype}, not weights"
            raise NetworkFormatError(message, path=path)
    kind = module_kind(tensors)
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


def _rank(tensors: Mapping[str, Tensor]) -> int | None:
    kind = module_kind(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return module_rank(kind, shapes) if kind else None
