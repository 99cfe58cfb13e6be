"""Hypernetwork files: WebUI's pickles and our safetensors layout.

WebUI writes a dictionary with ``torch.save``: integer keys are widths, each with a pair of state
dictionaries (key network, value network); text keys are metadata. Everything that older files call
otherwise or leave out is dealt with here and nowhere else.

Our safetensors layout holds the same: tensors named ``<width>.<part>.<name in the pickle>``, where
the part is ``key``, ``value`` or ``query``, such as ``768.key.linear.0.weight``, and as metadata ``format`` (:data:`FORMAT`), ``version``,
``name``, ``step``, ``sd_checkpoint``, ``sd_checkpoint_name`` and, in JSON, ``widths`` in the order
of the pickle, ``settings`` and ``extra``.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar, cast

import torch
from torch import Tensor, nn

from promptengine.errors import NetworkFormatError
from promptengine.files.atomic import atomic_write
from promptengine.files.weights import (
    detect_kind,
    file_format,
    is_plain_tensor,
    read_pickled,
    read_safetensors,
    write_safetensors,
)
from promptengine.networks.hypernetwork.module import (
    Hypernetwork,
    HypernetworkSettings,
    Transform,
    WidthPair,
    check_extent,
)
from promptengine.validation import check_type

__all__ = [
    "FORMAT",
    "STATE_KEY",
    "convert_hypernetwork",
    "load_hypernetwork",
    "require_writable",
    "save_hypernetwork",
]

FORMAT: Final = "promptengine.hypernetwork"
STATE_KEY: Final = "promptengine.training"
"""By this name in its metadata the state beside a network in training is known."""

_VERSION: Final = 1

# Name in the pickle -> field of HypernetworkSettings.
_SETTING_KEYS: Final = {
    "layer_structure": "structure",
    "activation_func": "activation",
    "is_layer_norm": "layer_norm",
    "weight_initialization": "weight_init",
    "activate_output": "activate_output",
    "use_dropout": "use_dropout",
    "dropout_structure": "dropout_structure",
    "last_layer_dropout": "last_layer_dropout",
}
_INFO_KEYS: Final = ("step", "name", "sd_checkpoint", "sd_checkpoint_name")
# The probability of files that say "dropout" without saying how much. Inference never uses it.
_OLD_DROPOUT: Final = 0.3
_LINEAR_WEIGHT: Final = re.compile(r"^linear\.(\d+)\.weight$")
_OLD_LAYER_NAME: Final = re.compile(r"^linear([12])\.")
# WebUI refuses an archive with any other member; newer torch adds some.
_MEMBER: Final = re.compile(r"^[^/]+/(data/\d+|data\.pkl|version)$")
_ALIGNMENT: Final = 64
_MEMBER_HEADER: Final = 30 + 4  # local header of a zip member, header of its extra field
_SCALARS: Final = (str, int, float, type(None))
_LONGEST_CAUSE: Final = 400
_LONGEST_SHOWN: Final = 100
_MOST_TENSORS: Final = 1_000  # of one network: 100 stages have less than 500

_T = TypeVar("_T")
_States = dict[int, tuple[dict[str, Tensor], ...]]


def load_hypernetwork(path: Path) -> Hypernetwork:
    """Read a hypernetwork, in evaluation mode, on the CPU, its weights in the dtype of the file.

    The content decides how it is read, not the suffix. A file without a name inside gets its stem.
    The weights are copies: the file may change or vanish afterwards. They do not require gradients.

    Raises:
        NetworkFormatError: A file that is missing, damaged, of another kind or unsafe, or whose
            tensors are not those that its settings ask for. Weights that are not finite are no
            error; inspection reports them.
    """
    check_type("path", path, str, Path)
    path = Path(path)
    safetensors = file_format(path) == "safetensors"
    try:
        network = _from_safetensors(path) if safetensors else _from_pickle(path)
    except ValueError as failure:
        raise NetworkFormatError(str(failure)[:_LONGEST_CAUSE], path=path) from failure
    return network.eval().requires_grad_(False)


def save_hypernetwork(network: Hypernetwork, path: Path) -> None:
    """Write a hypernetwork, whole or not at all.

    ``.pt``, ``.ckpt`` and ``.bin`` give a pickle that WebUI loads, ``.safetensors`` our layout.
    The same network gives the same bytes.

    Raises:
        NetworkFormatError: A suffix that is none of these, or a pickle for a network of keys and
            queries, which every reader would take for keys and values.
        OSError: Where the folder cannot be written.
    """
    check_type("network", network, Hypernetwork)
    check_type("path", path, str, Path)
    path = Path(path)
    write = _writer(network.settings, path)
    with atomic_write(path) as temporary:
        write(network, temporary)


def require_writable(settings: HypernetworkSettings, path: Path) -> None:
    """Refuse what :func:`save_hypernetwork` would refuse, before there is a network to save.

    Raises:
        NetworkFormatError: As there.
    """
    _writer(settings, path)


def _writer(settings: HypernetworkSettings, path: Path) -> Callable[[Hypernetwork, Path], None]:
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise NetworkFormatError(
            f"unknown suffix {path.suffix!r}; use {', '.join(_WRITERS)}", path=path
        )
    if write is _write_pickle and settings.transform != "key,value":
        transform = settings.transform.replace(",", " and ")
        raise NetworkFormatError(
            f"a network that transforms {transform} cannot be written as {path.suffix}, which "
            "means key and value; use .safetensors",
            path=path,
        )
    return write


def convert_hypernetwork(source: Path, target: Path) -> None:
    """Rewrites a hypernetwork in the format of the target's suffix; tensors stay bit-equal.

    Metadata of simple types stays as well. What the source leaves out is written out as what it
    means, and old names of layers become the current ones.

    Raises:
        NetworkFormatError: As for reading ``source`` and for writing ``target``.
        OSError: Where the target's folder cannot be written.
    """
    check_type("source", source, str, Path)
    check_type("target", target, str, Path)
    save_hypernetwork(load_hypernetwork(source), target)


def _from_pickle(path: Path) -> Hypernetwork:
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, not a hypernetwork")
    payload = cast("dict[object, object]", content)
    kind = detect_kind(payload)
    if kind != "hypernetwork":
        raise ValueError(_other_kind(kind))
    check_extent(sum(type(width) is int for width in payload))
    states: _States = {
        width: _state_pair(width, pair) for width, pair in payload.items() if type(width) is int
    }
    settings = {field: payload.get(key) for key, field in _SETTING_KEYS.items()}
    known = {*_SETTING_KEYS, *_INFO_KEYS}
    extra = {
        key: value
        for key, value in payload.items()
        if isinstance(key, str) and key not in known and value is not None and _is_simple(value)
    }
    info = {key: payload.get(key) for key in _INFO_KEYS}
    return _assemble(path, states, _settings(settings, states), info, extra)


def _from_safetensors(path: Path) -> Hypernetwork:
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(_other_kind(detect_kind(tensors)))
    if metadata.get("version") != str(_VERSION):
        raise ValueError(
            f"layout version {metadata.get('version')!r}, and only {_VERSION} is known; "
            "a newer version of this package may read it"
        )
    widths = _from_json(metadata, "widths", list)
    if not widths or not all(type(width) is int for width in widths):
        raise ValueError(f"its widths {str(widths)[:_LONGEST_SHOWN]} are no list of whole numbers")
    check_extent(len(widths))
    given = _from_json(metadata, "settings", dict)
    parts = HypernetworkSettings(transform=_transform(given)).parts
    states: _States = {width: ({}, {}) for width in widths}
    for name, tensor in tensors.items():
        width, part, layer = (*name.split(".", 2), "", "")[:3]
        if not width.isdecimal() or int(width) not in states or part not in parts:
            raise ValueError(f"tensor {name!r} belongs to none of its widths {widths}")
        states[int(width)][parts.index(part)][layer] = tensor
    settings = _settings(given, states)
    info: dict[str, object] = {key: metadata.get(key) for key in _INFO_KEYS}
    step = metadata.get("step", "0")
    info["step"] = int(step) if step.isdecimal() else step
    return _assemble(path, states, settings, info, _from_json(metadata, "extra", dict))


def _assemble(
    path: Path,
    states: _States,
    settings: HypernetworkSettings,
    info: Mapping[str, object],
    extra: Mapping[str, object],
) -> Hypernetwork:
    step = info.get("step") or 0
    if type(step) is not int or step < 0:
        raise ValueError(f"its step {step!r} is not a whole number of steps")
    # On the meta device a shape costs nothing, so that a file can be compared with what it declares
    # before any memory is taken.
    network = Hypernetwork(
        states,
        name=_text(info, "name") or path.stem,
        settings=settings,
        step=step,
        sd_checkpoint=_text(info, "sd_checkpoint"),
        sd_checkpoint_name=_text(info, "sd_checkpoint_name"),
        extra=extra,
        device="meta",
    )
    tensors = [tensor for pair in states.values() for state in pair for tensor in state.values()]
    if sum(tensor.nbytes for tensor in tensors) > path.stat().st_size:
        # Tensors of a pickle may repeat or share numbers; copied, a small file could fill memory.
        raise ValueError("its tensors claim more numbers than the file holds")
    for width, pair in states.items():
        modules = cast("WidthPair", network.pair(width))
        for part, module, state in zip(settings.parts, modules, pair, strict=True):
            _check(f"width {width}, {part} network", module, state, settings)
            kept = {name: _copy(tensor) for name, tensor in state.items()}
            module.load_state_dict(kept, assign=True)
    return network


def _check(
    place: str, module: nn.Module, state: Mapping[str, Tensor], settings: HypernetworkSettings
) -> None:
    """Raise ValueError where tensors are not those that the settings ask for."""
    expected = module.state_dict()
    means = f"layer structure {list(settings.structure)}, activation {settings.activation}"
    if missing := sorted(expected.keys() - state.keys()):
        raise ValueError(f"{place}: {missing[0]!r} is missing, which {means} asks for")
    if left := sorted(state.keys() - expected.keys()):
        raise ValueError(f"{place}: {left[0]!r} is no part of a network with {means}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{place}: {name!r} is {list(tensor.shape)}, but {means} asks for "
                f"{list(expected[name].shape)}"
            )
        if not tensor.dtype.is_floating_point:
            raise ValueError(f"{place}: {name!r} holds {tensor.dtype}, not weights")


def _state_pair(width: int, pair: object) -> tuple[dict[str, Tensor], ...]:
    if not isinstance(pair, tuple | list) or len(cast("tuple[object]", pair)) != 2:
        raise ValueError(f"width {width} holds no pair of key network and value network")
    return tuple(_state(width, state) for state in cast("tuple[object]", pair))


def _state(width: int, state: object) -> dict[str, Tensor]:
    """Check one state dictionary and gives layers of 2022's first files their current names."""
    if not isinstance(state, dict):
        raise ValueError(f"width {width} holds a {type(state).__name__} in place of a network")
    entries = cast("dict[object, object]", state)
    if len(entries) > _MOST_TENSORS:
        raise ValueError(f"width {width} holds {len(entries)} tensors in place of a network")
    tensors: dict[str, Tensor] = {}
    for name, tensor in entries.items():
        if not isinstance(name, str) or not is_plain_tensor(tensor):
            raise ValueError(f"width {width}: {name!r} is no plain tensor")
        current = _OLD_LAYER_NAME.sub(lambda found: f"linear.{int(found[1]) - 1}.", name)
        tensors[current] = tensor
    return tensors


