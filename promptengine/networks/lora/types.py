"""What the tensors of one module of a LoRA file make together. Names and shapes only, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from promptengine.families import family_of_width
from promptengine.networks.lora.keys import BUNDLE_PREFIX, parse_name, stable_diffusion_1_modules
from promptengine.networks.lora.unsupported import unsupported

__all__ = [
    "LoraSummary",
    "ModuleKind",
    "module_kind",
    "module_rank",
    "summarize",
    "unused_tensors",
    "whole_tensors",
]

ModuleKind = Literal["LoRA", "LoHa", "LoKr", "IA3", "full", "norm"]
"""LoRA and LoCon (arXiv:2106.09685); LoHa (arXiv:2108.06098) and LoKr (arXiv:2212.10650) as in LyCORIS
(arXiv:2309.14859); IA3 (arXiv:2205.05638); full differences of weights; and those of norm layers."""

_COMMON: Final = frozenset({"alpha", "scale", "diff_b"})
_TENSORS: Final[Mapping[ModuleKind, frozenset[str]]] = {
    "LoRA": frozenset({"lora_up.weight", "lora_down.weight", "lora_mid.weight"}),
    "LoHa": frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"}),
    "IA3": frozenset({"weight", "on_input"}),
    "LoKr": frozenset(
        {"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"}
    ),
    "full": frozenset({"diff"}),
    "norm": frozenset({"w_norm", "b_norm"}),
}

Shapes = Mapping[str, Sequence[int]]


def module_kind(names: Collection[str]) -> ModuleKind | None:
    """Tell what a module's tensors make together, or None where they make nothing known."""
    present = set(names)

    def has(*wanted: str) -> bool:
        return present.issuperset(wanted)

    rules: tuple[tuple[ModuleKind, bool], ...] = (
        ("LoRA", has("lora_up.weight", "lora_down.weight")),
        ("LoHa", has("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")),
        ("IA3", has("weight", "on_input")),
        (
            "LoKr",
            (has("lokr_w1") or has("lokr_w1_a", "lokr_w1_b"))
            and (has("lokr_w2") or has("lokr_w2_a", "lokr_w2_b")),
        ),
        ("full", has("diff") or has("diff_b")),
        ("norm", has("w_norm")),
    )
    return next((kind for kind, holds in rules if holds), None)


def unused_tensors(kind: ModuleKind | None, names: Collection[str]) -> set[str]:
    """The tensors of a module that its kind has no use for; none of an unknown kind."""
    return set() if kind is None else set(names) - _TENSORS[kind] - _COMMON


def whole_tensors(names: Collection[str]) -> set[str]:
    """The tensors of a module that take the place of the model's own, as peft saves them.

    They are those of ``modules_to_save`` and of ``bias="lora_only"`` and ``"all"``.
    """
    own = {"bias"} if "on_input" in names else {"bias", "weight"}
    return own & set(names)


def module_rank(kind: ModuleKind, shapes: Shapes) -> int | None:
    """The rank of a module: what its alpha is divided by. None where it has no factors.

    Args:
        kind: The module's kind.
        shapes: Shapes of its tensors by name.
    """
    sources = {
        "LoRA": ("lora_down.weight",),
        "LoHa": ("hada_w1_b",),
        "LoKr": (
            *(("lokr_w2_b",) if "lokr_w2" not in shapes else ()),
            *(("lokr_w1_b",) if "lokr_w1" not in shapes else ()),
        ),
    }
    for name in sources.get(kind, ()):
        if shapes.get(name):
            return shapes[name][0]
    return None


@dataclass(frozen=True)
class LoraSummary:
    """What a LoRA file holds, told from the names and shapes of its tensors.

    Attributes:
        modules: How many modules of each part (``UNet``, ``text encoder``, ``text encoder 2``), kind
            and rank there are; rank None where a kind has none.
        base_model: The model it was made for: as the metadata say, else the family whose text width
            its cross-attentions read, else None.
        words: Words whose embeddings it brings along.
        foreign: Modules that no Stable Diffusion 1 model has. Empty where the text width is that of
            another family.
        unsupported: What the file is called if it cannot be applied, such as ``DoRA``, else None.
        whole: How many weights and biases it holds whole, which are not applied.
    """

    modules: Mapping[tuple[str, ModuleKind, int | None], int]
    base_model: str | None
    words: tuple[str, ...]
    foreign: tuple[str, ...]
    unsupported: str | None = None
    whole: int = 0

    @property
    def misfit(self) -> str | None:
        """Why it cannot be applied, or None."""
        return None if self.unsupported is None else f"{self.unsupported} is not supported"

    def lines(self) -> tuple[str, ...]:
        """One line for each part, such as ``UNet: 192 modules, LoRA of rank 8``."""
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
    for name, shape in shapes.items():
        if found := parse_name(name):
            modules.setdefault(found.module, {})[found.tensor] = shape
    whole = sum(len(whole_tensors(tensors)) for tensors in modules.values())
    modules = {
        name: tensors for name, tensors in modules.items() if set(tensors) - whole_tensors(tensors)
    }
    counts: Counter[tuple[str, ModuleKind, int | None]] = Counter()
    for module, tensors in modules.items():
        if kind := module_kind(tensors):
            part = next((part for p, part in _PARTS.items() if module.startswith(p)), "UNet")
            counts[part, kind, module_rank(kind, tensors)] += 1
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
    )


def _text_widths(modules: Mapping[str, Shapes]) -> Iterator[int]:
    for module, tensors in modules.items():
        if module.endswith(("attn2_to_k", "attn2_to_v")):
            shapes = (tensors.get(n, ()) for n in ("lora_down.weight", "hada_w1_b", "diff"))
            yield from (shape[1] for shape in shapes if len(shape) > 1)
