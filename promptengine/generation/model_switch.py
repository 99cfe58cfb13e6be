"""When a refiner takes over from the model at work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from promptengine.generation.cfg_denoiser import CFGDenoiser
from promptengine.sampling.sigmas import DiscreteSchedule

__all__ = ["ModelSwitch", "share_of_calls", "share_of_sigma", "share_of_timestep"]


def share_of_timestep(timestep: Tensor) -> float:
    """Return how much of the way is done at a timestep, 0 at 999 to 0.999 at 0, as WebUI counts.

    Args:
        timestep: One or more of 0 to 999; the largest counts.
    """
    return (999 - int(timestep.max())) / 1000


def share_of_sigma(sigmas: Tensor, sigma: Tensor) -> float:
    """Return how much of the way is done at a sigma: at the timestep whose sigma is nearest.

    Args:
        sigmas: The model's, rising ``[timesteps]``.
        sigma: One or more; the largest counts.
    """
    return share_of_timestep((sigmas - sigma.max().to(sigmas)).abs().argmin())


def share_of_calls(calls: int, planned: int) -> float:
    """Return how much of a pass is done after some of the calls that were planned."""
    return calls / planned


@dataclass(slots=True, eq=False)
class ModelSwitch:
    """The change to a refiner, which comes at most once in a pass.

    Attributes:
        at: The share of the way from which the refiner is at work; None for all of it.
        by_calls: Whether the share is counted by calls of the denoiser, not by noise levels.
        change: Lets the refiner take over a denoiser, and returns the refiner's noise levels.
        done: Whether it came.
    """

    at: float | None
    by_calls: bool
    change: Callable[[CFGDenoiser], DiscreteSchedule]
    done: bool = field(default=False, init=False)

    def changed(self, model: CFGDenoiser, share: Callable[[], float]) -> DiscreteSchedule | None:
        """Change the model if the time has come; to be called before each call of the denoiser.

        Args:
            model: The denoiser, which goes on as the refiner's.
            share: Tells how much of the way is done, by noise levels.

        Returns:
            The refiner's noise levels where it takes over now, else None.
        """
        if self.done:
            return None
        if self.at is not None:
            passed = share_of_calls(model.calls, model.planned) if self.by_calls else share()
            if passed < self.at:
                return None
        self.done = True
        return self.change(model)
