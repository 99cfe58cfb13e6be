"""Finished jobs as WebUI's answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from promptengine.errors import ImageError
from promptengine.images.save import encode_image
from promptengine.infotext.read import infotext_with_prompts, read_infotext
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult, NetworkReport
from promptengine.request.samplers import find_sampler
from promptengine.scripts.script import ScriptImage, ScriptOutput
from promptengine.server.base64_images import encode_base64
from promptengine.server.jobs.job import Job
from promptengine.server.jobs.worker import Model
from promptengine.server.redact import PathRedactor
from promptengine.server.sdapi.to_request import ParsedRequest
from promptengine.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "JobOutput",
    "OutputImage",
    "api_infotext",
    "encode_masks",
    "encode_output",
    "generation_info",
    "generation_response",
    "job_output",
    "network_document",
    "network_reports",
]

_NOT_ECHOED: Final = frozenset(
    {"init_images", "mask", "latent_mask", "alwayson_scripts", "script_args"}
)
_WHOLE_SCALE: Final = re.compile(r"(?<=, )(CFG scale: -?\d+)(?=,|$)")


@dataclass(frozen=True, slots=True)
class OutputImage:
    """One image of a job.

    Attributes:
        request: What it was made by.
        result: Where it is, among others perhaps.
        number: Which one of the result's.
        returned: What a script returns in its place, or made of it and others; None without one.
    """

    request: GenerationRequest
    result: GenerationResult
    number: int
    returned: ScriptImage | None = None

    @property
    def image(self) -> Image:
        """The image itself."""
        one = self.returned
        return self.result.images[self.number] if one is None else one.image

    @property
    def grid(self) -> bool:
        """Whether it is made of several."""
        return self.returned is not None and self.returned.grid

    @property
    def unfinished(self) -> bool:
        """Whether it was interrupted before its last step."""
        return self.number in self.result.unfinished and not self.grid

    @property
    def infotext(self) -> str:
        """WebUI's ``parameters`` text, as its API writes it."""
        own = (
            self.result.infotexts[self.number] if self.returned is None else self.returned.infotext
        )
        return api_infotext(own)

    @property
    def masks(self) -> dict[str, Image]:
        """What belongs to it beside it; nothing to what a script makes of several."""
        own = self.result.images[self.number]
        return self.result.masks_of(self.number) if self.image is own else {}

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.result.seeds[self.number]

    @property
    def variation_seed(self) -> int:
        """The seed it moves towards, or where that has no effect the one it would be."""
        seeds = self.result.variation_seeds
        return seeds[self.number] if seeds else self.request.variation_seed + self.number


def api_infotext(infotext: str) -> str:
    """Return an infotext with the CFG scale as WebUI's API writes it, whose scales are never whole numbers."""
    prompts, line_break, entries = infotext.rpartition("\n")
    return prompts + line_break + _WHOLE_SCALE.sub(r"\1.0", entries, count=1)


@dataclass(frozen=True, slots=True)
class JobOutput:
    """The results of a job, in full or in part.

    Attributes:
        outputs: In the order of batches and requests.
        warnings: What a person should know about them.
    """

    outputs: tuple[OutputImage, ...]
    warnings: tuple[str, ...]


def job_output(job: Job) -> JobOutput:
    """Return the images of a job, those that an interrupt left unfinished among them."""
    script = job.script
    outputs = (
        [
            OutputImage(request, result, number)
            for batch in list(job.results)
            for request, result in zip(job.work.requests, batch, strict=True)
            for number in range(len(result.images))
        ]
        if script is None
        else _script_images(script)
    )
    said = {
        f"{found.message}{'; ' if found.hint else ''}{found.hint}": None
        for batch in job.results
        for result in batch
        for found in result.diagnostics
        if found.severity != "info"
    }
    cut = (
        [f"stopped after {len(job.results)} of {job.work.batches} batches"]
        if job.has_ended and len(job.results) < job.work.batches
        else []
    )
    notes = () if script is None else script.notes
    return JobOutput(tuple(outputs), (*said, *notes, *cut))


def _script_images(script: ScriptOutput) -> list[OutputImage]:
    """Return what a script returns, each with the result that it is, or the first one where it is none."""
    pairs = list(zip(script.requests, script.results, strict=True))
    places = {
        id(image): (request, result, number)
        for request, result in pairs
        for number, image in enumerate(result.images)
    }
    first = next(((*pair, 0) for pair in pairs if pair[1].images), None)
    return [
        OutputImage(*place, returned=one)
        for one in script.images
        if (place := places.get(id(one.image), first)) is not None
    ]


def encode_output(output: OutputImage, form: str, quality: int) -> bytes:
    """Return an image as a file of a format, its infotext inside."""
    told = infotext_with_prompts(
        output.infotext, output.request.prompt, output.request.negative_prompt
    )
    image = output.image
    try:
        return encode_image(image, f".{form}", told, quality=quality)
    except ImageError:
        # A text that JPEG cannot hold must not cost the image.
        return encode_image(image, ".png", told)


def encode_masks(output: OutputImage) -> list[bytes]:
    """Return the masks of an image that the settings ask for, as PNG files without infotext."""
    return [encode_image(image) for image in output.masks.values()]


