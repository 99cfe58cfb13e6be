"""Vectors that shift what a prompt means, as a kind of networks: ``<bias:warm:0.5>``.

After ``pip install ./examples/network_kind`` files in ``models/biases`` can be named by tags. Each holds one
tensor ``bias`` ``[width]``, which is added to every vector of the text conditioning, times the multiplier.

This module knows what the kind is called and where its files lie; it is read with every prompt, so it does
not import torch. What reads and applies the files stands in ``promptengine_bias_loader.py``.
"""

from __future__ import annotations

from promptengine import InspectedFile, NetworkKind, plain_tag
from promptengine.plugins import LazyFunction

__all__ = ["BIAS"]


def _is_bias(file: InspectedFile) -> bool:
    return list(file.names) == ["bias"]


BIAS = NetworkKind(
    name="bias",
    noun="bias",
    plural="biases",
    folders=("biases",),
    suffixes=(".safetensors",),
    tag=plain_tag("bias", noun="bias"),
    loader=LazyFunction("promptengine_bias_loader:BiasLoader"),
    recognize=_is_bias,
)
