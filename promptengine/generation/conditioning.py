"""Prompts made ready for a model: parsed, planned, their networks loaded, their texts encoded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from promptengine.accel.residence import Arrive, Residence
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
    AvailableEmbeddings,
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
        residence: Where the model's parts are, and when.
    """

    checkpoint: Checkpoint
    registry: Registry
    networks: NetworkCache
    embeddings: EmbeddingCache
    encodings: Encodings
    upscalers: UpscalerCache
    residence: Residence

    @property
    def device(self) -> torch.device:
        """Where the model works."""
        return self.residence.device

    @property
    def stays(self) -> bool:
        """Whether all of the model stays on the device."""
        return self.residence.fold_bytes is None

    def text_at_work(self) -> AbstractContextManager[Arrive]:
        """Let text encoders come to the device within a ``with`` block when they are told to."""
        checkpoint = self.checkpoint
        return self.residence.at_work(*checkpoint.text_encoders, journal=checkpoint.journal)

    @contextmanager
    def vae_at_work(self) -> Generator[None]:
        """Have the VAE on the device within a ``with`` block."""
        checkpoint = self.checkpoint
        with self.residence.at_work(checkpoint.vae, journal=checkpoint.journal) as arrive:
            arrive()
            yield


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
        asked = _plan(prompts, parts.registry, request, calls)
    with clock.measuring("load"):
        stack, own = (LoadedNetworks((), (), ()), []) if bare else _load(parts, asked, request)
        widths = text_widths(*parts.checkpoint.text_encoders)
        reading = stack if under is None else under
        words = with_bundled(parts.embeddings.words(widths), reading.words, widths)
    with (
        clock.measuring("encode"),
        reading.merged(parts.checkpoint.journal),
        parts.text_at_work() as arrive,
    ):
        guidance = _encode(parts, asked, request, words.table, reading, arrive=arrive)
    guidance = _with_networks(guidance, asked.regions, stack, own)
    stack = _told_together(stack, own)
    return PreparedPrompts(
        prompts=(*prompts, *asked.further_prompts),
        schedules=asked.schedules,
        stack=stack,
        guidance=guidance,
        diagnostics=tuple(_diagnostics(prompts, asked, request, stack, words)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What a prompt and a negative prompt ask for.

    Attributes:
        plan: Of both, without what is a region's own.
        regions: None where there are none.
    """

    plan: Plan
    regions: RegionPlan | None

    @property
    def further_prompts(self) -> tuple[Prompt, ...]:
        """Those of regions with masks."""
        return () if self.regions is None else self.regions.prompts

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """What is encoded, the negative prompt last."""
        return self.plan.schedules if self.regions is None else self.regions.schedules

    @property
    def texts(self) -> list[str]:
        """All text of it, fragment by fragment."""
        return [fragment.text for one in self.schedules for fragment in one.fragments]


def _plan(
    prompts: tuple[Prompt, Prompt],
    registry: Registry,
    request: GenerationRequest,
    calls: tuple[int, int | None],
) -> _Asked:
    """Plan a prompt and a negative prompt; ``calls`` as in :func:`prepare_prompts`."""
    first, negative = prompts
    scheduled = ScheduledPrompt(first, *calls, old=request.options.old_timelines)
    plan = make_plan(scheduled, negative, registry, policy=request.policy)
    regions = plan_regions(scheduled, plan, request, registry)
    return _Asked(plan if regions is None else regions.everywhere, regions)


@dataclass(frozen=True, slots=True, eq=False)
class _TextModelUnder:
    """A text model as networks have it at a call.

    Attributes:
        model: Without them.
        stack: The networks.
        call: Of the denoiser, from 0.
        journal: Of the model.
        arrive: Has the text encoders come.
    """

    model: TextModel
    stack: LoadedNetworks
    call: int
    journal: UndoLog
    arrive: Arrive

    def __call__(
        self,
        tokens: Tensor,
        placements: Sequence[Sequence[Placement]] = (),
        *,
        mask: Tensor | None = None,
    ) -> Encoded:
        self.arrive()
        with self.stack.encoding(self.call, self.journal):
            return self.model(tokens, placements, mask=mask)


def _load(
    parts: EngineContext, asked: _Asked, request: GenerationRequest
) -> tuple[LoadedNetworks, list[LoadedNetworks]]:
    """Load the networks that act everywhere, and those of each region that has its own."""
    stack = load_networks(
        asked.plan,
        parts.registry,
        parts.networks,
        policy=request.policy,
        objects=request.networks,
        end=len(request.prompt),
    )
    own = () if asked.regions is None else asked.regions.networks
    return stack, [one.load(parts.registry, parts.networks, request) for one in own]


def _with_networks(
    guidance: PromptCond,
    regions: RegionPlan | None,
    stack: LoadedNetworks,
    own: Sequence[LoadedNetworks],
) -> PromptCond:
    """Let networks act: those of regions behind those that act everywhere."""
    guidance = replace(guidance, networks=stack.at, loras=stack.loras)
    if regions is None or not any(report.applied for one in own for report in one.reports):
        return guidance
    assert guidance.regions is not None
    groups = regions.groups()
    nothing = [LoadedNetworks((), (), ())] * (len(groups) - len(own))

    def networks(call: int) -> list[HypernetworkStack]:
        return [(*stack.at(call), *one.at(call)) for one in (*nothing, *own)]

    return replace(guidance, regions=replace(guidance.regions, groups=groups, networks=networks))


def _told_together(stack: LoadedNetworks, own: Sequence[LoadedNetworks]) -> LoadedNetworks:
    """Return what acts everywhere with what is to be said of the networks of regions, too."""
    if not own:
        return stack
    return replace(
        stack,
        reports=(*stack.reports, *(report for one in own for report in one.reports)),
        diagnostics=(*stack.diagnostics, *(said for one in own for said in one.diagnostics)),
    )


def _diagnostics(
    prompts: tuple[Prompt, Prompt],
    asked: _Asked,
    request: GenerationRequest,
    stack: LoadedNetworks,
    words: AvailableEmbeddings,
) -> Iterator[Diagnostic]:
    """Yield what there is to say of prompts, settings and files."""
    yield from asked.plan.diagnostics
    yield from idle_settings(prompts[0], request)
    yield from stack.diagnostics
    yield from misfit_diagnostics(words, asked.texts)
    yield from _weight_diagnostics(prompts, asked, request, words.table)


def _weight_diagnostics(
    prompts: Sequence[Prompt],
    asked: _Asked,
    request: GenerationRequest,
    words: EmbeddingTable,
) -> list[Diagnostic]:
    """Return what a person would want to know about how the options apply weights."""
    options = request.options
    if options.old_emphasis:
        return _cut_short(asked.texts, request, words)
    if options.emphasis in ("Ignore", "None") or options.negative_weights != "scale":
        return []
    own = [] if asked.regions is None else asked.regions.negative_weights()
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
    asked: _Asked,
    request: GenerationRequest,
    words: EmbeddingTable,
    stack: LoadedNetworks,
    *,
    arrive: Arrive,
) -> PromptCond:
    """Encode what is asked for, under networks; ``arrive`` has the text encoders come."""
    plan, regions, options = asked.plan, asked.regions, request.options
    checkpoint = parts.checkpoint
    encode = _encoder(parts, request, words, stack, arrive=arrive)
    nothing = parse("", negative=True).parts[0]
    texts = [one.text for one in plan.negative.segments]
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


def _encoder(
    parts: EngineContext,
    request: GenerationRequest,
    words: EmbeddingTable,
    stack: LoadedNetworks,
    *,
    arrive: Arrive,
) -> Callable[[Schedule], Conditioning]:
    """Return what encodes a schedule, each text under the networks of its first call, or remembers it."""
    options = request.options
    rule = find_dialect(request.dialect).weights
    weighing = {
        "emphasis": options.emphasis,
        "old_emphasis": options.old_emphasis,
        "negative_weights": options.negative_weights,
    }
    by_rule = partial(
        rule.encode or partial(encode_schedule, **weighing),
        embeddings=words,
        comma_backtrack=options.comma_backtrack,
    )
    how = (rule, options.comma_backtrack, *weighing.values())
    model = parts.checkpoint.text_model(clip_skip=request.clip_skip)
    models: dict[Hashable, TextModel] = {}

    def model_at(call: int) -> TextModel:
        under = _TextModelUnder(model, stack, call, parts.checkpoint.journal, arrive)
        return models.setdefault(stack.text_key(call), under)

    def encode(timeline: Schedule) -> Conditioning:
        calls = timeline.first_calls
        under = tuple(stack.text_key(call) for call in calls)
        return parts.encodings.get(
            (timeline, request.clip_skip, how, words, under),
            lambda: by_rule(timeline, [model_at(call) for call in calls]),
        )

    return encode
