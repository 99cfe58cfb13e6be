"""The texts and networks of a prompt's regions, and how a batch of rows is asked about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

from promptengine.networks.hypernetwork.inject import HypernetworkStack, Injection
from promptengine.networks.regional_attention import MaskedRows, RegionalAttention
from promptengine.text.conditioning import Conditioning

__all__ = [
    "Asking",
    "CallRegions",
    "PartRegions",
    "RegionMasks",
    "RegionalCond",
    "choose_regions",
]

RegionMasks = Callable[[int, int], Tensor]
"""Returns the shares of regions ``[regions, height, width]`` at a height and width, which add up to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class PartRegions:
    """The regions of one operand of ``AND``.

    Attributes:
        texts: What each of them says; the first one's pooled vector holds for the whole image.
        masks: Where each of them is.
    """

    texts: tuple[Conditioning, ...]
    masks: RegionMasks


def _none(_call: int) -> Sequence[HypernetworkStack]:
    return ()


_WHOLE: Final = (0,)


@dataclass(frozen=True, slots=True, eq=False)
class RegionalCond:
    """What a prompt with regions adds to what steers the pass of an image.

    Attributes:
        parts: For each operand of ``AND`` its regions, or None.
        groups: The regions by what networks act in them; empty where none has networks of its own, which
            only those of a prompt with a single operand may have.
        networks: The stack that acts in each group at a call, counted from 0.
    """

    parts: tuple[PartRegions | None, ...]
    groups: tuple[tuple[int, ...], ...] = ()
    networks: Callable[[int], Sequence[HypernetworkStack]] = _none

    def bare(self) -> RegionalCond:
        """Return the same without networks of its own."""
        return replace(self, groups=(), networks=_none)

    @property
    def texts(self) -> tuple[Conditioning, ...]:
        """All texts."""
        return tuple(text for part in self.parts if part is not None for text in part.texts)

    def askings(
        self, number: int, own: tuple[Tensor, Tensor | None], call: int
    ) -> tuple[Asking, ...]:
        """Return what a text is asked as: one for each region that it has.

        Args:
            number: Which of the prompt's operands; past the last one it is the negative prompt.
            own: The text ``[tokens, width]`` as it is without regions, and its signs.
            call: Of the denoiser, from 0.
        """
        if number < len(self.parts):
            part = self.parts[number]
            if part is None:
                return ()
            further = ((text.at(call), text.signs_at(call)) for text in part.texts[1:])
            return tuple(
                Asking(*text, part.masks, (region,), self._group_of(region))
                for region, text in enumerate((own, *further))
            )
        return tuple(
            Asking(*own, self._masks, members, group) for group, members in enumerate(self.groups)
        )

    def within(self) -> tuple[tuple[RegionMasks, tuple[int, ...]], ...]:
        """Return where each group of networks acts on the image itself."""
        return tuple((self._masks, members) for members in self.groups)

    @property
    def _masks(self) -> RegionMasks:
        (part,) = self.parts
        assert part is not None
        return part.masks

    def _group_of(self, region: int) -> int | None:
        held = (group for group, members in enumerate(self.groups) if region in members)
        return next(held, None)


class Asking(NamedTuple):
    """One text that a row is asked with, for a part of the image.

    Attributes:
        text: ``[tokens, width]``.
        signs: ``[some]``, 1 or -1, what the values of its first tokens are multiplied by; None where that is 1
            for all.
        masks: Of all regions of that row; None where the text holds for the whole image.
        members: The regions it is asked for.
        group: Whose networks act on it; None for those that act everywhere.
    """

    text: Tensor
    signs: Tensor | None
    masks: RegionMasks | None = None
    members: tuple[int, ...] = _WHOLE
    group: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CallRegions:
    """The regions of one call of the UNet.

    Attributes:
        images: For each row the image whose latents it has.
        askings: For each row what it is asked with.
        within: For each row where groups of networks act on the image itself; empty where all act everywhere.
    """

    images: tuple[int, ...]
    askings: tuple[tuple[Asking, ...], ...]
    within: tuple[tuple[tuple[RegionMasks, tuple[int, ...]], ...], ...]
    _kept: dict[tuple[int, int], tuple[MaskedRows, MaskedRows | None]] = field(
        default_factory=dict[tuple[int, int], tuple[MaskedRows, MaskedRows | None]]
    )

    @property
    def rows(self) -> tuple[int, ...]:
        """For each asking its row."""
        return tuple(row for row, some in enumerate(self.askings) for _ in some)

    def masked(self, cells: tuple[int, int]) -> tuple[MaskedRows, MaskedRows | None]:
        """Return the rows of the context, and those of self-attention where networks act in regions.

        Args:
            cells: Height and width of the latents.
        """
        if cells not in self._kept:
            places = [(one.masks, one.members) for some in self.askings for one in some]
            text = MaskedRows(self.rows, _shares(places), cells)
            image: MaskedRows | None = None
            if any(self.within):
                whole: tuple[tuple[RegionMasks | None, tuple[int, ...]], ...] = ((None, _WHOLE),)
                grouped = [some or whole for some in self.within]
                rows = tuple(row for row, some in enumerate(grouped) for _ in some)
                image = MaskedRows(rows, _shares([one for some in grouped for one in some]), cells)
            self._kept[cells] = text, image
        return self._kept[cells]


def _shares(places: Sequence[tuple[RegionMasks | None, tuple[int, ...]]]) -> RegionMasks:
    def at(height: int, width: int) -> Tensor:
        return torch.stack(
            [
                torch.ones(height, width)
                if masks is None
                else masks(height, width)[list(members)].sum(dim=0)
                for masks, members in places
            ]
        )

    return at


def choose_regions(
    regions: CallRegions,
    regional: RegionalAttention,
    injection: Injection | None,
    stacks: Callable[[int], tuple[HypernetworkStack, Sequence[HypernetworkStack]]],
    cells: tuple[int, int],
) -> None:
    """Let the regions of a call act in it, with their networks.

    Args:
        regions: Of the call.
        regional: Of the UNet.
        injection: Where networks are chosen; None for a UNet that none are injected into.
        stacks: Returns for an image the networks that act everywhere, and those of each of its groups.
        cells: Height and width of the latents.
    """
    text, image = regions.masked(cells)
    regional.choose(text)
    if injection is None:
        return
    of_images = {number: stacks(number) for number in dict.fromkeys(regions.images)}
    of_rows = [of_images[number] for number in regions.images]
    asked = [
        everywhere if one.group is None else groups[one.group]
        for (everywhere, groups), some in zip(of_rows, regions.askings, strict=True)
        for one in some
    ]
    if image is None:
        injection.choose_regions(asked, [everywhere for everywhere, _ in of_rows], None)
        return
    within = [
        stack
        for (everywhere, groups), some in zip(of_rows, regions.within, strict=True)
        for stack in (groups if some else [everywhere])
    ]
    injection.choose_regions(asked, within, image)
