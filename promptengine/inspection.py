"""Tells what a file of weights is, without running anything in it.

Works on files larger than memory: safetensors are read by their header, pickles are mapped. Only
small files have their numbers looked at. The digest reads the whole file once.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from promptengine.errors import CheckpointError
from promptengine.families import (
    FAMILIES,
    VAE_PREFIX,
    describe_foreign,
    detect_family,
    grouped,
    input_channels,
    native_size,
    parts_in_folder,
    read_structure,
    read_vae_structure,
    require_known_latents,
    require_known_schedule,
    stated_parts,
    stated_prediction,
    stranger,
    vae_beside,
)
from promptengine.files.hashing import sha256
from promptengine.files.weights import (
    FileFormat,
    detect_kind,
    file_format,
    is_plain_tensor,
    read_pickled,
    read_safetensors,
    unsafe_reason,
)
from promptengine.kinds import (
    EMBEDDING,
    NETWORK_KINDS,
    UPSCALER,
    InspectedFile,
    NetworkKind,
    model_kinds,
)
from promptengine.registry.scan import read_header
from promptengine.validation import check_type, cut

if TYPE_CHECKING:
    from torch import Tensor


__all__ = [
    "FileReport",
    "file_metadata",
    "inspect_file",
    "size_of_checkpoint",
]

_DIGEST_LENGTH: Final = 10
_LATENT_CHANNELS: Final = 4
_MOST_BYTES_LOOKED_AT: Final = 1 << 30


@dataclass(frozen=True)
class FileReport:
    """What is known of a file of weights.

    Attributes:
        path: The file.
        kind: What it holds: a kind of networks as its object names it, such as ``hypernetwork``, or
            ``checkpoint``, ``vae``, ``optimizer state`` or ``unknown``.
        format: How it is written.
        size: Bytes.
        digest: First 10 hexadecimal digits of the content's SHA-256, as WebUI shows them.
        tensors: Number of tensors.
        parameters: Number of numbers in them.
        dtypes: Name of each dtype, such as ``float16``, with its number of tensors.
        layers: Of a hypernetwork its layers by width, such as ``768: Linear 768→1536, …``; key and
            value network have the same. Of a LoRA its modules by part of the model, such as ``UNet:
            192 modules, LoRA of rank 8``.
        family: Of a checkpoint, such as ``SDXL`` or ``SD1 for inpainting``; of an upscaler its architecture
            and factor, such as ``ESRGAN, 4 times as large``; else empty.
        prediction: What a checkpoint's UNet predicts, ``epsilon`` or ``v``, else empty.
        vae: Of a checkpoint, whether it holds a VAE or which lies beside it, else empty.
        vectors: Of an embedding, such as ``3 of width 768``, else empty.
        metadata: Text by name: of safetensors its header's, of pickles their simple entries. Long
            values are cut.
        safe: Whether reading it asks for nothing but tensors, plain containers and the harmless
            trainer state of old checkpoints.
        unsafe_globals: What else it asks for, such as ``posix.system``; never run.
        notes: What a user should know beside, one sentence each.
        base_model: Of a LoRA the model it was made for, where metadata or widths tell.
    """

    path: Path
    kind: str
    format: FileFormat | Literal["image"]
    size: int
    digest: str
    tensors: int = 0
    parameters: int = 0
    dtypes: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    layers: tuple[str, ...] = ()
    family: str = ""
    prediction: str = ""
    vae: str = ""
    vectors: str = ""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    safe: bool = True
    unsafe_globals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    base_model: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the report in the types of JSON, the path as text."""
        texts: dict[str, object] = {
            "path": str(self.path),
            "layers": list(self.layers),
            "unsafe_globals": list(self.unsafe_globals),
            "notes": list(self.notes),
        }
        return dataclasses.asdict(self) | texts


