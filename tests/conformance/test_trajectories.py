"""What samplers ask and are told on their way, call by call, against WebUI's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine
from promptengine.generation import prepare as preparing
from promptengine.request.samplers import find_sampler
from tests.conformance.golden import difference, folder, rows, tensors
from tests.conformance.test_txt2img import CASES, TABLE, request_of

RECORDED = folder() / "webui" / "goldens" / "txt2img_trajectories.safetensors"
IDS = sorted({key.split("/")[0] for key in tensors(RECORDED)}) if RECORDED.is_file() else []

Call = tuple[Tensor, Tensor, Tensor]
"""What a sampler asked: latents, and sigma or timestep; and the answer."""


def calls_of(engine: Engine, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls that the sampler of a case makes."""
    calls: list[Call] = []
    request = request_of(case)
    sampler = find_sampler(request.sampler, request.scheduler)

    def run(ask: Any, *arguments: Any, **settings: Any) -> Tensor:
        def asked(x: Tensor, level: Tensor) -> Tensor:
            answer = ask(x, level)
            calls.append((x, level, answer))
            return answer

        return sampler.run(asked, *arguments, **settings)

    recording = replace(sampler, run=run)
    monkeypatch.setattr(preparing, "samplers_of", lambda _: (recording, None))
    engine.generate(request)
    return calls


@pytest.mark.parametrize("name", IDS)
def test_trajectories(engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = tensors(RECORDED)
    case = next(case for case in rows(TABLE) if case["id"] == name)
    calls = calls_of(engine, case, monkeypatch)
    assert len(calls) == len(case["denoiser_calls"])
    asked = torch.stack([x for x, _, _ in calls])
    answered = torch.stack([answer for _, _, answer in calls])
    scale = golden[f"{name}/x_in"].abs().amax(dim=(1, 2, 3, 4), keepdim=True)
    assert difference(asked / scale, golden[f"{name}/x_in"] / scale) <= 1e-4
    assert difference(answered, golden[f"{name}/denoised"]) <= 1e-3


@pytest.mark.parametrize(
    "case", [param for param in CASES if param.values[0]["id"].startswith(("smp", "opt", "steps"))]
)
def test_levels_asked_for(
    engine: Engine, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(engine, case, monkeypatch)
    expected = torch.tensor([level for _, level in case["denoiser_calls"]])
    ours = torch.stack([level for _, level, _ in calls]).float()
    tolerance = 1e-5
    if case["sampler"] == "DPM adaptive":
        # Where a step ends depends on the last digits of the one before: compared until they show.
        assert len(ours) == pytest.approx(len(expected), rel=0.1)
        ours, expected, tolerance = ours[:24], expected[:24], 1e-3
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=1e-4)
