"""What an algorithm of the LoRA family is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "COMMON_TENSORS",
    "MAGNITUDES",
    "Factors",
    "Formula",
    "LoraAlgorithm",
    "Shapes",
    "Tensors",
]

MAGNITUDES: Final = ("dora_scale", "lora_magnitude_vector")
"""Tensors that make a change DoRA's, LyCORIS' before peft's."""

COMMON_TENSORS: Final = frozenset({"alpha", "scale", "bias", *MAGNITUDES})
"""Tensors that a module of any algorithm may have beside its own."""

Shapes = Mapping[str, Sequence[int]]
"""Shapes of a module's tensors by kohya's and LyCORIS' names."""

Tensors = Mapping[str, "Tensor"]
"""A module's tensors by kohya's and LyCORIS' names."""

Formula = Callable[[Tensors, "Tensor", int | None], "Tensor | None"]
"""From tensors (float32 but for those as stored), the present weight ``[out, in, ...]``, and the number of ranks
that count (None for all) to the change of the weight, before bias, scale and multiplier. The change has the
weight's number of elements in its own shape; None where only the bias changes. Raises ValueError with the
reason where the tensors do not make such a change, or what torch raises where they do not fit each other.
"""

Factors = Callable[[Tensors, int | None], "tuple[Tensor, Tensor] | None"]
"""From tensors and the number of ranks that count to ``up`` ``[out, rank]`` and ``down`` ``[rank, in, ...]``, whose
product is what the formula comes to; None where these tensors have no such factors of small rank.
"""


def _no_factors(_tensors: Tensors, _ranks: int | None) -> None:
    return None


def _no_rank(_shapes: Shapes) -> int | None:
    return None


@dataclass(frozen=True, slots=True, eq=False)
class LoraAlgorithm:
    """One way to write the change of a weight into tensors.

    Attributes:
        name: As reports and users have it, such as ``LoKr``.
        required: Sets of names of tensors; a module that has all of one set is this algorithm's.
        delta: The formula.
        optional: Other tensors that the formula reads.
        axes: Numbers of axes that tensors must have for a module to be this algorithm's.
        rank: The rank from the shapes; None where they show none.
        factors: The same as two factors, where it can be had so.
        reads_weight: Whether the change depends on the present weight.
        scaled: Whether ``scale``, or ``alpha`` divided by the rank, multiplies the change; if not, its
            scale is 1 whatever the file says.
        bias: The tensor that is added to the module's bias.
        as_stored: Tensors that the formula gets as they lie in the file, of any dtype and device.
    """

    name: str
    required: tuple[frozenset[str], ...]
    delta: Formula
    optional: frozenset[str] = frozenset()
    axes: Mapping[str, int] | None = None
    rank: Callable[[Shapes], int | None] = _no_rank
    factors: Factors = _no_factors
    reads_weight: bool = False
    scaled: bool = True
    bias: str = "diff_b"
    as_stored: frozenset[str] = frozenset()

    def accepts(self, shapes: Shapes) -> bool:
        """Tell whether a module's tensors are written by this algorithm."""
        axes = self.axes or {}
        return any(shapes.keys() >= names for names in self.required) and all(
            len(shapes.get(name, ())) == count for name, count in axes.items()
        )

    def unused(self, names: Collection[str]) -> set[str]:
        """Return those tensors of a module that mean nothing here."""
        known = self.optional.union(*self.required) | COMMON_TENSORS | {self.bias}
        return set(names) - known