def inspect_file(path: Path) -> FileReport:
    """Look at a checkpoint, hypernetwork, LoRA, embedding (also one in an image), VAE, upscaler or
    optimizer state.

    An unsafe file gives a report that says so; nothing it asks for is run or imported.

    Raises:
        NetworkFormatError: A file that is missing, damaged or of no known format.
    """
    check_type("path", path, str, Path)
    path = Path(path)
    image = _inspect_image(path)
    if image is not None:
        return image
    written_as = file_format(path)
    report = FileReport(path, "unknown", written_as, path.stat().st_size, _short_digest(path))
    if written_as == "safetensors":
        tensors, metadata = read_safetensors(path)
        return _describe(report, tensors, metadata, list(tensors))
    refusal = unsafe_reason(path)
    if refusal is not None:
        note = "it asks to run code when it is loaded, and is refused everywhere"
        return dataclasses.replace(
            report,
            safe=False,
            unsafe_globals=refusal.names,
            notes=(note if refusal.names else str(refusal),),
        )
    content = read_pickled(path)
    tensors = dict(_tensors(content))
    entries = cast("dict[object, object]", content) if isinstance(content, dict) else {}
    metadata = {
        str(key): str(value)
        for key, value in entries.items()
        if isinstance(value, str | int | float) or _is_flat_list(value)
    }
    return _describe(report, tensors, metadata, [*entries, *_names_inside(entries)])


def _inspect_image(path: Path) -> FileReport | None:
    """Return an image's report, or None where the file is none. Its tensors are those of its embedding."""
    from promptengine.text.textual_inversion.png import is_image

    if not is_image(path):
        return None
    report = FileReport(path, "unknown", "image", path.stat().st_size, _short_digest(path))
    file = InspectedFile(path, report.digest, is_image=True)
    return _describe_network(report, EMBEDDING, file)


def _describe(
    report: FileReport,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    keys: list[object] | list[str],
) -> FileReport:
    shapes = {name.removeprefix("state_dict."): tuple(t.shape) for name, t in tensors.items()}
    file = InspectedFile(report.path, report.digest, keys, shapes, metadata)
    report = dataclasses.replace(
        report,
        kind=_kind(file),
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=dict(Counter(str(t.dtype).removeprefix("torch.") for t in tensors.values())),
        metadata={name: cut(text) for name, text in metadata.items()},
        notes=tuple(_number_notes(report.size, tensors)),
    )
    for kind in NETWORK_KINDS.values():
        if report.kind == kind.inspected:
            return _describe_network(report, kind, file)
    match report.kind:
        case "checkpoint":
            report = _describe_checkpoint(report, shapes, metadata)
        case "vae":
            report = _describe_vae(report, shapes)
        case "upscaler":
            report = _describe_upscaler(report, shapes)
        case _:
            reason = stranger(shapes) if report.kind == "unknown" else None
            notes = [] if reason is None else [f"it cannot be used: {reason}"]
            report = dataclasses.replace(report, notes=(*report.notes, *notes))
    return report


def _describe_vae(report: FileReport, shapes: Mapping[str, tuple[int, ...]]) -> FileReport:
    """Return a VAE's report, by the rules by which it is opened."""
    own = any(name.startswith(VAE_PREFIX) for name in shapes)
    named = shapes if own else {VAE_PREFIX + name: shape for name, shape in shapes.items()}
    try:
        left = read_vae_structure(named, report.path).left_aside
    except CheckpointError as failure:
        left, notes = (), [f"it cannot be used: {failure}"]
    else:
        notes = _left_aside(left)
    return dataclasses.replace(report, notes=(*report.notes, *notes))


def _describe_upscaler(report: FileReport, shapes: Mapping[str, tuple[int, ...]]) -> FileReport:
    from promptengine.super_resolution.files import plan_upscaler, without_wrapper

    try:
        found = plan_upscaler(without_wrapper(shapes))
    except ValueError as failure:
        notes = (*report.notes, f"it cannot be used: {failure}")
        return dataclasses.replace(report, notes=notes)
    assert found is not None, "or the file would be of another kind"
    architecture, plan = found
    return dataclasses.replace(report, family=f"{architecture.name}, {plan.scale} times as large")


def _left_aside(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} weights that no part reads are left aside: {grouped(names)}"]


def _describe_checkpoint(
    report: FileReport, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]
) -> FileReport:
    family, prediction = detect_family(shapes), ""
    notes = list(report.notes)
    if family is None:
        notes.append(f"it cannot be used: {describe_foreign(shapes)}")
        return dataclasses.replace(report, notes=tuple(notes))
    inpainting = input_channels(shapes) != _LATENT_CHANNELS
    try:
        parts = stated_parts(shapes, report.path, metadata=metadata)
        notes += _left_aside(read_structure(shapes, family, report.path).left_aside)
        require_known_schedule(parts["scheduler"], report.path)
        require_known_latents(parts["vae"], report.path)
        stated = stated_prediction(parts["scheduler"], report.path)
        silent = FAMILIES[family].predicts_v and not inpainting
        prediction = stated or (
            "epsilon or v: found out when it is opened" if silent else "epsilon"
        )
    except CheckpointError as failure:
        notes.append(f"it cannot be used: {failure}")
    return dataclasses.replace(
        report,
        family=f"{family} for inpainting" if inpainting else family,
        prediction=prediction,
        vae=_vae(report.path, shapes),
        notes=tuple(notes),
    )


