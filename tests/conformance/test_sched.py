"""Samplers, schedule types and what goes with them, as requests of WebUI 1.10.1's API."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine
from promptengine.errors import RequestError
from promptengine.generation.sampling_pass import noise_table
from promptengine.request.request import samplers_of
from promptengine.request.samplers import split_sampler
from promptengine.request.schedulers import AUTOMATIC, SCHEDULERS, find_scheduler
from promptengine.server.errors import HTTPRefusal
from promptengine.server.sdapi.to_response import api_infotext
from tests.conformance.api import request_of
from tests.conformance.golden import difference, folder, rows, tensors
from tests.conformance.test_txt2img import (
    ADAPTIVE_TOLERANCE,
    LATENT_TOLERANCE,
    without_own_keys,
)

TABLE = folder() / "webui-3" / "goldens" / "sched.jsonl"
SIGMA_TOLERANCE = 2e-4
KINDS = {one.lower() for kind in SCHEDULERS.values() for one in (kind.name, kind.label)}


def misnames(case: dict[str, Any]) -> bool:
    """Whether WebUI takes a name that it does not know for another one."""
    return case.get("quirk", "").startswith("an unknown name") or case.get(
        "scheduler", AUTOMATIC
    ).lower() not in KINDS | {AUTOMATIC}


def ends_without_number(case: dict[str, Any]) -> bool:
    """Whether WebUI's image is none, for want of a number that half precision can hold."""
    return case.get("quirk", "").startswith("the result is not a number")


def params(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in cases]


ALL = rows(TABLE) if TABLE.is_file() else []
FAILED = [case for case in ALL if "error" in case]
MISNAMED = [case for case in ALL if misnames(case)]
NUMBERLESS = [case for case in ALL if ends_without_number(case)]
CASES = [case for case in ALL if case not in FAILED + MISNAMED + NUMBERLESS]


@cache
def latents() -> dict[str, Tensor]:
    return tensors(TABLE.with_name("sched_latents.safetensors"))


@pytest.fixture
def checkpoint(model_dir: Path) -> Path:
    return model_dir / "tiny-sd1.safetensors"


def tolerance(case: dict[str, Any]) -> float:
    if case.get("sampler") == "DPM adaptive":
        return ADAPTIVE_TOLERANCE
    large = case.get("note", "").startswith("latents are large")
    return LATENT_TOLERANCE * max(case["latents_std"] if large else 1.0, 1.0)


@pytest.mark.parametrize("case", params(CASES))
def test_generation(engine: Engine, checkpoint: Path, case: dict[str, Any]) -> None:
    request = request_of(case, engine.registry, checkpoint)
    table = noise_table(engine.checkpoint.noise_table, request.options)
    passes = [one for one in samplers_of(request) if one is not None]
    for sampler, golden in zip(passes, case["schedules"], strict=True):
        ours = sampler.schedule(table, golden["steps"], request.options)
        expected = torch.tensor(golden["values"])
        torch.testing.assert_close(ours.to(expected), expected, rtol=SIGMA_TOLERANCE, atol=0)
    result = engine.generate(request)
    assert difference(result.latents, latents()[case["id"]]) <= tolerance(case)
    assert list(result.seeds) == case["seeds"]
    ours = [without_own_keys(api_infotext(text)) for text in result.infotexts]
    if case.get("opts", {}).get("use_old_emphasis_implementation"):
        # WebUI forgets the words of textual inversion there.
        ours = [text.partition(", TI hashes")[0] for text in ours]
    if told_by_us_alone(case):
        ours = [text.replace("Hires schedule type: Automatic, ", "") for text in ours]
    assert ours == [without_own_keys(text) for text in case["infotexts"]]


def told_by_us_alone(case: dict[str, Any]) -> bool:
    """Whether WebUI leaves out that the second pass has the plain list, which the first has not."""
    return case.get("hr_scheduler") == "Automatic" and case.get("scheduler") is not None


@pytest.mark.parametrize("case", params(MISNAMED))
def test_names_are_not_taken_for_others(
    engine: Engine, checkpoint: Path, case: dict[str, Any]
) -> None:
    """Deviation: WebUI has DPM++ 2M for unknown samplers, Automatic for unknown schedule types."""
    try:
        request = request_of(case, engine.registry, checkpoint)
    except HTTPRefusal as refusal:
        assert refusal.status == 404 and "not found" in str(refusal)
        return
    sampler, _ = samplers_of(request)
    kind = find_scheduler(sampler.scheduler)
    spellings = {*sampler.aliases, *(kind.aliases if kind else ())}
    assert {case["sampler"], case.get("scheduler")} & spellings


@pytest.mark.parametrize("case", params(FAILED))
def test_second_passes_that_webui_fails_at(
    engine: Engine, checkpoint: Path, case: dict[str, Any]
) -> None:
    """Deviation: what WebUI's own page says for the same sampler, and joined names, are understood."""
    _, second = samplers_of(request_of(case, engine.registry, checkpoint))
    assert second is not None
    name = case["hr_sampler_name"]
    if name == "Use same sampler":
        name = case["sampler"]
    sampler, ending = split_sampler(name)
    assert second.name == sampler.name
    kind = ending.label if ending else case["scheduler"]
    assert SCHEDULERS[second.scheduler].label == kind


@pytest.mark.parametrize("case", params(NUMBERLESS))
def test_levels_without_number_are_refused(
    engine: Engine, checkpoint: Path, case: dict[str, Any]
) -> None:
    with pytest.raises(RequestError, match="leave one of them out"):
        request_of(case, engine.registry, checkpoint)
