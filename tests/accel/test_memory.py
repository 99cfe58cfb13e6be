"""When memory is short: tiles before it runs out, and one clear line when it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from promptengine import Engine, GenerationRequest, OutOfMemoryError
from promptengine.accel import memory

BASE = GenerationRequest(prompt="a cat", seed=7, steps=1, width=64, height=64, sampler="Euler")


def with_free(monkeypatch: pytest.MonkeyPatch, count: int | None) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _device: count)


def tiles_of(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the VAE was set to tiles at each decoding to come."""
    seen: list[bool] = []
    vae: Any = engine.checkpoint.vae
    decode = vae.decode

    def noting(*args: Any, **kwargs: Any) -> Any:
        seen.append(vae.use_tiling)
        return decode(*args, **kwargs)

    monkeypatch.setattr(vae, "decode", noting)
    return seen


def test_the_vae_works_in_tiles_where_a_image_does_not_fit_whole(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = memory.vae_memory_bytes(tiny_engine.checkpoint.vae, 64, 64)
    tiles = tiles_of(tiny_engine, monkeypatch)
    with_free(monkeypatch, needed - 1)
    short = tiny_engine.generate(BASE)
    with_free(monkeypatch, needed)
    enough = tiny_engine.generate(BASE)
    assert tiles == [True, False]
    assert "in tiles" in short.diagnostics[-1].message
    assert not enough.diagnostics
    assert torch.equal(short.latents, enough.latents)


def test_the_larger_image_of_two_passes_counts(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promptengine.request.hires_pass import HiresPass

    with_free(monkeypatch, memory.vae_memory_bytes(tiny_engine.checkpoint.vae, 64, 64))
    result = tiny_engine.generate(replace(BASE, hires=HiresPass(scale=2)))
    assert "in tiles" in result.diagnostics[-1].message


def test_circular_images_are_never_cut_up(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = tiles_of(tiny_engine, monkeypatch)
    with_free(monkeypatch, 0)
    assert not tiny_engine.generate(replace(BASE, tiling=True)).diagnostics
    assert tiles == [False]


def test_what_is_free_is_told_of_the_cpu() -> None:
    free = memory.free_bytes(torch.device("cpu"))
    assert free is not None
    assert 0 < free < 1 << 50
    assert memory.free_bytes(torch.device("meta")) is None


def test_running_out_is_said_in_one_line(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any) -> Any:
        return torch.empty(1 << 60)

    with monkeypatch.context() as patched:
        patched.setattr("promptengine.generation.engine.sample_batch", greedy)
        with pytest.raises(OutOfMemoryError, match="not enough memory on cpu; ask for smaller"):
            tiny_engine.generate(BASE)
    assert tiny_engine.generate(BASE).images, "and the engine works as before"


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory.translate_oom(torch.device("cpu")):
        raise RuntimeError("shape")
