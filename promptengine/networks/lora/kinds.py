"""What the tensors of one module of a LoRA file make together. Names and shapes only, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from promptengine.networks.lora.keys import BUNDLE_PREFIX, parse_name

__all__ = ["LoraSummary", "ModuleKind", "module_kind", "module_rank", "summarise", "unused_tensors"]

ModuleKind = Literal["LoRA", "LoHa", "LoKr", "IA3", "full", "norm"]
"""LoRA and LoCon (arXiv:2106.09685); LoHa (arXiv:2108.06098) and LoKr (arXiv:2212.10650) as in LyCORIS
(arXiv:2309.14859); IA3 (arXiv:2205.05638); full differences of weights; and those of norm layers."""

_COMMON: Final = frozenset({"alpha", "scale", "diff_b"})
_TENSORS: Final[Mapping[ModuleKind, frozenset[str]]] = {
    "LoRA": frozenset({"lora_up.weight", "lora_down.weight", "lora_mid.weight"}),
    "LoHa": frozenset(
        {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"}
    ),
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


def unused_tensors(kind: ModuleKind, names: Collection[str]) -> set[str]:
    """The tensors of a module that its kind has no use for."""
    return set(names) - _TENSORS[kind] - _COMMON


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
            and rank there are, the part first; rank None where a kind has none.
        text_width: Width of the text that its cross-attentions read: 768 for Stable Diffusion 1, 1024
            for 2, 2048 for SDXL. None where it changes none of them.
        words: Words whose embeddings it brings along.
    """

    modules: Mapping[tuple[str, ModuleKind, int | None], int]
    text_width: int | None
    words: tuple[str, ...]

    @property
    def base_model(self) -> str | None:
        """The family that the text width belongs to, or None."""
        return _FAMILIES.get(self.text_width)

    def lines(self) -> tuple[str, ...]:
        """One line for each part, such as ``UNet: 192 modules, LoRA of rank 8``."""
        parts = dict.fromkeys(part for part, _, _ in self.modules)
        return tuple(f"{part}: {self._line(part)}" for part in parts)

    def _line(self, part: str) -> str:
        mine = {key: n for key, n in self.modules.items() if key[0] == part}
        ranks: dict[str, set[int]] = {}
        for _, kind, rank in mine:
            ranks.setdefault(kind, set()).update(() if rank is None else (rank,))
        kinds = ", ".join(
            f"{kind} of rank {', '.join(map(str, sorted(found)))}" if found else kind
            for kind, found in ranks.items()
        )
        count = sum(mine.values())
        return f"{count} module{'' if count == 1 else 's'}, {kinds}"


_FAMILIES: Final = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}
_PARTS: Final = {
    "transformer_2_": "text encoder 2",
    "transformer_": "text encoder",
}


def summarise(shapes: Shapes) -> LoraSummary:
    """Tell what a LoRA file holds from the names and shapes of its tensors."""
    modules: dict[str, dict[str, Sequence[int]]] = {}
    for name, shape in shapes.items():
        if found := parse_name(name):
            modules.setdefault(found.module, {})[found.tensor] = shape
    counts: Counter[tuple[str, ModuleKind, int | None]] = Counter()
    widths: set[int] = set()
    for module, tensors in modules.items():
        kind = module_kind(tensors)
        if kind is None:
            continue
        part = next((part for p, part in _PARTS.items() if module.startswith(p)), "UNet")
        counts[part, kind, module_rank(kind, tensors)] += 1
        down = tensors.get("lora_down.weight", ())
        if module.endswith(("attn2_to_k", "attn2_to_v")) and len(down) > 1:
            widths.add(down[1])
    words = (n.removeprefix(BUNDLE_PREFIX) for n in shapes if n.startswith(BUNDLE_PREFIX))
    return LoraSummary(
        modules=dict(sorted(counts.items(), key=lambda item: item[0][0], reverse=False)),
        text_width=max(widths, default=None),
        words=tuple(dict.fromkeys(word.partition(".")[0] for word in words)),
    )
