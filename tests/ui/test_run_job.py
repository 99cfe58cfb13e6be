"""The page's jobs in the server's queue: pictures, grids, and what ends them early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from promptengine.errors import RequestError
from promptengine.server.v1.schemas import JobForm
from promptengine.ui.run_job import Ended, Step, make, make_grid
from promptengine.xyz_plot.axes import Axis
from tests.ui.conftest import Live

SMALL = JobForm(prompt="a cat <hypernet:ink:1>", width=64, height=64, steps=2, seed=7)


async def _all(source: AsyncGenerator[Step | Ended]) -> list[Step | Ended]:
    return [event async for event in source]


def test_pictures_are_files_that_say_how_they_were_made(live: Live) -> None:
    events = asyncio.run(_all(make(live.service, SMALL, "me")))
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert all(isinstance(event, Step) for event in events[:-1])
    assert [file.name for file in ended.files] == ["7.png"]
    assert b"Seed: 7" in ended.files[0].data
    assert not ended.cancelled


def test_a_grid_is_a_job_for_each_picture_and_a_sheet(live: Live) -> None:
    axes = Axis.parse("steps=1,2"), Axis.parse("multiplier=0,1"), None
    events = asyncio.run(_all(make_grid(live.service, SMALL, axes, "me")))
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert [file.title for file in ended.files][:2] == ["The grid", "Picture 1 · seed 7"]
    assert "X Type: steps" in ended.files[0].infotext
    made = [picture.request for picture in ended.made.outputs]
    assert [request.steps for request in made] == [1, 2, 1, 2]
    assert [":0>" in request.prompt for request in made] == [True, True, False, False]


def test_a_grid_that_is_too_large_is_refused_before_anything_is_made(live: Live) -> None:
    with pytest.raises(
        RequestError, match="the grid would have 101 pictures; 100 are allowed here"
    ):
        asyncio.run(
            _all(make_grid(live.service, SMALL, (Axis.parse("seed=1-101"), None, None), "me"))
        )
    with pytest.raises(RequestError, match="steps"):
        asyncio.run(
            _all(make_grid(live.service, SMALL, (Axis.parse("steps=9999"), None, None), "me"))
        )


def test_an_interrupted_job_shows_its_picture_so_far(live: Live) -> None:
    async def interrupted() -> Step | Ended:
        source = make(live.service, SMALL.model_copy(update={"steps": 150}), "me")
        async for event in source:
            if isinstance(event, Step) and event.job.step:
                live.service.queue.interrupt(event.job)
            last = event
        return last

    ended = asyncio.run(interrupted())
    assert isinstance(ended, Ended)
    assert ended.cancelled
    assert [file.name for file in ended.files] == ["7.png"]
    assert ended.made.outputs[0].unfinished


def test_who_stops_listening_takes_the_job_along(live: Live) -> None:
    async def leave() -> Step | Ended:
        source = make(live.service, SMALL.model_copy(update={"steps": 150}), "me")
        first = await anext(source)
        await source.aclose()
        return first

    step = asyncio.run(leave())
    assert isinstance(step, Step)
    assert step.job.state == "cancelled"
