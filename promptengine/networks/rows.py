"""Rows of a batch on which different networks act."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from promptengine.errors import PromptEngineError

__all__ = ["RowGroup", "group_rows"]

_Chain = TypeVar("_Chain", bound=Hashable)


class RowGroup(NamedTuple, Generic[_Chain]):
    """Rows of a batch on which the same networks act.

    Attributes:
        rows: Selects them.
        chain: The networks.
    """

    rows: slice | list[int]
    chain: _Chain


def group_rows(chains: Sequence[_Chain], rows: int) -> list[RowGroup[_Chain]]:
    """Put rows with the same networks together.

    Args:
        chains: The networks of each row, or of all rows where there is one.
        rows: How many rows there are.

    Raises:
        PromptEngineError: There are networks for another number of rows.
    """
    if all(chain == chains[0] for chain in chains):
        return [RowGroup(slice(None), chains[0])]
    if len(chains) != rows:
        raise PromptEngineError(f"{len(chains)} stacks were chosen for a batch of {rows} rows")
    members: dict[_Chain, list[int]] = {}
    for row, chain in enumerate(chains):
        members.setdefault(chain, []).append(row)
    return [RowGroup(_selection(rows), chain) for chain, rows in members.items()]


def _selection(rows: list[int]) -> slice | list[int]:
    """Rows as a slice where they are neighbors, since that copies nothing."""
    whole = slice(rows[0], rows[-1] + 1)
    return whole if len(rows) == whole.stop - whole.start else rows
