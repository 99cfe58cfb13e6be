"""Prompts made ready for a model: parsed, planned, their networks loaded, their texts encoded."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from promptengine.checkpoints.load import Checkpoint
from promptengine.files.lru import SizedLRU
from promptengine.generation.cond_batch import PromptCond
from promptengine.generation.model_inputs import negative_conditioning, scored
from promptengine.generation.region_plan import RegionPlan, idle_settings, plan_regions
from promptengine.generation.regions import PartRegions, RegionalCond
from promptengine.generation.timing import StageTimer
from promptengine.images.upscaler_cache import UpscalerCache
from promptengine.networks.hypernetwork.inject import HypernetworkStack
from promptengine.networks.load import LoadedNetworks, NetworkCache, load_networks
from promptengine.prompt import Diagnostic, Prompt, Schedule, parse, schedule
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.dialects import find_dialect
from promptengine.prompt.lint import negative_weights
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.registry.registry import Registry
from promptengine.request.plan import Plan, make_plan
from promptengine.request.request import GenerationRequest
from promptengine.text.chunks import CHUNK_LENGTH, old_chunk
from promptengine.text.conditioning import Conditioning, encode_schedule
from promptengine.text.encoder import Encoded, TextModel, text_widths
from promptengine.text.textual_inversion.loader import (
    EmbeddingCache,
    misfit_diagnostics,
    with_bundled,
)
from promptengine.text.textual_inversion.table import EmbeddingTable, Placement
from promptengine.undo import UndoLog
from promptengine.validation import shown

__all__ = ["Encodings", "EngineContext", "PreparedPrompts", "encoding_cache", "prepare_prompts"]

_ENCODING_BYTES: Final = (
    256 << 20
)  # a thousand prompts of one chunk for SD1, three hundred for SDXL

Encodings = SizedLRU[Hashable, Conditioning]
"""Encoded texts, by the text and by all else that counts."""


def encoding_cache(room: int = _ENCODING_BYTES) -> Encodings:
    """Return a memory of encoded texts.

    Args:
        room: Bytes it may take; 0 keeps nothing, for text encoders that others may change.
    """
    return SizedLRU(room, _nbytes)


def _nbytes(text: Conditioning) -> int:
    further = sum(one.nbytes for one in (text.pooled, text.signs) if one is not None)
    return text.embeddings.nbytes + further


@dataclass(frozen=True, slots=True, eq=False)
class EngineContext:
    """What an engine works with.

    Attributes:
        checkpoint: The model's parts.
        registry: Where tag names are looked up.
        networks: Networks used of late.
        embeddings: Likewise.
        encodings: Texts encoded of late.
        upscalers: Networks that enlarge images.
        device: Where the model lives.
    """

    checkpoint: Checkpoint
    registry: Registry
    networks: NetworkCache
    embeddings: EmbeddingCache
    encodings: Encodings
    upscalers: UpscalerCache
    device: torch.device


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPrompts:
    """A prompt and a negative prompt, ready for a pass.

    Attributes:
        prompts: Both as parsed, then those of regions with masks.
        schedules: What is encoded of them.
        stack: The networks.
        guidance: The encoded texts.
        diagnostics: Of prompts and files.
    """

    prompts: tuple[Prompt, ...]
    schedules: tuple[Schedule, ...]
    stack: LoadedNetworks
    guidance: PromptCond
    diagnostics: tuple[Diagnostic, ...]


def prepare_prompts(
    parts: EngineContext,
    request: GenerationRequest,
    clock: StageTimer,
    *,
    calls: tuple[int, int | None],
    under: LoadedNetworks | None = None,
    bare: bool = False,
) -> PreparedPrompts:
    """Parse, plan, load and encode the prompts of a request.

    Args:
        parts: The engine's.
        request: Prompts, CFG scale, clip skip, options and policy count.
        clock: Takes the time of the stages.
        calls: What prompt schedules count, in the first and the second pass.
        under: The networks that texts are read under, where these are not those of the prompt.
        bare: Load no networks.

    Raises:
        PromptEngineError: As :meth:`promptengine.generation.engine.Engine.generate` says of prompts.
    """
    with clock.measuring("parse"):
        read = partial(parse, comments=request.options.comments, dialect=request.dialect)
        prompts = read(request.prompt), read(request.negative_prompt, negative=True)
    with clock.measuring("plan"):
        first, negative = prompts
        scheduled = ScheduledPrompt(first, *calls, old=request.options.old_timelines)
        plan = make_plan(scheduled, negative, parts.registry, policy=request.policy)
        regions = plan_regions(scheduled, plan, request, parts.registry)
        plan = plan if regions is None else regions.everywhere
    with clock.measuring("load"):
        stack = LoadedNetworks((), (), ()) if bare else _load(parts, plan, request)
        own = [] if bare or regions is None else _load_own(parts, regions, request)
        widths = text_widths(*parts.checkpoint.text_encoders)
        reading = stack if under is None else under
        words = with_bundled(parts.embeddings.words(widths), reading.words, widths)
    with clock.measuring("encode"), reading.merged(parts.checkpoint.journal):
        guidance = _encode(parts, plan, request, words.table, reading, regions=regions)
    if regions is not None and any(report.applied for one in own for report in one.reports):
        guidance = replace(guidance, regions=_with_networks(guidance, regions, stack, own))
    schedules = plan.schedules if regions is None else regions.schedules
    texts = [fragment.text for one in schedules for fragment in one.fragments]
    stack = _told_together(stack, own)
    return PreparedPrompts(
        prompts=(*prompts, *(() if regions is None else regions.prompts)),
        schedules=schedules,
        stack=stack,
        guidance=replace(guidance, networks=stack.at, loras=stack.loras),
        diagnostics=(
            *plan.diagnostics,
            *idle_settings(prompts[0], request),
            *stack.diagnostics,
            *misfit_diagnostics(words, texts),
            *_weight_diagnostics(prompts, texts, request, words.table, regions=regions),
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _TextModelUnder:
    """A text model as networks have it at a call.

    Attributes:
        model: Without them.
        stack: The networks.
        call: Of the denoiser, from 0.
        journal: Of the model.
    """

    model: TextModel
    stack: LoadedNetworks
    call: int
    journal: UndoLog

    def __call__(
        self,
        tokens: Tensor,
        placements: Sequence[Sequence[Placement]] = (),
        *,
        mask: Tensor | None = None,
    ) -> Encoded:
        with self.stack.encoding(self.call, self.journal):
            return self.model(tokens, placements, mask=mask)


def _load(parts: EngineContext, plan: Plan, request: GenerationRequest) -> LoadedNetworks:
    return load_networks(
        plan,
        parts.registry,
        parts.networks,
        policy=request.policy,
        objects=request.networks,
        end=len(request.prompt),
    )


def _load_own(
    parts: EngineContext, regions: RegionPlan, request: GenerationRequest
) -> list[LoadedNetworks]:
    """Load the networks of each region that has its own."""
    return [one.load(parts.registry, parts.networks, request) for one in regions.networks]


def _with_networks(
    guidance: PromptCond,
    regions: RegionPlan,
    stack: LoadedNetworks,
    own: Sequence[LoadedNetworks],
) -> RegionalCond:
    """Let the networks of regions act behind those that act everywhere."""
    assert guidance.regions is not None
    groups = regions.groups()
    nothing = [LoadedNetworks((), (), ())] * (len(groups) - len(own))

    def networks(call: int) -> list[HypernetworkStack]:
        return [(*stack.at(call), *one.at(call)) for one in (*nothing, *own)]

    return replace(guidance.regions, groups=groups, networks=networks)


def _told_together(stack: LoadedNetworks, own: Sequence[LoadedNetworks]) -> LoadedNetworks:
    """Return what acts everywhere with what is to be said of the networks of regions, too."""
    if not own:
        return stack
    return replace(
        stack,
        reports=(*stack.reports, *(report for one in own for report in one.reports)),
        diagnostics=(*stack.diagnostics, *(said for one in own for said in one.diagnostics)),
    )


def _weight_diagnostics(
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    request: GenerationRequest,
    words: EmbeddingTable,
    *,
    regions: RegionPlan | None,
) -> list[Diagnostic]:
    """Return what a person would want to know about how the options apply weights."""
    options = request.options
    if options.old_emphasis:
        return _cut_short(texts, request, words)
    if options.emphasis in ("Ignore", "None") or options.negative_weights != "scale":
        return []
    own = [] if regions is None else regions.negative_weights()
    return [*(told for prompt in prompts for told in negative_weights(prompt)), *own]


def _cut_short(
    texts: Sequence[str], request: GenerationRequest, words: EmbeddingTable
) -> list[Diagnostic]:
    """Return what of the texts the emphasis of WebUI's first versions has no room for."""
    weighted = request.options.emphasis != "None"
    rests = (old_chunk(text, weighted=weighted, embeddings=words)[1] for text in texts)
    return [
        kinds.PROMPT_CUT_OFF(
            f"the old emphasis has room for {CHUNK_LENGTH} tokens, so this is cut off: {shown(rest)}",
            None,
            "shorten the prompt, or leave out use_old_emphasis_implementation",
        )
        for rest in dict.fromkeys(filter(None, rests))
    ]


