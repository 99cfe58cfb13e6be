"""A request with templates, made in batches of prompts that differ, as one result."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, islice

import torch

from promptengine.generation.control import OnProgress
from promptengine.interrupt import Interrupt
from promptengine.prompt.templates import Wildcards
from promptengine.request.dynamic import expand_request
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult, Progress

__all__ = ["generate_expanded"]


def generate_expanded(
    generate_batch: Callable[..., list[GenerationResult]],
    request: GenerationRequest,
    wildcards: Wildcards,
    on_progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
    *,
    interrupt: Interrupt | None = None,
) -> GenerationResult:
    """Make the images of a request whose prompts are templates.

    Args:
        generate_batch: An engine's method.
        request: With ``dynamic``.
        wildcards: The files that it may name.
        on_progress: As for :meth:`promptengine.Engine.generate`.
        cancel: Likewise.
        interrupt: Likewise.

    Returns:
        All images in order; ``prompts`` are their own.

    Raises:
        RequestError: As :func:`promptengine.request.dynamic.expand_request`, before anything is made.
        PromptEngineError: As :meth:`promptengine.Engine.generate`.
    """
    # All of them first, so that a template that cannot be used costs no image.
    images = list(expand_request(request, wildcards))
    size, wish = request.batch_images, interrupt or Interrupt()
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    results: list[GenerationResult] = []
    for number, batch in enumerate(batches):

        def tell(progress: Progress, number: int = number) -> None:
            if on_progress is not None:
                on_progress(replace(progress, batch=number, batches=len(batches)))

        results += generate_batch(
            batch, on_progress=tell, cancel=cancel, interrupts=[wish] * len(batch)
        )
        if wish.stopped:
            break
    return _merged(images, results, size)


def _merged(
    requests: Sequence[GenerationRequest], results: Sequence[GenerationResult], size: int
) -> GenerationResult:
    """Put results of one image each together; the time of a batch is told by each of its results."""
    made = [(request, one) for request, one in zip(requests, results, strict=False) if one.images]
    timings: Counter[str] = Counter()
    for one in results[::size]:
        timings.update(one.timings)
    latents = [one.latents for one in results]
    return GenerationResult(
        images=tuple(chain.from_iterable(one.images for one in results)),
        latents=torch.cat(latents),
        infotexts=tuple(chain.from_iterable(one.infotexts for one in results)),
        seeds=tuple(chain.from_iterable(one.seeds for one in results)),
        networks=tuple(dict.fromkeys(chain.from_iterable(one.networks for one in results))),
        diagnostics=tuple(dict.fromkeys(chain.from_iterable(one.diagnostics for one in results))),
        timings=dict(timings),
        variation_seeds=tuple(chain.from_iterable(one.variation_seeds for one in results)),
        hires_networks=tuple(
            dict.fromkeys(chain.from_iterable(one.hires_networks for one in results))
        ),
        refiner_networks=tuple(
            dict.fromkeys(chain.from_iterable(one.refiner_networks for one in results))
        ),
        models=tuple(
            replace(use, batch=number)
            for number, one in enumerate(islice(results, 0, None, size))
            for use in one.models
        ),
        unfinished=tuple(number for number, (_, one) in enumerate(made) if one.unfinished),
        masks=tuple(chain.from_iterable(one.masks for one in results)),
        mask_composites=tuple(chain.from_iterable(one.mask_composites for one in results)),
        prompts=tuple((request.prompt, request.negative_prompt) for request, _ in made),
    )
