"""What the routes of one server share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from promptengine.checkpoints.resolve import resolve_checkpoint, resolve_device
from promptengine.files.hashing import default_cache_file
from promptengine.images.upscaler_cache import UpscalerCache
from promptengine.language.vocabulary import Vocabulary
from promptengine.language.word_lists import WordLists
from promptengine.registry.registry import Registry
from promptengine.registry.side_cars import Cards
from promptengine.server.background import AfterWork
from promptengine.server.config import ServerConfig
from promptengine.server.image_index import ImageIndex
from promptengine.server.job_records import JobRecords
from promptengine.server.job_store import JobStore
from promptengine.server.jobs.job import Job, Run, Work
from promptengine.server.jobs.queue import JobQueue
from promptengine.server.jobs.worker import Device, Model, runner
from promptengine.server.observability import Metrics, log_job
from promptengine.server.output_folder import OutputFolder
from promptengine.server.redact import PathRedactor
from promptengine.server.saving import SavedImages
from promptengine.server.sdapi.options import ServerSettings
from promptengine.server.training import Trainer
from promptengine.text.textual_inversion.loader import EmbeddingCache
from promptengine.text.textual_inversion.table import EmbeddingTable

if TYPE_CHECKING:
    from promptengine.server.civitai.catalog import Catalog

__all__ = [
    "Client",
    "Served",
    "Service",
    "client_of",
    "finished",
    "open_service",
    "until_gone",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A server's parts.

    Attributes:
        config: Its settings.
        registry: Where models and networks are found.
        words: What the folders of embeddings hold.
        settings: WebUI's settings.
        queue: The jobs.
        metrics: What is counted.
        shown: Which paths clients see.
        devices: Those of this process, which hold a model each.
        upscalers: Networks that enlarge images, for what is no part of a generation.
        outputs: The folder of saved images.
        images: What is known of them.
        training: The one training.
        vocabulary: What prompts can name.
        records: What is known of our own API's jobs beside the queue.
        saves: What becomes of images of jobs that nobody waits for.
        cards: What is known of files beside models.
        styles: Held while the file of styles is written.
        upscaling: Held while an image is enlarged by one of ``upscalers``.
        civitai: What may be asked of Civitai; None where nothing may.
        closing: Held while all of it ends.
    """

    config: ServerConfig
    registry: Registry
    words: EmbeddingCache
    settings: ServerSettings
    queue: JobQueue
    metrics: Metrics
    shown: PathRedactor
    upscalers: UpscalerCache
    outputs: OutputFolder
    images: ImageIndex
    training: Trainer
    vocabulary: Vocabulary
    records: JobRecords
    saves: AfterWork[SavedImages] = field(default_factory=AfterWork[SavedImages])
    cards: Cards = field(default_factory=Cards)
    styles: threading.Lock = field(default_factory=threading.Lock)
    devices: tuple[Device, ...] = ()
    upscaling: threading.Lock = field(default_factory=threading.Lock)
    civitai: Catalog | None = None
    closing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def vectors(self) -> EmbeddingTable:
        """The words that the model of the first device reads as vectors; those of all files where none is loaded here.

        Words that LoRA files bring along are not among them.
        """
        widths = (device.text_widths for device in self.devices)
        return self.words.words(next(widths, None)).table

    def close(self, grace_s: float) -> None:
        """Let what runs finish within some seconds and its images be saved; who calls again waits as well.

        Args:
            grace_s: As :meth:`promptengine.server.jobs.queue.JobQueue.close` takes it.
        """
        with self.closing:
            self.training.stop()
            self.queue.close(grace_s)
            self.training.close(grace_s)
            if self.civitai is not None:
                self.civitai.close(grace_s)
            self.saves.close()
            self.records.close()
            self.images.close()


