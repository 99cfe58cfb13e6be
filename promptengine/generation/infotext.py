"""What a job's images say about how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptengine.generation.conditioning import EngineContext
from promptengine.generation.infotext_entries import (
    hires_schedule_told,
    noise_level_entries,
    pass_entries,
    score_entries,
    sign_entries,
    writes_ensd,
)
from promptengine.generation.named_models import find_models
from promptengine.generation.prepare import PreparedRequest
from promptengine.images.upscalers import UPSCALERS
from promptengine.infotext.write import InfotextContext, generation_entries, write_infotext
from promptengine.kinds import NETWORK_KINDS
from promptengine.plugins import Plugin, plugins_of
from promptengine.prompt import DIALECTS
from promptengine.request.result import ModelUse
from promptengine.request.samplers import SAMPLERS
from promptengine.request.schedulers import AUTOMATIC, SCHEDULERS, scheduler_label
from promptengine.text.conditioning import embedding_hashes

__all__ = ["build_infotexts"]


def build_infotexts(
    parts: EngineContext, job: PreparedRequest, uses: Sequence[ModelUse]
) -> tuple[str, ...]:
    """Build WebUI's ``parameters`` text of each image.

    Args:
        parts: The engine's model.
        job: What was made.
        uses: Which models did; a refiner that did nothing is not told of.
    """
    request, making = job.request, _making(parts, job, uses)
    variations = job.variation_seeds or [None] * len(job.seeds)
    return tuple(
        write_infotext(
            request.prompt,
            request.negative_prompt,
            generation_entries(request, making, seed=seed, variation_seed=variation),
        )
        for seed, variation in zip(job.seeds, variations, strict=True)
    )


def _making(
    parts: EngineContext, job: PreparedRequest, uses: Sequence[ModelUse]
) -> InfotextContext:
    checkpoint, sampler, options = parts.checkpoint, job.first.sampler, job.request.options
    told = writes_ensd(sampler, options)
    vae, sees = checkpoint.vae_path, job.start is not None and job.start.channels is not None
    return InfotextContext(
        sampler=sampler.name,
        hires_sampler=job.second.sampler.name if job.second else None,
        hires_scheduler=hires_schedule_told(sampler, job.second.sampler) if job.second else None,
        size=(job.width, job.height),
        model=checkpoint.path.stem,
        model_digest=_digest(parts, checkpoint.path),
        vae=None if vae is None else vae.name,
        vae_digest=None if vae is None else _digest(parts, vae),
        networks=job.first.stack.reports,
        hires_networks=job.second.stack.reports if job.second else (),
        embedding_hashes=_embedding_hashes(job) if options.hash_embeddings else None,
        scheduler=scheduler_label(sampler.scheduler),
        mask_strength=options.mask_strength if sees else None,
        seed_delta=(options.noise_seed_delta or None) if told else None,
        levels=noise_level_entries(options),
        sampling=_sampling_entries(job),
        plugins=_plugins(job),
        refiner=_refiner(parts, job, uses),
        hires_checkpoint=_hires_checkpoint(parts, job),
    )


def _refiner(parts: EngineContext, job: PreparedRequest, uses: Sequence[ModelUse]) -> str | None:
    """Return the title of the refiner, if it took over."""
    refining = job.refining
    if refining is None:
        return None
    stages = {
        stage
        for stage, refined in (("first", refining.first), ("hires", refining.second))
        if refined is not None
    }
    took_over = any(
        use.stage in stages and use.path.resolve() == refining.model.resolve() for use in uses
    )
    return _title(parts, refining.model) if took_over else None


def _hires_checkpoint(parts: EngineContext, job: PreparedRequest) -> str | None:
    """Return the title of the checkpoint that a second pass names, be it the first one's."""
    path = find_models(job.request, parts.registry, parts.checkpoint.path).hires
    return None if path is None else _title(parts, path)


def _title(parts: EngineContext, path: Path) -> str:
    """Return a checkpoint's name with the beginning of its hash."""
    digest = _digest(parts, path)
    return path.stem if digest is None else f"{path.stem} [{digest[:10]}]"


def _plugins(job: PreparedRequest) -> tuple[Plugin, ...]:
    """Whose objects make the images, beside this package's own."""
    passes = [job.first, *([job.second] if job.second else [])]
    samplers = [one.sampler for one in passes]
    schedulers = [one.scheduler for one in samplers if one.scheduler != AUTOMATIC]
    start, hires = job.request.start, job.request.hires
    upscalers = [hires.upscaler] if hires is not None and hires.upscaler is not None else []
    if start is not None:
        upscalers.append(job.request.options.image_upscaler)
    return plugins_of(
        (DIALECTS, job.request.dialect),
        *((NETWORK_KINDS, kind) for one in passes for kind in one.stack.kinds),
        *((SAMPLERS, sampler.name) for sampler in samplers),
        *((SCHEDULERS, scheduler) for scheduler in schedulers),
        *((UPSCALERS, upscaler) for upscaler in upscalers),
    )


def _digest(parts: EngineContext, path: Path) -> str | None:
    # A folder has no hash, and a pipeline's parts may have come from anywhere.
    return parts.registry.digests.of(path) if path.is_file() else None


def _sampling_entries(job: PreparedRequest) -> dict[str, object]:
    """Return how prompts were read and latents sampled; of the second pass what the first does not say."""
    options = job.request.options
    multiplier = options.initial_noise_multiplier
    passes = [job.first, *([job.second] if job.second else [])]
    entries = {key: value for one in passes for key, value in one.entries.items()}
    if job.start is not None and multiplier != 1:
        entries["Noise multiplier"] = multiplier
    for one in passes:
        late = one.walk is not None
        told = pass_entries(one.sampler, one.guidance, one.table, options, starts_late=late)
        entries |= {key: value for key, value in told.items() if value is not None}
        entries |= score_entries(one.guidance, options)
        entries |= sign_entries(one.guidance, options)
    return entries


def _embedding_hashes(job: PreparedRequest) -> str | None:
    positive = [conditioning for conditioning, _ in job.first.guidance.positive]
    return embedding_hashes(positive, job.first.guidance.negative)
