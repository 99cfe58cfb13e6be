"""The starter checkpoint and its hypernetworks, as they are shipped: small, obedient, and steered by tags."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from models.starter.evaluate import evaluate, held_out_scenes, pictures_of
from models.starter.probe import Probe, load_probe, stacked, style_shares
from models.starter.world import PLACES, STYLES, TIMES
from promptengine import Engine, GenerationRequest

MODELS = Path(__file__).parent.parent.parent / "models"
STARTER = MODELS / "Stable-diffusion" / "starter.safetensors"
NETWORKS = ("neon", "vintage", "pastel")


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.set_num_threads(1)
    return Engine.open(STARTER, models=MODELS, device="cpu")


@pytest.fixture(scope="module")
def probe() -> Probe:
    return load_probe()


def drawn(engine: Engine, prompt: str, negative_prompt: str = "", steps: int = 12) -> Image.Image:
    request = GenerationRequest(
        prompt=prompt, negative_prompt=negative_prompt, seed=4, steps=steps, policy="strict"
    )
    return engine.generate(request).images[0]


def seen(probe: Probe, image: Image.Image, question: str) -> torch.Tensor:
    """The probe's probabilities of the answers to a question about a picture."""
    with torch.no_grad():
        return probe(stacked([image]))[question].softmax(1)[0]


def test_the_file_is_small_and_says_how_it_is_built() -> None:
    assert STARTER.stat().st_size <= 30e6
    assert sum(path.stat().st_size for path in (MODELS / "hypernetworks").iterdir()) < 5e6


def test_it_draws_combinations_it_never_saw(engine: Engine, probe: Probe) -> None:
    verdict = evaluate(engine, probe, pictures=12)
    assert verdict.objects >= 0.8
    assert verdict.place >= 0.8
    assert verdict.time >= 0.8
    assert verdict.colours >= 0.7


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_changes_the_style_and_multiplier_0_nothing(
    engine: Engine, probe: Probe, name: str
) -> None:
    scenes = held_out_scenes(4)
    style = STYLES.index(name)
    bare, off, on = (
        pictures_of(engine, scenes, steps=12, use=use) for use in (None, (name, 0.0), (name, 1.0))
    )
    assert torch.equal(bare, off)
    assert style_shares(probe, bare)[:, style].mean() < 0.2
    assert style_shares(probe, on)[:, style].mean() > 0.8


def test_networks_stack(engine: Engine) -> None:
    both = drawn(engine, "a house, lake <hypernet:pastel:0.5><hypernet:neon:0.5>")
    one = drawn(engine, "a house, lake <hypernet:pastel:0.5>")
    assert both.tobytes() != one.tobytes()


def test_the_negative_prompt_acts(engine: Engine, probe: Probe) -> None:
    night = TIMES.index("night")
    prompt = "a red house, lake"
    without, against = drawn(engine, f"{prompt}, night"), drawn(engine, prompt, "night")
    assert seen(probe, without, "time")[night] > 0.8
    assert seen(probe, against, "time")[night] < 0.2


def test_weights_act(engine: Engine, probe: Probe) -> None:
    light = drawn(engine, "a red house, (day:1.4), (night:0.6)")
    dark = drawn(engine, "a red house, (day:0.6), (night:1.4)")
    assert seen(probe, light, "time")[TIMES.index("day")] > 0.8
    assert seen(probe, dark, "time")[TIMES.index("night")] > 0.8


def test_schedules_act(engine: Engine, probe: Probe) -> None:
    """What a picture is about is settled in the first steps, so the early text decides the place."""
    picture = drawn(engine, "a red house, [desert:lake:0.9]")
    other = drawn(engine, "a red house, [lake:desert:0.9]")
    assert seen(probe, picture, "place")[PLACES.index("desert")] > 0.8
    assert seen(probe, other, "place")[PLACES.index("lake")] > 0.8