def _is_simple(value: object) -> bool:
    """Tell whether metadata can go through JSON and come back equal; nesting ends after one level,
    since a pickle may hold lists that contain themselves.
    """
    if isinstance(value, list):
        return all(isinstance(item, _SCALARS) for item in cast("list[object]", value))
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return all(isinstance(key, str) and isinstance(item, _SCALARS) for key, item in items)
    return isinstance(value, _SCALARS)


def _settings(given: Mapping[str, object], states: _States) -> HypernetworkSettings:
    """Build the settings from what a file gives, all else as in files that say nothing."""
    default = HypernetworkSettings()
    structure = _numbers(given, "structure") or default.structure
    activation = _text(given, "activation")
    layer_norm = _flag(given, "layer_norm", default.layer_norm)
    use_dropout = _flag(given, "use_dropout", default.use_dropout)
    dropout_structure = _numbers(given, "dropout_structure")
    if dropout_structure is None and use_dropout:
        layers_in_stage = 1 + (activation not in (None, "linear")) + layer_norm
        dropout_structure = _dropout_by_numbers(next(iter(states.values()))[0], layers_in_stage)
    return HypernetworkSettings(
        structure=structure,
        activation=activation,
        weight_init=_text(given, "weight_init") or default.weight_init,
        layer_norm=layer_norm,
        activate_output=_flag(given, "activate_output", default.activate_output),
        use_dropout=use_dropout,
        dropout_structure=dropout_structure or (0,) * len(structure),
        last_layer_dropout=_flag(given, "last_layer_dropout", default.last_layer_dropout),
        transform=_transform(given),
    )


