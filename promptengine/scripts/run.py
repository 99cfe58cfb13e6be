"""Scripts run to their end: by a program with an engine, or by whoever makes the images in another way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from promptengine.checkpoints.resolve import resolve_checkpoint
from promptengine.errors import RequestError
from promptengine.generation.engine import Engine, OnProgress
from promptengine.interrupt import Interrupt
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult, Progress
from promptengine.scripts.script import (
    Script,
    ScriptArguments,
    ScriptContext,
    ScriptImage,
    ScriptOutput,
    ScriptRun,
    ScriptStep,
)
from promptengine.scripts.table import find_script, named_arguments
from promptengine.validation import check_type

__all__ = [
    "EngineOf",
    "Make",
    "check_tab",
    "drive_script",
    "engine_maker",
    "opened_engines",
    "run_script",
    "step_count",
]

Make = Callable[[ScriptStep], Sequence[GenerationResult]]
"""Makes what a script asks for: a result for each request of the step."""

EngineOf = Callable[[ScriptStep], Engine]
"""Returns the engine with the checkpoint and VAE that a step asks for."""


def run_script(
    engine: Engine,
    script: str | Script,
    request: GenerationRequest,
    arguments: Mapping[str, object] | None = None,
    *,
    config: str | Path | None = None,
    on_progress: OnProgress | None = None,
    on_image: Callable[[GenerationRequest, GenerationResult], None] | None = None,
    cancel: threading.Event | None = None,
    interrupt: Interrupt | None = None,
) -> ScriptOutput:
    """Run one of WebUI's scripts, or a plugin's.

    Args:
        engine: Makes the images. A script that asks for another checkpoint gets it by its name from the
            engine's folders, opened beside this one and closed again.
        script: Or its name; upper and lower case are alike.
        request: What all images share. With images to start from it is img2img.
        arguments: By their names, as ``promptengine scripts`` lists them; the others have defaults.
        config: As for :meth:`promptengine.Engine.open`, for checkpoints that the script asks for.
        on_progress: Called after every step; its batches are those of the whole script, as far as they
            are known beforehand.
        on_image: Called with every request and its result once it is made, before the script puts images
            together.
        cancel: Set it from anywhere to stop between two steps and let go of everything.
        interrupt: Stops between two steps as well, but keeps what is made; there is then no grid.

    Returns:
        The images that the script returns, and the results that they were made of.

    Raises:
        RequestError: No such script, one that is not for such a request, or an argument that cannot be used.
        ModelNotFoundError: No checkpoint or VAE of a name that the script asks for.
        GenerationCancelled: ``cancel`` was set.
        PromptEngineError: As :meth:`promptengine.Engine.generate` does.
    """
    check_type("engine", engine, Engine)
    check_type("script", script, str, Script)
    check_type("request", request, GenerationRequest)
    check_type("arguments", arguments, Mapping, type(None))
    found = find_script(script) if isinstance(script, str) else script
    check_tab(found, request)
    given = named_arguments(found, arguments or {})
    context = ScriptContext(engine.registry, engine.checkpoint.native_size, str(engine.device))
    request, wish = with_seeds(request), interrupt or Interrupt()
    batches = step_count(found, request, given, context)
    with opened_engines(engine, config) as engine_of:
        make = engine_maker(engine_of, batches, on_progress, cancel, wish)

        def make_and_tell(step: ScriptStep) -> Sequence[GenerationResult]:
            results = make(step)
            if on_image is not None:
                for one, result in zip(step.requests, results, strict=True):
                    on_image(one, result)
            return results

        return drive_script(found.run(request, given, context), make_and_tell, wish)


def check_tab(script: Script, request: GenerationRequest) -> None:
    """Refuse a script that is not for such a request.

    Raises:
        RequestError: One for img2img alone gets no image to start from, or the other way around; or it gets
            templates, which it does not expand.
    """
    if request.dynamic != script.expands:
        why = "expands no templates" if request.dynamic else "is for templates"
        message = f"script {script.name!r} {why}, and dynamic is {str(request.dynamic).lower()}"
        raise RequestError(f"{message}; ask for one of the two", field="dynamic")
    tab = "txt2img" if request.start is None else "img2img"
    if tab not in script.tabs:
        tabs = " and ".join(sorted(script.tabs))
        message = f"script {script.name!r} is for {tabs} and not for {tab}"
        raise RequestError(message, field="script_name")


def step_count(
    script: Script, request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> int:
    """Return how many batches a run makes one after another; 0 where only the run tells.

    Raises:
        RequestError: What the steps of a run raise.
    """
    if script.steps is None:
        return 0
    return sum(_batches(step) for step in script.steps(request, arguments, context))


def _batches(step: ScriptStep) -> int:
    return max(request.batch_count for request in step.requests)


def drive_script(run: ScriptRun, make: Make, interrupt: Interrupt) -> ScriptOutput:
    """Make everything that a run asks for.

    Args:
        run: As a script begins it.
        make: Makes the images of a step.
        interrupt: Once it was stopped the run ends with what is made, as it is.
    """
    requests: list[GenerationRequest] = []
    results: list[GenerationResult] = []
    try:
        step = next(run)
        while True:
            made = tuple(make(step))
            requests += step.requests
            results += made
            if interrupt.stopped:
                run.close()
                return _interrupted(requests, results)
            step = run.send(made)
    except StopIteration as end:
        output: ScriptOutput = end.value
        return replace(output, requests=tuple(requests))


def _interrupted(
    requests: Sequence[GenerationRequest], results: Sequence[GenerationResult]
) -> ScriptOutput:
    images = [
        ScriptImage(image, infotext)
        for result in results
        for image, infotext in zip(result.images, result.infotexts, strict=True)
    ]
    note = f"the script was stopped after {len(images)} images, so it returns these as they are"
    return ScriptOutput(tuple(images), tuple(results), (note,), tuple(requests))


def engine_maker(
    engine_of: EngineOf,
    batches: int,
    on_progress: OnProgress | None,
    cancel: threading.Event | None,
    interrupt: Interrupt,
) -> Make:
    """Return what makes the images of a script's steps with engines.

    Args:
        engine_of: Finds the engine of a step.
        batches: Of the whole script; 0 where it is not known.
        on_progress: As for :func:`run_script`.
        cancel: Likewise.
        interrupt: Likewise.
    """
    done = 0

    def make(step: ScriptStep) -> Sequence[GenerationResult]:
        nonlocal done
        before, own = done, _batches(step)

        def tell(progress: Progress) -> None:
            if on_progress is not None:
                total = max(batches, before + own)
                on_progress(replace(progress, batch=before + progress.batch, batches=total))

        made = engine_of(step).generate_batch(
            step.requests,
            networks=step.networks,
            on_progress=tell,
            cancel=cancel,
            interrupts=[interrupt] * len(step.requests),
        )
        done += own
        return made

    return make


@contextmanager
def opened_engines(engine: Engine, config: str | Path | None) -> Generator[EngineOf]:
    """What finds the engine of a step within a ``with`` block.

    Steps that ask for another checkpoint or VAE get an engine of it beside the one at hand. There is one
    such at a time; it stays open until a step asks for a third, and is closed at the end.

    Args:
        engine: The one at hand.
        config: As for :meth:`promptengine.Engine.open`.
    """
    opened: dict[tuple[str, str], Engine] = {}

    def close() -> None:
        for other in opened.values():
            other.close()
        opened.clear()

    def find(step: ScriptStep) -> Engine:
        wanted = (step.checkpoint, step.vae)
        if _is_at_hand(engine, step, engine.registry):
            return engine
        if wanted not in opened:
            close()
            checkpoint = engine.checkpoint
            opened[wanted] = Engine.open(
                step.checkpoint or checkpoint.path,
                engine.registry,
                config,
                str(engine.device),
                next(checkpoint.unet.parameters()).dtype,
                vae=step.vae or checkpoint.vae_path or "Automatic",
                offload=engine.requested_offload,
            )
        return opened[wanted]

    try:
        yield find
    finally:
        close()


def _is_at_hand(engine: Engine, step: ScriptStep, registry: Registry) -> bool:
    if step.vae:
        return False
    path = resolve_checkpoint(step.checkpoint, registry) if step.checkpoint else None
    return path is None or path.absolute() == engine.checkpoint.path.absolute()
