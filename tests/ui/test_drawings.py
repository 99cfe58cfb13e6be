"""What is shown of jobs and trainings: lines, bars and curves, without anybody's markup."""

from __future__ import annotations

from PIL import Image

from promptengine.request.request import GenerationRequest
from promptengine.server.jobs.queue import Job, Work
from promptengine.ui.html.loss_plot import losses_svg, thinned
from promptengine.ui.html.status import applied_html, message_html, progress_html

REPORT = {
    "kind": "hypernet",
    "name": "<ink>",
    "multiplier": 0.8,
    "unet_multiplier": None,
    "applied": False,
    "reason": "not found",
    "pass": "first",
}


def job(**facts: object) -> Job:
    work = Work((GenerationRequest(prompt="a", batch_count=2),), "model", None)
    return Job("id", "client", work, **facts)  # type: ignore[arg-type]


def test_a_job_that_waits_says_behind_whom() -> None:
    assert "Waiting behind 2 other jobs" in progress_html(job(), 2)
    assert "Waiting for the device" in progress_html(job(), 0)


def test_a_job_that_runs_shows_step_and_picture() -> None:
    running = job(state="running", batch=1, step=5, steps=10, preview=Image.new("RGB", (4, 4)))
    html = progress_html(running, None)
    assert "Batch 2 of 2 · Step 5 of 10" in html
    assert 'value="0.7500"' in html
    assert 'src="data:image/png;base64,' in html
    assert 'value="0.8750"' in progress_html(running, None, told="x", place=(1, 2))


def test_networks_are_applied_or_not_and_why() -> None:
    applied = {**REPORT, "name": "neon", "applied": True, "reason": "", "pass": "hires"}
    html = applied_html([REPORT, applied], ["careful"], [("Picture 1", "a <b>\nSteps: 1")])
    assert "hypernet &lt;ink&gt;</b> × 0.8 <span>not applied: not found</span>" in html
    assert "<span>applied in the second pass</span>" in html
    assert "careful" in html
    assert "a &lt;b&gt;\nSteps: 1" in html


def test_messages_are_escaped() -> None:
    assert "&lt;script&gt;" in message_html("<script>", "bad")


def test_the_curve_spans_all_steps() -> None:
    points = [(step, 1 / step, 1 / step) for step in range(1, 11)]
    svg = losses_svg(points, 20)
    assert svg.count("<circle") == 10
    assert ">20</text>" in svg
    assert losses_svg([], 20).count("<circle") == 0


def test_many_points_are_thinned_and_the_last_one_stays() -> None:
    points = [(step, 1.0, 1.0) for step in range(101)]
    few = thinned(points, 100)
    assert len(few) == 51
    assert few[-1] == (100, 1.0, 1.0)
