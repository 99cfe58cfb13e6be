"""One sampling pass made ready for a model: its prompts encoded, its networks loaded, its levels known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from torch import Tensor

from promptengine.errors import RequestError
from promptengine.generation.cond_batch import PromptCond
from promptengine.generation.conditioning import EngineContext, prepare_prompts
from promptengine.generation.infotext_entries import text_entries
from promptengine.generation.region_plan import region_entries
from promptengine.generation.regions import RegionalCond
from promptengine.generation.sampling_pass import noise_table
from promptengine.generation.timing import StageTimer
from promptengine.networks.load import LoadedNetworks
from promptengine.networks.token_merging import has_mergeable_tokens
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.request.options import Options
from promptengine.request.request import GenerationRequest
from promptengine.request.samplers import Sampler
from promptengine.sampling.img2img_steps import StepRange, whole_schedule
from promptengine.sampling.sigmas import DiscreteSchedule

__all__ = ["PassRequest", "PreparedPass"]

_NOTHING_MERGED: Final = kinds.IDLE_TOKEN_MERGING(
    "no tokens are merged: this model has no attention at full resolution, where WebUI merges them",
    None,
    "leave the token merging ratio at 0",
)


@dataclass(frozen=True, slots=True, eq=False)
class PassRequest:
    """What is asked of one pass, whichever model makes it.

    Attributes:
        request: With the prompts of the pass.
        sampler: With its schedule type.
        walk: How much of the levels is walked; None for all, from pure noise.
        calls: What prompt schedules count, in the first and the second pass.
        merging: Share of the tokens that self-attention merges.
        leader: The pass whose networks act in place of its own, or None.
    """

    request: GenerationRequest
    sampler: Sampler
    walk: StepRange | None
    calls: tuple[int, int | None]
    merging: float
    leader: PassRequest | None = None

    def on(
        self,
        parts: EngineContext,
        clock: StageTimer,
        *,
        model: Path | None = None,
        under: LoadedNetworks | None = None,
        bare: bool = False,
    ) -> PreparedPass:
        """Prepare the pass for a model.

        Args:
            parts: The model.
            clock: Takes the time of the stages.
            model: Its file, where it is not the engine's own.
            under: The networks that texts are read under, where these are not the pass's own.
            bare: Let no networks act.

        Raises:
            PromptEngineError: As :meth:`promptengine.generation.engine.Engine.generate` says of prompts.
        """
        options = self.request.options
        table = noise_table(parts.checkpoint.noise_table, options)
        read = prepare_prompts(parts, self.request, clock, calls=self.calls, under=under, bare=bare)
        if self.walk is None:
            levels = self.sampler.schedule(table, self.request.steps, options)
        else:
            levels = whole_schedule(self.sampler, table, self.walk, options)
        idle = self.merging > 0 and not has_mergeable_tokens(parts.checkpoint.unet)
        if self.merging > 0 and not idle and read.guidance.regions is not None:
            _refuse_merging(read.guidance.regions)
        steps, hires_steps = self.calls
        prepared = PreparedPass(
            asked=self,
            model=model,
            table=table,
            schedule=levels,
            stack=read.stack,
            guidance=read.guidance,
            entries=text_entries(
                read.prompts, read.schedules, options, steps=steps, hires_steps=hires_steps
            )
            | region_entries(self.request),
            diagnostics=(*read.diagnostics, *([_NOTHING_MERGED] if idle else [])),
        )
        return (
            prepared
            if self.leader is None or bare
            else prepared.led_by(self.leader.on(parts, clock))
        )


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPass:
    """One sampling pass, ready to be run by a model.

    Attributes:
        asked: What it was made of.
        model: The file of the model, or None for the engine's own.
        table: The model's noise levels, as the options want them.
        schedule: All levels.
        stack: The networks.
        guidance: The encoded prompts.
        entries: How prompts were read, for the infotext.
        diagnostics: Of prompts and files.
    """

    asked: PassRequest
    model: Path | None
    table: DiscreteSchedule
    schedule: Tensor
    stack: LoadedNetworks
    guidance: PromptCond
    entries: Mapping[str, object]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def sampler(self) -> Sampler:
        """With its schedule type."""
        return self.asked.sampler

    @property
    def walk(self) -> StepRange | None:
        """How much of the levels is walked; None for all, from pure noise."""
        return self.asked.walk

    def calls(self, steps: int) -> int:
        """Calls of the denoiser as planned, two for each step of a second-order sampler.

        Args:
            steps: As asked for, which holds where the whole schedule is walked.
        """
        walked = steps if self.walk is None else self.walk.last + 1
        return walked * 2 if self.sampler.second_order else walked

    def told(self) -> PreparedPass:
        """Return what can be said of the pass, without what holds its model."""
        guidance = _steered_by(self.guidance, LoadedNetworks((), (), ()))
        return replace(self, stack=self.stack.told(), guidance=guidance)

    def led_by(self, other: PreparedPass) -> PreparedPass:
        """Return the pass under another one's networks; its own are reported as not applied."""
        idle = [
            replace(report, applied=False, reason="the batch has the first prompt's networks")
            for report in self.stack.reports
        ]
        led = [
            replace(report, applied=False, reason="it belongs to a region of the first prompt")
            if report.applied and report.region is not None
            else report
            for report in other.stack.reports
        ]
        stack = replace(other.stack, reports=(*led, *idle))
        return replace(
            self,
            asked=replace(self.asked, leader=other.asked),
            stack=stack,
            guidance=_steered_by(self.guidance, stack),
        )


def _steered_by(guidance: PromptCond, networks: LoadedNetworks) -> PromptCond:
    """Return what steers a pass under other networks than those of its prompt."""
    return replace(
        guidance,
        networks=networks.at,
        loras=networks.loras,
        regions=guidance.regions and guidance.regions.bare(),
    )


def _refuse_merging(regions: RegionalCond) -> None:
    """Refuse networks of regions where tokens that they would part are merged.

    Raises:
        RequestError: There are some.
    """
    if regions.groups:
        message = "networks in regions do not go with token merging, which mixes what regions part"
        name = Options.webui_name("token_merging")
        raise RequestError(f"{message}; leave option {name} at 0", field=name)
