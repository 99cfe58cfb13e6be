"""Engines in processes of their own: the same images, also when a process dies over them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

import psutil
import torch

from promptengine.errors import (
    CheckpointError,
    GenerationCancelled,
    RequestError,
    UnknownNetworkError,
)
from promptengine.interrupt import Interrupt
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.scripts.script import ScriptCall, ScriptOutput
from promptengine.scripts.table import find_script, named_arguments
from promptengine.server.config import ServerConfig
from promptengine.server.jobs.job import Control, Made, OnStep, Run, Work
from promptengine.server.jobs.queue import JobQueue
from promptengine.server.jobs.ray import Replica, replica_runs, share
from promptengine.server.jobs.worker import Device, Model, runner
from tests.conftest import CONFIG
from tests.server.conftest import fill
from tests.server.live import until
from tests.server.test_faults import free_port

pytestmark = pytest.mark.slow


def control(
    on_step: OnStep = lambda *_: None,
    interrupts: Sequence[Interrupt] = (),
    on_interrupted: Any = lambda *_: None,
) -> Control:
    """What a caller wants who is interested in little."""
    wishes = interrupts or [Interrupt()]
    return Control(on_step, on_interrupted, threading.Event(), wishes)


def work(config: ServerConfig, seed: int, *, checkpoint: str = "tiny", **more: object) -> Work:
    assert isinstance(config.models, Path)
    path = config.models / "Stable-diffusion" / f"{checkpoint}.safetensors"
    settings = {"prompt": "a cat <hypernet:hn-relu>", "steps": 3, "width": 64, "height": 64, **more}
    request = GenerationRequest(seed=seed, **settings)  # type: ignore[arg-type]
    return Work((request,), Model(path, "Automatic"), None)


def image(results: Sequence[Made]) -> bytes:
    return results[0][0].images[0].tobytes()  # type: ignore[index]


def replica_processes(server: int = os.getpid()) -> list[int]:
    """The processes of a server's replicas, by the name that Ray gives them."""
    below = psutil.Process(server).children(recursive=True)
    return [one.pid for one in below if one.name().startswith("ray::ServeRepli")]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ServerConfig:
    models = fill(tmp_path_factory.mktemp("replicas") / "models")
    return ServerConfig(
        models=models,
        checkpoint="tiny",
        model_config=CONFIG,
        devices=("cpu",),
        replicas=min(os.cpu_count() or 1, 2),
    )


@pytest.fixture(scope="module")
def runs(config: ServerConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Run]]:
    with pytest.MonkeyPatch.context() as patch:
        # The replicas take over what is set when the cluster starts.
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        with replica_runs(config) as runs:
            yield runs


@pytest.fixture(scope="module")
def here(config: ServerConfig) -> Run:
    """What makes images in this process, to compare with."""
    torch.set_num_threads(1)
    return runner(Device("cpu", config, Registry.open(config.models)))


def made(run: Run, work: Work) -> bytes:
    return image(run([work], 0, control()))


def test_a_replica_makes_the_same_image_and_tells_of_every_step(
    config: ServerConfig, runs: list[Run], here: Run
) -> None:
    steps: list[tuple[int, int, int]] = []

    def on_step(step: int, of: int, previews: Sequence[object]) -> None:
        steps.append((step, of, len(previews)))

    there = runs[0]([work(config, 5)], 0, control(on_step))
    assert image(there) == made(here, work(config, 5))
    assert steps == [(1, 3, 1), (2, 3, 1), (3, 3, 1)]
    assert [network.name for network in there[0][0].networks] == ["hn-relu"]


def test_another_checkpoint_is_loaded_when_asked_for(
    config: ServerConfig, runs: list[Run], here: Run
) -> None:
    for name in ("other", "tiny"):
        result = runs[0]([work(config, 6, checkpoint=name)], 0, control())
        assert f"Model: {name}" in result[0][0].infotexts[0]
        assert image(result) == made(here, work(config, 6))


def test_an_error_comes_back_as_it_was(config: ServerConfig, runs: list[Run]) -> None:
    asked = work(config, 1, prompt="a cat <hypernet:hn-rely>", policy="strict")
    with pytest.raises(UnknownNetworkError, match=r"hn-rely.*did you mean 'hn-relu'") as caught:
        runs[0]([asked], 0, control())
    assert caught.value.name == "hn-rely"


