"""The regions that a request asks for: what each says, where it is, and which networks are its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from promptengine.errors import PromptSyntaxError, RequestError
from promptengine.generation.region_masks import BoxMasks, ImageMasks
from promptengine.generation.regions import RegionMasks
from promptengine.kinds import NetworkKind, find_kind
from promptengine.networks.load import LoadedNetworks, NetworkCache, load_networks
from promptengine.prompt import Diagnostic, Prompt, Schedule, parse
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.lint import negative_weights
from promptengine.prompt.regions import NOT_REGIONAL_HINT, not_regional, region_at
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.registry.registry import Registry
from promptengine.request.plan import NetworkUse, Plan, SkippedTag, make_plan
from promptengine.request.regions import BASE_RATIO, Region, placed_regions
from promptengine.request.request import GenerationRequest, HypernetworkLike

__all__ = [
    "PlannedPart",
    "RegionNetworks",
    "RegionPlan",
    "idle_fields",
    "idle_settings",
    "plan_regions",
    "region_entries",
]


@dataclass(frozen=True, slots=True, eq=False)
class PlannedPart:
    """The regions of one operand of ``AND``.

    Attributes:
        texts: What each says over the steps, the base text first where there is one.
        masks: Where each is.
    """

    texts: tuple[Schedule, ...]
    masks: RegionMasks


@dataclass(frozen=True, slots=True, eq=False)
class RegionNetworks:
    """The networks of one region.

    Attributes:
        index: Which of the texts it goes with.
        number: Which region, from 1.
        plan: Its tags.
        objects: Networks in memory.
        placed: Whether its tags stand in the request's prompt, and not in a prompt of its own.
        end: Where that prompt ends.
    """

    index: int
    number: int
    plan: Plan
    objects: tuple[tuple[HypernetworkLike, float], ...]
    placed: bool
    end: int

    @property
    def any(self) -> bool:
        """Whether there is anything to load or to tell."""
        return bool(self.plan.networks or self.plan.skipped or self.objects)

    def load(
        self, registry: Registry, cache: NetworkCache, request: GenerationRequest
    ) -> LoadedNetworks:
        """Load them; see :func:`promptengine.networks.load.load_networks`."""
        found = load_networks(
            self.plan,
            registry,
            cache,
            policy=request.policy,
            objects=self.objects,
            end=self.end,
        )
        diagnostics = found.diagnostics
        if not self.placed:
            diagnostics = tuple(_of_region(one, self.number) for one in diagnostics)
        reports = tuple(replace(one, region=self.number) for one in found.reports)
        return replace(found, reports=reports, diagnostics=diagnostics)


@dataclass(frozen=True, slots=True, eq=False)
class RegionPlan:
    """What a request asks of regions.

    Attributes:
        everywhere: The prompt's plan without the networks of regions.
        parts: For each operand of ``AND`` its regions, or None.
        networks: Of each region that has its own.
        prompts: Those of regions with masks, which are no part of the request's prompt.
    """

    everywhere: Plan
    parts: tuple[PlannedPart | None, ...]
    networks: tuple[RegionNetworks, ...] = ()
    prompts: tuple[Prompt, ...] = ()

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """What is encoded, the negative prompt last."""
        pairs = zip(self.everywhere.positive, self.parts, strict=True)
        texts = ((own.schedule,) if part is None else part.texts for own, part in pairs)
        return (*(text for some in texts for text in some), self.everywhere.negative)

    def negative_weights(self) -> list[Diagnostic]:
        """Report words of a weight below 0 in the prompts of masks, as the request's own are reported."""
        return [
            _of_region(told, number)
            for number, prompt in enumerate(self.prompts, start=1)
            for told in negative_weights(prompt)
        ]

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Return the texts by what networks act with them; those without networks of their own come first."""
        if not self.networks:
            return ()
        (part,) = self.parts
        assert part is not None
        own = [one.index for one in self.networks]
        others = tuple(index for index in range(len(part.texts)) if index not in own)
        return (*([others] if others else []), *((index,) for index in own))


def plan_regions(
    prompt: ScheduledPrompt, plan: Plan, request: GenerationRequest, registry: Registry
) -> RegionPlan | None:
    """Work out what a request asks of regions; None where it has none.

    Args:
        prompt: Over the calls of the pass, as in the plan.
        plan: Of the prompt and the negative prompt.
        request: With masks, ratios, options and policy.
        registry: Where names of networks are looked up.

    Raises:
        RequestError: There are too many regions, ratios that do not fit them, regions of both kinds, or masks
            with ``AND``.
        PromptSyntaxError: ``strict``, and a region names a network that it cannot have.
        UnknownNetworkError: ``strict``, and a region's network is in no folder.
    """
    if request.regions:
        return _of_masks(prompt, plan, request, registry)
    parsed = prompt.prompt
    places = placed_regions(parsed, request)
    if not any(places):
        return None
    parts = tuple(
        place and PlannedPart(texts, BoxMasks(*place))
        for texts, place in zip(prompt.texts, places, strict=True)
    )
    if len(parts) > 1:
        return RegionPlan(_told_of_and(parsed, plan), parts)
    return _with_own_networks(parsed, plan, parts, request)


def _of_masks(
    prompt: ScheduledPrompt, plan: Plan, request: GenerationRequest, registry: Registry
) -> RegionPlan:
    """Plan the request's masks, where the prompt holds for what they leave."""
    _refuse_both(prompt.prompt)
    found = [
        _of_mask(region, number, request, registry, prompt)
        for number, region in enumerate(request.regions, start=1)
    ]
    texts = tuple(one.positive[0].schedule for one in (plan, *(own.plan for _, own in found)))
    said = (one for _, own in found for one in own.plan.diagnostics)
    return RegionPlan(
        replace(plan, diagnostics=(*plan.diagnostics, *said)),
        (PlannedPart(texts, ImageMasks(request.regions)),),
        tuple(own for _, own in found if own.any),
        tuple(own for own, _ in found),
    )


