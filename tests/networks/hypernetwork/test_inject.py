from __future__ import annotations

import copy
import gc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from promptengine.errors import IncompatibleNetworkError, PromptEngineError
from promptengine.networks.attention import (
    AttentionWidths,
    attention_widths,
    explain_misfit,
    require_fit,
)
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork, HypernetworkSettings
from promptengine.networks.hypernetwork.projection import _Latest
from tests.networks.builders import RELU, TEXT, projections_reached, random_network, tiny_unet

Stack = Sequence[tuple[Hypernetwork, float]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On so small a model more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return tiny_unet()


@pytest.fixture(scope="module")
def networks() -> list[Hypernetwork]:
    tanh = HypernetworkSettings(activation="tanh", layer_norm=True)
    return [random_network([TEXT, 16, 32], seed=1), random_network([TEXT, 32], tanh, seed=2)]


def run(unet: UNet2DConditionModel, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 4, 8, 8, generator=generator).to(dtype)
    text = torch.randn(2, 5, TEXT, generator=generator).to(dtype)
    with torch.no_grad():
        return unet(x, 500, text).sample


def changes(unet: nn.Module) -> int:
    """How many modules are not computed by their class."""
    return sum("forward" in vars(module) for module in unet.modules())


class Reference:
    """Attention written out, with hypernetworks in it as WebUI's users know them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        assert attention_mask is None
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        inputs = [context, context]
        for network, multiplier in self.stack:
            pair = network.pair(context.shape[-1])
            for part in (0, 1) if pair else ():
                inputs[part] = inputs[part] + multiplier * pair[part].linear(inputs[part])
        query, key, value = (
            projection(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projection, x in zip(
                (attn.to_q, attn.to_k, attn.to_v), (hidden_states, *inputs), strict=True
            )
        )
        weights = (query @ key.transpose(-1, -2) * attn.scale).softmax(-1)
        return attn.to_out[0]((weights @ value).transpose(1, 2).flatten(-2))


def reference(unet: UNet2DConditionModel, stack: Stack) -> Tensor:
    other = copy.deepcopy(unet)
    other.set_attn_processor(Reference(stack))
    return run(other)


@pytest.mark.parametrize("multipliers", [(1.0,), (-0.7,), (0.5, 1.3), (1.0, 1.0, -1.0)])
@pytest.mark.parametrize("sliced", [False, True])
def test_networks_act_as_in_attention_written_by_hand(
    unet: UNet2DConditionModel,
    networks: list[Hypernetwork],
    multipliers: tuple[float, ...],
    sliced: bool,
) -> None:
    stack = list(zip(networks * 2, multipliers, strict=False))
    subject = copy.deepcopy(unet)
    if sliced:
        subject.set_attention_slice(1)
    with inject_hypernetworks(subject, stack):
        found = run(subject)
    torch.testing.assert_close(found, reference(unet, stack), atol=2e-5, rtol=1e-4)
    assert (found - run(unet)).abs().max() > 1e-2


def test_the_unet_is_bit_for_bit_what_it_was(
    unet: UNet2DConditionModel, networks: list[Hypernetwork]
) -> None:
    before, keys = run(unet), list(unet.state_dict())
    with inject_hypernetworks(unet, [(networks[0], 1.0)]):
        assert changes(unet) > 0
        assert list(unet.state_dict()) == keys
    assert changes(unet) == 0
    assert torch.equal(run(unet), before)
    with pytest.raises(KeyError), inject_hypernetworks(unet, [(networks[0], 1.0)]):
        run(unet)
        raise KeyError
    assert changes(unet) == 0
    assert torch.equal(run(unet), before)


def test_an_exception_within_the_unet_leaves_no_changes(
    unet: UNet2DConditionModel, networks: list[Hypernetwork]
) -> None:
    before = run(unet)
    with pytest.raises(RuntimeError), inject_hypernetworks(unet, [(networks[0], 1.0)]):
        unet(torch.zeros(1, 4, 8, 8), 1, torch.zeros(1, 5, TEXT + 1))
    assert changes(unet) == 0
    assert torch.equal(run(unet), before)


def test_multiplier_zero_changes_nothing_even_with_broken_weights(
    unet: UNet2DConditionModel, networks: list[Hypernetwork]
) -> None:
    before, alone = run(unet), only(unet, networks[0])
    broken = copy.deepcopy(networks[0])
    for tensor in broken.parameters():
        tensor.fill_(float("nan"))
    with inject_hypernetworks(unet, [(broken, 0.0)]):
        assert torch.equal(run(unet), before)
    with inject_hypernetworks(unet, [(broken, 0), (networks[0], 1.0), (broken, -0.0)]):
        assert torch.equal(run(unet), alone)
    with inject_hypernetworks(unet, []):
        assert torch.equal(run(unet), before)


def only(unet: UNet2DConditionModel, network: Hypernetwork, multiplier: float = 1.0) -> Tensor:
    with inject_hypernetworks(unet, [(network, multiplier)]):
        return run(unet)


def test_order_matters_and_the_multiplier_belongs_to_the_use(
    unet: UNet2DConditionModel, networks: list[Hypernetwork]
) -> None:
    first, second = ((networks[0], 0.5), (networks[1], 1.0))
    with inject_hypernetworks(unet, [first, second]):
        one = run(unet)
    with inject_hypernetworks(unet, [second, first]):
        other = run(unet)
    assert (one - other).abs().max() > 1e-4
    twice = [(networks[0], 0.5), (networks[0], 0.3)]
    with inject_hypernetworks(unet, twice):
        found = run(unet)
    torch.testing.assert_close(found, reference(unet, twice), atol=2e-5, rtol=1e-4)
    assert not torch.allclose(found, only(unet, networks[0], 0.8), atol=1e-5)


def test_nested_blocks_add_up_the_outer_first(
    unet: UNet2DConditionModel, networks: list[Hypernetwork]
) -> None:
    with inject_hypernetworks(unet, [(networks[0], 0.5), (networks[1], 1.0)]):
        together = run(unet)
    with inject_hypernetworks(unet, [(networks[0], 0.5)]):
        outer = run(unet)
        with inject_hypernetworks(unet, [(networks[1], 1.0)]):
            assert torch.equal(run(unet), together)
        assert torch.equal(run(unet), outer)


def test_only_key_and_value_inputs_of_its_widths_are_changed(unet: UNet2DConditionModel) -> None:
    reached = projections_reached(unet, [(random_network([16]), 1.0)])
    assert reached == {
        name
        for name, module in unet.named_modules()
        if name.endswith((".to_k", ".to_v")) and module.in_features == 16
    }


def test_all_rows_of_a_batch_are_treated_alike(
    unet: UNet2DConditionModel, networks: list[Hypernetwork]
) -> None:
    x = torch.ones(2, 4, 8, 8)
    text = torch.ones(2, 5, TEXT)
    with inject_hypernetworks(unet, [(networks[0], 1.0)]), torch.no_grad():
        rows = unet(x, 1, text).sample
    torch.testing.assert_close(rows[0], rows[1], atol=1e-6, rtol=1e-5)


def test_fused_projections_are_refused(
    unet: UNet2DConditionModel, networks: list[Hypernetwork]
) -> None:
    fused = copy.deepcopy(unet)
    fused.fuse_qkv_projections()
    refused = pytest.raises(PromptEngineError, match="unfuse_qkv_projections")
    with refused, inject_hypernetworks(fused, [(networks[0], 1.0)]):
        pytest.fail("the block must not begin")
    assert changes(fused) == 0
    fused.unfuse_qkv_projections()
    with inject_hypernetworks(fused, [(networks[0], 1.0)]):
        assert torch.equal(run(fused), only(unet, networks[0]))


def test_a_network_serves_unets_of_different_precision(
    unet: UNet2DConditionModel, networks: list[Hypernetwork]
) -> None:
    exact = only(unet, networks[0])
    low = copy.deepcopy(unet).to(torch.bfloat16)
    with (
        inject_hypernetworks(low, [(networks[0], 1.0)]),
        inject_hypernetworks(unet, [(networks[0], 1.0)]),
    ):
        rough = run(low, torch.bfloat16)
        assert torch.equal(run(unet), exact)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()
    assert {tensor.dtype for tensor in networks[0].parameters()} == {torch.float32}


def test_networks_are_copied_once_and_not_per_call(
    unet: UNet2DConditionModel, networks: list[Hypernetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    low = copy.deepcopy(unet).to(torch.bfloat16)
    made: list[Hypernetwork] = []
    original = copy.deepcopy

    def counted(network: Hypernetwork) -> Hypernetwork:
        made.append(network)
        return original(network)

    monkeypatch.setattr("promptengine.networks.hypernetwork.module.copy.deepcopy", counted)
    with inject_hypernetworks(low, [(networks[0], 1.0), (networks[0], 0.5)]):
        run(low, torch.bfloat16)
        run(low, torch.bfloat16)
    assert made == [networks[0]]


def test_nothing_waits_for_the_garbage_collector(
    unet: UNet2DConditionModel, networks: Sequence[Hypernetwork]
) -> None:
    gc.collect()
    gc.disable()
    try:
        with torch.no_grad(), inject_hypernetworks(unet, [(networks[0], 1.0)]):
            run(unet)
            assert any(latest._kept for latest in latests())
        assert not any(latest._kept for latest in latests())
    finally:
        gc.enable()


def latests() -> list[_Latest[Any]]:
    """What injections remember, as far as it is still in memory."""
    return [found for found in gc.get_objects() if type(found) is _Latest]


def test_gradients_reach_the_network(unet: UNet2DConditionModel) -> None:
    network = random_network([TEXT, 16, 32], RELU).requires_grad_(True)
    with inject_hypernetworks(unet, [(network, 1.0)]):
        unet(torch.ones(1, 4, 8, 8), 1, torch.ones(1, 5, TEXT)).sample.sum().backward()
    unet.zero_grad()
    pair = network.pair(TEXT)
    assert pair is not None
    assert pair.value.linear[0].weight.grad.abs().sum() > 0


def test_widths_are_those_that_attention_reads(unet: UNet2DConditionModel) -> None:
    assert attention_widths(unet) == AttentionWidths(text=TEXT, image=frozenset({16, 32}))
    same = attention_widths(tiny_unet(text=32))
    assert same == AttentionWidths(text=32, image=frozenset({16, 32}))
    assert same.all == {16, 32}


SD1 = AttentionWidths(text=768, image=frozenset({320, 640, 1280}))
SDXL = AttentionWidths(text=2048, image=frozenset({640, 1280}))
SD2 = AttentionWidths(text=1024, image=frozenset({320, 640, 1280}))
REFINER = AttentionWidths(text=1280, image=frozenset({768, 1536}))
TINY = AttentionWidths(text=48, image=frozenset({32, 64, 128}))


@pytest.mark.parametrize(
    ("model", "widths", "said"),
    [
        (SD1, [768, 320, 640, 1280], None),
        (SD1, [768], None),
        (SD1, [320], None),
        (SD1, [640, 1280], None),
        (SD1, [768, 1024], None),
        (SD1, [40, 96], "holds widths 40, 96, and this model reads 320, 640, 768, 1280"),
        (SD1, [1024, 320, 640, 1280], "Stable Diffusion 2 .text width 1024."),
        (SD1, [2048, 640, 1280], "SDXL .text width 2048."),
        (SDXL, [2048, 640, 1280], None),
        (SDXL, [640, 1280], None),
        (SDXL, [768, 320, 640, 1280], "Stable Diffusion 1 .text width 768.*text of width 2048"),
        (SDXL, [1024, 640], "Stable Diffusion 2"),
        (SDXL, [768], "reads 640, 1280, 2048"),
        (REFINER, [768, 1280, 1536], None),
        (REFINER, [1280], None),
        (REFINER, [768], None),
        (REFINER, [768, 1536], None),
        (REFINER, [768, 320, 640, 1280], "Stable Diffusion 1 .text width 768.*of width 1280"),
        (REFINER, [320, 640, 1280], "Stable Diffusion 1 .text width 768.*of width 1280"),
        (REFINER, [1024, 320, 640, 1280], "Stable Diffusion 2 .text width 1024"),
        (REFINER, [2048, 640, 1280], "SDXL .text width 2048"),
        (SD1, [768, 1280, 1536], "the SDXL refiner .text width 1280.*of width 768"),
        (SD2, [768, 1280, 1536], "the SDXL refiner .text width 1280.*of width 1024"),
        (SD2, [320, 640, 1280], None),
        (SDXL, [768, 1280, 1536], "the SDXL refiner .text width 1280.*of width 2048"),
        (TINY, [48, 32], None),
        (TINY, [48, 1280, 1536], None),
        (TINY, [64, 768], "Stable Diffusion 1"),
        (AttentionWidths(text=512, image=frozenset({768})), [768], None),
        (AttentionWidths(text=None, image=frozenset({64})), [64, 768], None),
    ],
)
def test_networks_for_other_models_are_told_by_their_widths(
    model: AttentionWidths, widths: list[int], said: str | None
) -> None:
    network = Hypernetwork(widths, name="ink", settings=HypernetworkSettings(), device="meta")
    reason = explain_misfit(model, network)
    if said is None:
        assert reason is None
        require_fit(model, network)
        return
    with pytest.raises(IncompatibleNetworkError, match=f"'ink' does not fit: .*{said}") as caught:
        require_fit(model, network)
    assert reason is not None and reason in str(caught.value)
    assert caught.value.found == tuple(sorted(widths))
    assert caught.value.needed == tuple(sorted(model.all))


def test_a_unet_with_the_text_width_of_sdxl_refuses_older_networks() -> None:
    widths = attention_widths(tiny_unet(text=2048))
    assert widths.text == 2048
    assert explain_misfit(widths, random_network([16, 32])) is None
    assert explain_misfit(widths, random_network([768, 16])) is not None
