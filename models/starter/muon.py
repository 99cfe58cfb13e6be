"""Muon (Jordan et al., 2024): momentum whose every matrix is made orthogonal before it is applied.

On the two small networks here it reaches in half the time what AdamW reaches, which on two processor cores
is what counts. Steps are scaled to the size that AdamW's have (Liu et al., arXiv:2502.16982), so that one
learning rate serves both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonal"]

MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """Muon for weights of linear layers and convolutions; the latter are matrices ``[out, in * k * k]``.

    Args:
        parameters: Of two or more dimensions each.
        lr: Learning rate, as for AdamW.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 1e-3) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore
        """Take one step with the gradients there are."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[len(parameter), parameter[0].numel()].append(parameter)
            # Matrices of one shape go through the iteration together: many small products are slow.
            for (rows, columns), parameters in alike.items():
                momenta = [self._momentum(parameter) for parameter in parameters]
                updates = orthogonal(torch.stack([m.reshape(rows, columns) for m in momenta]))
                scale = 0.2 * max(rows, columns) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)

    def _momentum(self, parameter: Tensor) -> Tensor:
        """Nesterov's: the running mean of gradients, looked at from one step ahead."""
        state: dict[str, Any] = self.state[parameter]
        assert parameter.grad is not None
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        mean.lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(mean, MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring all singular values of matrices ``[batch, rows, columns]`` near 1.

    Five steps of a quintic Newton-Schulz iteration in bfloat16; singular values end up between 0.7
    and 1.2, which is all that an update needs.
    """
    turned = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if turned else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if turned else x).to(matrices.dtype)