def test_a_cancelled_batch_ends_and_the_replica_goes_on(
    config: ServerConfig, runs: list[Run], here: Run
) -> None:
    steps: list[int] = []

    def on_step(step: int, *_: object) -> None:
        steps.append(step)
        asked.cancel.set()

    asked = control(on_step)
    with pytest.raises(GenerationCancelled):
        runs[0]([work(config, 1, steps=100)], 0, asked)
    assert len(steps) < 50
    assert made(runs[0], work(config, 2)) == made(here, work(config, 2))


def test_an_interrupted_batch_comes_back_as_far_as_it_got(
    config: ServerConfig, runs: list[Run]
) -> None:
    works = [work(config, seed, steps=100) for seed in (1, 2)]
    interrupts, early = [Interrupt(), Interrupt()], []

    def on_step(step: int, *_: object) -> None:
        if step >= 2:
            interrupts[1].stop()
        if step >= 60:
            interrupts[0].skip()

    asked = control(on_step, interrupts, lambda *told: early.append(told))
    first, second = runs[0](works, 0, asked)
    assert (first[0].unfinished, second[0].unfinished) == ((0,), (0,))
    ((number, (result,)),) = early
    assert number == 1
    assert result.images[0].tobytes() == image([second])
    noted = [one.diagnostics[0].message for one in (second[0], first[0])]
    steps = [int(message.split("step ")[1].split()[0]) for message in noted]
    assert 2 <= steps[0] < 50
    assert 60 <= steps[1] < 100


def test_no_job_is_lost_when_a_process_is_killed(
    config: ServerConfig, runs: list[Run], here: Run
) -> None:
    queue = JobQueue(runs)
    jobs = [queue.submit(work(config, seed, steps=40), "a") for seed in range(6)]
    until(lambda: all(job.step > 0 for job in jobs[: len(runs)]))
    killed = replica_processes()
    assert len(killed) == len(runs)
    os.kill(killed[0], signal.SIGKILL)
    until(lambda: all(job.has_ended for job in jobs), 240)
    queue.close(5)
    assert [(job.state, job.error) for job in jobs] == [("done", None)] * len(jobs)
    for job in jobs:
        assert image(job.results) == made(here, job.work)
    until(lambda: len(replica_processes()) == len(runs), 120)
    assert killed[0] not in replica_processes()


def test_a_cluster_that_is_not_there_is_named(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(
            RequestError, match=f"^Ray does not start at '{address}': .*refused; let RAY"
        ),
        replica_runs(config),
    ):
        pass


def test_replicas_share_the_cluster(config: ServerConfig) -> None:
    two = replace(config, replicas=2)
    assert share(two, {"CPU": 5}) == {"num_cpus": 2}
    assert share(two, {"CPU": 5, "GPU": 2}) == {"num_cpus": 2}
    assert share(replace(two, devices=("auto",)), {"CPU": 5, "GPU": 2}) == {
        "num_cpus": 1,
        "num_gpus": 1,
    }
    with pytest.raises(RequestError, match="2 replicas, but the cluster has 1 of CPU; ask for few"):
        share(two, {"CPU": 1})


def test_one_device_is_one_replicas(config: ServerConfig) -> None:
    with (
        pytest.raises(RequestError, match="each replica has one device"),
        replica_runs(replace(config, devices=("cpu", "cuda"))),
    ):
        pass


def test_a_replica_says_what_it_cannot_load(config: ServerConfig, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    replica = Replica(config, Model(broken, "Automatic"))
    failure = replica.load(Model(broken, "Automatic"))
    assert failure is not None
    assert isinstance(failure.error, CheckpointError)
    assert replica.load(work(config, 1).model) is None  # type: ignore[arg-type]


def test_a_script_runs_in_a_replica_with_the_checkpoints_it_asks_for(
    config: ServerConfig, runs: list[Run], here: Run
) -> None:
    text = "a dog\n--prompt 'a fox' --sd_model other"
    script = find_script("prompts from file or textbox")
    call = ScriptCall(script.name, named_arguments(script, {"text": text}))
    asked = replace(work(config, 5), script=call)
    steps: list[tuple[int, int]] = []
    (there,) = runs[0]([asked], 0, control(lambda step, of, _: steps.append((step, of))))
    (own,) = here([asked], 0, control())
    assert isinstance(there, ScriptOutput)
    assert isinstance(own, ScriptOutput)
    assert [one.image.tobytes() for one in there.images] == [
        one.image.tobytes() for one in own.images
    ]
    assert "Model: tiny" in there.images[0].infotext
    assert "Model: other" in there.images[1].infotext
    assert steps == [(step, 6) for step in range(1, 7)]
    # What is returned is still what was made, and not a copy of it.
    assert there.images[0].image is there.results[0].images[0]
