"""Every exception this package raises on purpose.

::

    PromptEngineError
    ├── PromptSyntaxError       an argument in a prompt that cannot be used: where, and why
    ├── UnknownNetworkError     a tag names a network that no scanned folder holds
    ├── NetworkFormatError      a network file that cannot be read, or that would run code
    │   └── UnsupportedNetworkError  one that can be read, of a kind or family that cannot be applied
    ├── IncompatibleNetworkError  a network whose widths do not fit the model
    ├── CheckpointError         a checkpoint that is missing, unreadable or of an unknown family
    │   └── ModelNotFoundError  no file and no scanned model has the name that was asked for
    ├── ImageError            an image that cannot be read or written, or whose text cannot
    ├── RequestError            an option outside its range: which one, and what is allowed
    ├── PluginError             an object of a plugin that cannot be added, and why
    ├── OutOfMemoryError        a device has no room for what was asked
    ├── DownloadError           a model site that cannot be asked, or a file of it that cannot be kept
    ├── TrainingError           a training that cannot begin, go on or be resumed
    ├── EngineClosedError       an engine that was closed and is used again
    └── GenerationCancelled     the caller asked to stop between two steps

Each class has a ``code``, a word that stays the same whatever becomes of names and messages, for programs
that tell errors apart across a wire or in a log.

Messages name the thing, the place and the remedy, in one line. They never hold a traceback, so that
a front end may show them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

__all__ = [
    "CheckpointError",
    "DownloadError",
    "EngineClosedError",
    "GenerationCancelled",
    "ImageError",
    "IncompatibleNetworkError",
    "ModelNotFoundError",
    "NetworkFormatError",
    "OutOfMemoryError",
    "PluginError",
    "PromptEngineError",
    "PromptSyntaxError",
    "RequestError",
    "TrainingError",
    "UnknownNetworkError",
    "UnsupportedNetworkError",
]


class PromptEngineError(Exception):
    """Base of all errors that a user of this package can cause or meet.

    They can be pickled, so that other processes may pass them on.

    Attributes:
        code: Stable name of the kind of error, the same in every version.
    """

    code: ClassVar[str] = "error"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[PromptEngineError], args: tuple[object, ...], attributes: dict[str, object]
) -> PromptEngineError:
    """Return an error as it was; its class would word its message again."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class PromptSyntaxError(PromptEngineError):
    """An argument in a prompt that cannot be used, such as a multiplier that is no number.

    Parsing itself never raises: every string is a prompt. This is for what a *policy* of ``strict``
    refuses when the prompt is planned.

    Attributes:
        source: The prompt as the user wrote it.
        span: Half-open character offsets of the culprit in ``source``.
        field: The field of a request that holds the prompt; empty where only the prompt is known.
    """

    code = "prompt_syntax"

    def __init__(self, message: str, *, source: str, span: tuple[int, int]) -> None:
        super().__init__(f"{message} at column {span[0] + 1}")
        self.field = ""
        self.source = source
        self.span = span


class UnknownNetworkError(PromptEngineError):
    """A tag names a network that is in none of the scanned folders.

    Attributes:
        kind: The kind of the tag, such as ``hypernet``.
        name: The name as written in the prompt.
        near: Known names close to it, the nearest first.
        field: The field of a request that names it; empty where only the prompt is known.
    """

    code = "unknown_network"

    def __init__(self, message: str, *, kind: str, name: str, near: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.field = ""
        self.kind = kind
        self.name = name
        self.near = tuple(near)


class NetworkFormatError(PromptEngineError):
    """A network file that cannot be read: damaged, of another kind, or unsafe to load.

    Attributes:
        path: The file.
    """

    code = "network_format"

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class UnsupportedNetworkError(NetworkFormatError):
    """A network of a kind that cannot be applied, or for a family that is not supported.

    Attributes:
        noun: What it is, such as ``VeRA`` or ``a LoRA for Flux``.
    """

    code = "unsupported_network"

    def __init__(self, noun: str, *, path: Path) -> None:
        super().__init__(f"{noun} is not supported", path=path)
        self.noun = noun


class IncompatibleNetworkError(PromptEngineError):
    """A network that does not fit the model: none of its widths is read by the model's attention,
    or it was made for another model's text width. A LoRA also where the model has none of its modules.

    Attributes:
        found: Widths that the network holds; of a LoRA the text width that does not fit, if that is it.
        needed: Widths that the model's attention reads; likewise.
    """

    code = "incompatible_network"

    def __init__(self, message: str, *, found: Sequence[int], needed: Sequence[int]) -> None:
        super().__init__(message)
        self.found = tuple(found)
        self.needed = tuple(needed)


class CheckpointError(PromptEngineError):
    """A checkpoint that is missing, unreadable, unsafe, or of a family that is not supported.

    Attributes:
        path: The file or folder, or None where none was found at all.
    """

    code = "checkpoint"

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message if path is None else f"{path}: {message}")
        self.path = path


class ModelNotFoundError(CheckpointError):
    """A checkpoint or VAE that was asked for by a name or path which nothing has.

    Attributes:
        kind: What was looked for: ``checkpoint`` or ``vae``.
        name: As it was asked for; empty where any checkpoint would have done.
        near: Known names close to it, the nearest first.
    """

    code = "model_not_found"

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        name: str = "",
        near: Sequence[str] = (),
        path: Path | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.kind = kind
        self.name = name
        self.near = tuple(near)


class ImageError(PromptEngineError):
    """An image that cannot be read or written, or that cannot hold or does not hold a text.

    Attributes:
        path: The file.
    """

    code = "image"

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class RequestError(PromptEngineError):
    """An option that cannot be honored.

    Attributes:
        field: The option's name as in :class:`promptengine.request.request.GenerationRequest`.
    """

    code = "request"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class PluginError(PromptEngineError):
    """An object that a plugin or a script adds and that cannot be: of another type, or of a name that is taken."""

    code = "plugin"


class OutOfMemoryError(PromptEngineError):
    """A device has no room for what was asked. The engine can be used again."""

    code = "out_of_memory"


class DownloadError(PromptEngineError):
    """A model site that cannot be asked, or a file of it that cannot be kept: not there, not what it was said to be,
    or unsafe.
    """

    code = "download"


class TrainingError(PromptEngineError):
    """A training that cannot begin, go on or be resumed: images that cannot be used, settings that
    differ from those of the run to resume, or numbers that exploded.

    Attributes:
        path: Where the last good weights were written, if the training had begun and broke off.
        step: How many steps they were trained for.
    """

    code = "training"

    def __init__(self, message: str, *, path: Path | None = None, step: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.step = step


class EngineClosedError(PromptEngineError):
    """An engine was used after it had been closed."""

    code = "engine_closed"

    def __init__(self, message: str = "the engine is closed; open another one") -> None:
        super().__init__(message)


class GenerationCancelled(PromptEngineError):
    """The caller cancelled a generation; nothing was written and the engine can be used again."""

    code = "cancelled"
