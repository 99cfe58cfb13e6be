"""The recipe of the starter checkpoint, in miniature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor, nn

from models.starter.autoencoder import train_autoencoder
from models.starter.diffusion import Diffusion
from models.starter.loop import rate_at
from models.starter.pictures import draw_all, scene_of
from models.starter.probe import (
    Probe,
    drawing,
    judge,
    probe_labels,
    probe_scene,
    probe_style,
    stacked,
    style_shares,
    train_probe,
)
from models.starter.recipe import Recipe
from models.starter.train import export, make
from models.starter.world import STYLES, is_held_out
from promptengine import Engine, GenerationRequest
from promptengine.checkpoints.load import open_checkpoint

CPU = torch.device("cpu")
SMALL = Recipe(
    pictures=6,
    styled=2,
    size=64,
    vae_widths=(32, 32, 32, 32),
    vae_steps=2,
    vae_batch=2,
    vae_crop=32,
    polish_steps=2,
    unet_widths=(32, 64),
    unet_heads=2,
    text_width=16,
    text_layers=1,
    unet_steps=2,
    unet_batch=2,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_exported_file_is_the_model(tmp_path: Path) -> None:
    vae = AutoencoderKL(**SMALL.vae_config()).eval()
    diffusion = Diffusion(SMALL).eval()
    for module in (vae, diffusion):
        module.half().float()
    export(SMALL, vae, diffusion, tmp_path / "small.safetensors")
    opened = open_checkpoint(tmp_path / "small.safetensors")
    assert opened.native_size == 64
    x, tokens = torch.randn(1, 4, 8, 8), torch.arange(77)[None]
    with torch.no_grad():
        context = opened.text_encoder(tokens).last_hidden_state
        ours = opened.unet(x, torch.tensor(9), context).sample
        torch.testing.assert_close(ours, diffusion(x, torch.tensor(9), tokens))
        torch.testing.assert_close(opened.vae.decode(x).sample, vae.decode(x).sample)
        picture = torch.rand(1, 3, 64, 64)
        encoded = opened.vae.encode(picture).latent_dist.mode()
        torch.testing.assert_close(encoded, vae.encode(picture).latent_dist.mode())


@pytest.mark.slow
def test_the_whole_recipe_in_miniature_makes_a_checkpoint_that_draws(tmp_path: Path) -> None:
    target = tmp_path / "small.safetensors"
    make(SMALL, tmp_path / "work", target, CPU)
    engine = Engine.open(target, models=tmp_path, device="cpu")
    result = engine.generate(GenerationRequest(prompt="a red house", seed=1, steps=2))
    assert result.images[0].size == (64, 64)
    first = load_file(target)
    make(SMALL, tmp_path / "again", target, CPU)
    assert all(torch.equal(first[name], tensor) for name, tensor in load_file(target).items())


@pytest.mark.slow
def test_an_interrupted_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pictures = draw_all(SMALL, tmp_path)
    (tmp_path / "a").mkdir()
    whole = train_autoencoder(replace(SMALL, vae_steps=3), pictures, tmp_path / "a", CPU)
    (tmp_path / "b").mkdir()

    class Interrupted(Exception):
        pass

    def stop_after_two(step: int, steps: int, peak: float) -> float:
        if step == 2:
            raise Interrupted
        return rate_at(step, steps, peak)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("models.starter.loop.SAVE_EVERY_S", 0.0)
        patch.setattr("models.starter.autoencoder.rate_at", stop_after_two)
        train_autoencoder(replace(SMALL, vae_steps=3), pictures, tmp_path / "b", CPU)
    resumed = train_autoencoder(replace(SMALL, vae_steps=3), pictures, tmp_path / "b", CPU)
    weights = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in weights)


def test_drawing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    draw_all(replace(SMALL, pictures=6), tmp_path)
    (tmp_path / "pictures.count").write_text("0")
    before = (tmp_path / "pictures.u8").read_bytes()
    draw_all(SMALL, tmp_path)
    assert (tmp_path / "pictures.u8").read_bytes() == before


def test_training_never_sees_what_is_held_out() -> None:
    assert not any(is_held_out(scene_of(index)) for index in range(300))


def test_the_real_recipe_fits_the_repository() -> None:
    recipe = Recipe()
    with torch.device("meta"):
        parts = (AutoencoderKL(**recipe.vae_config()), Diffusion(recipe))
    numbers = sum(parameter.numel() for part in parts for parameter in part.parameters())
    assert numbers * 2 < 29.5e6
    widths = {*recipe.unet_widths}
    assert recipe.text_width not in widths
    assert all(width % 32 == 0 for width in recipe.unet_widths)


@pytest.mark.slow
def test_the_probe_learns_and_its_verdict_is_about_the_pictures(tmp_path: Path) -> None:
    probe = train_probe(tmp_path, pictures=24, steps=4, device=CPU, batch=8)
    again = train_probe(tmp_path, pictures=24, steps=4, device=CPU, batch=8)
    indices = range(24)
    pixels = stacked([drawing(index) for index in indices])
    scenes = [probe_scene(index) for index in indices]
    verdict = judge(probe, pixels, scenes)
    assert verdict == judge(again, pixels, scenes)
    assert all(0 <= share <= 1 for share in astuple(verdict))
    always = Answering([probe_labels(index) for index in indices])
    assert set(astuple(judge(always, pixels, scenes))) == {1.0}
    sure = style_shares(always, pixels).argmax(1).tolist()
    assert [STYLES[number] for number in sure] == [probe_style(index) for index in indices]
    turned = judge(always, pixels, scenes[1:] + scenes[:1])
    assert turned.objects < 0.9
    assert turned.place < 0.9


class Answering(Probe):
    """A probe that knows the truth about the pictures it is shown, in their order."""

    def __init__(self, truth: list[Mapping[str, int]]) -> None:
        super().__init__()
        self.truth = truth

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return {
            question: nn.functional.one_hot(
                torch.tensor([max(labels[question], 0) for labels in self.truth]), 16
            ).float()
            for question in self.truth[0]
        }
