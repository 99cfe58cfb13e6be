"""Several hypernetworks as one that does the same.

Tags stand for ``x -> x + m f(x)``, one after the other. What a chain of them adds to ``x`` is a network again
where what was there before can pass the layers of the next network unchanged: beside an activation ``a`` with
``a(x) - a(-x) = s x``, such as ReLU or GELU, two copies of a value pass it, one of them negated. Networks without
activation need no layers at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn

from promptengine.errors import RequestError
from promptengine.networks.hypernetwork.fuse import affine_part
from promptengine.networks.hypernetwork.module import (
    Hypernetwork,
    HypernetworkSettings,
    ResidualNetwork,
)
from promptengine.validation import check_type

__all__ = ["merge_hypernetworks"]

_PASSING: Final[Mapping[type[nn.Module], float]] = {
    nn.ReLU: 1.0,
    nn.LeakyReLU: 1.01,  # slopes 1 and 0.01
    nn.GELU: 1.0,
    nn.SiLU: 1.0,
    nn.Hardswish: 1.0,
}
"""Activations with ``a(x) - a(-x) = s x``, with their ``s``."""


def merge_hypernetworks(uses: Sequence[tuple[Hypernetwork, float]], *, name: str) -> Hypernetwork:
    """Return one hypernetwork that does at multiplier 1 what some do in a row.

    It is exact but for rounding, and has float32 weights. At other multipliers it need not be what the others are
    at these.

    Args:
        uses: Networks with their multipliers, in the order of their tags.
        name: Of the result.

    Raises:
        RequestError: No network does the same; says why.
    """
    check_type("networks", uses, list, tuple, words="a list of networks with multipliers")
    check_type("name", name, str)
    if not uses:
        raise RequestError("networks is empty; at least one must be given", field="networks")
    for network, multiplier in uses:
        check_type("networks", network, Hypernetwork)
        check_type("multiplier", multiplier, int, float)
        if not math.isfinite(multiplier):
            message = f"multiplier of {network.name!r} is {multiplier}; it must be finite"
            raise RequestError(message, field="networks")
    settings = _common_settings(uses)
    widths = tuple(dict.fromkeys(width for network, _ in uses for width in network.widths))
    layers = {
        (width, part): _chained(
            [(_layers(network, width, part), multiplier) for network, multiplier in uses],
            width,
            _PASSING.get(settings.activation_class or nn.ReLU, 1.0),
        )
        for width in widths
        for part in settings.parts
    }
    settings = _with_structure(
        settings, {width: layers[width, settings.parts[0]] for width in widths}
    )
    shared = {network.sd_checkpoint: network.sd_checkpoint_name for network, _ in uses}
    checkpoint, checkpoint_name = next(iter(shared.items())) if len(shared) == 1 else (None, None)
    merged = Hypernetwork(
        widths,
        name=name,
        settings=settings,
        sd_checkpoint=checkpoint,
        sd_checkpoint_name=checkpoint_name,
        extra={"merged_from": " ".join(f"{network.name}:{m:g}" for network, m in uses)},
    )
    with torch.no_grad():
        for (width, part), affine in layers.items():
            residual = cast("ResidualNetwork", merged.part(width, part))
            linear = [layer for layer in residual.linear if isinstance(layer, nn.Linear)]
            for layer, step in zip(linear, affine, strict=True):
                layer.weight.copy_(step.weight)
                layer.bias.copy_(step.bias)
    return merged.eval().requires_grad_(False)


class _Affine(NamedTuple):
    """``weight @ h + bias``, float64."""

    weight: Tensor
    bias: Tensor

    def after(self, other: _Affine) -> _Affine:
        """Return this function of another one's result."""
        return _Affine(self.weight @ other.weight, self.weight @ other.bias + self.bias)

    def times(self, factor: float) -> _Affine:
        """Return a multiple."""
        return _Affine(self.weight * factor, self.bias * factor)

    @classmethod
    def identity(cls, width: int) -> _Affine:
        """Return what leaves everything as it is."""
        return cls(torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64))


@dataclass(frozen=True, slots=True)
class _Layers:
    """A network of a hypernetwork for one width.

    Attributes:
        hidden: Layers that an activation follows; none of a network without activation.
        last: The layer behind them; of a network without activation all of it.
    """

    hidden: tuple[_Affine, ...]
    last: _Affine


def _common_settings(uses: Sequence[tuple[Hypernetwork, float]]) -> HypernetworkSettings:
    """Return the settings of the result, but for its structure."""
    first = uses[0][0].settings
    found: dict[type[nn.Module], Hypernetwork] = {}
    for network, _ in uses:
        settings = network.settings
        if settings.layer_norm:
            _refuse(network, "layer norm, through which nothing passes unchanged")
        if settings.transform != first.transform:
            _refuse(network, f"transform {settings.transform}, and the first one {first.transform}")
        if settings.activation_class is not None and not _is_affine(network):
            found[settings.activation_class] = network
    if len(found) > 1:
        (_, one), (_, other) = list(found.items())[:2]
        _refuse(
            other,
            f"activation {other.settings.activation}, and {one.name!r} has {one.settings.activation}; "
            "one network has one activation",
        )
    for activation, network in found.items():
        if activation not in _PASSING and len(uses) > 1:
            passing = ", ".join(sorted(one.__name__ for one in _PASSING))
            _refuse(
                network,
                f"activation {network.settings.activation}, beside which nothing passes unchanged as it does "
                f"beside {passing}",
            )
    activation = next((network.settings.activation for network in found.values()), "linear")
    return HypernetworkSettings(
        structure=(1, 1),
        activation=activation,
        activate_output=False,
        dropout_structure=(0, 0),
        transform=first.transform,
    )


