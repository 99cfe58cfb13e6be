"""The hypernetwork as a torch module: small residual networks on the inputs of attention.

For each width of those inputs a hypernetwork holds two networks, one for the input of the key
projection and one for that of the value projection (or of the query projection, see
:data:`Transform`). Each changes its input ``x`` to ``x + multiplier * f(x)``. Nothing here reads or
writes files.
"""

from __future__ import annotations

import copy
import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from promptengine.networks.hypernetwork.transform import Transform

__all__ = [
    "ACTIVATIONS",
    "Hypernetwork",
    "HypernetworkSettings",
    "ResidualNetwork",
    "Transform",
    "WidthPair",
    "check_extent",
]

# WebUI names an activation by its torch class in lower case, "swish" apart, which has always been
# Hardswish there. It also offers softmax and glu, which mix or halve channels, and threshold, which
# cannot be built without arguments; no such network can have worked.
ACTIVATIONS: Final[Mapping[str, type[nn.Module]]] = {
    "swish": nn.Hardswish,
    **{
        activation.__name__.lower(): activation
        for activation in (
            *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh),
            *(nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU),
            *(nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh),
            nn.Tanhshrink,
        )
    },
}

_NO_ACTIVATION: Final = frozenset({None, "linear", "none"})
# Real networks have less than 20 000 channels and 10 stages. The bounds keep a hostile file from
# asking for absurd ones.
_LARGEST_WIDTH: Final = 1_000_000
_MOST_STAGES: Final = 100
_MOST_WIDTHS: Final = 64
_MOST_STAGES_IN_ALL: Final = 1_000


@dataclass(frozen=True)
class HypernetworkSettings:
    """How the networks of a hypernetwork are built; the same for all widths.

    The defaults are those of files that say nothing (WebUI files of October 2022).

    Attributes:
        structure: Width of each stage as a factor of the input's width; first and last are 1.
        activation: A key of :data:`ACTIVATIONS`, or None, ``linear`` or ``none`` for no activation.
        weight_init: How training initializes new weights, such as ``Normal``; information only.
        layer_norm: Whether each layer, the last included, ends in a layer norm.
        activate_output: Whether the last layer has the activation as well.
        use_dropout: What the file says about dropout; information only.
        dropout_structure: Dropout probability after each stage, 0 <= p < 1, as long as
            ``structure``. It acts in training only, but it numbers the layers in files.
        last_layer_dropout: What the file says about dropout before the last layer; information
            only.
        transform: Whose inputs the two networks of a width change.

    Raises:
        ValueError: A setting from which no network can be built.
    """

    structure: tuple[float, ...] = (1, 2, 1)
    activation: str | None = None
    weight_init: str = "Normal"
    layer_norm: bool = False
    activate_output: bool = True
    use_dropout: bool = False
    dropout_structure: tuple[float, ...] = (0, 0, 0)
    last_layer_dropout: bool = False
    transform: Transform = "key,value"

    def __post_init__(self) -> None:
        if not 2 <= len(self.structure) <= _MOST_STAGES:
            raise ValueError(f"a layer structure of {len(self.structure)} stages")
        if self.structure[0] != 1 or self.structure[-1] != 1:
            raise ValueError(
                f"layer structure {list(self.structure)} does not begin and end with 1"
            )
        if not all(0 < factor <= _LARGEST_WIDTH for factor in self.structure):
            raise ValueError(f"layer structure {list(self.structure)} holds an impossible factor")
        if len(self.dropout_structure) != len(self.structure):
            raise ValueError(
                f"the dropout structure has {len(self.dropout_structure)} stages, "
                f"the layer structure {len(self.structure)}"
            )
        if not all(0 <= probability < 1 for probability in self.dropout_structure):
            raise ValueError(
                f"dropout structure {list(self.dropout_structure)} holds a value outside 0 <= p < 1"
            )
        if self.activation not in _NO_ACTIVATION and self.activation not in ACTIVATIONS:
            raise ValueError(_unknown_activation(str(self.activation)))
        if self.transform not in get_args(Transform):
            raise ValueError(
                f"transform {self.transform!r} is none of {' and '.join(get_args(Transform))}"
            )

    @property
    def parts(self) -> tuple[str, str]:
        """Names of the projections whose inputs the two networks change, such as ``key, value``."""
        first, second = self.transform.split(",")
        return first, second

    @property
    def activation_class(self) -> type[nn.Module] | None:
        """The activation's torch class, or None for a network without one."""
        if self.activation is None or self.activation in _NO_ACTIVATION:
            return None
        return ACTIVATIONS[self.activation]


