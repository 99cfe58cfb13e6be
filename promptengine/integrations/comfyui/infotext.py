"""WebUI's infotext of an image that was made within ComfyUI, from what was noted while it ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from promptengine.errors import RequestError
from promptengine.files.hashing import Digests
from promptengine.generation.cond_batch import PromptCond
from promptengine.generation.infotext_entries import (
    pass_entries,
    sign_entries,
    text_entries,
    writes_ensd,
)
from promptengine.infotext.read import Infotext
from promptengine.infotext.write import OTHER_NODES, InfotextContext, generation_entries
from promptengine.integrations.comfyui.graph_files import File, GraphFiles
from promptengine.integrations.comfyui.record import RunFacts
from promptengine.integrations.comfyui.told import PromptTold
from promptengine.kinds import HYPERNETWORK
from promptengine.plugins import Plugin, plugins_of
from promptengine.prompt.dialects import DIALECTS
from promptengine.request.edit import append_network
from promptengine.request.ranges import MAX_SEED
from promptengine.request.request import GenerationRequest
from promptengine.request.result import NetworkReport
from promptengine.request.samplers import SAMPLERS
from promptengine.request.schedulers import AUTOMATIC, SCHEDULERS, scheduler_label
from promptengine.text.conditioning import embedding_hashes

__all__ = ["write_infotexts"]

_SEEDS: Final = MAX_SEED + 1
"""Where seeds begin anew, for noise as for infotexts."""


def write_infotexts(
    runs: Sequence[tuple[RunFacts, int]], files: GraphFiles, digests: Digests
) -> list[Infotext]:
    """Write what each image was made with.

    Args:
        runs: For each image its run and its number in that.
        files: What the graph names.
        digests: Remembers those of files.

    Raises:
        RequestError: A run was such that no infotext would be true of it.
    """
    return [_written(facts, number, files, digests) for facts, number in runs]


def _written(facts: RunFacts, number: int, files: GraphFiles, digests: Digests) -> Infotext:
    told, noise = facts.told, facts.noise
    if facts.problem or told is None:
        message = f"there is no true infotext of these images: {facts.problem}"
        raise RequestError(f"{message}; use SaveImage, or connect the nodes so", field="sampler")
    request, reports = _request(facts, told, named=files.model is not None)
    entries = generation_entries(
        request,
        _making(facts, request, reports, files, digests),
        seed=noise.seed if noise.strength else (noise.seed + number) % _SEEDS,
        variation_seed=(noise.variation_seed + number) % _SEEDS if noise.strength else None,
    )
    version = entries.pop("Version", None)
    if facts.starts_late:
        entries["Denoising strength"] = f"{facts.run.denoise:g}"
    others = (*facts.others, *files.changed_by)
    entries[OTHER_NODES] = ", ".join(others) or None
    entries["Version"] = version
    written = {key: str(value) for key, value in entries.items() if value is not None}
    return Infotext(request.prompt, request.negative_prompt, written)


def _request(
    facts: RunFacts, told: PromptTold, *, named: bool
) -> tuple[GenerationRequest, tuple[NetworkReport, ...]]:
    """Return what asks for the same image here, and what is told of networks; ``named`` if the model is."""
    settings, run, noise = told.settings, facts.run, facts.noise
    prompt, reports = _with_loaded(settings.prompt, settings.dialect, facts, told)
    width, height = facts.size
    request = GenerationRequest(
        prompt=prompt,
        negative_prompt=settings.negative_prompt if facts.has_negative else "",
        seed=noise.seed,
        steps=run.steps,
        sampler=run.sampler.name,
        scheduler=run.sampler.scheduler,
        cfg_scale=facts.scale,
        width=width,
        height=height,
        clip_skip=told.clip_skip or 1,
        variation_seed=noise.variation_seed,
        variation_strength=noise.strength,
        options=replace(run.options, emphasis=settings.emphasis, name_model=named),
        dialect=settings.dialect,
    )
    return request, reports


def _with_loaded(
    prompt: str, dialect: str, facts: RunFacts, told: PromptTold
) -> tuple[str, tuple[NetworkReport, ...]]:
    """Let a prompt name the networks of nodes of their own; those that it cannot name are told apart."""
    before, behind = facts.loaded
    reports: list[NetworkReport] = [*told.reports]
    for report in reversed(before):
        tag = _tag(report, dialect)
        prompt = f"{tag}{prompt}"
        reports.insert(0, report if tag else replace(report, origin="request"))
    for report in behind:
        tag = _tag(report, dialect, prompt)
        prompt = tag or prompt
        reports.append(report if tag else replace(report, origin="request"))
    return prompt, tuple(reports)


def _tag(report: NetworkReport, dialect: str, prompt: str = "") -> str:
    """Return a prompt with a network's tag, or nothing where it cannot name that."""
    name, multiplier = report.name, f"{report.multiplier:g}"
    try:
        return append_network(
            prompt, HYPERNETWORK, name, multiplier, field="prompt", dialect=dialect
        )
    except RequestError:
        return ""


def _making(
    facts: RunFacts,
    request: GenerationRequest,
    reports: tuple[NetworkReport, ...],
    files: GraphFiles,
    digests: Digests,
) -> InfotextContext:
    run, options, told = facts.run, request.options, facts.told
    assert told is not None
    guidance = PromptCond(told.positive, told.negative, facts.scale)
    late = facts.starts_late
    text = text_entries(told.prompts, told.schedules, options, steps=run.steps)
    passed = pass_entries(run.sampler, guidance, run.levels, options, starts_late=late)
    negative = told.negative if facts.has_negative else replace(told.negative, words=())
    return InfotextContext(
        sampler=run.sampler.name,
        size=facts.size,
        model=_stem(files.model),
        model_digest=_digest(files.model, digests),
        vae=None if files.vae is None else files.vae[0].replace("\\", "/").rpartition("/")[2],
        vae_digest=_digest(files.vae, digests),
        networks=reports,
        embedding_hashes=embedding_hashes([one for one, _ in told.positive], negative),
        scheduler=scheduler_label(run.sampler.scheduler),
        seed_delta=(options.noise_seed_delta or None)
        if writes_ensd(run.sampler, options)
        else None,
        sampling={**text, **passed, **sign_entries(guidance, options)},
        plugins=tuple(_plugins(facts, told)),
    )


def _plugins(facts: RunFacts, told: PromptTold) -> Iterator[Plugin]:
    """Yield whose objects make the image, beside this package's own."""
    sampler = facts.run.sampler
    scheduled = [] if sampler.scheduler == AUTOMATIC else [(SCHEDULERS, sampler.scheduler)]
    own = [(DIALECTS, told.settings.dialect), (SAMPLERS, sampler.name), *scheduled]
    yield from plugins_of(*own)


def _stem(file: File | None) -> str:
    name = "" if file is None else file[0].replace("\\", "/").rpartition("/")[2]
    stem, dot, _ = name.rpartition(".")
    return stem if dot else name


def _digest(file: File | None, digests: Digests) -> str | None:
    path = None if file is None else file[1]
    return None if path is None or not path.is_file() else digests.of(path)
