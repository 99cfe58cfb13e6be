"""Rows of what a pipeline asks its denoiser with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["chosen_rows"]


def chosen_rows(value: Any, rows: Sequence[int], count: int) -> Any:
    """Return the wanted rows of whatever has one for each row of the pipeline's batch.

    Args:
        value: A tensor, or a mapping or sequence of such and of other things; what has no rows stays as it is.
        rows: Indices of those wanted; of all in their order tensors are the very same.
        count: Rows of the pipeline's batch.
    """
    every = list(rows) == list(range(count))
    return _chosen(value, None if every else torch.tensor(list(rows)), count)


def _chosen(value: Any, rows: Tensor | None, count: int) -> Any:
    """Choose; ``rows`` is None where these are all."""
    if isinstance(value, Tensor):
        if rows is None or not value.ndim or len(value) != count:
            return value
        return value[rows.to(value.device)]
    if isinstance(value, Mapping):
        # A copy in any case: transformers take entries out of what they are given.
        items: Mapping[str, Any] = value
        return {name: _chosen(one, rows, count) for name, one in items.items()}
    if isinstance(value, (list, tuple)):
        some: Sequence[Any] = value
        return type(value)(_chosen(one, rows, count) for one in some)
    return value
