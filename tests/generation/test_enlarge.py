"""Networks that enlarge images between two passes and before img2img, inside a generation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from promptengine import (
    Engine,
    GenerationCancelled,
    GenerationRequest,
    HiresPass,
    ImageStart,
    Interrupt,
    NetworkFormatError,
    Options,
    Progress,
    RequestError,
)
from promptengine.sampling.noise import stream
from promptengine.super_resolution import tiles
from tests.conftest import CHECKPOINT, CONFIG
from tests.generation.test_engine import fingerprint, same
from tests.super_resolution.builders import nearest_compact, rrdb, write

HIRES = HiresPass(scale=2, upscaler="Twice", steps=1, denoising_strength=0.5)
REQUEST = GenerationRequest(
    prompt="a cat",
    seed=7,
    steps=2,
    width=64,
    height=64,
    sampler="Euler",
    hires=HIRES,
    options=Options(upscaler_tile=32),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    models = tmp_path_factory.mktemp("models")
    write(models / "ESRGAN" / "Twice.pth", nearest_compact(2))
    write(models / "ESRGAN" / "Damaged.pth", {**rrdb(), "odd": torch.ones(1)})
    torch.set_num_threads(1)
    return Engine.open(CHECKPOINT, models=models, config=CONFIG, device="cpu")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The shapes that the networks get."""
    shapes: list[tuple[int, ...]] = []
    run = tiles.UpscalerNetwork.run

    def noted(self: tiles.UpscalerNetwork, x: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(x.shape[2:]))
        return run(self, x)

    monkeypatch.setattr(tiles.UpscalerNetwork, "run", noted)
    yield shapes


def test_the_second_pass_starts_from_what_a_network_made(
    engine: Engine, seen: list[tuple[int, ...]]
) -> None:
    result = engine.generate(REQUEST)
    assert result.images[0].size == (128, 128)
    assert seen == [(32, 32)] * 9
    assert "Hires upscaler: Twice" in result.infotexts[0]
    nearest = engine.generate(replace(REQUEST, hires=replace(HIRES, upscaler="Nearest")))
    # The same pixels, but WebUI draws a network's initial weights before the encoder's noise.
    assert not torch.equal(result.latents, nearest.latents)
    assert torch.equal(result.latents, engine.generate(REQUEST).latents)


def test_images_to_start_from_are_enlarged(engine: Engine, seen: list[tuple[int, ...]]) -> None:
    start = ImageStart(images=(Image.new("RGB", (32, 32), "red"),), denoising_strength=0.5)
    request = replace(
        REQUEST, hires=None, start=start, options=Options(image_upscaler="Twice", upscaler_tile=0)
    )
    engine.generate(request)
    assert seen == [(32, 32)]


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        (
            replace(REQUEST, hires=replace(HIRES, upscaler="twice")),
            RequestError,
            "unknown upscaler 'twice'; there are Latent, .*, Lanczos, Nearest, Damaged, Twice",
        ),
        (
            replace(REQUEST, hires=replace(HIRES, upscaler="Damaged")),
            NetworkFormatError,
            "it holds 'odd', which no ESRGAN network has",
        ),
        (
            replace(
                REQUEST,
                hires=None,
                start=ImageStart(images=(Image.new("RGB", (32, 32)),)),
                options=Options(image_upscaler="Thrice"),
            ),
            RequestError,
            "unknown upscaler 'Thrice'; there are None, Lanczos, Nearest, Damaged, Twice",
        ),
        (
            replace(REQUEST, options=Options(upscaler_tile=8)),
            RequestError,
            "ESRGAN_tile_overlap is 8; it must be less than ESRGAN_tile",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_first_step(
    engine: Engine, request_: GenerationRequest, error: type[Exception], said: str
) -> None:
    steps: list[Progress] = []
    with pytest.raises(error, match=said):
        engine.generate(request_, on_progress=steps.append)
    assert not steps


def test_cancelling_acts_between_two_tiles(
    engine: Engine, seen: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, cancel, run = fingerprint(engine), threading.Event(), tiles.UpscalerNetwork.run

    def third(self: tiles.UpscalerNetwork, x: torch.Tensor) -> torch.Tensor:
        if len(seen) == 2:
            cancel.set()
        return run(self, x)

    monkeypatch.setattr(tiles.UpscalerNetwork, "run", third)
    with pytest.raises(GenerationCancelled, match="between two tiles"):
        engine.generate(REQUEST, cancel=cancel)
    assert len(seen) == 3
    assert same(fingerprint(engine), before)
    seen.clear()
    assert engine.generate(REQUEST).images, "and the engine works as before"


def test_an_interrupt_keeps_the_first_pass(
    engine: Engine, seen: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt, run = Interrupt(), tiles.UpscalerNetwork.run

    def third(self: tiles.UpscalerNetwork, x: torch.Tensor) -> torch.Tensor:
        if len(seen) == 2:
            interrupt.stop()
        return run(self, x)

    monkeypatch.setattr(tiles.UpscalerNetwork, "run", third)
    result = engine.generate(replace(REQUEST, batch_count=2), interrupt=interrupt)
    assert len(seen) == 3
    assert [image.size for image in result.images] == [(64, 64)]
    assert result.unfinished == (0,)
    whole = engine.generate(replace(REQUEST, hires=None))
    assert result.images[0].tobytes() == whole.images[0].tobytes()


@pytest.mark.parametrize("skipped", [1, 1000, (1 << 20) + 5])
def test_skipped_numbers_are_torchs_own(skipped: int) -> None:
    generator = torch.Generator().manual_seed(5)
    torch.rand(skipped, generator=generator)
    expected = torch.randn((4, 8, 8), generator=generator)
    assert torch.equal(stream(5, skipped=skipped)((4, 8, 8)), expected)


def test_files_come_and_go(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="unknown upscaler 'Late'"):
        engine.generate(replace(REQUEST, hires=replace(HIRES, upscaler="Late")))
    entry = engine.registry.find("upscaler", "Twice")
    assert entry is not None
    write(entry.path.with_name("Late.pth"), nearest_compact(2))
    assert engine.generate(replace(REQUEST, hires=replace(HIRES, upscaler="Late"))).images