class ResidualNetwork(nn.Module):
    """One of the small networks: ``x + multiplier * f(x)`` along the last dimension.

    Args:
        width: Size of the last dimension of input and output.
        settings: How to build it.
        device: Where; ``meta`` builds the shape only.

    Raises:
        ValueError: A stage that would have no or far too many channels.
    """

    def __init__(
        self,
        width: int,
        settings: HypernetworkSettings,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        # The attribute's name is the prefix of the tensors' names in files.
        self.linear = nn.Sequential(*_layers(width, settings, torch.device(device or "cpu")))

    def forward(self, x: Tensor, multiplier: float = 1.0) -> Tensor:
        """Applies the network to ``x`` ``[..., width]``.

        A multiplier of 0 returns ``x`` itself and computes nothing, so that weights which are not
        finite cannot reach it. Any other finite multiplier is allowed, negative ones too.
        """
        if multiplier == 0:
            return x
        return x + self.linear(x) * multiplier


class WidthPair(NamedTuple):
    """The two networks for one width, in the order of ``HypernetworkSettings.parts``."""

    key: ResidualNetwork
    value: ResidualNetwork
    """Of a network with the transform ``key,query`` the one for queries."""


class Hypernetwork(nn.Module):
    """A hypernetwork: a pair of networks for each width it knows.

    The multiplier is no part of it: one network in memory serves any number of uses. All arguments
    but ``device`` and ``widths`` are attributes of the same name.

    Args:
        widths: Widths of the attention inputs to build networks for, in the file's order.
        name: The name written in the file; information only, since files are known by their path.
        settings: How its networks are built.
        step: How many steps it was trained for.
        sd_checkpoint: Short hash of the checkpoint it was trained on, if the file says so.
        sd_checkpoint_name: Name of that checkpoint, if the file says so.
        extra: Further metadata of the file, of types that JSON knows.
        device: Where to build it; ``meta`` builds shapes only.

    Raises:
        ValueError: No width at all, or one for which no network can be built.
    """

    def __init__(
        self,
        widths: Iterable[int],
        *,
        name: str,
        settings: HypernetworkSettings,
        step: int = 0,
        sd_checkpoint: str | None = None,
        sd_checkpoint_name: str | None = None,
        extra: Mapping[str, object] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        widths = tuple(widths)
        check_extent(len(widths), settings)
        self.name = name
        self.step = step
        self.settings = settings
        self.sd_checkpoint = sd_checkpoint
        self.sd_checkpoint_name = sd_checkpoint_name
        self.extra = dict(extra or {})
        self.layers = nn.ModuleDict(
            {
                str(width): nn.ModuleDict(
                    {
                        part: ResidualNetwork(width, settings, device=device)
                        for part in settings.parts
                    }
                )
                for width in widths
            }
        )
        if not self.layers:
            raise ValueError("it holds no layers")

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths it has networks for, in the file's order."""
        return tuple(int(width) for width in self.layers)

    def pair(self, width: int) -> WidthPair | None:
        """Return both networks for inputs of this width, or None."""
        if str(width) not in self.layers:
            return None
        key, value = (self.part(width, part) for part in self.settings.parts)
        return WidthPair(cast("ResidualNetwork", key), cast("ResidualNetwork", value))

    def part(self, width: int, projection: str) -> ResidualNetwork | None:
        """Return the network for what one kind of projection reads, or None.

        Args:
            width: Width of the projection's input.
            projection: ``key``, ``value`` or ``query``.
        """
        if str(width) not in self.layers or projection not in self.settings.parts:
            return None
        return cast("ResidualNetwork", cast("nn.ModuleDict", self.layers[str(width)])[projection])

    def cast_to(self, *, device: torch.device, dtype: torch.dtype) -> Hypernetwork:
        """Return this network on a device and in a dtype: itself where it is so already, else a
        copy, so that engines of different precision can share one network.

        Gradients of a copy do not reach the original.
        """
        if all(tensor.device == device and tensor.dtype == dtype for tensor in self.parameters()):
            return self
        return copy.deepcopy(self).to(device=device, dtype=dtype)


def check_extent(widths: int, settings: HypernetworkSettings | None = None) -> None:
    """Refuse more networks than any model has a use for, before there is one of them.

    Args:
        widths: How many widths there are to be networks for.
        settings: How they are to be built, where that is known.

    Raises:
        ValueError: There are too many.
    """
    if widths > _MOST_WIDTHS:
        raise ValueError(f"it claims {widths} widths; at most {_MOST_WIDTHS} are read")
    stages = widths * len(settings.structure) if settings else 0
    if stages > _MOST_STAGES_IN_ALL:
        raise ValueError(
            f"it claims {widths} widths of {stages // widths} stages each; at most "
            f"{_MOST_STAGES_IN_ALL} stages in all are read"
        )


def _layers(
    width: int, settings: HypernetworkSettings, device: torch.device
) -> Iterator[nn.Module]:
    """Yield the layers in the order that gives them their numbers in files."""
    if not 1 <= width <= _LARGEST_WIDTH:
        raise ValueError(f"width {width} is none that attention could read")
    sizes = [int(width * factor) for factor in settings.structure]
    if not all(1 <= size <= _LARGEST_WIDTH for size in sizes):
        raise ValueError(
            f"width {width} with layer structure {list(settings.structure)} gives layers of "
            f"{sizes} channels"
        )
    last = len(sizes) - 2
    for index, (before, after) in enumerate(itertools.pairwise(sizes)):
        yield nn.Linear(before, after, device=device)
        activation = settings.activation_class
        if activation is not None and (index != last or settings.activate_output):
            with device:
                yield activation()
        if settings.layer_norm:
            yield nn.LayerNorm(after, device=device)
        if settings.dropout_structure[index + 1] > 0:
            yield nn.Dropout(settings.dropout_structure[index + 1])


def _unknown_activation(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), ["linear", *ACTIVATIONS], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"unknown activation {name!r}{hint}"