def _refuse(network: Hypernetwork, why: str) -> None:
    message = f"no network does the same as these in a row: {network.name!r} has {why}"
    raise RequestError(f"{message}. Use them as tags one after the other", field="networks")


def _is_affine(network: Hypernetwork) -> bool:
    pair = network.pair(network.widths[0])
    return pair is not None and affine_part(pair.key) is not None


def _layers(network: Hypernetwork, width: int, part: str) -> _Layers:
    """Read a network; a width that it lacks gives layers of its structure that add nothing."""
    residual = network.part(width, part)
    absent = residual is None
    if residual is None:
        residual = ResidualNetwork(width, network.settings).eval()
    if (whole := affine_part(residual)) is not None:
        whole = whole.double().cpu() * (not absent)
        return _Layers((), _Affine(whole[:, :-1], whole[:, -1]))
    layers = [
        _Affine(layer.weight.detach().double().cpu(), layer.bias.detach().double().cpu())
        for layer in residual.linear
        if isinstance(layer, nn.Linear)
    ]
    if network.settings.activate_output:
        layers.append(_Affine.identity(width))
    *hidden, last = layers
    return _Layers(tuple(hidden), _Affine(last.weight * (not absent), last.bias * (not absent)))


def _chained(chain: Sequence[tuple[_Layers, float]], width: int, passing: float) -> list[_Affine]:
    """Return the layers of a network that adds what a chain of networks adds.

    Args:
        chain: Networks with their multipliers.
        width: Of what they read.
        passing: ``s`` of their activation.
    """
    # Each is a function of what the layers so far leave; what is added is None as long as it is zero.
    present = _Affine.identity(width)
    added: _Affine | None = None
    layers: list[_Affine] = []
    for number, (network, multiplier) in enumerate(chain):
        before, last = present, number + 1 == len(chain)
        for step in network.hidden:
            wanted = step.after(before)
            kept = [*([] if last else [present]), *([] if added is None else [added])]
            layers.append(_stacked([wanted, *(half for one in kept for half in _halves(one))]))
            before, passed = _behind(len(wanted.bias), len(kept), width, passing)
            present = present if last else passed.pop(0)
            added = passed.pop() if passed else None
        change = network.last.after(before).times(multiplier)
        # Behind the last network nothing reads it.
        present = present if last else _sum(present, change)
        added = change if added is None else _sum(added, change)
    return layers if added is None else [*layers, added]


def _halves(value: _Affine) -> tuple[_Affine, _Affine]:
    return value, value.times(-1.0)


def _stacked(parts: Sequence[_Affine]) -> _Affine:
    return _Affine(torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]))


def _sum(one: _Affine, other: _Affine) -> _Affine:
    return _Affine(one.weight + other.weight, one.bias + other.bias)


def _behind(wanted: int, kept: int, width: int, passing: float) -> tuple[_Affine, list[_Affine]]:
    """Return what is read off a layer's result: the wanted numbers, and each of the values kept beside them."""
    size = wanted + 2 * kept * width
    whole = _Affine.identity(size)

    def rows(start: int, count: int) -> Tensor:
        return whole.weight[start : start + count]

    places = [wanted + 2 * number * width for number in range(kept)]
    values = [(rows(start, width) - rows(start + width, width)) / passing for start in places]
    zeros = torch.zeros(width, dtype=torch.float64)
    first = _Affine(rows(0, wanted), torch.zeros(wanted, dtype=torch.float64))
    return first, [_Affine(value, zeros) for value in values]


def _with_structure(
    settings: HypernetworkSettings, layers: Mapping[int, Sequence[_Affine]]
) -> HypernetworkSettings:
    """Return settings whose structure gives these layers."""
    sizes = {width: [len(step.bias) for step in steps] for width, steps in layers.items()}
    stages = len(next(iter(sizes.values()))) - 1
    factors = [
        _factor({width: found[stage] for width, found in sizes.items()}) for stage in range(stages)
    ]
    return replace(settings, structure=(1, *factors, 1), dropout_structure=(0,) * (stages + 2))


def _factor(sizes: Mapping[int, int]) -> float:
    """Return the factor that gives a layer's size for each width, whose whole part counts.

    There is one: that of the layer before it was merged, and 2 for each value beside it.
    """
    least = max(size / width for width, size in sizes.items())
    plain = round(least, 9)
    if all(int(width * plain) == size for width, size in sizes.items()):
        return plain
    # A little more than the quotient, lest rounding makes the product too small.
    return least * (1 + 1e-12)
