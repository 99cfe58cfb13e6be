"""Small hypernetworks of random weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from promptengine.networks.hypernetwork import Hypernetwork, HypernetworkSettings

RELU = HypernetworkSettings(activation="relu", activate_output=False)


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