def _refuse_both(prompt: Prompt) -> None:
    """Refuse masks with a prompt that masks do not go with.

    Raises:
        RequestError: It has regions of its own, or AND.
    """
    divided = any(part.regions is not None for part in prompt.parts)
    if divided or len(prompt.parts) > 1:
        what = "a prompt that is divided by ADDCOL and its like" if divided else "AND"
        message = f"regions are masks here, which do not go with {what}; take one of them out"
        raise RequestError(message, field="regions")


def _of_mask(
    region: Region,
    number: int,
    request: GenerationRequest,
    registry: Registry,
    beside: ScheduledPrompt,
) -> tuple[Prompt, RegionNetworks]:
    """Read the prompt of a region with a mask, for the calls that the request's own is for."""
    options = request.options
    prompt = parse(region.prompt, comments=options.comments, dialect=request.dialect)
    part, *others = prompt.parts
    if others or part.regions is not None:
        message = f"region {number} has AND or regions of its own; its prompt must be one text"
        raise RequestError(message, field="regions")
    nothing = parse("", negative=True)
    plan = make_plan(replace(beside, prompt=prompt), nothing, registry, policy=request.policy)
    uses, skipped, said = _regional(prompt, plan.networks, request)
    diagnostics = tuple(_of_region(one, number) for one in (*plan.diagnostics, *said))
    plan = replace(plan, networks=uses, skipped=(*plan.skipped, *skipped), diagnostics=diagnostics)
    own = RegionNetworks(number, number, plan, region.networks, False, len(region.prompt))
    return prompt, own


def _of_region(diagnostic: Diagnostic, number: int) -> Diagnostic:
    """Return what is said of a region's own prompt, whose places are none of the request's prompt."""
    message = f"region {number}: {diagnostic.message}"
    return replace(diagnostic.without_places(), message=message)


