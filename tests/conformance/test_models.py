"""A second pass's checkpoint, refiners, and VAEs against WebUI 1.10.1's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine, GenerationResult, RequestError
from promptengine.generation import enlarge as enlarge_module
from promptengine.generation import sample
from promptengine.generation.enlarge import enlarge_latents
from promptengine.registry.registry import Registry
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.to_response import api_infotext
from tests.conformance.api import request_and_model
from tests.conformance.golden import device, difference, folder, rows, tensors
from tests.conformance.test_txt2img import LATENT_TOLERANCE, without_own_keys
from tests.conformance.upscaler_folders import golden_image, share_off, worst_level

TABLE = folder() / "webui-3" / "goldens" / "models.jsonl"
UNKNOWN_VAE = "no-such"
"""Deviation: WebUI takes the checkpoint's own VAE for one that is not here; that is refused here."""

ALL = rows(TABLE) if TABLE.is_file() else []


def is_refused(case: dict[str, Any]) -> bool:
    vaes = [case.get(key, {}).get("sd_vae", "") for key in ("opts", "override_settings")]
    return "error" in case or any(vae.startswith(UNKNOWN_VAE) for vae in vaes)


CASES = [pytest.param(case, id=case["id"]) for case in ALL if not is_refused(case)]
REFUSED = [pytest.param(case, id=case["id"]) for case in ALL if is_refused(case)]

EngineOf = Callable[[Model], Engine]


@cache
def golden(name: str) -> dict[str, Tensor]:
    return tensors(TABLE.with_name(f"{name}.safetensors"))


@pytest.fixture(scope="module")
def engine_of(model_dir: Path, second_models: Registry) -> EngineOf:
    """An engine of each model, made when it is first asked for: all cases of a model share it."""
    torch.set_num_threads(1)

    @cache
    def opened(model: Model) -> Engine:
        return Engine.open(
            model.checkpoint,
            models=second_models,
            config=model_dir / "diffusers_config",
            device=device(),
            dtype="float32",
            vae=model.vae,
        )

    return opened


@pytest.mark.parametrize("case", CASES)
def test_generation(
    engine_of: EngineOf,
    model_dir: Path,
    second_models: Registry,
    case: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, found = case["id"], golden("models_intermediate")
    # WebUI's first checkpoint is the folder's, by whose name it may be named as a further one.
    (first,) = [e for e in second_models.entries("checkpoint") if e.name == "tiny-sd1"]
    request, model = request_and_model(case, second_models, first.path)

    def enlarge(parts: Any, job: Any, x: Tensor, *more: Any) -> Any:
        if (expected := found.get(f"{name}/first_pass")) is not None:
            assert difference(x, expected) <= LATENT_TOLERANCE
            # Decoding cuts to 8 bits, so that what falls to the other side makes another start.
            x = expected
        return enlarge_latents(parts, job, x, *more)

    monkeypatch.setattr(sample, "enlarge_latents", enlarge)
    noise = found.get(f"{name}/encode_eps")
    if noise is not None and request.hires is not None and request.hires.checkpoint is not None:
        # WebUI draws numbers of the encoder's generator while it loads the model.
        drawn = noise
        monkeypatch.setattr(
            enlarge_module, "stream", lambda _seed, *, skipped: lambda _shape: drawn
        )
    noise = None if request.start is None else noise
    result = engine_of(model).generate(request, encoder_noise=noise)
    pixels = request.start is not None or f"{name}/first_pass" in found
    tolerance = LATENT_TOLERANCE * (2 if pixels else 1)
    assert difference(result.latents, golden("models_latents")[name]) <= tolerance
    assert list(result.seeds) == case["seeds"]
    if "model_at_calls" in case:
        assert calls_of(result) == case["model_at_calls"]
    assert len({use.name for use in result.models}) == len(set(case.get("model_at_calls", ["one"])))
    ours = [without_own_keys(api_infotext(text)) for text in result.infotexts]
    assert ours == [without_own_keys(text) for text in case["infotexts"]]
    for number, image in enumerate(result.images):
        if (expected := golden_image("models", name, number)) is not None:
            assert worst_level(image, expected) <= 1
            assert share_off(image, expected) < 0.02


def calls_of(result: GenerationResult) -> list[str]:
    """The model of each call of the denoiser."""
    return [use.name for use in result.models for _ in range(use.calls)]


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_here_is_refused_by_name(
    second_models: Registry, model_dir: Path, case: dict[str, Any]
) -> None:
    with pytest.raises((RequestError, HTTPRefusal), match=r"no-such.*"):
        request_and_model(case, second_models, model_dir / "tiny-sd1.safetensors")
