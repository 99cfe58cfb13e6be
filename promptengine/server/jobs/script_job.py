"""A job that is a script: everything it asks for, made on one device within the server's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from promptengine.checkpoints.resolve import resolve_checkpoint
from promptengine.generation.engine import Engine
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult, Progress
from promptengine.scripts.run import drive_script, engine_maker, step_count
from promptengine.scripts.script import ScriptContext, ScriptOutput, ScriptStep
from promptengine.scripts.table import find_script
from promptengine.server.jobs.job import Control, Work
from promptengine.server.limits import check_script_step

if TYPE_CHECKING:
    from promptengine.server.jobs.worker import Device, Model

__all__ = ["run_script_job"]


def run_script_job(device: Device, work: Work, model: Model, control: Control) -> ScriptOutput:
    """Run a script on a device. Another checkpoint that it asks for takes the place of the one there.

    What crosses to another process is the script's name and arguments; its run begins here.

    Args:
        device: Where the images are made.
        work: With a script.
        model: What it begins with.
        control: Its steps are those of the whole script, as far as they are known beforehand.

    Raises:
        RequestError: The script asks for more than the limits allow.
        PromptEngineError: As :func:`promptengine.run_script` does.
    """
    call = work.script
    assert call is not None, "a script job has a script"
    script, (request,) = find_script(call.name), work.requests
    with device.reserved() as engine_with:
        engine = engine_with(model)
        registry = engine.registry
        context = ScriptContext(registry, engine.checkpoint.native_size, str(engine.device))
        batches = step_count(script, request, call.arguments, context)
        made = 0

        def engine_of(step: ScriptStep) -> Engine:
            path = resolve_checkpoint(step.checkpoint or model.checkpoint, registry)
            vae = step.vae or model.vae
            return engine_with(replace(model, checkpoint=path.absolute(), vae=vae))

        def on_progress(progress: Progress) -> None:
            steps = max(progress.steps, progress.step)
            previews = () if progress.denoised is None else device.previews(progress.denoised[:1])
            control.on_step(
                progress.batch * steps + progress.step, progress.batches * steps, previews
            )

        make = engine_maker(engine_of, batches, on_progress, control.cancel, control.interrupts[0])

        def make_within_limits(step: ScriptStep) -> Sequence[GenerationResult]:
            nonlocal made
            made = check_script_step(step, made, device.limits)
            return [_light(result) for result in make(step)]

        run = script.run(request, call.arguments, context)
        output = drive_script(run, make_within_limits, control.interrupts[0])
    return replace(output, requests=tuple(map(_without_start, output.requests)))


def _light(result: GenerationResult) -> GenerationResult:
    """Return a result without its latents, which nobody asks a server for."""
    return replace(result, latents=result.latents.new_empty(0))


def _without_start(request: GenerationRequest) -> GenerationRequest:
    return replace(request, start=None, batch_size=request.batch_images)
