"""What a pass follows, and the texts of all its images as batches for the UNet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from promptengine.generation.regions import Asking, CallRegions, RegionalCond, RegionMasks
from promptengine.networks.hypernetwork.inject import HypernetworkStack
from promptengine.networks.lora.inject import NO_LORAS, LoraSchedule
from promptengine.request.options import Options
from promptengine.text.conditioning import Conditioning

__all__ = ["CondBatch", "CondBatches", "PromptCond", "UNetCall", "build_cond_batch"]

_MOST_BATCHES = 4
"""Texts kept at once: enough for ``[a|b]`` in prompt and negative prompt."""


def _no_networks(_call: int) -> HypernetworkStack:
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class PromptCond:
    """What steers the pass of an image, and how hard.

    Attributes:
        positive: The prompt's parts with their weights (one part without ``AND``).
        negative: The negative prompt.
        scale: CFG scale; 1 follows the prompt alone, higher exaggerates it.
        unit: The scale that the sampler takes for 1.
        empty: The encoded empty prompt ``[77, width]``; needed for ``Options.pad_with_empty`` only.
        networks: The hypernetworks that act at a call, counted from 0, on the negative prompt too.
        loras: The LoRAs of the UNet, likewise.
        regions: The regions of the prompt's parts, each of whose own text in ``positive`` is that of the first
            region; None where it has none.
    """

    positive: Sequence[tuple[Conditioning, float]]
    negative: Conditioning
    scale: float
    empty: Tensor | None = None
    networks: Callable[[int], HypernetworkStack] = _no_networks
    loras: LoraSchedule = NO_LORAS
    unit: float = 1.0
    regions: RegionalCond | None = None

    @property
    def uneven(self) -> bool:
        """Whether prompt and negative prompt are of different length."""
        longest = max(part.embeddings.shape[1] for part, _ in self.positive)
        return longest != self.negative.embeddings.shape[1]

    @property
    def signed(self) -> bool:
        """Whether the value of any token is turned around."""
        return any(text.signs is not None for text in (*self.asked, *self._of_regions))

    @property
    def asked(self) -> Sequence[Conditioning]:
        """All that the UNet is asked with: the prompt's parts, then the negative prompt."""
        return [*(part for part, _ in self.positive), self.negative]

    def segments_at(self, call: int) -> tuple[int, ...]:
        """Return which segment of each text serves a call."""
        return tuple(one.segment_at(call) for one in (*self.asked, *self._of_regions))

    @property
    def _of_regions(self) -> Sequence[Conditioning]:
        return () if self.regions is None else self.regions.texts


@dataclass(frozen=True, slots=True, eq=False)
class UNetCall:
    """One call of the UNet.

    Attributes:
        images: For each row the image whose latents it has.
        numbers: For each row which of that image's texts it is asked with: the prompt's parts, then the negative
            prompt.
        context: Texts ``[rows, tokens, width]``; where rows have regions, one for each of these.
        mask: ``[rows, tokens]``, true where there is text; None where all are of one length.
        pooled: Pooled vector ``[width]`` of each row, for families that use it.
        scores: Aesthetic score of each row, likewise.
        signs: What cross-attention multiplies the texts' values by, for each row and token of ``context`` 1
            or -1; None where that is 1 for all.
        regions: Where the texts act; None where each holds for a whole image.
    """

    images: list[int]
    numbers: list[int]
    context: Tensor
    mask: Tensor | None
    pooled: list[Tensor | None]
    scores: list[float | None]
    signs: Tensor | None = None
    regions: CallRegions | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CondBatch:
    """All texts of all images at a step, and how the answers to them are combined.

    Rows are counted through all calls.

    Attributes:
        calls: One, unless texts are asked one by one.
        parts: For the n-th part of the prompts, the row of each image.
        weights: How hard each of these pulls: one number, or ``[images, 1, 1, 1]`` where images differ.
        negative: The row of each image's negative prompt, or of its first part where it has none.
    """

    calls: tuple[UNetCall, ...]
    parts: tuple[list[int], ...]
    weights: tuple[float | Tensor, ...]
    negative: list[int]

    def guided(self, conditional: Sequence[Tensor], unconditional: Tensor) -> Tensor:
        """Combine answers: ``U + sum(weight * (C - U))`` over the prompts' parts.

        Args:
            conditional: C of each part, ``[images, channels, height, width]``.
            unconditional: U, shaped alike.
        """
        found = unconditional
        for answer, weight in zip(conditional, self.weights, strict=True):
            pull = weight.to(unconditional) if isinstance(weight, Tensor) else weight
            found = found + (answer - unconditional) * pull
        return found


class CondBatches:
    """The batches of a pass: the very same tensors for as long as no schedule changes the texts.

    Args:
        guidance: Of each image, or once for all.
        options: How texts are evened out, and whether they are asked at once.
    """

    def __init__(self, guidance: Sequence[PromptCond], options: Options) -> None:
        self._guidance = guidance
        self._options = options
        self._kept: OrderedDict[object, CondBatch] = OrderedDict()

    def of(self, image: int) -> PromptCond:
        """Return what an image follows."""
        return self._guidance[image % len(self._guidance)]

    def at(
        self, call: int, images: int, dtype: torch.dtype, *, unguided: bool = False
    ) -> CondBatch:
        """Return the batch of a call of the denoiser; the arguments are those of :func:`build_cond_batch`."""
        segments = [each.segments_at(call) for each in self._guidance]
        key = (images, dtype, unguided, *segments)
        if key not in self._kept:
            self._kept[key] = build_cond_batch(
                [self.of(image) for image in range(images)],
                call,
                self._options,
                dtype=dtype,
                unguided=unguided,
            )
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_BATCHES:
            self._kept.popitem(last=False)
        return self._kept[key]


