"""All algorithms, and which one a module's tensors are written by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from promptengine.networks.lora.algorithms.algorithm import COMMON_TENSORS, LoraAlgorithm, Shapes
from promptengine.networks.lora.algorithms.direct import FULL, IA3, NORM
from promptengine.networks.lora.algorithms.glora import GLORA
from promptengine.networks.lora.algorithms.low_rank import LOHA, LOKR, LORA
from promptengine.networks.lora.algorithms.orthogonal import BOFT, OFT

__all__ = ["ALGORITHMS", "algorithm_of", "lacking"]

ALGORITHMS: Final[Mapping[str, LoraAlgorithm]] = {
    one.name: one for one in (LORA, LOHA, IA3, LOKR, FULL, NORM, GLORA, BOFT, OFT)
}
"""By name, in the order in which they are tried, which is WebUI's."""


def algorithm_of(shapes: Shapes) -> LoraAlgorithm | None:
    """Return the algorithm that a module's tensors are written by, or None where they are of no known one.

    Args:
        shapes: Of the module's tensors, by name.
    """
    return next((one for one in ALGORITHMS.values() if one.accepts(shapes)), None)


def lacking(names: Collection[str]) -> str:
    """Say what tensors of no algorithm lack to be of one, such as ``LoRA needs lora_down.weight too``; empty
    where they resemble none.
    """
    present = set(names) - COMMON_TENSORS
    nearest = [
        (len(required - set(names)), one.name, required - set(names))
        for one in ALGORITHMS.values()
        for required in one.required
        if required & present
    ]
    if not nearest:
        return ""
    _, name, missing = min(nearest, key=lambda found: found[0])
    return f"{name} needs {' and '.join(sorted(missing))} too"