def _transform(given: Mapping[str, object]) -> Transform:
    """Whose inputs the networks change; the settings refuse what is no transform."""
    return cast("Transform", _text(given, "transform") or HypernetworkSettings.transform)


def _dropout_by_numbers(state: Mapping[str, Tensor], layers_in_stage: int) -> tuple[float, ...]:
    """Find where a file has dropout that says only that it has: there the numbers skip one."""
    numbers = sorted(
        int(found[1])
        for name, tensor in state.items()
        if (found := _LINEAR_WEIGHT.match(name)) and tensor.ndim == 2
    )
    gaps = [after - before for before, after in itertools.pairwise(numbers)]
    return (0, *(_OLD_DROPOUT if gap > layers_in_stage else 0 for gap in gaps), 0)


def _numbers(given: Mapping[str, object], name: str) -> tuple[float, ...] | None:
    values = given.get(name)
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(
        type(value) in (int, float) for value in cast("list[object]", values)
    ):
        raise ValueError(f"its {name.replace('_', ' ')} is no list of numbers")
    return tuple(cast("list[float]", values))


def _flag(given: Mapping[str, object], name: str, default: bool) -> bool:
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ValueError(f"its setting {name!r} is neither true nor false")
    return value


def _text(given: Mapping[str, object], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"its {name!r} is a {type(value).__name__}, not text")
    # A pickle can hold half characters, which no other file format and no terminal takes.
    return value.encode("utf-8", "replace").decode("utf-8")