def build_cond_batch(
    guidance: Sequence[PromptCond],
    call: int,
    options: Options,
    *,
    dtype: torch.dtype,
    unguided: bool = False,
) -> CondBatch:
    """Gather the texts that a call of the denoiser asks with.

    Args:
        guidance: Of each image.
        call: Which one, from 0.
        options: How texts are evened out, and whether they are asked at once.
        dtype: Of the UNet.
        unguided: Leave the negative prompts out.
    """
    rows = [
        _Row(
            image,
            number,
            text,
            asked.pooled_at(call),
            asked.aesthetic_score,
            signs := asked.signs_at(call),
            () if one.regions is None else one.regions.askings(number, (text, signs), call),
            () if one.regions is None else one.regions.within(),
        )
        for image, one in enumerate(guidance)
        for number, (text, asked) in enumerate(_texts(one, call, options, unguided=unguided))
    ]
    batches = [rows]
    if not options.batch_guidance:
        rows.sort(key=lambda row: row.number)
        batches = [list(some) for _, some in groupby(rows, key=lambda row: row.number)]
    place = {(row.image, row.number): index for index, row in enumerate(rows)}
    counts = [len(one.positive) for one in guidance]
    negative = [place[image, 0 if unguided else count] for image, count in enumerate(counts)]
    parts = range(max(counts))
    return CondBatch(
        calls=tuple(_call(batch, dtype) for batch in batches),
        parts=tuple(
            [
                place[image, part] if part < count else negative[image]
                for image, count in enumerate(counts)
            ]
            for part in parts
        ),
        weights=tuple(_weights(guidance, part, unguided=unguided) for part in parts),
        negative=negative,
    )


class _Row(NamedTuple):
    """A text ``[tokens, width]``, the ``number``-th of an image's, and what the UNet is told with it.

    Its signs ``[some]`` are those of the text itself, before it was lengthened or cut. Where it has regions,
    ``askings`` stand for the text, and ``within`` tells where networks act.
    """

    image: int
    number: int
    text: Tensor
    pooled: Tensor | None
    score: float | None
    signs: Tensor | None
    askings: tuple[Asking, ...]
    within: tuple[tuple[RegionMasks, tuple[int, ...]], ...]


def _call(rows: Sequence[_Row], dtype: torch.dtype) -> UNetCall:
    askings = [row.askings or (Asking(row.text, row.signs),) for row in rows]
    texts = [one.text.to(dtype) for some in askings for one in some]
    longest = max(len(text) for text in texts)
    mask: Tensor | None = None
    if any(len(text) < longest for text in texts):
        mask = torch.stack([torch.arange(longest) < len(text) for text in texts])
        mask = mask.to(texts[0].device)
        texts = [
            torch.cat([text, text.new_zeros(longest - len(text), text.shape[1])]) for text in texts
        ]
    return UNetCall(
        images=[row.image for row in rows],
        numbers=[row.number for row in rows],
        context=torch.stack(texts),
        mask=mask,
        pooled=[row.pooled for row in rows],
        scores=[row.score for row in rows],
        signs=_signs([one for some in askings for one in some], longest),
        regions=CallRegions(
            tuple(row.image for row in rows), tuple(askings), tuple(row.within for row in rows)
        )
        if any(row.askings for row in rows)
        else None,
    )


def _signs(askings: Sequence[Asking], tokens: int) -> Tensor | None:
    """Return the signs of texts ``[askings, tokens]``, 1 where one was lengthened; None where all are 1."""
    if all(one.signs is None for one in askings):
        return None
    whole = torch.ones(len(askings), tokens, device=askings[0].text.device)
    for signs, one in zip(whole, askings, strict=True):
        if one.signs is not None:
            known = one.signs[: len(one.text)]
            signs[: len(known)] = known
    return whole


def _weights(guidance: Sequence[PromptCond], part: int, *, unguided: bool) -> float | Tensor:
    weights = [
        one.positive[part][1] * (1.0 if unguided else one.scale / one.unit)
        if part < len(one.positive)
        else 0.0
        for one in guidance
    ]
    if len(set(weights)) == 1:
        return weights[0]
    return torch.tensor(weights)[:, None, None, None]


def _texts(
    guidance: PromptCond, call: int, options: Options, *, unguided: bool
) -> list[tuple[Tensor, Conditioning]]:
    """Return an image's texts ``[tokens, width]`` with what they are part of, the negative prompt last."""
    parts = _padded([part.at(call) for part, _ in guidance.positive])
    parts, negative = _evened(parts, guidance.negative.at(call), guidance.empty, options)
    texts = parts if unguided else [*parts, negative]
    return list(zip(texts, guidance.asked, strict=False))


def _evened(
    parts: list[Tensor], negative: Tensor, empty: Tensor | None, options: Options
) -> tuple[list[Tensor], Tensor]:
    """Give prompt and negative prompt one length, where an option wants that."""
    missing = len(parts[0]) - len(negative)
    if options.pad_with_last:
        return parts, _padded([negative], len(parts[0]))[0][: len(parts[0])]
    if not options.pad_with_empty or empty is None:
        return parts, negative
    filling = empty.repeat(abs(missing) // len(empty), 1)
    if missing > 0:
        return parts, torch.cat([negative, filling])
    return [torch.cat([part, filling]) for part in parts], negative


def _padded(texts: Sequence[Tensor], length: int = 0) -> list[Tensor]:
    """Lengthen each ``[tokens, width]`` to the longest, or to ``length``, by its own last vector."""
    longest = max(length, *(len(text) for text in texts))
    return [torch.cat([text, text[-1:].expand(longest - len(text), -1)]) for text in texts]
