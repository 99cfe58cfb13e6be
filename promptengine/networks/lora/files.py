"""LoRA files: kohya's, LyCORIS', diffusers' and peft's layouts, as safetensors or pickles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

from torch import Tensor

from promptengine.errors import NetworkFormatError, UnsupportedNetworkError
from promptengine.files.weights import (
    detect_kind,
    file_format,
    is_plain_tensor,
    read_pickled,
    read_safetensors,
)
from promptengine.networks.lora.algorithms.table import algorithm_of
from promptengine.networks.lora.delta import LoraModule
from promptengine.networks.lora.keys import BUNDLE_PREFIX, TensorName, parse_name
from promptengine.networks.lora.peft import PeftSettings
from promptengine.networks.lora.types import whole_tensors
from promptengine.networks.lora.unsupported import unsupported

__all__ = ["Lora", "load_lora"]

_SINGLE_NUMBERS: Final = ("alpha", "scale")
_LARGEST: Final = 65504  # the largest number of half precision, in which such files are kept
_EMB_PARAMS: Final = "emb_params"
_STRING_TO_PARAM: Final = "string_to_param."
_EMBEDDING_PARTS: Final = (_EMB_PARAMS, "clip_l", "clip_g")


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """A LoRA file's content.

    Attributes:
        path: The file.
        modules: By the module they change, as :func:`promptengine.networks.lora.keys.parse_name` spells
            it.
        embeddings: Textual-inversion vectors ``[vectors, width]`` by the word that they stand for and by what
            they are: ``emb_params``, or ``clip_l`` and ``clip_g`` for SDXL's encoders.
        ignored: Names of tensors that mean nothing: to no module, or to their module's kind.
        whole: Names of weights and biases that were trained whole, not as changes (``modules_to_save``
            and ``bias`` of peft). They are not applied.
        nbytes: Memory of all tensors.
    """

    path: Path
    modules: Mapping[str, LoraModule]
    embeddings: Mapping[str, Mapping[str, Tensor]]
    ignored: tuple[str, ...]
    whole: tuple[str, ...]
    nbytes: int


def load_lora(path: Path) -> Lora:
    """Read a LoRA of any algorithm and layout, on the CPU, in the dtypes of the file.

    The content decides how it is read, not the suffix. The tensors are copies: the file may change or
    vanish afterwards.

    A module's scale is its tensor ``scale``, else ``alpha`` divided by the rank, else what diffusers'
    metadata or peft's ``adapter_config.json`` beside the file says, else 1; for algorithms that have none
    it is 1.

    Raises:
        UnsupportedNetworkError: A network of a kind or for a family that cannot be applied.
        NetworkFormatError: A file that is missing, damaged, unsafe, or holds no LoRA, or tensors that hold
            no weights, such as NaN.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    noun = unsupported(tensors)
    if noun is not None:
        raise UnsupportedNetworkError(noun, path=path)
    content = _sorted_by_module(tensors)
    if content.whole and not content.modules:
        message = f"it holds nothing but {len(content.whole)} whole weights, which are not applied"
        raise NetworkFormatError(message, path=path)
    if not content.modules and not content.embeddings:
        raise NetworkFormatError(f"no LoRA; it looks like: {detect_kind(tensors)}", path=path)
    for word, parts in content.embeddings.items():
        _require_numbers(path, f"{BUNDLE_PREFIX}{word}", parts)
    trained = PeftSettings.read(
        path, metadata, peft=any(n.startswith("base_model.") for n in tensors)
    )
    modules = {
        name: _module(path, name, found, trained, content.paths[name])
        for name, found in content.modules.items()
    }
    unused = (
        f"{name}.{tensor}"
        for name, module in modules.items()
        if module.algorithm is not None
        for tensor in sorted(module.algorithm.unused(module.tensors))
    )
    return Lora(
        path=path,
        modules=modules,
        embeddings=content.embeddings,
        ignored=(*content.ignored, *unused),
        whole=content.whole,
        nbytes=sum(tensor.nbytes for tensor in tensors.values()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Content:
    """A file's tensors, sorted.

    Attributes:
        modules: Tensors by module and name; copies.
        paths: Modules as the file spells them, by module.
        embeddings: Tensors by word and by their name in the layouts of embeddings; copies.
        ignored: Names that mean nothing.
        whole: Names of weights that were trained whole.
    """

    modules: Mapping[str, Mapping[str, Tensor]]
    paths: Mapping[str, str]
    embeddings: Mapping[str, Mapping[str, Tensor]]
    ignored: tuple[str, ...]
    whole: tuple[str, ...]


def _sorted_by_module(tensors: Mapping[str, Tensor]) -> _Content:
    modules: dict[str, dict[str, Tensor]] = {}
    names: dict[str, TensorName] = {}
    embeddings: dict[str, dict[str, Tensor]] = {}
    ignored: list[str] = []
    for name, tensor in tensors.items():
        if name.startswith(BUNDLE_PREFIX):
            word, _, part = name.removeprefix(BUNDLE_PREFIX).partition(".")
            part = _EMB_PARAMS if part.startswith(_STRING_TO_PARAM) else part
            if part in _EMBEDDING_PARTS and tensor.is_floating_point():
                embeddings.setdefault(word, {}).setdefault(part, tensor.clone())
            else:
                ignored.append(name)
        elif (found := parse_name(name)) is None:
            ignored.append(name)
        else:
            modules.setdefault(found.module, {})[found.tensor] = tensor.clone()
            names[found.module] = found
    whole: list[str] = []
    for module, held in list(modules.items()):
        for tensor_name in sorted(whole_tensors(held, kohya=names[module].kohya)):
            del held[tensor_name]
            whole.append(f"{module}.{tensor_name}")
        if not held:
            del modules[module]
    paths = {module: found.path for module, found in names.items()}
    return _Content(modules, paths, embeddings, tuple(ignored), tuple(whole))


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


def _module(
    path: Path, name: str, tensors: Mapping[str, Tensor], trained: PeftSettings, spelled: str
) -> LoraModule:
    _require_numbers(path, name, tensors)
    module = LoraModule(algorithm_of({n: tuple(t.shape) for n, t in tensors.items()}), tensors, 1.0)
    algorithm, rank = module.algorithm, module.rank
    if algorithm is None or not algorithm.scaled:
        return module
    scale = trained.scale(name, spelled, rank)
    if "alpha" in tensors and rank:
        scale = float(tensors["alpha"].item()) / rank
    if "scale" in tensors:
        scale = float(tensors["scale"].item())
    return module if scale is None else replace(module, scale=scale)


def _require_numbers(path: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    for tensor_name, tensor in tensors.items():
        why = _fault_of_numbers(tensor_name, tensor)
        if why is not None:
            raise NetworkFormatError(f"{name}: {tensor_name!r} {why}", path=path)


def _fault_of_numbers(name: str, tensor: Tensor) -> str | None:
    """Tell why a tensor holds nothing to compute with, in words that follow its name, or None."""
    if tensor.is_complex():
        return f"holds {tensor.dtype}, not weights"
    single = name in _SINGLE_NUMBERS
    if single and tensor.numel() != 1:
        return f"must be a single number, not {list(tensor.shape)}"
    if not tensor.is_floating_point() or not tensor.numel():
        return None
    # The one reduction that shows NaN, infinity, and size; few-bit floats have none of their own.
    least, most = (tensor.float() if tensor.element_size() == 1 else tensor).aminmax()
    largest = max(abs(least.item()), abs(most.item()))
    if not math.isfinite(least.item() + most.item()):
        return "holds NaN or infinity"
    if largest > _LARGEST and not single:
        return f"holds numbers up to {largest:.3g}; it must hold none beyond {_LARGEST}"
    return None
