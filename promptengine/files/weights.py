"""Reads files of tensors, whatever they hold.

Weights come as safetensors or as pickles that ``torch.save`` wrote. A pickle is a program, so it is
read in one way only: :mod:`promptengine.files.pickle_check` lets it pass, and ``torch.load(weights_only=True)``
builds tensors and plain containers and refuses every other name. Nothing here runs what a file asks for, and nothing here imports torch
before a file is opened.
"""

from __future__ import annotations

import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeGuard, cast

from promptengine.errors import NetworkFormatError, PromptEngineError
from promptengine.files.pickle_check import (
    MOST_PICKLE_BYTES,
    PickleCheck,
    PickleDamage,
    PickleRefusal,
    check_protocol,
    follow_legacy,
)
from promptengine.files.size_limits import MOST_HEADER_BYTES, require_few_pieces
from promptengine.files.zip_table import read_archive

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FileError",
    "FileFormat",
    "FileKind",
    "Placeholder",
    "StoredParameters",
    "detect_kind",
    "file_format",
    "is_plain_tensor",
    "read_pickled",
    "read_safetensors",
    "unsafe_reason",
    "write_safetensors",
]

FileFormat = Literal["safetensors", "zip pickle", "legacy pickle"]
FileKind = Literal[
    "checkpoint",
    "hypernetwork",
    "lora",
    "embedding",
    "vae",
    "upscaler",
    "optimizer state",
    "unknown",
]

_ANOTHER_COPY: Final = "download or copy it again"
_LONGEST_CAUSE: Final = 160


class FileError(Protocol):
    """An error class of this package that names a file, such as ``NetworkFormatError``."""

    def __call__(self, message: str, *, path: Path) -> PromptEngineError:
        """Make the error."""
        ...


class Placeholder:
    """Stands for an object that a checkpoint drags along and inference never looks at.

    It swallows whatever it is built from: no argument and no state is kept, and nothing is called.
    """

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class StoredParameters(dict[str, object]):
    """Stands for torch's ``ParameterDict``, in which the first embeddings hold their vectors.

    Of the module's state only the parameters are kept; nothing is called.
    """

    def __setstate__(self, state: object) -> None:
        stored = cast("dict[str, object]", state).get("_parameters")
        if isinstance(stored, dict):
            self.update(cast("dict[str, object]", stored))


# Checkpoints of 2022 hold the state of their trainer beside the weights: callbacks by class, and
# best scores as numpy scalars. Refusing those files would refuse the originals of Stable Diffusion.
# Allowing the real classes would need their packages and would run their constructors. An inert
# stand-in under the same name needs neither. The list is closed; each name gets a class of its own,
# since classes serve as dictionary keys in such files and must not collide.
_PLACEHOLDERS: Final[tuple[tuple[Callable[..., object], str], ...]] = (
    (StoredParameters, "torch.nn.modules.container.ParameterDict"),
    *(
        (type(name.rpartition(".")[2], (Placeholder,), {}), name)
        for name in (
            "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
            "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
            "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
            "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.dtype",
            "numpy.dtypes.Float32DType",
            "numpy.dtypes.Float64DType",
            "numpy.dtypes.Int64DType",
        )
    ),
)

# torch keeps its list of allowed names per process; a second reader leaving the list while a first
# one still reads would take the stand-ins away from it.
_ALLOWED_NAMES_LOCK: Final = threading.Lock()