def open_service(config: ServerConfig, runs: Sequence[Run] | None = None) -> Service:
    """Scan the folders, load the checkpoint on every device and start its worker.

    Args:
        config: The server's settings.
        runs: What makes the images, in place of the devices' engines.

    Raises:
        CheckpointError: There is no checkpoint, none of the name, or it cannot be loaded.
        RequestError: There is no such device, or Civitai cannot be asked so.
    """
    registry = Registry.open(config.models, cache_file=default_cache_file())
    catalog = _catalog(config, registry)
    model = Model(resolve_checkpoint(config.checkpoint, registry).absolute(), config.vae)
    devices: tuple[Device, ...] = ()
    if runs is None:
        devices = tuple(Device(name, config, registry) for name in config.devices)
        for device in devices:
            device.load(model)
        runs = [runner(device) for device in devices]
    metrics = Metrics()
    queue = JobQueue(
        runs,
        room=config.queue,
        joined=config.limits.joined,
        kept=config.kept_jobs,
        kept_bytes=config.kept_bytes,
        on_end=partial(_told, metrics),
    )
    metrics.watch(queue)
    outputs = OutputFolder(config.output)
    images = ImageIndex(outputs)
    images.start()
    return Service(
        config=config,
        registry=registry,
        words=EmbeddingCache(registry),
        settings=ServerSettings(
            registry, model, config.styles, config.settings, config.form_defaults
        ),
        queue=queue,
        metrics=metrics,
        shown=PathRedactor.by(config),
        upscalers=UpscalerCache(registry, resolve_device(devices[0].name if devices else "cpu")),
        outputs=outputs,
        images=images,
        training=Trainer(config, registry),
        vocabulary=Vocabulary(registry, WordLists(registry.word_lists)),
        records=JobRecords(JobStore(outputs.root if config.save else None)),
        devices=devices,
        civitai=catalog,
    )


def _catalog(config: ServerConfig, registry: Registry) -> Catalog | None:
    """Return what may be asked of Civitai, which needs an extra; None where nothing may."""
    if not config.civitai:
        return None
    from promptengine.server.civitai.catalog import Catalog

    return Catalog(registry)


def _told(metrics: Metrics, job: Job) -> None:
    metrics.count(job)
    log_job(job)


def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


Served = Annotated[Service, Depends(_service)]
"""The service, as an argument of a route."""


def client_of(request: Request) -> str:
    """Who asks: the user, or where there are none the address."""
    user = request.scope.get("user_name")
    return str(user) if user else (request.client.host if request.client else "")


Client = Annotated[str, Depends(client_of)]
"""Who asks, as an argument of a route."""


async def finished(
    service: Service, request: Request, work: Work, label: str, *, stays: bool
) -> Job:
    """Queue a work and wait until it has ended.

    Args:
        service: The server's.
        request: Who waits; a client that goes away takes its job with it.
        work: What to make.
        label: What the client calls it.
        stays: Whether the job goes on when the client is gone.

    Raises:
        Refusal: The queue is full.
        Exception: Whatever the job failed with.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    job = service.queue.submit(work, client_of(request), label)

    def on_change() -> None:
        if job.has_ended:
            loop.call_soon_threadsafe(ended.set)

    service.queue.listen(job, on_change)
    on_change()
    gone = asyncio.create_task(_gone(request))
    done = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({gone, done}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done() and not stays:
            service.queue.cancel(job)
        await done
    finally:
        for task in (gone, done):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    # What a job finished before it was cancelled is an answer; what fails is not.
    if job.error is not None and (job.state == "failed" or not job.results):
        raise job.error
    return job


async def until_gone(request: Request, work: Callable[[threading.Event], T]) -> T:
    """Do a work in a thread that is not queued, and call it off when the client goes away.

    Args:
        request: Who waits.
        work: Gets an event that is set where nobody waits any more.

    Raises:
        Exception: Whatever the work raises.
    """
    cancel = threading.Event()
    gone = asyncio.create_task(_gone(request))
    gone.add_done_callback(lambda _: cancel.set())
    try:
        return await run_in_threadpool(work, cancel)
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
