"""What a LoRA file holds, told from the names and shapes of its tensors. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from promptengine.families import family_of_width
from promptengine.networks.lora.algorithms.algorithm import COMMON_TENSORS, MAGNITUDES, Shapes
from promptengine.networks.lora.algorithms.table import algorithm_of, lacking
from promptengine.networks.lora.keys import BUNDLE_PREFIX, parse_name, stable_diffusion_1_modules
from promptengine.networks.lora.unsupported import unsupported

__all__ = ["LoraSummary", "summarize", "whole_tensors"]


def whole_tensors(names: Collection[str], *, kohya: bool) -> set[str]:
    """Return the tensors of a module that take the place of the model's own, as peft saves them.

    They are those of ``modules_to_save`` and of ``bias="lora_only"`` and ``"all"``.

    Args:
        names: The module's tensors.
        kohya: Whether they are spelled with kohya's prefixes: then a ``bias`` beside other tensors is a part
            of the change.
    """
    own = {"bias", "weight"} & set(names)
    if "on_input" in names:
        own -= {"weight"}
    if kohya and set(names) - own - COMMON_TENSORS:
        own -= {"bias"}
    return own


@dataclass(frozen=True)
class LoraSummary:
    """What a LoRA file holds, told from the names and shapes of its tensors.

    Attributes:
        modules: How many modules of each part (``UNet``, ``text encoder``, ``text encoder 2``), algorithm
            (by name, with ``(DoRA)`` where that holds) and rank there are; rank None where it has none.
        base_model: The model it was made for: as the metadata say, else the family whose text width
            its cross-attentions read, else None.
        words: Words whose embeddings it brings along.
        foreign: Modules that no Stable Diffusion 1 model has. Empty where the text width is that of
            another family.
        unsupported: What the file is called if it cannot be applied, such as ``VeRA``, else None.
        whole: How many weights and biases it holds whole, which are not applied.
        unknown: Modules whose tensors no algorithm writes, each with what it lacks for one, if anything.
    """

    modules: Mapping[tuple[str, str, int | None], int]
    base_model: str | None
    words: tuple[str, ...]
    foreign: tuple[str, ...]
    unsupported: str | None = None
    whole: int = 0
    unknown: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def misfit(self) -> str | None:
        """Why it cannot be applied, or None."""
        return None if self.unsupported is None else f"{self.unsupported} is not supported"

    def lines(self) -> tuple[str, ...]:
        """Return one line for each part, such as ``UNet: 192 modules, LoRA of rank 8``."""
        parts = dict.fromkeys(part for part, _, _ in self.modules)
        return tuple(f"{part}: {self._line(part)}" for part in parts)

    def _line(self, part: str) -> str:
        ranks: dict[str, set[int]] = {}
        count = 0
        for (owner, kind, rank), number in self.modules.items():
            if owner == part:
                ranks.setdefault(kind, set()).update(() if rank is None else (rank,))
                count += number
        kinds = (
            f"{kind} of rank {', '.join(map(str, sorted(found)))}" if found else kind
            for kind, found in ranks.items()
        )
        return f"{count} module{'' if count == 1 else 's'}, {', '.join(kinds)}"


_BASE_MODEL_KEYS: Final = ("ss_base_model_version", "modelspec.architecture")
_PARTS: Final = {"transformer_2_": "text encoder 2", "transformer_": "text encoder"}


def summarize(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> LoraSummary:
    """Tell what a LoRA file holds from the names and shapes of its tensors.

    Args:
        shapes: Of all tensors, by their names in the file.
        metadata: Of a safetensors file.
    """
    modules: dict[str, dict[str, Sequence[int]]] = {}
    kohya: dict[str, bool] = {}
    for name, shape in shapes.items():
        if found := parse_name(name):
            modules.setdefault(found.module, {})[found.tensor] = shape
            kohya[found.module] = found.kohya
    own = {name: whole_tensors(found, kohya=kohya[name]) for name, found in modules.items()}
    whole = sum(map(len, own.values()))
    modules = {name: tensors for name, tensors in modules.items() if set(tensors) - own[name]}
    counts: Counter[tuple[str, str, int | None]] = Counter()
    for module, tensors in modules.items():
        if algorithm := algorithm_of(tensors):
            part = next((part for p, part in _PARTS.items() if module.startswith(p)), "UNet")
            name = algorithm.name + (" (DoRA)" if tensors.keys() & set(MAGNITUDES) else "")
            counts[part, name, algorithm.rank(tensors)] += 1
    width = max(_text_widths(modules), default=None)
    said = (metadata.get(key) for key in _BASE_MODEL_KEYS) if metadata else ()
    words = (n.removeprefix(BUNDLE_PREFIX) for n in shapes if n.startswith(BUNDLE_PREFIX))
    family = family_of_width(width)
    return LoraSummary(
        modules=dict(sorted(counts.items(), key=lambda item: item[0][0])),
        base_model=next((model for model in said if model), None) or (family and family.title),
        words=tuple(dict.fromkeys(word.partition(".")[0] for word in words)),
        foreign=()
        if family is not None and family.name != "SD1"
        else tuple(m for m in modules if m not in stable_diffusion_1_modules()),
        unsupported=unsupported(shapes),
        whole=whole,
        unknown={
            name: lacking(held) for name, held in modules.items() if algorithm_of(held) is None
        },
    )


def _text_widths(modules: Mapping[str, Shapes]) -> Iterator[int]:
    for module, tensors in modules.items():
        if module.endswith(("attn2_to_k", "attn2_to_v")):
            shapes = (tensors.get(n, ()) for n in ("lora_down.weight", "hada_w1_b", "diff"))
            yield from (shape[1] for shape in shapes if len(shape) > 1)
