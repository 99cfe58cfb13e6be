"""Small hypernetworks of random weights."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork, HypernetworkSettings

TEXT = 24
"""Width of the text that :func:`tiny_unet` reads."""

RELU = HypernetworkSettings(activation="relu", activate_output=False)


def tiny_unet(text: int = TEXT) -> UNet2DConditionModel:
    """A model whose self-attention has the widths 16 and 32; the same at every call."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=text,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


def random_network(
    widths: Sequence[int],
    settings: HypernetworkSettings = RELU,
    *,
    seed: int = 0,
    name: str = "ink",
    step: int = 7,
    extra: dict[str, object] | None = None,
) -> Hypernetwork:
    network = Hypernetwork(
        widths,
        name=name,
        settings=settings,
        step=step,
        sd_checkpoint="0123456789",
        sd_checkpoint_name="a model",
        extra=extra,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
    return network.eval().requires_grad_(False)


def projections_reached(unet: nn.Module, stack: Sequence[tuple[Hypernetwork, float]]) -> set[str]:
    """Names of the attention projections that answer differently while a stack is injected."""
    projections = {
        name: module
        for name, module in unet.named_modules()
        if name.endswith((".to_k", ".to_v", ".to_q")) and isinstance(module, nn.Linear)
    }
    read = {name: torch.ones(1, 3, module.in_features) for name, module in projections.items()}
    before = {name: module(read[name]) for name, module in projections.items()}
    with inject_hypernetworks(unet, stack):
        after = {name: module(read[name]) for name, module in projections.items()}
    return {name for name in projections if not torch.equal(before[name], after[name])}


@contextmanager
def turned_values(unet: nn.Module, signs: Sequence[Tensor]) -> Generator[None]:
    """Turn values of text around from outside: each call of the UNet takes the next ``[rows, tokens]``, round and round."""
    calls = -1

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    def turn(_module: Any, _inputs: Any, values: Tensor) -> Tensor:
        return torch.where(signs[calls % len(signs)][..., None] < 0, -values, values)

    hooks = [unet.register_forward_pre_hook(count)] + [
        module.to_v.register_forward_hook(turn)
        for module in unet.modules()
        if getattr(module, "is_cross_attention", False)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def assert_same(first: Hypernetwork, second: Hypernetwork) -> None:
    """Asserts that all tensors are bit-equal and all metadata equal, types and order included."""
    described = [
        (repr(n.settings), n.widths, n.name, n.step, n.sd_checkpoint, n.sd_checkpoint_name, n.extra)
        for n in (first, second)
    ]
    assert repr(described[0]) == repr(described[1])
    tensors = first.state_dict(), second.state_dict()
    assert list(tensors[0]) == list(tensors[1])
    for name, tensor in tensors[0].items():
        assert tensor.dtype == tensors[1][name].dtype
        assert tensor.numpy().tobytes() == tensors[1][name].numpy().tobytes(), name
