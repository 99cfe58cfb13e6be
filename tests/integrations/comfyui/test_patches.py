"""Hypernetworks as patches: what the engine's own injection computes, for every layout of file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from promptengine.checkpoints.load import Checkpoint
from promptengine.errors import PromptEngineError
from promptengine.generation.cfg_denoiser import predict_noise
from promptengine.integrations.comfyui.host import host_module
from promptengine.integrations.comfyui.patches import RunClock, add_hypernetworks, model_widths
from promptengine.kinds.blocks import BlockWeights
from promptengine.networks.attention import attention_widths
from promptengine.networks.hypernetwork.files import load_hypernetwork
from promptengine.networks.hypernetwork.inject import HypernetworkStack, inject_hypernetworks
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from tests.conftest import NETWORKS
from tests.integrations.comfyui.stand_in import ModelPatcher
from tests.networks.builders import random_network

FILES = sorted(path for path in NETWORKS.glob("*.pt") if "wrong" not in path.name)
WIDTHS = (32, 48, 64)


@pytest.fixture
def asked() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    return x, torch.tensor([2.5, 2.5]), torch.randn(2, 77, 48, generator=generator)


@torch.no_grad()
def ours(checkpoint: Checkpoint, stack: HypernetworkStack, asked: tuple[Tensor, ...]) -> Tensor:
    x, sigma, context = asked
    timestep = checkpoint.noise_table.nearest_timestep(sigma)
    with inject_hypernetworks(checkpoint.unet, stack):
        noise = predict_noise(checkpoint.unet, x / (sigma[0] ** 2 + 1).sqrt(), timestep, context)
    return x - noise * sigma[0]


@torch.no_grad()
def theirs(model: ModelPatcher, stack: HypernetworkStack, asked: tuple[Tensor, ...]) -> Tensor:
    patched = model.clone()
    add_hypernetworks(patched, lambda _: stack, RunClock())
    options = patched.model_options["transformer_options"]
    return model.model.apply_model(*asked, options)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_layout_acts_as_in_the_engine(
    path: Path, checkpoint: Checkpoint, model: ModelPatcher, asked: tuple[Tensor, ...]
) -> None:
    stack = [(load_hypernetwork(path), 0.7)]
    bare = theirs(model, [], asked)
    torch.testing.assert_close(bare, ours(checkpoint, [], asked), atol=2e-5, rtol=0)
    changed = theirs(model, stack, asked)
    torch.testing.assert_close(changed, ours(checkpoint, stack, asked), atol=5e-5, rtol=0)
    assert (changed - bare).abs().max() > 1e-3


def test_chains_act_in_order_each_on_the_one_before(
    checkpoint: Checkpoint, model: ModelPatcher, asked: tuple[Tensor, ...]
) -> None:
    stack = [
        (load_hypernetwork(path), factor)
        for path, factor in zip(FILES, (0.5, -0.3, 0), strict=False)
    ]
    torch.testing.assert_close(
        theirs(model, stack, asked), ours(checkpoint, stack, asked), atol=5e-5, rtol=0
    )


def test_queries_and_weights_by_block_act_as_in_the_engine(
    checkpoint: Checkpoint, model: ModelPatcher, asked: tuple[Tensor, ...]
) -> None:
    queries = random_network(WIDTHS, HypernetworkSettings(transform="key,query"))
    blocks = BlockWeights(tuple(0.1 * number for number in range(17)))
    stack = [(queries, 0.1, blocks), (random_network(WIDTHS, seed=4), 0.4)]
    torch.testing.assert_close(
        theirs(model, stack, asked), ours(checkpoint, stack, asked), atol=5e-5, rtol=0
    )


def test_inputs_stay_as_they_were(model: ModelPatcher) -> None:
    add_hypernetworks(model, lambda _: [(random_network(WIDTHS), 1.0)], RunClock())
    (patch,) = model.model_options["transformer_options"]["patches"]["attn1_patch"]
    x = torch.randn(1, 4, 32)
    before = x.clone()
    query, key, value = patch(x, x, x, {})
    assert query is x
    assert torch.equal(x, before)
    assert not torch.equal(key, value)


def test_copies_for_a_device_are_dropped_when_the_model_moves(model: ModelPatcher) -> None:
    add_hypernetworks(model, lambda _: [(random_network(WIDTHS), 1.0)], RunClock())
    (patch,) = model.model_options["transformer_options"]["patches"]["attn1_patch"]
    x = torch.randn(1, 4, 32, dtype=torch.float64)
    first = patch(x, x, x, {})[1]
    assert first.dtype == torch.float64
    assert patch.to(torch.device("cpu")) is patch
    assert patch.to(torch.float64) is patch
    assert torch.equal(patch(x, x, x, {})[1], first)


def test_widths_are_those_that_the_engine_finds(
    checkpoint: Checkpoint, model: ModelPatcher
) -> None:
    assert model_widths(model) == attention_widths(checkpoint.unet)


def test_a_model_without_such_attentions_is_refused(model: ModelPatcher) -> None:
    model.model.diffusion_model = torch.nn.Linear(2, 2)
    with pytest.raises(PromptEngineError, match="must be Stable Diffusion 1, 2 or XL"):
        model_widths(model)


def test_elsewhere_than_in_comfyui_the_error_says_so() -> None:
    with pytest.raises(PromptEngineError, match="run within ComfyUI only"):
        host_module("comfy.no_such_module")