def _vae(path: Path, names: Iterable[str]) -> str:
    beside = vae_beside(path)
    if beside is not None:
        return f"{beside.name} beside it"
    own = any(name.startswith(VAE_PREFIX) for name in names)
    return "its own" if own else "none: it needs --vae, or one of its own name beside it"


def file_metadata(path: Path) -> Mapping[str, str]:
    """Tell what the header of a safetensors file says beside tensors; nothing of any other file."""
    return read_header(path).metadata


def _kind(file: InspectedFile) -> str:
    from promptengine.networks.hypernetwork.files import STATE_KEY

    kind: str = detect_kind(file.names)
    if kind == "unknown" and STATE_KEY in file.metadata:
        return "optimizer state"
    if kind == "unknown" and _is_upscaler(file.shapes):
        return UPSCALER.inspected
    if kind == "unknown":
        # Those without tags come last: any tensor may be an embedding, since its name may be any word.
        every = (one for one in model_kinds().values() if isinstance(one, NetworkKind))
        return next((one.inspected for one in every if one.recognize(file)), kind)
    return kind


def _is_upscaler(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    from promptengine.super_resolution.files import find_architecture, without_wrapper

    return find_architecture(without_wrapper(dict(shapes))) is not None


def _describe_network(report: FileReport, kind: NetworkKind, file: InspectedFile) -> FileReport:
    """Return a network's report, with what its kind tells of it."""
    told = dict(kind.describe(file))
    notes = (*report.notes, *told.pop("notes", ()))
    return dataclasses.replace(report, notes=notes, **told)


def _number_notes(size: int, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    if not tensors:
        yield "it holds no tensors"
    if sum(tensor.nbytes for tensor in tensors.values()) > size:
        yield "its tensors claim more numbers than the file holds"
    elif size <= _MOST_BYTES_LOOKED_AT:
        broken = [name for name, tensor in tensors.items() if _is_broken(tensor)]
        if broken:
            yield f"{len(broken)} of its tensors hold NaN or infinity, the first {broken[0]!r}"


def _is_broken(tensor: Tensor) -> bool:
    # In one row, since torch computes with no more than 64 dimensions.
    return tensor.dtype.is_floating_point and not bool(tensor.reshape(-1).float().isfinite().all())


def _tensors(content: object) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in nested containers under dotted names, breadth first; each container
    once, since a pickle may hold containers that contain themselves.
    """
    waiting: deque[tuple[str, object]] = deque([("", content)])
    seen: set[int] = set()
    while waiting:
        place, value = waiting.popleft()
        if is_plain_tensor(value):
            yield place, value
        items: Iterable[tuple[object, object]] = ()
        if isinstance(value, dict):
            items = cast("dict[object, object]", value).items()
        elif isinstance(value, list | tuple):
            items = enumerate(cast("list[object]", value))
        if id(value) not in seen:
            waiting.extend((f"{place}.{key}" if place else str(key), item) for key, item in items)
            seen.add(id(value))


def _names_inside(entries: Mapping[object, object]) -> Iterator[object]:
    state = entries.get("state_dict")
    if isinstance(state, dict):
        yield from cast("dict[object, object]", state)


def _is_flat_list(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, str | int | float) for item in cast("list[object]", value)
    )


def _short_digest(path: Path) -> str:
    return sha256(path)[:_DIGEST_LENGTH]


def size_of_checkpoint(path: Path, config: Path | None = None) -> int:
    """Return the pixels of a side that a checkpoint was trained at, without loading it.

    Where the file does not tell, as pickles do not without being read, that is 512.

    Args:
        path: Its file or folder.
        config: A folder of configurations in diffusers' form, or None.
    """
    header = read_header(path)
    family = detect_family(header.shapes) or "SD1"
    try:
        if path.is_dir():
            parts = parts_in_folder(path)
        else:
            parts = stated_parts(header.shapes, path, metadata=header.metadata, config=config)
        prediction = stated_prediction(parts.get("scheduler", {}), path) or "epsilon"
    except CheckpointError:
        # Whoever loads it will say what is wrong with it.
        return native_size({}, family, "epsilon")
    return native_size(parts.get("unet", {}), family, prediction)
