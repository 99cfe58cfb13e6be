"""Merges tokens that resemble each other for the length of a self-attention, which then has fewer to compare.

The method is "Token Merging for Fast Stable Diffusion" (Bolya and Hoffman, arXiv:2303.17604) as WebUI uses it:
only where the UNet works on every latent cell, which is where attention costs most, and without randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from promptengine.undo import UndoLog

__all__ = ["TokenGroups", "group_tokens", "has_mergeable_tokens", "merge_tokens"]


class TokenGroups(NamedTuple):
    """Which tokens become one, for each row of a batch by itself.

    Attributes:
        targets: ``[targets]``, tokens that others are merged into.
        moved: ``[batch, moved]``, tokens that are merged into a target.
        into: ``[batch, moved]``, which of the targets that is.
        kept: ``[batch, kept]``, tokens that stay as they are.
    """

    targets: Tensor
    moved: Tensor
    into: Tensor
    kept: Tensor

    def merge(self, x: Tensor) -> Tensor:
        """Return a target for the mean of all its tokens, then the kept tokens.

        Args:
            x: ``[batch, tokens, width]``.

        Returns:
            ``[batch, targets + kept, width]``.
        """
        # A product adds up in the same order every time; scattered sums on a GPU do not.
        slots = torch.arange(len(self.targets), device=x.device)
        members = (slots[:, None] == self.into[:, None]).to(x.dtype)
        sums = x[:, self.targets] + members @ _picked(x, self.moved)
        return torch.cat([sums / (1 + members.sum(-1, keepdim=True)), _picked(x, self.kept)], dim=1)

    def unmerge(self, x: Tensor) -> Tensor:
        """Return for every token what became of the one that it was merged into.

        Args:
            x: ``[batch, targets + kept, width]``.

        Returns:
            ``[batch, tokens, width]``.
        """
        targets, kept = len(self.targets), self.kept.shape[1]
        slots = self.moved.new_empty(len(x), targets + kept + self.moved.shape[1])
        slots[:, self.targets] = torch.arange(targets, device=x.device)
        later = torch.arange(targets, targets + kept, device=x.device)
        slots.scatter_(1, self.kept, later.expand(len(x), -1)).scatter_(1, self.moved, self.into)
        return _picked(x, slots)


def _picked(x: Tensor, tokens: Tensor) -> Tensor:
    return x.gather(1, tokens[..., None].expand(-1, -1, x.shape[-1]))


def group_tokens(x: Tensor, cells: tuple[int, int], ratio: float) -> TokenGroups:
    """Decide which tokens become one.

    Targets are the top left cells of squares of 2 x 2; an odd last row or column has none. Of all others
    those vanish that are most similar to a target.

    Args:
        x: What similarity (the cosine) is taken of, ``[batch, tokens, width]``.
        cells: Rows and columns that the tokens lie in.
        ratio: How many of all tokens vanish, if there are so many that are no targets.
    """
    rows, columns = cells
    grid = torch.arange(rows * columns, device=x.device).view(rows, columns)
    targets = grid[: rows // 2 * 2 : 2, : columns // 2 * 2 : 2].flatten()
    is_other = torch.ones(rows * columns, dtype=torch.bool, device=x.device)
    is_other[targets] = False
    others = grid.flatten()[is_other]
    if not len(targets):
        none = others.new_empty(len(x), 0)
        return TokenGroups(targets, none, none, others.expand(len(x), -1))
    directions = nn.functional.normalize(x, dim=-1)
    likeness = directions[:, others] @ directions[:, targets].transpose(1, 2)
    best, nearest = likeness.max(dim=-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    moved, kept = order.tensor_split([int(rows * columns * ratio)], dim=1)
    return TokenGroups(targets, others[moved], nearest.gather(1, moved), others[kept])


def has_mergeable_tokens(unet: nn.Module) -> bool:
    """Return whether a UNet has self-attention at full resolution; SDXL's have none."""
    return next(_blocks(unet), None) is not None


@contextmanager
def merge_tokens(
    unet: nn.Module, ratio: float, cells: tuple[int, int], *, journal: UndoLog | None = None
) -> Generator[None]:
    """Let self-attention at full resolution work on merged tokens within a ``with`` block.

    How alike tokens are is read off what a transformer block gets; what is merged is what its attention
    gets, the same normalized. Networks that act on the attention see merged tokens. When the block ends, by an
    exception too, the UNet computes bit for bit what it did before.

    Args:
        unet: A diffusers ``UNet2DConditionModel``.
        ratio: How many of all tokens vanish, 0 to 1; 0 changes nothing.
        cells: Height and width of the latents that the UNet will get.
        journal: Of the run that this is a part of; by default the block stands alone.
    """
    with (journal or UndoLog()).block() as changes:
        for block in _blocks(unet) if ratio > 0 else ():
            merging = _Merging(ratio, cells)
            norm, attention = block.norm1, block.attn1
            changes.shadow(norm, "forward", partial(merging.norm, norm.forward))
            changes.shadow(attention, "forward", partial(merging.attend, attention.forward))
        yield


def _blocks(unet: Any) -> Iterator[Any]:
    """Yield the transformer blocks that have a token for each latent cell: the first and the last of a UNet."""
    from diffusers.models.attention import BasicTransformerBlock

    for part in (unet.down_blocks[0], unet.up_blocks[-1]):
        yield from (one for one in part.modules() if isinstance(one, BasicTransformerBlock))


class _Merging:
    """What one transformer block does with its tokens, from its norm to the end of its attention."""

    def __init__(self, ratio: float, cells: tuple[int, int]) -> None:
        self._ratio = ratio
        self._cells = cells
        self._groups: TokenGroups | None = None

    def norm(self, forward: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor:
        """Normalize what the block gets ``[batch, tokens, width]``, once it is grouped."""
        self._groups = group_tokens(x, self._cells, self._ratio)
        return forward(x, *args)

    def attend(self, forward: Callable[..., Tensor], x: Tensor, **more: Any) -> Tensor:
        """Return what the attention answers to merged tokens, for each of all ``[batch, tokens, width]``."""
        groups, self._groups = self._groups, None
        if groups is None:
            return forward(x, **more)
        return groups.unmerge(forward(groups.merge(x), **more))
