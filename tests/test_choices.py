"""The lists of what a request may choose from."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from promptengine import (
    GenerationRequest,
    Options,
    Registry,
    options,
    samplers,
    schedulers,
    upscalers,
)
from promptengine.images.upscalers import find_upscaler


def test_every_sampler_and_scheduler_of_the_lists_can_be_asked_for() -> None:
    assert len({sampler.name for sampler in samplers()}) == len(samplers()) >= 20
    for sampler in samplers():
        for name in (sampler.name, *sampler.aliases):
            assert GenerationRequest(prompt="", sampler=name)
    assert schedulers()[0].name == "automatic"
    for scheduler in schedulers():
        for name in (scheduler.name, scheduler.label, *scheduler.aliases):
            assert GenerationRequest(prompt="", scheduler=name)


def test_upscalers_of_images_can_be_found() -> None:
    assert {one.name for one in upscalers() if one.latent} >= {"Latent", "Latent (nearest)"}
    for one in upscalers():
        if not one.latent:
            find_upscaler(one.name)


def test_upscalers_in_files_are_listed_where_a_registry_has_them(tmp_path: Path) -> None:
    (tmp_path / "ESRGAN").mkdir()
    (tmp_path / "ESRGAN" / "Sharp.pth").touch()
    more = set(upscalers(Registry.open(tmp_path))) - set(upscalers())
    assert [(one.name, one.latent) for one in more] == [("Sharp", False)]


def test_options_are_those_of_the_dataclass() -> None:
    assert [one.name for one in options()] == [field.name for field in fields(Options)]
    for one in options():
        assert Options.from_webui({one.label: Options().to_webui()[one.label]}) == Options()
        assert isinstance(one.default, one.type)
        for choice in one.choices:
            Options(**{one.name: choice})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("described", [samplers, schedulers, upscalers, options])
def test_descriptions_cannot_be_changed(described: object) -> None:
    (first, *_) = described()  # type: ignore[operator]
    with pytest.raises(AttributeError):
        first.name = "another"
