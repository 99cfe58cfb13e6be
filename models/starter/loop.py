"""What all trainings share: optimizers, a schedule, averaged weights, and state to go on from."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.starter.muon import Muon
from promptengine.files.atomic import atomic_write

__all__ = ["Trainer", "plain_attention", "rate_at", "steps_left"]

SAVE_EVERY_S = 120.0

_ENDS = ("conv_in", "conv_out", "quant_conv", "embedding", "features.0.", "whole", "places", "each")
"""Marks of the names of embeddings and of first and last layers."""


def rate_at(step: int, steps: int, peak: float, *, hold: float = 0.0) -> float:
    """The learning rate: 200 steps of warm-up, then half a cosine down to a fiftieth.

    Args:
        step: Updates made.
        steps: Updates in all.
        peak: The highest rate.
        hold: Share of the steps at the peak before it falls.
    """
    warm = min(1.0, (step + 1) / 200)
    fallen = max(0.0, (step / steps - hold) / (1 - hold))
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fallen)))


def plain_attention() -> AbstractContextManager[None]:
    """Attention as matrix products: torch's fused backward for processors takes four times as long."""
    return sdpa_kernel(SDPBackend.MATH)


class Trainer:
    """A network, its optimizers and its averaged weights, kept in one file.

    Matrices inside the network are trained by Muon; everything else, the first and last layers and
    embeddings included, by AdamW. ``step`` counts updates, ``smoothed`` is the loss's moving average of
    this run.

    Args:
        network: What is trained.
        path: The state's file; read if it is there, so that a run goes on where it was cut off.
        averaging: Decay of the moving average per step.
        device: Where to train.
    """

    def __init__(
        self, network: nn.Module, path: Path, *, averaging: float, device: torch.device
    ) -> None:
        self.network = network.to(device)
        self.device = device
        self.step = 0
        self.smoothed = math.nan
        self._path = path
        self._averaging = averaging
        self._saved = time.monotonic()
        inner, rest = _divided(network)
        self.optimizers = (
            Muon(inner),
            torch.optim.AdamW(rest, lr=0.0, weight_decay=0.01, fused=True),
        )
        self.averaged = {name: t.detach().clone() for name, t in network.state_dict().items()}
        if path.is_file():
            state = torch.load(path, map_location=device, weights_only=True)
            network.load_state_dict(state["network"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.averaged, self.step = state["averaged"], state["step"]

    def update(self, loss: Tensor, rate: float) -> None:
        """Take one step down the gradient of ``loss``, and save now and then."""
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        self.step += 1
        value = loss.item()
        self.smoothed = value if math.isnan(self.smoothed) else 0.98 * self.smoothed + 0.02 * value
        # A young average would remember the random start: it forgets faster at first.
        keep = min(self._averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                if tensor.is_floating_point():
                    self.averaged[name].lerp_(tensor, 1 - keep)
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the state, whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "averaged": self.averaged,
            "step": self.step,
        }
        with atomic_write(self._path) as temporary:
            torch.save(state, temporary)
        self._saved = time.monotonic()


def _divided(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices between a network's ends, and all other parameters."""
    inner: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        end = any(mark in name for mark in _ENDS)
        (rest if parameter.ndim < 2 or end else inner).append(parameter)
    return inner, rest


def steps_left(trainer: Trainer, steps: int) -> Iterator[int]:
    """Count from where the trainer stands to ``steps``, with a line of progress every 100."""
    start, first = time.monotonic(), trainer.step
    while trainer.step < steps:
        yield trainer.step
        if trainer.step % 100 == 0:
            pace = (time.monotonic() - start) / (trainer.step - first)
            left = pace * (steps - trainer.step) / 60
            print(
                f"step {trainer.step} of {steps}, loss {trainer.smoothed:.4f}, {left:.0f} min left",
                flush=True,
            )
    trainer.save()
