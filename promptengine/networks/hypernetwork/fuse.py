"""Folds networks without activation into the projection that reads their output.

A network of linear layers alone is ``f(x) = A x + c``, so ``x + multiplier * f(x)`` followed by a
projection ``W x + b`` is one projection with other numbers. They are computed with homogeneous matrices
``[[A, c], [0, 0]]``, which take the constants along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from promptengine.files.lru import SizedLRU
from promptengine.networks.hypernetwork.module import ResidualNetwork

__all__ = ["Chain", "Projection", "ProjectionFuser", "affine_part", "is_affine", "is_zero"]

Chain = Sequence[tuple[ResidualNetwork, float]]
"""Networks with their multipliers, each reading what the one before leaves."""

_EXPANDED = 2


class Projection(NamedTuple):
    """Weight ``[out, in]`` and bias ``[out]`` of a projection."""

    weight: Tensor
    bias: Tensor


class _Content:
    """A tensor's numbers as a key: where they are, and how often they were changed in place.

    It holds the tensor, so that no other can come to lie at its address.
    """

    __slots__ = ("_place", "_tensor")

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor.detach()
        self._place = tensor.data_ptr(), tensor.shape, tensor.dtype, tensor._version

    def __hash__(self) -> int:
        return hash(self._place)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self._place == other._place


def is_affine(network: ResidualNetwork) -> bool:
    """Return whether a network consists of linear layers alone, but for dropout that does not act."""
    return all(
        isinstance(layer, nn.Linear) or (isinstance(layer, nn.Dropout) and not layer.training)
        for layer in network.linear
    )


def affine_part(network: ResidualNetwork) -> Tensor | None:
    """Return ``A`` of ``f(x) = A x + c`` with ``c`` as its last column, float32 ``[width, width + 1]``; None where
    a network is not :func:`is_affine`.
    """
    return _matrix(network)[:-1] if is_affine(network) else None


def is_zero(network: ResidualNetwork) -> bool:
    """Return whether a network ends in a linear layer of zeros and so changes nothing, as new ones may."""
    last = next(layer for layer in reversed(network.linear) if not isinstance(layer, nn.Dropout))
    if not isinstance(last, nn.Linear):
        return False
    return not any(bool(tensor.any()) for tensor in last.parameters())


class ProjectionFuser:
    """Folded projections, and the products that they are sums of, within a number of bytes.

    What a projection's weight becomes under one network is ``W + multiplier * (W A)``, and under two
    ``W + m1 (W A1) + m2 (W A2) + m1 m2 (W A2 A1)``: the products are kept, so that another multiplier
    costs additions. Of more than two networks the later ones are folded again where their multipliers
    change. All is computed in float32 and rounded once; against the networks themselves the result
    differs by less than 1e-5 of its size in float32.

    Args:
        room: Bytes that all of it may take; the longest unused goes first.
    """

    def __init__(self, room: int = 1 << 30) -> None:
        self._matrices: SizedLRU[ResidualNetwork, Tensor] = SizedLRU(room // 4, _nbytes)
        self._products: SizedLRU[tuple[object, ...], Tensor] = SizedLRU(room // 4, _nbytes)
        self._folded: SizedLRU[tuple[object, ...], Projection] = SizedLRU(
            room // 2, lambda projection: sum(tensor.nbytes for tensor in projection)
        )

    def fold(self, weight: Tensor, bias: Tensor | None, chain: Chain) -> Projection:
        """Return the projection ``weight``, ``bias`` behind a chain of affine networks.

        Args:
            weight: ``[out, in]``; it is not changed. A weight that is changed in place is another.
            bias: ``[out]`` or None.
            chain: Networks for which :func:`is_affine` holds.

        Returns:
            In the dtype and on the device of ``weight``.
        """
        key = (_Content(weight), None if bias is None else _Content(bias))

        def make() -> Projection:
            whole = self._fold(key, _homogeneous(weight, bias), chain).to(weight.dtype)
            return Projection(whole[:, :-1].contiguous(), whole[:, -1].contiguous())

        return self._folded.get((*key, tuple(chain)), make)

    def _fold(self, key: tuple[object, ...], whole: Tensor, chain: Chain) -> Tensor:
        if not chain:
            return whole
        *before, (network, multiplier) = chain
        if len(chain) > _EXPANDED:
            changed = whole + multiplier * (whole @ self._matrix(network))
            return self._fold((*key, network, multiplier), changed, before)
        product = self._products.get((*key, network), lambda: whole @ self._matrix(network))
        unchanged = self._fold(key, whole, before)
        return unchanged + multiplier * self._fold((*key, network), product, before)

    def _matrix(self, network: ResidualNetwork) -> Tensor:
        return self._matrices.get(network, lambda: _matrix(network))


def _homogeneous(weight: Tensor, bias: Tensor | None) -> Tensor:
    column = weight.new_zeros(len(weight)) if bias is None else bias.detach()
    return torch.cat([weight.detach(), column[:, None]], dim=1).float()


def _matrix(network: ResidualNetwork) -> Tensor:
    """``[[A, c], [0, 0]]`` of ``f(x) = A x + c``, float32 ``[width + 1, width + 1]``."""
    whole: Tensor | None = None
    for layer in network.linear:
        if isinstance(layer, nn.Linear):
            rows = _homogeneous(layer.weight, layer.bias)
            corner = rows.new_zeros(1, rows.shape[1])
            corner[0, -1] = 1
            step = torch.cat([rows, corner])
            whole = step if whole is None else step @ whole
    if whole is None:
        raise ValueError("a network without layers")
    whole[-1, -1] = 0
    return whole


def _nbytes(tensor: Tensor) -> int:
    return tensor.nbytes