def file_format(path: Path, *, error: FileError = NetworkFormatError) -> FileFormat:
    """Tell how a file of tensors is written, from its first bytes; the suffix plays no part.

    Raises:
        PromptEngineError: ``error``, where there is no such file, where it is empty, or where its
            first bytes belong to none of the formats.
    """
    if not path.is_file():
        raise error("a folder, not a file" if path.is_dir() else "no such file", path=path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as failure:
        raise error(f"cannot be read: {failure.strerror}", path=path) from failure
    if not head:
        raise error(f"the file is empty; {_ANOTHER_COPY}", path=path)
    if head[8:] == b"{":
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip pickle"
    if head.startswith(b"\x80"):
        return "legacy pickle"
    raise error("neither a safetensors file nor one that torch.save wrote", path=path)


def read_pickled(path: Path, *, error: FileError = NetworkFormatError) -> object:
    """Read what ``torch.save`` wrote, without running anything the file asks for.

    Zip files are mapped, unless their suffix is that of safetensors: tensors come from the disk when they are first touched, and writing to
    them does not reach the file. The file must stay as it is while such tensors are in use; clone
    what is to be kept. Trainer state that original checkpoints hold beside the weights comes back
    as :class:`Placeholder` objects, torch's ``ParameterDict`` as :class:`StoredParameters`.

    Args:
        path: The file. Its suffix plays no part.
        error: The error class to raise.

    Raises:
        PromptEngineError: ``error``, for every file that cannot be read or that asks for more than
            tensors and plain containers. One line: the path, the cause and a remedy.
    """
    written_as = file_format(path, error=error)
    if written_as == "safetensors":
        raise error("a safetensors file where a pickle was expected", path=path)
    try:
        return _load(path, zipped=written_as == "zip pickle")
    # Hostile or damaged bytes make the unpickler fail in any way at all: KeyError, struct.error,
    # MemoryError and more have been seen. None of it tells a user anything.
    except Exception as failure:
        raise error(_explain(failure), path=path) from failure


def read_safetensors(
    path: Path, *, error: FileError = NetworkFormatError
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors by name, mapped from the disk, and its metadata.

    The file must stay as it is while the tensors are in use; clone what is to be kept.

    Raises:
        PromptEngineError: ``error``, in one line, for a file that is damaged or of another format.
    """
    from safetensors import SafetensorError, safe_open

    if file_format(path, error=error) != "safetensors":
        raise error("a pickle where a safetensors file was expected", path=path)
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as failure:
        message = f"a damaged safetensors file ({_one_line(failure)}); {_ANOTHER_COPY}"
        raise error(message, path=path) from failure


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file; the same content gives the same bytes, so that a file can be known by its digest.

    Args:
        path: The file; one that is there is overwritten.
        tensors: By name; contiguous and on the CPU, and none shares its numbers with another.
        metadata: Texts by name.

    Raises:
        OSError: It cannot be written.
    """
    from safetensors.torch import save

    content = save(dict(tensors), dict(metadata))
    # The library shuffles the metadata.
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.write(memoryview(content)[start:])


def unsafe_reason(path: Path, *, error: FileError = NetworkFormatError) -> PickleRefusal | None:
    """Tell why :func:`read_pickled` refuses a pickle that asks for more than weights, or None.

    Nothing is run or imported. The refusal lists the names the pickle asks to run, and is worded for
    a user; it is also for those that ask for too much memory or time.

    Raises:
        PromptEngineError: ``error``, where the file is damaged.
    """
    try:
        _check(path, zipped=file_format(path, error=error) == "zip pickle")
    except PickleRefusal as refusal:
        return refusal
    # As in read_pickled: hostile bytes may fail in any way.
    except Exception as failure:
        raise error(_explain(failure), path=path) from failure
    return None


def is_plain_tensor(value: object) -> TypeGuard[Tensor]:
    """Tell whether a value is a dense tensor in memory, as weights are; pickles can hold others,
    such as sparse ones, whose size and numbers are not where code expects them.
    """
    import torch

    return (
        isinstance(value, torch.Tensor)
        and type(value) in (torch.Tensor, torch.nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
    )


def detect_kind(keys: Iterable[object]) -> FileKind:
    """Tell what a file holds from the keys of its outermost dictionary of tensors.

    Args:
        keys: Names of tensors or top-level keys of a pickle. A checkpoint whose weights lie under
            ``state_dict`` is told by the keys inside.
    """
    keys = set(keys)
    names = {key for key in keys if isinstance(key, str)}
    models = ("model.diffusion_model.", "cond_stage_model.", "conditioner.")
    rules: tuple[tuple[FileKind, bool], ...] = (
        ("hypernetwork", any(type(key) is int for key in keys)),
        ("optimizer state", "optimizer_state_dict" in names),
        ("checkpoint", any(name.startswith(models) for name in names)),
        ("lora", any(_LORA_NAME.search(name) for name in names)),
        ("embedding", bool(names & {"string_to_param", "emb_params"})),
        ("embedding", bool(names) and names <= {"clip_l", "clip_g"}),
        ("vae", {"encoder.conv_in.weight", "decoder.conv_in.weight"} <= names),
        ("vae", any(name.startswith("first_stage_model.") for name in names)),
    )
    for kind, holds in rules:
        if holds:
            return kind
    return "unknown"


_LORA_NAME: Final = re.compile(
    r"^(lora_(te|unet)|oft_unet_|bundle_emb\.|base_model\.model\.)"
    r"|\.(lora_(down|up|mid|A|B)|lora\.(down|up)|hada_w\d|lokr_w\d|oft_(blocks|diag))\b"
)


def _load(path: Path, *, zipped: bool) -> object:
    _check(path, zipped=zipped)
    import torch
    from torch.serialization import safe_globals

    with _ALLOWED_NAMES_LOCK, safe_globals([*_PLACEHOLDERS]), path.open("rb") as file:
        # Torch maps only what it has the path of, and believes a path's suffix more than the content.
        misnamed = path.name.endswith(".safetensors")
        return torch.load(
            file if misnamed else path,
            map_location="cpu",
            weights_only=True,
            mmap=zipped and not misnamed,
        )


def _check(path: Path, *, zipped: bool) -> None:
    """Refuse what asks for more than weights, and what torch would misread or warn about instead of
    giving a reason of its own.
    """
    inert = frozenset(name for _, name in _PLACEHOLDERS)
    size = path.stat().st_size
    with path.open("rb") as file:
        if not zipped:
            follow_legacy(file.read(MOST_PICKLE_BYTES), PickleCheck(size, inert))
            return
        program, storages = read_archive(file, size)
        check_protocol(program)
        PickleCheck(size, inert, storages).follow(BytesIO(program))


def _check_header(path: Path) -> None:
    """Refuse a header that would take more memory or time than the file warrants."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size, MOST_HEADER_BYTES):
            raise ValueError(f"a header of {length} bytes")
        require_few_pieces(file.read(length), size)


def _explain(failure: Exception) -> str:
    if isinstance(failure, PickleRefusal):
        return str(failure)
    if isinstance(failure, PickleDamage | zipfile.BadZipFile | EOFError | OSError):
        return f"damaged or cut short; {_ANOTHER_COPY}"
    if isinstance(failure, UnicodeDecodeError) or "PytorchStreamReader" in str(failure):
        return f"damaged or cut short; {_ANOTHER_COPY}"
    if isinstance(failure, ValueError):
        return f"cannot be read: {_one_line(failure)}"
    # torch wraps its reason in advice to switch the protection off, which must not reach a user.
    text = str(failure)
    reason = text.partition("WeightsUnpickler error:")[2] or text
    return f"not a pickle of weights ({_one_line(reason) or type(failure).__name__}); refused"


def _one_line(reason: object) -> str:
    first = str(reason).strip().partition("\n")[0]
    return first if len(first) <= _LONGEST_CAUSE else first[: _LONGEST_CAUSE - 1] + "…"
