"""How a prompt divides the image, told while it is written: where each region is, and what acts there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from promptengine.errors import RequestError
from promptengine.generation.region_plan import RegionPlan, idle_fields, plan_regions
from promptengine.prompt import Diagnostic, Part, Prompt
from promptengine.prompt.dialects import DIALECTS
from promptengine.prompt.regions import MOST_REGIONS
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.registry.registry import Registry
from promptengine.request.plan import NetworkUse, Plan
from promptengine.request.regions import Region, placed_regions
from promptengine.request.request import GenerationRequest
from promptengine.request.schema import fields_schema
from promptengine.server.v1.schemas import PlacedRegion, PromptForm, PromptRegions, SettingNote

__all__ = ["describe_regions", "read_regions"]

_SETTINGS: Final = ("region_ratios", "region_base_ratios", "region_layout")


def read_regions(
    form: PromptForm,
    prompt: ScheduledPrompt,
    plan: Plan,
    uses: Sequence[NetworkUse],
    registry: Registry,
) -> tuple[PromptRegions, Sequence[Diagnostic]]:
    """Return how a prompt divides the image, and all that there is to say of the prompt then.

    Args:
        form: With the settings of regions, which may be anything.
        prompt: As parsed, over steps that can be afforded.
        plan: Of the prompt.
        uses: The plan's networks in the order in which they are told.
        registry: Where names of networks are looked up.
    """
    told = PromptRegions(placed=[], bases=[], notes=[])
    diagnostics = plan.diagnostics
    try:
        request = _request(form)
        told.notes += [
            SettingNote(severity="warning", field=field, message=message)
            for field, message in idle_fields(prompt.prompt, request).items()
        ]
        planned = plan_regions(prompt, plan, request, registry)
        if planned is not None:
            told.placed = list(_placed(prompt.prompt, request, _owned(planned, uses)))
            told.bases = [_base_text(part) for part in prompt.prompt.parts]
            diagnostics = planned.everywhere.diagnostics
    except RequestError as error:
        told.notes.append(SettingNote(severity="error", field=error.field, message=str(error)))
    return told, diagnostics


def _request(form: PromptForm) -> GenerationRequest:
    """Return a request with the settings of regions.

    Raises:
        RequestError: One of them cannot be.
    """
    given = {name: value for name in _SETTINGS if (value := getattr(form, name)) is not None}
    return GenerationRequest(prompt="", dialect=form.dialect, policy="warn", **given)


def _owned(planned: RegionPlan, uses: Sequence[NetworkUse]) -> dict[int, list[int]]:
    """Return the places among ``uses`` of the networks that belong to a region, by the region's number."""
    at = {use.span.start: index for index, use in enumerate(uses)}
    return {
        one.number: [at[use.span.start] for use in one.plan.networks] for one in planned.networks
    }


def _placed(
    prompt: Prompt, request: GenerationRequest, owned: Mapping[int, list[int]]
) -> Iterator[PlacedRegion]:
    for index, (part, place) in enumerate(
        zip(prompt.parts, placed_regions(prompt, request), strict=True)
    ):
        if part.regions is None or place is None:
            continue
        boxes, shares = place
        for number, (box, text) in enumerate(zip(boxes, part.regions.texts, strict=True), start=1):
            yield PlacedRegion(
                part=index,
                number=number,
                **box._asdict(),
                text=text.text,
                base_share=None if shares is None else shares[number - 1],
                networks=owned.get(number, []),
            )


def _base_text(part: Part) -> str | None:
    base = None if part.regions is None else part.regions.base
    return None if base is None else base.text


def describe_regions(properties: dict[str, Any]) -> None:
    """Add to the described fields of a job its regions with masks, and with ``dialect`` which ones divide images.

    Args:
        properties: As :func:`promptengine.request.schema.fields_schema` has them.
    """
    properties["dialect"]["x-dividing"] = [one.name for one in DIALECTS.values() if one.regions]
    properties["regions"] = {
        "title": "Regions with masks",
        "description": "texts that act where their masks are white",
        "type": "array",
        "maxItems": MOST_REGIONS,
        "items": fields_schema(Region, {}),
    }
