"""Engines in processes of their own, on this machine or on others: replicas of Ray Serve.

The application, its options and its queue stay in one process. A replica holds an engine and nothing that
cannot be made again, so a batch whose replica dies is made once more by another. Ray Serve starts the
replicas, replaces those that die, and sends a batch to one that holds its checkpoint, if one is free; the
networks, which are small and of which a shared batch may use many, are kept by each replica for itself.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, TaskCancelledError
from ray.serve.exceptions import RequestCancelledError

from promptengine.checkpoints.resolve import resolve_checkpoint
from promptengine.errors import (
    GenerationCancelled,
    PromptEngineError,
    RequestError,
)
from promptengine.files.hashing import default_cache_file
from promptengine.interrupt import Interrupt
from promptengine.registry.registry import Registry
from promptengine.request.result import GenerationResult
from promptengine.server.config import ServerConfig
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.job import Control, Made, Run, Work
from promptengine.server.jobs.worker import Device, Model, runner

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Failure", "Interrupted", "Replica", "Step", "replica_runs", "share"]

_log = logging.getLogger("promptengine.server")

_TRIES: Final = 3
_HEALTH_S: Final = 2
_PAUSE_S: Final = 0.05
_REACHED_S: Final = 5.0
_END_S: Final = 1.0
"""What replicas get to end in, and what is waited for that."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a replica tells after a step; see :data:`promptengine.server.jobs.job.OnStep`."""

    step: int
    steps: int
    previews: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The results of work that was stopped while others of its batch go on.

    Attributes:
        number: Which one.
        results: Of each of its requests.
    """

    number: int
    results: Sequence[GenerationResult]


@dataclass(frozen=True, slots=True)
class Failure:
    """What a batch failed with, for whom it may be shown to."""

    error: PromptEngineError


_Told = Step | Interrupted | Failure | Sequence[Made]


class Replica:
    """An engine on a device of its own. It makes one batch at a time.

    Args:
        config: The server's, with absolute paths.
        model: What to load at once.
        wishes: Where interrupts come from, as :func:`_wishes` starts it.
    """

    def __init__(self, config: ServerConfig, model: Model, wishes: Any = None) -> None:
        self._wishes = wishes
        registry = Registry.open(config.models, cache_file=default_cache_file())
        self._device = Device(config.devices[0], config, registry)
        self._run = runner(self._device)
        # Ray would try again and again, and then not say why.
        with suppress(PromptEngineError):
            self._device.load(model)

    def load(self, model: Model) -> Failure | None:
        """Load what is not loaded yet; return why it cannot be."""
        try:
            self._device.load(model)
        except PromptEngineError as error:
            return Failure(error)
        return None

    @serve.multiplexed(max_num_models_per_replica=1)
    async def held(self, name: str) -> str:
        """Let Ray Serve know which model this replica holds from now on."""
        return name

    async def make(
        self, works: Sequence[Work], batch: int, name: str = ""
    ) -> AsyncGenerator[_Told]:
        """Make a batch: every step as it is done, then the results, or what it failed with.

        Whoever stops listening stops the batch after the step that is being made.

        Args:
            works: What to make.
            batch: Which of their batches.
            name: What it is called where interrupts come from.
        """
        await self.held(_name(works[0]))  # pyright: ignore[reportCallIssue] - Ray's hint is wrong
        loop, cancel = asyncio.get_running_loop(), threading.Event()
        told: asyncio.Queue[Step | Interrupted | None] = asyncio.Queue()
        interrupts = [Interrupt() for _ in works]

        def tell(what: Step | Interrupted) -> None:
            loop.call_soon_threadsafe(told.put_nowait, what)

        def on_step(step: int, steps: int, previews: Sequence[Image]) -> None:
            tell(Step(step, steps, tuple(previews)))
            self._ask_for_wishes(name, interrupts)

        control = Control(
            on_step=on_step,
            on_interrupted=lambda number, results: tell(Interrupted(number, results)),
            cancel=cancel,
            interrupts=interrupts,
        )
        making = loop.run_in_executor(None, self._run, works, batch, control)
        making.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (what := await told.get()) is not None:
                yield what
            try:
                yield await making
            except PromptEngineError as error:
                yield Failure(error)
        finally:
            cancel.set()
            await asyncio.wait([making])

    def _ask_for_wishes(self, name: str, interrupts: Sequence[Interrupt]) -> None:
        if self._wishes is None:
            return
        # Without whoever passes them on, a batch goes on as if there were none.
        with suppress(RayError):
            told = cast("dict[int, str]", ray.get(self._wishes.of.remote(name)))
            for number, wish in told.items():
                getattr(interrupts[number], wish)()


def _wishes() -> Any:
    """Start what passes interrupts on to replicas: an actor of Ray's that knows them by batch."""

    # Defined here, its process need not import this module, and torch with it.
    class Wishes:
        def __init__(self) -> None:
            self._wishes: dict[str, dict[int, str]] = {}

        def set(self, name: str, number: int, wish: str) -> None:
            self._wishes.setdefault(name, {})[number] = wish

        def of(self, name: str) -> dict[int, str]:
            return self._wishes.get(name, {})

        def forget(self, name: str) -> None:
            self._wishes.pop(name, None)

    actor: Any = ray.remote(num_cpus=0)(Wishes)
    return actor.remote()


