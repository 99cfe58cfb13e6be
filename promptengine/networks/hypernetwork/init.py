"""The weights that a new hypernetwork begins its training with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from promptengine.networks.hypernetwork.module import Hypernetwork

__all__ = ["INITIALISATIONS", "init_weights"]

INITIALISATIONS: Final[Mapping[str, Callable[..., Tensor]]] = {
    "Normal": partial(nn.init.normal_, mean=0.0, std=0.01),
    "KaimingUniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "KaimingNormal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "XavierUniform": nn.init.xavier_uniform_,
    "XavierNormal": nn.init.xavier_normal_,
}
"""How the weights of linear layers are drawn, by WebUI's names."""


def init_weights(network: Hypernetwork, seed: int) -> Hypernetwork:
    """Draw the weights of a new network, in place, by its setting ``weight_init``.

    Biases become 0 and layer norms neutral; an activation's own parameter keeps torch's value.

    Args:
        network: On the CPU, so that a seed gives the same weights everywhere.
        seed: 0 to 2**64 - 1.

    Returns:
        The network.

    Raises:
        ValueError: A ``weight_init`` that is no key of :data:`INITIALISATIONS`.
    """
    draw = INITIALISATIONS.get(network.settings.weight_init)
    if draw is None:
        raise ValueError(
            f"unknown initialization {network.settings.weight_init!r}; "
            f"use {', '.join(INITIALISATIONS)}"
        )
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            draw(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
    return network
