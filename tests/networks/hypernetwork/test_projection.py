"""The fast path against a slow, obvious one: hooks before projections, one row at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from promptengine.errors import PromptEngineError
from promptengine.networks.hypernetwork.fuse import ProjectionFuser
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork, HypernetworkSettings
from tests.networks.builders import TEXT, random_network, tiny_unet

PARTS = {"to_k": "key", "to_v": "value", "to_q": "query"}
Stack = Sequence[tuple[Hypernetwork, float]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On so small a model more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def unet_of(name: str) -> UNet2DConditionModel:
    """A model of its own, with the same weights, for every name."""
    return tiny_unet().requires_grad_(False)


@cache
def network(kind: str, seed: int) -> Hypernetwork:
    settings = {
        "linear": HypernetworkSettings(),
        "deep": HypernetworkSettings((1, 2, 0.5, 1), dropout_structure=(0, 0, 0.3, 0)),
        "relu": HypernetworkSettings(activation="relu", activate_output=False),
        "normed": HypernetworkSettings(activation="mish", layer_norm=True),
        "bare norm": HypernetworkSettings(layer_norm=True),
        "query": HypernetworkSettings(activation="swish", transform="key,query"),
        "text": HypernetworkSettings(activation="relu"),
    }[kind]
    widths = [TEXT] if kind == "text" else [TEXT, 16, 32]
    return random_network(widths, settings, seed=seed)


def slow(unet: nn.Module, stack: Stack, x: Tensor, text: Tensor) -> Tensor:
    """The UNet under a stack, asked about one row."""

    def change(part: str, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (read,) = inputs
        for one, multiplier in stack:
            residual = one.part(module.in_features, part)
            if residual is not None:
                read = read + multiplier * residual.linear(read)
        return (read,)

    handles = [
        module.register_forward_pre_hook(partial(change, PARTS[name[-4:]]))
        for name, module in unet.named_modules()
        if name[-4:] in PARTS
    ]
    try:
        return unet(x, 500, text).sample
    finally:
        for handle in handles:
            handle.remove()


stacks = st.lists(
    st.tuples(
        st.builds(
            network,
            st.sampled_from(["linear", "deep", "relu", "normed", "bare norm", "query", "text"]),
            st.integers(0, 2),
        ),
        st.sampled_from([0.0, 1.0, -0.5, 0.3, 1.7]),
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=20)
@given(calls=st.lists(st.lists(stacks, min_size=3, max_size=3), min_size=1, max_size=3))
def test_any_mixture_over_any_calls(calls: list[list[Stack]]) -> None:
    unet = unet_of("injected")
    generator = torch.Generator().manual_seed(3)
    x, text = torch.randn(3, 4, 8, 8, generator=generator), torch.randn(3, 5, TEXT)
    with torch.no_grad(), inject_hypernetworks(unet) as injection:
        for rows in calls:
            injection.choose(*rows)
            found = unet(x, 500, text).sample
            assert torch.equal(unet(x, 500, text).sample, found)
            for row, stack in enumerate(rows):
                with torch.no_grad():
                    expected = slow(
                        copy.deepcopy(unet_of("bare")), stack, x[row, None], text[row, None]
                    )
                torch.testing.assert_close(found[row, None], expected, atol=2e-5, rtol=2e-5)


@settings(deadline=None)
@given(
    chain=st.lists(
        st.tuples(
            st.builds(network, st.sampled_from(["linear", "deep"]), st.integers(0, 2)),
            st.floats(-2, 2),
        ),
        min_size=1,
        max_size=4,
    ),
    biased=st.booleans(),
)
def test_folding_keeps_to_its_tolerance(
    chain: list[tuple[Hypernetwork, float]], biased: bool
) -> None:
    projection = nn.Linear(32, 16, bias=biased).requires_grad_(False)
    before = copy.deepcopy(projection.state_dict())
    links = [(one.part(32, "key"), multiplier) for one, multiplier in chain]
    x = torch.randn(7, 32)
    read = x.double()
    for residual, multiplier in links:
        exact = copy.deepcopy(residual).double()
        read = read + multiplier * exact.linear(read)
    expected = copy.deepcopy(projection).double()(read)
    folded = ProjectionFuser().fold(projection.weight, projection.bias, links)
    found = nn.functional.linear(x, *folded)
    assert (found - expected).abs().max() <= 1e-5 * max(read.abs().max(), expected.abs().max(), 1)
    for name, tensor in projection.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_folded_weights_are_found_again_until_the_weight_changes() -> None:
    folder, weight = ProjectionFuser(), torch.randn(8, 32)
    chain = [(network("linear", 0).part(32, "key"), 0.5)]
    first = folder.fold(weight, None, chain)
    assert folder.fold(weight, None, chain) is first
    assert folder.fold(weight.clone(), None, chain) is not first
    weight.mul_(2)
    changed = folder.fold(weight, None, chain)
    torch.testing.assert_close(changed.weight, first.weight * 2)


def test_texts_are_read_once_and_again_when_they_change() -> None:
    unet = copy.deepcopy(unet_of("bare"))
    x, text = torch.zeros(1, 4, 8, 8), torch.randn(1, 5, TEXT)
    reads: list[nn.Module] = []
    relu = copy.deepcopy(network("relu", 0))
    relu.part(TEXT, "key").linear[0].register_forward_hook(lambda module, *_: reads.append(module))
    with torch.no_grad(), inject_hypernetworks(unet, [(relu, 1.0)]) as injection:
        first = unet(x, 1, text).sample
        assert torch.equal(unet(x, 1, text).sample, first)
        assert len(reads) == 1
        injection.choose([(relu, 0.5)])
        half = unet(x, 1, text).sample
        assert len(reads) == 1 and not torch.equal(half, first)
        text.mul_(2)
        assert not torch.equal(unet(x, 1, text).sample, half)
        assert len(reads) == 2
        unet(x, 1, text.clone())
        assert len(reads) == 3


def test_a_network_of_zeros_is_never_asked() -> None:
    unet = copy.deepcopy(unet_of("bare"))
    x, text = torch.randn(1, 4, 8, 8), torch.randn(1, 5, TEXT)
    zero, asked = copy.deepcopy(network("relu", 0)), list[nn.Module]()
    for width in (TEXT, 16, 32):
        for part in ("key", "value"):
            residual = zero.part(width, part)
            assert residual is not None
            for tensor in residual.linear[2].parameters():
                tensor.zero_()
            residual.linear[0].register_forward_hook(lambda module, *_: asked.append(module))
    with torch.no_grad():
        before = unet(x, 1, text).sample
        with inject_hypernetworks(unet, [(zero, 1.0)]):
            assert torch.equal(unet(x, 1, text).sample, before)
            assert not asked
    zero.requires_grad_(True)
    with inject_hypernetworks(unet, [(zero, 1.0)]):
        unet(x, 1, text)
    assert asked


def test_rows_and_stacks_must_be_as_many() -> None:
    unet, stack = copy.deepcopy(unet_of("bare")), [(network("relu", 0), 1.0)]
    with torch.no_grad(), inject_hypernetworks(unet) as injection:
        injection.choose(stack, [], stack)
        with pytest.raises(PromptEngineError, match=r"3 stacks .* batch of 2 rows"):
            unet(torch.zeros(2, 4, 8, 8), 1, torch.zeros(2, 5, TEXT))
        with pytest.raises(ValueError, match="at least one"):
            injection.choose()


SIGNS = torch.tensor([[1.0, -1.0, 1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0, 1.0]])


class TurnedValues:
    """Cross-attention by its textbook formula, with the values of some tokens turned around."""

    def __init__(self, signs: Tensor) -> None:
        self.signs = signs

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any
    ) -> Tensor:
        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        key = heads(encoder_hidden_states @ attn.to_k.weight.T)
        values = encoder_hidden_states @ attn.to_v.weight.T
        value = heads(torch.where(self.signs[..., None] < 0, -values, values))
        query = heads(hidden_states @ attn.to_q.weight.T)
        shares = (query @ key.transpose(-1, -2) * attn.scale).softmax(-1)
        return attn.to_out[0]((shares @ value).transpose(1, 2).flatten(2))


def cross_attentions(unet: nn.Module) -> list[Any]:
    return [one for one in unet.modules() if getattr(one, "is_cross_attention", False)]


def test_a_cross_attention_with_turned_values() -> None:
    unet = copy.deepcopy(unet_of("bare"))
    attention = cross_attentions(unet)[0]
    x, text = torch.randn(2, 9, attention.query_dim), torch.randn(2, 5, TEXT)
    with torch.no_grad(), inject_hypernetworks(unet) as injection:
        plain = attention(x, text)
        injection.sign(SIGNS)
        found = attention(x, text)
        injection.sign(None)
        assert torch.equal(attention(x, text), plain)
    expected = TurnedValues(SIGNS)(attention, x, text)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(found[1], plain[1]) and not torch.allclose(found[0], plain[0], atol=1e-3)


@pytest.mark.parametrize("kept", [True, False])
def test_a_unet_with_turned_values(kept: bool) -> None:
    unet, slow_unet = copy.deepcopy(unet_of("bare")), copy.deepcopy(unet_of("bare"))
    for attention in cross_attentions(slow_unet):
        attention.set_processor(TurnedValues(SIGNS))
    x, text = torch.randn(2, 4, 8, 8), torch.randn(2, 5, TEXT)
    # By memory without gradients, and by the way that gradients take.
    with torch.set_grad_enabled(not kept), inject_hypernetworks(unet) as injection:
        before = unet(x, 500, text).sample
        injection.sign(SIGNS)
        found = unet(x, 500, text).sample
    torch.testing.assert_close(found, slow_unet(x, 500, text).sample, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[0], before[0], atol=1e-3)
    assert torch.equal(found[1], before[1])
    if not kept:
        text.requires_grad_()
        with inject_hypernetworks(unet) as injection:
            injection.sign(SIGNS)
            unet(x, 500, text).sample.sum().backward()
        ours, text.grad = text.grad, None
        slow_unet(x, 500, text).sample.sum().backward()
        torch.testing.assert_close(ours, text.grad, atol=1e-4, rtol=1e-4)


class Wrapped(nn.Module):
    """A projection as other libraries wrap it, with a bias."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner, self.in_features, self.weight = inner, inner.in_features, inner.weight
        self.shift = nn.Parameter(torch.linspace(-1, 1, inner.out_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.shift


@pytest.mark.parametrize("kind", ["plain", "biased", "wrapped"])
def test_values_turn_around_behind_networks_and_with_their_bias(kind: str) -> None:
    unet = copy.deepcopy(unet_of("bare"))
    for attention in cross_attentions(unet):
        if kind == "biased":
            attention.to_v.bias = nn.Parameter(torch.linspace(-1, 1, attention.to_v.out_features))
        if kind == "wrapped":
            attention.to_v = Wrapped(attention.to_v)
    bare = copy.deepcopy(unet)
    x, text = torch.randn(2, 4, 8, 8), torch.randn(2, 5, TEXT)
    stacks = [[(network("relu", 0), 0.7), (network("linear", 1), 1.0)], [(network("query", 2), 1)]]
    with torch.no_grad(), inject_hypernetworks(unet) as injection:
        injection.choose(*stacks)
        injection.sign(SIGNS.flip(0))
        found = unet(x, 500, text).sample
        assert torch.equal(unet(x, 500, text).sample, found)
    for row, (stack, signs) in enumerate(zip(stacks, SIGNS.flip(0), strict=True)):
        hooks = [
            attention.to_v.register_forward_hook(
                lambda _module, _inputs, values, signs=signs: values * signs[None, :, None]
            )
            for attention in cross_attentions(bare)
        ]
        with torch.no_grad():
            expected = slow(bare, stack, x[row, None], text[row, None])
        for hook in hooks:
            hook.remove()
        torch.testing.assert_close(found[row, None], expected, atol=2e-5, rtol=2e-5)


def test_turned_values_are_kept_until_signs_or_texts_change() -> None:
    unet = copy.deepcopy(unet_of("bare"))
    projection = cross_attentions(unet)[0].to_v
    text, signs = torch.randn(2, 5, TEXT), SIGNS.clone()
    with torch.no_grad(), inject_hypernetworks(unet) as injection:
        plain = projection(text)
        injection.sign(signs)
        turned = projection(text)
        assert torch.equal(turned, plain * signs[..., None])
        assert projection(text) is turned
        injection.sign(-signs)
        assert torch.equal(projection(text), -turned)
        injection.sign(signs)
        assert projection(text) is turned
        text.mul_(2)
        torch.testing.assert_close(projection(text), 2 * turned)
        with inject_hypernetworks(unet) as inner:
            assert torch.equal(projection(text), 2 * turned)
            inner.sign(torch.ones(2, 5))
            assert torch.equal(projection(text), 2 * plain)


def test_what_values_cannot_be_turned_by_is_refused() -> None:
    unet = copy.deepcopy(unet_of("bare"))
    x = torch.zeros(2, 4, 8, 8)
    with torch.no_grad(), inject_hypernetworks(unet) as injection:
        injection.sign(SIGNS)
        refused = r"texts of \(2, 7\) rows and tokens; .* known for \(2, 5\)"
        with pytest.raises(PromptEngineError, match=refused):
            unet(x, 1, torch.zeros(2, 7, TEXT))
    unet.fuse_qkv_projections()
    with inject_hypernetworks(unet) as injection:
        injection.sign(None)
        with pytest.raises(PromptEngineError, match="unfuse_qkv_projections"):
            injection.sign(SIGNS)
