"""The queue: bounded, fair, joined, and each job's fate its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from promptengine.errors import GenerationCancelled, RequestError
from promptengine.request.request import GenerationRequest
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.job import Job, Work
from promptengine.server.jobs.queue import JobQueue
from tests.server.live import Painter, until


def work(prompt: str, together: object = "same", **changes: Any) -> Work:
    request = GenerationRequest(prompt=prompt, seed=1, width=64, height=64, **changes)
    return Work((request,), "model", together)


@pytest.fixture
def queue(painter: Painter) -> Iterator[JobQueue]:
    queue = JobQueue([painter], room=5)
    yield queue
    painter.gate.set()
    queue.close(5)


def running(queue: JobQueue, job: Job) -> None:
    until(lambda: job in queue.running)


def ended(*jobs: Job) -> None:
    until(lambda: all(job.has_ended for job in jobs))


def test_a_full_queue_refuses_and_says_when_to_come_back(queue: JobQueue) -> None:
    running(queue, queue.submit(work("first", None), "a"))
    for number in range(5):
        queue.submit(work(str(number)), "a")
    with pytest.raises(HTTPRefusal, match="5 jobs are waiting") as refused:
        queue.submit(work("one more"), "b")
    assert refused.value.status == 503
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1


@pytest.mark.parametrize(
    ("prompt", "position", "order"),
    [
        ("a0", 0, "a0 b0 c0 a1 b1 a2"),
        # To where another client's turn is, it goes beyond it.
        ("a2", 2, "a2 b0 c0 a0 b1 a1"),
        ("a2", 3, "a0 b0 c0 a2 b1 a1"),
        ("a0", 1, "a1 b0 c0 a0 b1 a2"),
        ("a1", 4, "a0 b0 c0 a2 b1 a1"),
        ("b1", 0, "a0 b1 c0 a1 b0 a2"),
        ("b0", 99, "a0 b1 c0 a1 b0 a2"),
        ("c0", 0, "a0 b0 c0 a1 b1 a2"),
    ],
)
def test_a_job_is_moved_within_its_clients_turns(
    painter: Painter, prompt: str, position: int, order: str
) -> None:
    queue = JobQueue([painter], room=9)
    running(queue, queue.submit(work("begin", None), "a"))
    names = ("a0", "a1", "a2", "b0", "b1", "c0")
    jobs = {name: queue.submit(work(name, None), name[0]) for name in names}
    changes = queue.changes
    line = queue.move(jobs[prompt], position)
    told = " ".join(job.prompt for job in queue.waiting)
    assert told == order
    assert [job.prompt for job in line] == [one for one in told.split() if one[0] == prompt[0]]
    assert queue.changes == changes + 1
    assert queue.move(queue.running[0], 0) == []
    painter.gate.set()
    queue.close(5)


def test_clients_take_turns(queue: JobQueue, painter: Painter) -> None:
    running(queue, queue.submit(work("begin", None), "a"))
    jobs = [queue.submit(work(f"a{number}", None), "a") for number in range(3)]
    jobs += [queue.submit(work(name, None), name) for name in ("b", "c")]
    assert [job.work.requests[0].prompt for job in queue.waiting] == ["a0", "b", "c", "a1", "a2"]
    painter.gate.set()
    ended(*jobs)
    assert [batch[0] for batch in painter.batches] == ["begin", "a0", "b", "c", "a1", "a2"]


def test_waiting_jobs_that_go_together_become_one_batch(queue: JobQueue, painter: Painter) -> None:
    running(queue, queue.submit(work("begin", None), "a"))
    jobs = [queue.submit(work(name), "a") for name in ("x", "y")]
    other = queue.submit(work("other", "different"), "a")
    jobs.append(queue.submit(work("z"), "b"))
    painter.gate.set()
    ended(*jobs, other)
    assert sorted(map(sorted, painter.batches)) == [["begin"], ["other"], ["x", "y", "z"]]
    assert all(
        job.results[0][0].infotexts[0].startswith(job.work.requests[0].prompt) for job in jobs
    )


def test_a_shared_batch_has_its_limit(painter: Painter) -> None:
    queue = JobQueue([painter], joined=4)
    running(queue, queue.submit(work("begin", None), "a"))
    jobs = [queue.submit(work(str(n), batch_size=2), "a") for n in range(3)]
    painter.gate.set()
    ended(*jobs)
    assert sorted(map(len, painter.batches)) == [1, 1, 2]
    queue.close(5)


def test_a_failure_is_one_jobs_alone(queue: JobQueue, painter: Painter) -> None:
    painter.fails = ("bad",)
    running(queue, queue.submit(work("begin", None), "a"))
    good, bad, fine = (queue.submit(work(name), name) for name in ("good", "bad", "fine"))
    painter.gate.set()
    ended(good, bad, fine)
    assert [job.state for job in (good, bad, fine)] == ["done", "failed", "done"]
    assert isinstance(bad.error, HTTPRefusal)
    assert bad.error.status == 500
    assert "secret" not in str(bad.error)
    after = queue.submit(work("after"), "a")
    ended(after)
    assert after.state == "done"


def test_an_error_of_ours_is_told_as_it_is() -> None:
    def run(*_: object) -> Any:
        raise RequestError("steps is 0", field="steps")

    queue = JobQueue([run])
    job = queue.submit(work("a"), "a")
    ended(job)
    assert str(job.error) == "steps is 0"
    queue.close(5)


def test_one_of_a_batch_can_be_cancelled(queue: JobQueue, painter: Painter) -> None:
    running(queue, queue.submit(work("begin", None), "a"))
    first, second = (queue.submit(work(name, batch_count=2), "a") for name in ("x", "y"))
    cancelled: list[bool] = []

    def cancel_after_a_step() -> None:
        if first.step == 1 and not first.has_ended:
            cancelled.append(queue.cancel(first))

    queue.listen(first, cancel_after_a_step)
    painter.gate.set()
    ended(second)
    assert cancelled == [True]
    assert not queue.cancel(first)
    assert (first.state, second.state) == ("cancelled", "done")
    assert len(second.results) == 2
    assert painter.batches[-1] == ["y"]


def test_cancelling_all_of_a_batch_stops_it(queue: JobQueue, painter: Painter) -> None:
    job = queue.submit(work("x"), "a")
    running(queue, job)
    queue.cancel(job)
    assert isinstance(job.error, GenerationCancelled)
    after = queue.submit(work("after"), "a")
    running(queue, after)
    assert painter.batches == [["x"], ["after"]]


def test_a_waiting_job_can_be_cancelled(queue: JobQueue, painter: Painter) -> None:
    running(queue, queue.submit(work("begin", None), "a"))
    job = queue.submit(work("x"), "a")
    queue.cancel(job)
    assert queue.waiting == []
    painter.gate.set()
    until(lambda: not queue.running)
    assert painter.batches == [["begin"]]


def test_batches_that_are_done_stay_when_a_job_is_cancelled(
    queue: JobQueue, painter: Painter
) -> None:
    job = queue.submit(work("x", batch_count=3), "a")
    seen: list[float] = []

    def stop_in_the_second() -> None:
        seen.append(job.progress)
        if job.batch == 1 and job.step == 1:
            queue.cancel(job)

    queue.listen(job, stop_in_the_second)
    painter.gate.set()
    ended(job)
    assert job.state == "cancelled"
    assert len(job.results) == 1
    assert seen == sorted(seen)


def test_an_interrupted_job_keeps_what_it_has(queue: JobQueue) -> None:
    job = queue.submit(work("x", batch_count=3), "a")
    running(queue, job)
    queue.interrupt(job)
    ended(job)
    assert (job.state, job.error) == ("interrupted", None)
    assert [batch[0].unfinished for batch in job.results] == [(0,)]


def test_one_of_a_batch_can_be_interrupted(queue: JobQueue, painter: Painter) -> None:
    running(queue, queue.submit(work("begin", None), "a"))
    first, second = (queue.submit(work(name, batch_count=2), "a") for name in ("x", "y"))
    queue.interrupt(queue.running[0])
    running(queue, second)
    queue.interrupt(first)
    ended(first)
    assert (first.state, second.state) == ("interrupted", "running")
    assert [batch[0].unfinished for batch in first.results] == [(0,)]
    painter.gate.set()
    ended(second)
    assert second.state == "done"
    assert [batch[0].unfinished for batch in second.results] == [(), ()]
    assert painter.batches == [["begin"], ["x", "y"], ["y"]]


def test_a_skipped_batch_is_followed_by_the_next(queue: JobQueue, painter: Painter) -> None:
    job = queue.submit(work("x", batch_count=2), "a")
    running(queue, job)
    until(lambda: painter.batches)
    job.interrupt.skip()
    until(lambda: len(painter.batches) == 2)
    painter.gate.set()
    ended(job)
    assert job.state == "done"
    assert [batch[0].unfinished for batch in job.results] == [(0,), ()]


def test_a_waiting_job_is_interrupted_without_a_image(queue: JobQueue, painter: Painter) -> None:
    running(queue, queue.submit(work("begin", None), "a"))
    job = queue.submit(work("x"), "a")
    queue.interrupt(job)
    assert (job.state, job.error, job.results, queue.waiting) == ("interrupted", None, [], [])
    painter.gate.set()
    until(lambda: not queue.running)
    assert painter.batches == [["begin"]]


def test_ended_jobs_are_kept_within_bounds(painter: Painter) -> None:
    painter.gate.set()
    queue = JobQueue([painter], kept=3, kept_bytes=2 * 3 * 64 * 64)
    jobs = []
    for number in range(5):
        jobs.append(queue.submit(work(str(number)), "a"))
        ended(jobs[-1])
    until(lambda: queue.find(jobs[-1].id) is not None)
    assert [queue.find(job.id) is not None for job in jobs] == [False, False, False, True, True]
    queue.forget(jobs[-1])
    assert jobs[-1].results == []
    queue.close(5)


def test_labels_find_the_job_that_matters(queue: JobQueue, painter: Painter) -> None:
    first = queue.submit(work("x", None), "a", "mine")
    running(queue, first)
    second = queue.submit(work("y", None), "a", "mine")
    assert queue.labeled("mine") is first
    assert queue.labeled("") is None
    queue.cancel(first)
    painter.gate.set()
    ended(second)
    assert queue.labeled("mine") is second


def test_an_end_in_order(painter: Painter) -> None:
    queue = JobQueue([painter])
    first = queue.submit(work("x", None), "a")
    running(queue, first)
    waiting = queue.submit(work("y", None), "a")
    closing = threading.Thread(target=queue.close, args=(10,))
    closing.start()
    until(lambda: waiting.has_ended)
    assert isinstance(waiting.error, HTTPRefusal)
    assert waiting.error.status == 503
    with pytest.raises(HTTPRefusal, match="stopping"):
        queue.submit(work("z"), "a")
    painter.gate.set()
    closing.join(60)
    assert first.state == "done"


def test_an_end_without_grace(painter: Painter) -> None:
    queue = JobQueue([painter])
    job = queue.submit(work("x"), "a")
    running(queue, job)
    begin = time.monotonic()
    queue.close(0.1)
    assert job.state == "cancelled"
    assert time.monotonic() - begin < 5
