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

from promptengine.errors import CheckpointError, NetworkFormatError
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
    FileKind,
    detect_kind,
    file_format,
    is_plain_tensor,
    read_pickled,
    read_safetensors,
    unsafe_reason,
)
from promptengine.networks.lora.types import LoraSummary, summarize
from promptengine.registry.scan import read_header
from promptengine.validation import check_type

if TYPE_CHECKING:
    from torch import Tensor

    from promptengine.networks.hypernetwork.module import Hypernetwork

__all__ = [
    "FileReport",
    "LoraSummary",
    "file_metadata",
    "inspect_file",
    "size_of_checkpoint",
    "summarize_lora",
]

_DIGEST_LENGTH: Final = 10
_LATENT_CHANNELS: Final = 4
_MOST_BYTES_LOOKED_AT: Final = 1 << 30
_LONGEST_METADATA: Final = 400


@dataclass(frozen=True)
class FileReport:
    """What is known of a file of weights.

    Attributes:
        path: The file.
        kind: What it holds.
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
    kind: FileKind
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
        """Returns the report in the types of JSON, the path as text."""
        texts: dict[str, object] = {
            "path": str(self.path),
            "layers": list(self.layers),
            "unsafe_globals": list(self.unsafe_globals),
            "notes": list(self.notes),
        }
        return dataclasses.asdict(self) | texts


def inspect_file(path: Path) -> FileReport:
    """Looks at a checkpoint, hypernetwork, LoRA, embedding (also one in an image), VAE, upscaler or
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
    """An image's report, or None where the file is none. Its tensors are those of its embedding."""
    from promptengine.text.textual_inversion.png import is_image

    if not is_image(path):
        return None
    report = FileReport(path, "unknown", "image", path.stat().st_size, _short_digest(path))
    return _describe_embedding(report)


def _describe(
    report: FileReport,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    keys: list[object] | list[str],
) -> FileReport:
    report = dataclasses.replace(
        report,
        kind=_kind(metadata, keys, tensors),
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=dict(Counter(str(t.dtype).removeprefix("torch.") for t in tensors.values())),
        metadata={name: _cut(text) for name, text in metadata.items()},
        notes=tuple(_number_notes(report.size, tensors)),
    )
    shapes = {name.removeprefix("state_dict."): tuple(t.shape) for name, t in tensors.items()}
    match report.kind:
        case "embedding":
            report = _describe_embedding(report)
        case "hypernetwork":
            report = _describe_network(report)
        case "lora":
            report = _describe_lora(report, summarize(shapes, metadata))
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
    """A VAE's report, by the rules by which it is opened."""
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
    """Tells what the header of a safetensors file says beside tensors; nothing of any other file."""
    return read_header(path).metadata


def summarize_lora(path: Path) -> LoraSummary:
    """Tells what a LoRA in safetensors holds from its header alone; nothing of any other file."""
    header = read_header(path)
    return summarize(header.shapes, header.metadata)


def _describe_lora(report: FileReport, summary: LoraSummary) -> FileReport:
    notes = list(report.notes)
    if summary.misfit is not None:
        notes.append(f"it cannot be used: {summary.misfit}")
    if summary.whole:
        notes.append(
            f"{summary.whole} of its weights were trained whole (modules_to_save, biases); they are not "
            "applied"
        )
    if summary.words:
        notes.append(f"it brings embeddings along for {', '.join(map(repr, summary.words))}")
    if summary.foreign and summary.misfit is None:
        notes.append(
            f"{len(summary.foreign)} of its modules are in no Stable Diffusion 1 model, the first "
            f"{_cut(summary.foreign[0])!r}"
        )
    return dataclasses.replace(
        report, layers=summary.lines(), base_model=summary.base_model, notes=tuple(notes)
    )