def _from_json(metadata: Mapping[str, str], name: str, kind: type[_T]) -> _T:
    try:
        value = json.loads(metadata.get(name, "null"))
    except RecursionError:
        value = None
    if not isinstance(value, kind):
        raise ValueError(f"its metadata {name!r} is missing or damaged")
    return value


def _other_kind(kind: str) -> str:
    if kind == "optimizer state":
        return "the optimizer state beside a hypernetwork; name the file without .optim"
    if kind == "unknown":
        return "holds no hypernetwork"
    return f"holds weights of the kind {kind}, not a hypernetwork"


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _write_pickle(network: Hypernetwork, path: Path) -> None:
    payload: dict[object, object] = {
        width: tuple(
            OrderedDict((name, _copy(tensor)) for name, tensor in module.state_dict().items())
            for module in cast("WidthPair", network.pair(width))
        )
        for width in network.widths
    }
    settings = network.settings
    payload |= {
        "step": network.step,
        "name": network.name,
        "layer_structure": list(settings.structure),
        "activation_func": settings.activation,
        "is_layer_norm": settings.layer_norm,
        "weight_initialization": settings.weight_init,
        "sd_checkpoint": network.sd_checkpoint,
        "sd_checkpoint_name": network.sd_checkpoint_name,
        "activate_output": settings.activate_output,
        "use_dropout": settings.use_dropout,
        "dropout_structure": list(settings.dropout_structure),
        "last_layer_dropout": settings.last_layer_dropout,
        "optional_info": None,
        **network.extra,
    }
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        path.open("wb") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as target,
    ):
        for name in filter(_MEMBER.match, source.namelist()):
            member = zipfile.ZipInfo(name)
            # Mapped tensors should begin where the processor likes it; torch pads like this too.
            room = -(file.tell() + _MEMBER_HEADER + len(name)) % _ALIGNMENT
            member.extra = struct.pack("<2sH", b"FB", room) + bytes(room)
            target.writestr(member, source.read(name))


def _write_safetensors(network: Hypernetwork, path: Path) -> None:
    tensors = {
        f"{width}.{part}.{name}": _copy(tensor)
        for width in network.widths
        for part, module in zip(
            network.settings.parts, cast("WidthPair", network.pair(width)), strict=True
        )
        for name, tensor in module.state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        "version": str(_VERSION),
        "name": network.name,
        "step": str(network.step),
        "sd_checkpoint": network.sd_checkpoint,
        "sd_checkpoint_name": network.sd_checkpoint_name,
        "widths": json.dumps(network.widths),
        "settings": json.dumps(dataclasses.asdict(network.settings)),
        "extra": json.dumps(network.extra),
    }
    write_safetensors(path, tensors, {k: v for k, v in metadata.items() if v is not None})


_WRITERS: Final[Mapping[str, Callable[[Hypernetwork, Path], None]]] = {
    ".pt": _write_pickle,
    ".ckpt": _write_pickle,
    ".bin": _write_pickle,
    ".safetensors": _write_safetensors,
}