@contextmanager
def replica_runs(config: ServerConfig) -> Generator[list[Run]]:
    """Start ``config.replicas`` replicas; yield what a queue runs jobs with, one for each of them.

    The cluster is the one that ``RAY_ADDRESS`` names, or one on this machine alone, which ends with the
    block. On each of its machines the models have the same paths as here.

    Raises:
        CheckpointError: There is no checkpoint, none of the name, or a replica cannot load it.
        RequestError: The cluster lacks processors or GPUs for so many replicas, they do not start, or the
            configuration names several devices.
    """
    config = _with_absolute_paths(config)
    if len(config.devices) != 1:
        message = "each replica has one device; name one, and the number of replicas"
        raise RequestError(message, field="device")
    registry = Registry.open(config.models, cache_file=default_cache_file())
    model = Model(resolve_checkpoint(config.checkpoint, registry).absolute(), config.vae)
    # Of its own name, since others may use the cluster too, this program a second time among them.
    name = f"promptengine-{secrets.token_hex(4)}"
    with _cluster():
        deployment = serve.deployment(
            num_replicas=config.replicas,
            max_ongoing_requests=1,
            health_check_period_s=_HEALTH_S,
            # Jobs have had their grace by then.
            graceful_shutdown_timeout_s=_END_S,
            logging_config={"log_level": "WARNING"},
            ray_actor_options=share(config, ray.cluster_resources()),
        )
        wishes = _wishes()
        application = deployment(Replica).bind(config, model, wishes)
        try:
            handle = _started(application, name)
            if failure := handle.load.remote(model).result():
                raise failure.error
            yield [_runner(handle, wishes) for _ in range(config.replicas)]
        finally:
            _delete(name)


def _started(application: serve.Application, name: str) -> Any:
    """Return the handle of an application of Ray Serve's, once its replicas are there."""
    try:
        return serve.run(application, name=name, route_prefix=None)
    except RuntimeError as error:
        message = f"the replicas do not start: {error} Ray's logs say why"
        raise RequestError(message, field="ray") from None


def _delete(name: str) -> None:
    """Have an application's replicas end. A cluster that is slow to do so does it by itself."""
    serve.delete(name, _blocking=False)
    deadline = time.monotonic() + 2 * _END_S
    while name in serve.status().applications and time.monotonic() < deadline:
        time.sleep(0.05)


@contextmanager
def _cluster() -> Generator[None]:
    """Take part in the cluster that ``RAY_ADDRESS`` names, or start one that ends with the block.

    Whoever is let in at Ray's ports can run code; a cluster that is started here asks for a token, which
    Ray keeps in the user's own folder.

    Raises:
        RequestError: There is no such cluster, or it does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    for name, level in (("ray", logging.ERROR), ("ray.serve", logging.WARNING)):
        logger = logging.getLogger(name)
        # What Ray says is part of this process's log, in its form.
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)
    with redirect_stdout(_Lines()):
        _start(os.environ.get("RAY_ADDRESS", "local"))
        try:
            yield
        finally:
            ray.shutdown()


def _start(address: str) -> None:
    try:
        _check_reachable(address)
    except OSError as error:
        raise _unstarted(address, error) from None
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, configure_logging=False)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
    except Exception as error:  # noqa: BLE001 - Ray has no class for what keeps it from starting
        ray.shutdown()
        raise _unstarted(address, error) from None


def _unstarted(address: str, error: Exception) -> RequestError:
    told = next(iter(str(error).strip().splitlines()), type(error).__name__)
    hint = "let RAY_ADDRESS name a cluster that runs, or unset it to start one here"
    if address == "local":
        hint = "Ray's logs say why"
    return RequestError(f"Ray does not start at {address!r}: {told}; {hint}", field="ray")


def _check_reachable(address: str) -> None:
    """Raise OSError where nobody listens at ``host:port``, which Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _REACHED_S).close()