def _kind(
    metadata: Mapping[str, str], keys: list[object] | list[str], tensors: Mapping[str, Tensor]
) -> FileKind:
    from promptengine.networks.hypernetwork.files import FORMAT, STATE_KEY
    from promptengine.text.textual_inversion.embedding import MOST_VECTORS

    if metadata.get("format") == FORMAT:
        return "hypernetwork"
    if STATE_KEY in metadata:
        return "optimizer state"
    kind = detect_kind(keys)
    if kind == "unknown" and _is_upscaler(tensors):
        return "upscaler"
    if kind == "unknown" and len(keys) == len(tensors) == 1 and set(keys) == set(tensors):
        # diffusers names the one tensor of an embedding by its word, which may be any.
        (only,) = tensors.values()
        rows = 1 if only.ndim == 1 else len(only) if only.ndim == 2 else 0
        return "embedding" if 1 <= rows <= MOST_VECTORS else "unknown"
    return kind


def _is_upscaler(tensors: Mapping[str, Tensor]) -> bool:
    from promptengine.super_resolution.files import find_architecture, without_wrapper

    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return find_architecture(without_wrapper(shapes)) is not None


def _describe_embedding(report: FileReport) -> FileReport:
    from promptengine.text.textual_inversion.embedding import widths_text
    from promptengine.text.textual_inversion.files import load_embedding

    try:
        embedding = load_embedding(report.path, digest=report.digest)
    except NetworkFormatError as failure:
        note = f"it cannot be used: {failure}"
        return dataclasses.replace(report, notes=(*report.notes, note))
    if embedding is None:
        return dataclasses.replace(report, notes=("an image without an embedding in it",))
    notes = list(report.notes)
    in_image = report.format == "image"
    inside = embedding.name if in_image else report.metadata.get("name", report.path.stem)
    if inside != report.path.stem:
        used = "it" if in_image else "the file's"
        notes.append(f"the name inside, {_cut(inside)!r}, is not the file's; prompts use {used}")
    known = {
        "step": embedding.step,
        "sd_checkpoint": embedding.sd_checkpoint,
        "sd_checkpoint_name": embedding.sd_checkpoint_name,
    }
    read = {name: _cut(str(value)) for name, value in known.items() if value is not None}
    return dataclasses.replace(
        report,
        kind="embedding",
        tensors=report.tensors or len(embedding.parts),
        parameters=report.parameters or sum(part.numel() for part in embedding.parts),
        dtypes=report.dtypes or {"float32": len(embedding.parts)},
        vectors=f"{embedding.count} of {widths_text(embedding.widths)}",
        metadata={**report.metadata, **read},
        notes=tuple(notes),
    )


def _describe_network(report: FileReport) -> FileReport:
    from promptengine.networks.hypernetwork.files import load_hypernetwork

    try:
        network = load_hypernetwork(report.path)
    except NetworkFormatError as failure:
        note = f"it cannot be used: {failure}"
        return dataclasses.replace(report, notes=(*report.notes, note))
    notes = list(report.notes)
    if network.name != report.path.stem:
        notes.append(
            f"the name inside, {_cut(network.name)!r}, is not the file's; prompts use the file's"
        )
    known = {
        "name": network.name,
        "step": network.step,
        "sd_checkpoint": network.sd_checkpoint,
        "sd_checkpoint_name": network.sd_checkpoint_name,
        **dataclasses.asdict(network.settings),
        **network.extra,
    }
    return dataclasses.replace(
        report,
        layers=tuple(_layer_lines(network)),
        metadata={name: _cut(str(value)) for name, value in known.items() if value is not None},
        notes=tuple(notes),
    )


def _layer_lines(network: Hypernetwork) -> Iterator[str]:
    from torch import nn

    for width in network.widths:
        pair = network.pair(width)
        names = [
            f"Linear {module.in_features}→{module.out_features}"
            if isinstance(module, nn.Linear)
            else type(module).__name__
            for module in (pair.key.linear if pair else ())
        ]
        yield f"{width}: {', '.join(names)}"


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
    return tensor.dtype.is_floating_point and not bool(tensor.float().isfinite().all())


def _tensors(content: object) -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors in nested containers under dotted names, breadth first; each container
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


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_METADATA else text[: _LONGEST_METADATA - 1] + "…"


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