def _with_own_networks(
    prompt: Prompt,
    plan: Plan,
    parts: tuple[PlannedPart | None, ...],
    request: GenerationRequest,
) -> RegionPlan:
    """Give each region the networks whose tags stand in its text; those before the first act everywhere."""
    regions = prompt.parts[0].regions
    assert regions is not None
    heads = 0 if regions.base is None else 1
    networks: list[RegionNetworks] = []
    for index in range(regions.count):
        uses = [use for use in plan.networks if region_at(prompt, use.span.start) == index]
        skipped = [one for one in plan.skipped if region_at(prompt, one.tag.span.start) == index]
        # Reading the prompt has told of those already.
        kept, refused, _ = _regional(prompt, uses, request)
        if uses or skipped:
            own = replace(plan, networks=kept, skipped=(*skipped, *refused), diagnostics=())
            end = len(prompt.source)
            networks.append(RegionNetworks(index + heads, index + 1, own, (), True, end))
    everywhere = replace(
        plan,
        networks=tuple(use for use in plan.networks if region_at(prompt, use.span.start) is None),
        skipped=tuple(one for one in plan.skipped if region_at(prompt, one.tag.span.start) is None),
    )
    return RegionPlan(everywhere, parts, tuple(networks))


def _regional(
    prompt: Prompt, uses: Sequence[NetworkUse], request: GenerationRequest
) -> tuple[tuple[NetworkUse, ...], tuple[SkippedTag, ...], tuple[Diagnostic, ...]]:
    """Return the uses that a region may have, and what becomes of the others."""
    others = [use for use in uses if not _is_regional(use)]
    said: list[Diagnostic] = []
    for use in others:
        message, hint = not_regional(find_kind(use.entry.kind)), NOT_REGIONAL_HINT
        if request.policy == "strict":
            span = (use.span.start, use.span.end)
            raise PromptSyntaxError(f"{message}; {hint}", source=prompt.source, span=span)
        if request.policy == "warn":
            said.append(
                kinds.NOT_IN_REGIONS(f"{use.name!r} is not applied: {message}", use.span, hint)
            )
    kept = tuple(use for use in uses if use not in others)
    reason = "regions have hypernetworks alone"
    skipped = tuple(SkippedTag(use.tag, reason, use.multiplier) for use in others)
    return kept, skipped, tuple(said)


def _is_regional(use: NetworkUse) -> bool:
    kind = find_kind(use.entry.kind)
    return isinstance(kind, NetworkKind) and kind.regional


def _told_of_and(prompt: Prompt, plan: Plan) -> Plan:
    """Say of a prompt with AND and regions that its networks act everywhere."""
    if not plan.networks:
        return plan
    message = "with AND all networks act on the whole image, wherever their tags stand"
    span = plan.networks[0].span
    said = kinds.NETWORKS_EVERYWHERE(
        message, span, "leave AND out to give regions networks of their own"
    )
    return replace(plan, diagnostics=(*plan.diagnostics, said))


def idle_fields(prompt: Prompt, request: GenerationRequest) -> dict[str, str]:
    """Return which settings of regions do nothing, and why, by the settings' names.

    Args:
        prompt: As parsed.
        request: As it came.
    """
    regions = [part.regions for part in prompt.parts if part.regions is not None]
    found: dict[str, str] = {}
    if request.region_ratios and not regions:
        found["region_ratios"] = "ADDCOL or ADDROW"
    if request.region_base_ratios != BASE_RATIO and not any(one.base for one in regions):
        found["region_base_ratios"] = "ADDBASE"
    return {
        name: f"{name} does nothing: the prompt has no {keyword}" for name, keyword in found.items()
    }


def idle_settings(prompt: Prompt, request: GenerationRequest) -> list[Diagnostic]:
    """Return the same as diagnostics; see :func:`idle_fields`."""
    hint = "use --dialect extended with it, or leave the setting out"
    found = idle_fields(prompt, request).values()
    return [kinds.IDLE_REGION_SETTING(message, None, hint) for message in found]


def region_entries(request: GenerationRequest) -> dict[str, object]:
    """Return what an infotext tells of regions with masks; the masks themselves it cannot hold.

    Args:
        request: As it came.
    """
    if not request.regions:
        return {}
    told = [
        {
            "prompt": region.prompt,
            "weight": region.weight,
            "size": f"{region.mask.width}x{region.mask.height}",
            "mask": hashlib.sha256(region.mask.convert("L").tobytes()).hexdigest()[:12],
        }
        for region in request.regions
    ]
    return {"Regions": json.dumps(told)}