def _encode(
    parts: EngineContext,
    plan: Plan,
    request: GenerationRequest,
    words: EmbeddingTable,
    stack: LoadedNetworks,
    *,
    regions: RegionPlan | None,
) -> PromptCond:
    model = parts.checkpoint.text_model(clip_skip=request.clip_skip)
    options = request.options
    rule = find_dialect(request.dialect).weights
    webui = partial(
        encode_schedule,
        emphasis=options.emphasis,
        old_emphasis=options.old_emphasis,
        negative_weights=options.negative_weights,
    )
    by_rule = partial(
        rule.encode or webui, embeddings=words, comma_backtrack=options.comma_backtrack
    )
    how = (
        rule,
        options.emphasis,
        options.comma_backtrack,
        options.old_emphasis,
        options.negative_weights,
    )
    reading = (request.clip_skip, how, words)
    models: dict[Hashable, TextModel] = {}

    def model_at(call: int) -> TextModel:
        under = _TextModelUnder(model, stack, call, parts.checkpoint.journal)
        return models.setdefault(stack.text_key(call), under)

    def encode(timeline: Schedule) -> Conditioning:
        calls = timeline.first_calls
        under = tuple(stack.text_key(call) for call in calls)
        return parts.encodings.get(
            (timeline, *reading, under),
            lambda: by_rule(timeline, [model_at(call) for call in calls]),
        )

    nothing = parse("", negative=True).parts[0]
    texts = [one.text for one in plan.negative.segments]
    checkpoint = parts.checkpoint
    negative = negative_conditioning(checkpoint, encode(plan.negative), texts)
    places = [None] * len(plan.positive) if regions is None else regions.parts
    divided = tuple(
        place
        and PartRegions(
            tuple(scored(checkpoint, encode(text), options) for text in place.texts), place.masks
        )
        for place in places
    )
    return PromptCond(
        positive=[
            (
                scored(checkpoint, encode(part.schedule), options) if own is None else own.texts[0],
                part.weight,
            )
            for part, own in zip(plan.positive, divided, strict=True)
        ],
        negative=scored(checkpoint, negative, options, negative=True),
        scale=request.cfg_scale,
        empty=encode(schedule(nothing, 1)).at(0) if options.pad_with_empty else None,
        regions=None if regions is None else RegionalCond(divided),
    )