def generation_response(
    asked: ParsedRequest,
    job: Job,
    made: JobOutput,
    files: Sequence[bytes],
    told_by: tuple[Registry, PathRedactor],
) -> dict[str, Any]:
    """Return the answer to a request for images.

    Args:
        asked: The request.
        job: What became of it.
        made: Its outputs.
        files: The same as files, each followed by its masks.
        told_by: Where hashes are known, and how paths are shown.
    """
    fields = asked.fields
    echo = fields.model_dump()
    keeps = getattr(fields, "include_init_images", False)
    if not keeps:
        echo |= {name: None for name in _NOT_ECHOED if name in echo}
    echo |= {"alwayson_scripts": {}, "script_args": [], "comments": None}
    echo["override_settings"] = {
        name: value for name, value in fields.override_settings.items() if name in asked.settings
    }
    return {
        "images": [encode_base64(data) for data in files] if fields.send_images else [],
        "parameters": echo,
        "info": json.dumps(generation_info(asked, job, made, *told_by), ensure_ascii=False),
    }


def generation_info(
    asked: ParsedRequest, job: Job, made: JobOutput, registry: Registry, shown: PathRedactor
) -> dict[str, Any]:
    """Return what WebUI tells about finished images, and what became of the networks."""
    fields, returned = asked.fields, made.outputs
    # Grids come first, and have no seeds of their own.
    outputs = [output for output in returned if not output.grid]
    request = asked.work.requests[0]
    first = outputs[0] if outputs else None
    hires = request.hires is not None or request.start is not None
    return {
        "prompt": request.prompt,
        "all_prompts": [output.request.prompt for output in outputs],
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [output.request.negative_prompt for output in outputs],
        "seed": first.seed if first else request.seed,
        "all_seeds": [output.seed for output in outputs],
        "subseed": first.variation_seed if first else request.variation_seed,
        "all_subseeds": [output.variation_seed for output in outputs],
        "subseed_strength": request.variation_strength,
        "width": request.width,
        "height": request.height,
        "sampler_name": find_sampler(request.sampler, request.scheduler).name,
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "batch_size": request.batch_images if len(asked.work.requests) == 1 else len(outputs),
        "restore_faces": False,
        "face_restoration_model": None,
        **_model_of(asked.work.model, asked.settings, registry),
        "seed_resize_from_w": fields.seed_resize_from_w,
        "seed_resize_from_h": fields.seed_resize_from_h,
        "denoising_strength": fields.denoising_strength if hires else None,
        "extra_generation_params": _extra(first.infotext) if first else {},
        "index_of_first_image": len(returned) - len(outputs),
        "infotexts": [output.infotext for output in returned],
        "styles": list(asked.styles),
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(job.stamp)),
        "clip_skip": request.clip_skip,
        "is_using_inpainting_conditioning": request.start is not None
        and request.start.inpainting is not None,
        "version": f"promptengine {__version__}",
        "networks": network_reports(returned, shown),
        "warnings": [shown.text(text) for text in (*asked.warnings, *made.warnings)],
    }


def _model_of(model: object, settings: Mapping[str, object], registry: Registry) -> dict[str, Any]:
    assert isinstance(model, Model)
    digest = registry.digests.known(model.checkpoint)
    vae = str(settings["sd_vae"])
    own = vae in ("Automatic", "None")
    return {
        "sd_model_name": model.checkpoint.stem,
        "sd_model_hash": "" if digest is None else digest[:10],
        "sd_vae_name": None if own else Path(vae).name,
        "sd_vae_hash": None if own else (registry.digests.known(Path(model.vae)) or "")[:10],
    }


_IN_INFO: Final = frozenset(
    {"Steps", "Sampler", "CFG scale", "Seed", "Size", "Model", "Model hash", "VAE", "VAE hash"}
    | {"Denoising strength", "Clip skip", "Version"}
)


def _extra(infotext: str) -> dict[str, str]:
    """Entries of an infotext that have no key of their own."""
    entries = read_infotext(infotext).entries
    return {key: value for key, value in entries.items() if key not in _IN_INFO}


def network_reports(outputs: Sequence[OutputImage], shown: PathRedactor) -> list[dict[str, Any]]:
    """Return what became of each network, with the images that it holds for."""
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for index, output in enumerate(outputs):
        result = output.result
        passes = (
            ("first", result.networks),
            ("hires", result.hires_networks),
            ("refiner", result.refiner_networks),
        )
        for name, reports in passes:
            for report in reports:
                key = (
                    name,
                    report.span,
                    report.kind,
                    report.name,
                    report.multiplier,
                    report.blocks,
                    report.reason,
                )
                told = found.setdefault(
                    key, {**network_document(report, shown), "pass": name, "image_indexes": []}
                )
                told["image_indexes"].append(index)
    return list(found.values())


def network_document(report: NetworkReport, shown: PathRedactor) -> dict[str, Any]:
    """Return what became of one tag, in JSON's types."""
    return {
        "kind": report.kind,
        "name": report.name,
        "path_stem": None if report.path is None else report.path.stem,
        "sha256_10": None if report.digest is None else report.digest[:10],
        "multiplier": report.multiplier,
        "unet_multiplier": report.unet_multiplier,
        "block_weights": None if report.blocks is None else dict(report.blocks.by_block),
        "applied": report.applied,
        "reason": shown.text(report.reason),
    }
