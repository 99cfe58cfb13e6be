"""Images of a server as files of its output folder, named by the settings and known to the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from promptengine.errors import ImageError
from promptengine.images.file_names import NameFacts, decoration, folder_names
from promptengine.request.samplers import find_sampler
from promptengine.server.image_index import IndexedImage
from promptengine.server.jobs.queue import Job
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.to_response import OutputImage, encode_output, job_output

if TYPE_CHECKING:
    from promptengine.server.state import Service

__all__ = ["SavedImages", "SavedRequest", "save_job", "save_outputs"]

UNFINISHED: Final = "unfinished images are not saved"
_PNG: Final = b"\x89PNG"
_GRID: Final = "grid-"


@dataclass(frozen=True, slots=True)
class SavedRequest:
    """What the images of one request have in common.

    Attributes:
        settings: WebUI's, as they hold for it.
        model: What it was made with.
        prompt: As it was written, without styles; None where there are none.
        styles: Names of those that were used.
    """

    settings: Mapping[str, object]
    model: object
    prompt: str | None = None
    styles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedImages:
    """What became of the images of a job.

    Attributes:
        ids: Of each image its path below the output folder; None where it is not saved.
        warnings: Why some are not.
    """

    ids: tuple[str | None, ...]
    warnings: tuple[str, ...]


def save_outputs(
    service: Service, files: Sequence[tuple[bytes, OutputImage]], about: SavedRequest
) -> list[str]:
    """Write images into the output folder, numbered as WebUI does; grids by numbers of their own.

    Args:
        service: The server's.
        files: Each image as a file, and where it comes from.
        about: What they have in common.

    Returns:
        Their paths below the folder.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    numbers = _numbers([output for _, output in files])
    return [
        _save(service, data, output, about, number)
        for (data, output), number in zip(files, numbers, strict=True)
    ]


def _numbers(outputs: Sequence[OutputImage]) -> list[int | None]:
    """Return the number of each image among several, from 1; grids have none."""
    several = sum(not output.grid for output in outputs) > 1
    counted = accumulate(not output.grid for output in outputs)
    return [
        number if several and not output.grid else None
        for output, number in zip(outputs, counted, strict=True)
    ]


def _save(
    service: Service, data: bytes, output: OutputImage, about: SavedRequest, number: int | None
) -> str:
    settings, facts = about.settings, _facts(service, output, about, number)
    folders: tuple[str, ...] = ()
    if settings["save_to_dirs"]:
        folders = folder_names(str(settings["directories_filename_pattern"]), facts)
    # What another format cannot hold is written as PNG.
    form = "png" if data.startswith(_PNG) else str(settings["samples_format"])
    told = decoration(str(settings["samples_filename_pattern"]), facts)
    prefix = _GRID if output.grid else ""
    id_ = service.outputs.save(data, folders, told, f".{form}", prefix=prefix)
    path = service.outputs.find(id_)
    if path is not None:
        time = path.stat().st_mtime_ns
        service.images.add(IndexedImage(id_, time, *output.image.size, output.infotext))
    return id_


def _facts(
    service: Service, output: OutputImage, about: SavedRequest, number: int | None
) -> NameFacts:
    request, model, words = (
        output.request,
        about.model,
        about.settings["directories_max_prompt_words"],
    )
    assert isinstance(model, Model)
    assert isinstance(words, int)
    width, height = output.image.size
    in_batch = request.batch_images > 1 and not output.grid
    return NameFacts(
        prompt=request.prompt,
        prompt_without_styles=request.prompt if about.prompt is None else about.prompt,
        seed=output.seed,
        steps=request.steps,
        cfg_scale=request.cfg_scale,
        width=width,
        height=height,
        sampler=find_sampler(request.sampler, request.scheduler).name,
        model_name=model.checkpoint.stem,
        model_hash=(service.registry.digests.known(model.checkpoint) or "")[:10],
        styles=about.styles,
        batch_number=output.number + 1 if in_batch else None,
        generation_number=number,
        words=words,
    )


def save_job(
    service: Service, job: Job, prompt: str | None = None, styles: Sequence[str] = ()
) -> SavedImages:
    """Write the finished images of a job that has ended; one that cannot be written costs no other.

    Args:
        service: The server's.
        job: Of our own API.
        prompt: As it was written, without styles; None where there are none.
        styles: Names of those that were used.
    """
    settings = service.settings.values()
    form, quality = str(settings["samples_format"]), settings["jpeg_quality"]
    assert isinstance(quality, int)
    about = SavedRequest(settings, job.work.model, prompt, tuple(styles))
    outputs = job_output(job).outputs
    ids: list[str | None] = []
    warnings: dict[str, None] = {}
    for output, number in zip(outputs, _numbers(outputs), strict=True):
        if output.unfinished:
            ids.append(None)
            warnings[UNFINISHED] = None
            continue
        try:
            data = encode_output(output, form, quality)
            ids.append(_save(service, data, output, about, number))
        except (OSError, ImageError) as error:
            ids.append(None)
            reason = getattr(error, "strerror", None) or str(error)
            warnings[f"an image could not be saved: {reason}"] = None
    return SavedImages(tuple(ids), tuple(warnings))