class _Lines(io.TextIOBase):
    """Standard output as lines of the log: Ray prints there what happens to its processes."""

    def write(self, text: str, /) -> int:
        """Log the lines of a text."""
        for line in text.splitlines():
            if line.strip():
                _log.warning("Ray: %s", line.strip())
        return len(text)


def _with_absolute_paths(config: ServerConfig) -> ServerConfig:
    """Replicas have a working directory of their own."""
    models, settings = config.models, config.model_config
    if isinstance(models, Mapping):
        folders = {kind: [path.absolute() for path in paths] for kind, paths in models.items()}
    else:
        folders = models.absolute()
    return replace(
        config, models=folders, model_config=None if settings is None else settings.absolute()
    )


def share(config: ServerConfig, there: Mapping[str, float]) -> dict[str, Any]:
    """Return what each replica takes of a cluster: a GPU, or where there are none its share of processors.

    Args:
        config: The server's.
        there: What the cluster has, in Ray's words.

    Returns:
        Ray's options of an actor.

    Raises:
        RequestError: There is too little for so many replicas.
    """
    kind, wanted = "CPU", config.replicas
    if config.devices[0] != "cpu" and there.get("GPU", 0) > 0:
        kind = "GPU"
    if there.get(kind, 0) < wanted:
        message = f"{wanted} replicas, but the cluster has {there.get(kind, 0):g} of {kind}"
        raise RequestError(f"{message}; ask for fewer, or add machines", field="replicas")
    if kind == "GPU":
        return {"num_cpus": 1, "num_gpus": 1}
    return {"num_cpus": int(there["CPU"] // wanted)}


def _runner(handle: Any, wishes: Any) -> Run:
    """Return what a queue runs jobs with on whichever replica is free."""

    def run(works: Sequence[Work], batch: int, control: Control) -> Sequence[Made]:
        asked = handle.options(stream=True, multiplexed_model_id=_name(works[0]))
        for number in range(1, _TRIES + 1):
            name = secrets.token_hex(8)
            try:
                answers = asked.make.remote(works, batch, name)
                with _heard(answers, control, wishes, name):
                    return _made(answers, control)
            except RayActorError:
                _log.warning("a replica died", extra={"facts": {"try": number, "of": _TRIES}})
            finally:
                wishes.forget.remote(name)
        message = (
            f"the job's replica died {_TRIES} times; perhaps it needs more memory than there is"
        )
        raise HTTPRefusal(message, status=500)

    return run


@contextmanager
def _heard(answers: Any, control: Control, wishes: Any, name: str) -> Generator[None]:
    """Let a batch hear, while its answers are waited for, what is wanted of it."""
    done = threading.Event()

    def watch() -> None:
        passed: dict[int, str] = {}
        while not done.wait(_PAUSE_S):
            if control.cancel.is_set():
                answers.cancel()
                return
            for number, interrupt in enumerate(control.interrupts):
                wish = "stop" if interrupt.stopped else "skip" if interrupt.skipping else None
                if wish is not None and passed.get(number) != wish:
                    passed[number] = wish
                    wishes.set.remote(name, number, wish)

    watching = threading.Thread(target=watch, name=f"wishes-{name}", daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


def _made(answers: Any, control: Control) -> Sequence[Made]:
    """Listen to a replica until it has made its batch."""
    try:
        for answer in answers:
            match answer:
                case Step():
                    control.on_step(answer.step, answer.steps, answer.previews)
                case Interrupted():
                    control.on_interrupted(answer.number, answer.results)
                case Failure():
                    raise answer.error
                case _:
                    return answer
    except (RequestCancelledError, TaskCancelledError):
        pass
    raise GenerationCancelled("stopped")


def _name(work: Work) -> str:
    """Return what a model is called between here and Ray Serve."""
    model = work.model
    assert isinstance(model, Model)
    return f"{Path(model.checkpoint)}\n{model.vae}"
