"""The linear change of a projection that stands for a network on its input.

A projection ``W (x + f(x))`` is to become ``(W + D) x + d``. Where ``f(x) = A x + c``, ``D = W A`` and ``d = W c`` are
that exactly. Otherwise ``D`` is what comes nearest in the mean of squares over activations: ``D = W B`` with
``B = P (C + l)^-1``, where ``C`` is the sum of ``x x^T``, ``P`` that of ``f(x) x^T``, and ``l`` a small multiple of
the mean of the diagonal of ``C``, which keeps directions that no activation has at rest. With an intercept ``x`` has
a 1 behind it. Of a network that is affine but for a constant that the target cannot have, ``A`` stays and only the
constant is fitted.

Of all changes of a rank the best for these activations is ``U U^T D`` with the first eigenvectors ``U`` of
``D C D^T`` (reduced-rank regression).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor

from promptengine.conversion.sites import Site
from promptengine.networks.hypernetwork.fuse import affine_part

__all__ = ["Error", "Moments", "SiteChange", "solve_site"]

_RIDGE: Final = 1e-7
"""Of the mean of squares of what is read; see the module's docstring."""

_ZERO_RANK: Final = 1e-7
"""Singular values below this share of the largest are rounding."""


@dataclass(slots=True, eq=False)
class Moments:
    """Sums over activations of a projection.

    Attributes:
        inputs: ``C`` ``[width + 1, width + 1]``, of ``x`` with a 1 behind it.
        outputs: ``P`` ``[width, width + 1]``.
    """

    inputs: Tensor
    outputs: Tensor

    @classmethod
    def empty(cls, width: int) -> Moments:
        """Begin sums for a width."""
        shapes = (width + 1, width + 1), (width, width + 1)
        first, second = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
        return cls(first, second)

    def add(self, site: Site, x: Tensor) -> None:
        """Add what a projection has read: ``x`` ``[rows, width]``."""
        change = site.network.linear(x)
        # Apple's GPUs have no float64.
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        x = torch.cat([x, x.new_ones(len(x), 1)], dim=1).to(wide)
        self.inputs += (x.T @ x).cpu()
        self.outputs += (change.to(wide).T @ x).cpu()


@dataclass(frozen=True, slots=True, eq=False)
class SiteChange:
    """What a projection is changed by.

    Attributes:
        up: ``[out, rank]``.
        down: ``[rank, in]``.
        constant: ``[out]``, or None for none.
        exact: Whether nothing is lost but rounding.
    """

    up: Tensor
    down: Tensor
    constant: Tensor | None
    exact: bool

    @property
    def whole(self) -> Tensor:
        """``[out, in]``."""
        return self.up @ self.down

    def __call__(self, x: Tensor) -> Tensor:
        """Return the change of the projection of ``x`` ``[rows, in]``: ``[rows, out]``."""
        change = x @ self.down.to(x).T @ self.up.to(x).T
        return change if self.constant is None else change + self.constant.to(x)


@dataclass(slots=True)
class Error:
    """How far changes are from those of a hypernetwork, summed up over activations.

    Attributes:
        missed: Sum of squares of what differs.
        wanted: Sum of squares of what the hypernetwork changes.
    """

    missed: float = 0.0
    wanted: float = 0.0

    def add(self, site: Site, change: SiteChange, x: Tensor) -> None:
        """Compare for one projection and some of what it reads, ``x`` ``[rows, width]``."""
        wanted = site.network.linear(x) @ site.weight.T
        self.missed += float((change(x) - wanted).square().sum())
        self.wanted += float(wanted.square().sum())

    def __add__(self, other: Error) -> Error:
        return Error(self.missed + other.missed, self.wanted + other.wanted)

    @property
    def relative(self) -> float:
        """Root of the mean of squares of what differs, as a share of that of the change; 0 where there is none."""
        return (self.missed / self.wanted) ** 0.5 if self.wanted else 0.0


def solve_site(
    site: Site,
    moments: Callable[[], Moments],
    *,
    rank: int | None = None,
    constants: bool = False,
) -> SiteChange:
    """Find the change of a projection.

    Args:
        site: The projection.
        moments: Gives sums over its activations; not called where the change is exact.
        rank: The largest rank; None for any.
        constants: Whether the target can have constants.
    """
    weight = site.weight.double().cpu()
    change, constant, exact = _affine(site, weight, moments, constants)
    up, down = _factors(change)
    if rank is not None and rank < up.shape[1]:
        inputs = moments().inputs[:-1, :-1]
        values, vectors = torch.linalg.eigh(change @ inputs @ change.T)
        first = vectors[:, values.argsort(descending=True)[:rank]]
        up, down, exact = first, first.T @ change, False
    return SiteChange(
        up.float(), down.float(), None if constant is None else constant.float(), exact
    )


def _affine(
    site: Site, weight: Tensor, moments: Callable[[], Moments], constants: bool
) -> tuple[Tensor, Tensor | None, bool]:
    """Return ``D``, ``d``, and whether they are exact."""
    known = affine_part(site.network)
    base = torch.zeros(weight.shape[1], weight.shape[1] + 1, dtype=torch.float64)
    if known is not None:
        base = known.double().cpu()
        constant = weight @ base[:, -1]
        if constants or not bool(constant.any()):
            return weight @ base[:, :-1], constant if constants else None, True
        base[:, -1] = 0
    sums = moments()
    size = len(sums.inputs) - (not constants)
    inputs, outputs = sums.inputs[:size, :size], sums.outputs[:, :size]
    outputs = outputs - base[:, :size] @ inputs
    ridge = _RIDGE * inputs.diagonal().mean() + torch.finfo(torch.float64).tiny
    fitted = torch.linalg.solve(inputs + ridge * torch.eye(size, dtype=torch.float64), outputs.T)
    found = weight @ (base[:, :size] + fitted.T)
    width = weight.shape[1]
    return found[:, :width], found[:, width] if constants else None, False


def _factors(change: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of a matrix of the least rank that it has, of equal size; of 0 with rank 1."""
    left, values, right = cast(
        "tuple[Tensor, Tensor, Tensor]", torch.linalg.svd(change, full_matrices=False)
    )
    rank = max(1, int((values > values[0] * _ZERO_RANK).sum()))
    roots = values[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]
