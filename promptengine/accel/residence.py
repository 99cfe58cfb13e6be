"""Models on a device with too little memory: parts, or layers, that are there only while they work.

What is away has its weights in the machine's memory, its home. Coming copies them to the device, leaving lets go of
the copies, and the weights at home are never written to; so a model is after a run bit for bit what it was.

Diffusers' group offloading is not used, since its hooks know nothing of what a run does to a UNet: it gives back the
weights that it saw when it was applied, in place of those that LoRAs were merged into; step caching calls layers
past the hooked blocks; and hypernetworks read the weights of projections without calling these.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final, Protocol

import torch
from torch import Tensor, nn

from promptengine.accel.offload_names import OffloadName
from promptengine.accel.visits import InTurn, Mover, SideStream, Visit, tensors_of
from promptengine.undo import UndoLog

__all__ = ["Arrive", "LayerByLayer", "PartByPart", "Residence", "Resident"]

_HOME: Final = torch.device("cpu")
_FOLD_BYTES: Final = 256 << 20
_LAYER_MOVERS: Final[dict[str, Callable[[torch.device], Mover]]] = {"cuda": SideStream}
"""What copies layers to devices of a type, where that is not :class:`InTurn`."""

Arrive = Callable[[], None]
"""Has parts come that are not there yet; they leave at the end of their ``with`` block."""


class Residence(Protocol):
    """Where the parts of a model are, and when.

    Attributes:
        name: As settings call it.
    """

    name: ClassVar[OffloadName]

    @property
    def device(self) -> torch.device:
        """Where they work."""
        ...

    @property
    def home(self) -> torch.device:
        """Where they are between runs."""
        ...

    @property
    def fold_bytes(self) -> int | None:
        """What may be kept within a pass of what is worked out from a UNet's weights, which must not stay longer than
        these; None where they stay for good.
        """
        ...

    def at_work(self, *parts: nn.Module, journal: UndoLog) -> AbstractContextManager[Arrive]:
        """Let parts come within a ``with`` block when they are told to; others are away from then on.

        Args:
            parts: Such as all text encoders.
            journal: Of the model.
        """
        ...

    def unet_at_work(self, unet: nn.Module, *, journal: UndoLog) -> AbstractContextManager[None]:
        """Have a UNet ready within a ``with`` block, with the weights that it has by then."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Resident:
    """All parts stay on the device.

    Attributes:
        device: That.
    """

    name: ClassVar[OffloadName] = "none"
    device: torch.device

    @property
    def home(self) -> torch.device:
        """The device."""
        return self.device

    @property
    def fold_bytes(self) -> int | None:
        """None: weights stay for good."""
        return None

    def at_work(self, *parts: nn.Module, journal: UndoLog) -> AbstractContextManager[Arrive]:
        """Do nothing: all parts are there."""
        del parts, journal
        return nullcontext(_be_there)

    def unet_at_work(self, unet: nn.Module, *, journal: UndoLog) -> AbstractContextManager[None]:
        """Do nothing: the UNet is there."""
        del unet, journal
        return nullcontext()


def _be_there() -> None:
    """Stand for the arrival of what is there."""


@dataclass(slots=True, eq=False)
class _Stage:
    """What is on a device; of several parts that are at work the last one alone."""

    visit: Visit | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PartByPart:
    """Text encoders, UNet and VAE are on the device only while they work, one after the other.

    Attributes:
        device: Where they work.
        mover: Copies them there; by default :class:`InTurn`.
    """

    name: ClassVar[OffloadName] = "model"
    device: torch.device
    mover: Mover | None = None
    _stage: _Stage = field(default_factory=_Stage, init=False, repr=False)

    @property
    def home(self) -> torch.device:
        """The machine's memory."""
        return _HOME

    @property
    def fold_bytes(self) -> int | None:
        """A little, since a UNet's weights stay for a pass."""
        return _FOLD_BYTES

    @contextmanager
    def at_work(self, *parts: nn.Module, journal: UndoLog) -> Generator[Arrive]:
        """Let parts come within a ``with`` block when they are told to; others are away until it ends."""
        with self._visiting(list(tensors_of(*parts)), journal) as visit:
            yield visit.come

    @contextmanager
    def unet_at_work(self, unet: nn.Module, *, journal: UndoLog) -> Generator[None]:
        """Have a UNet on the device within a ``with`` block."""
        with self._visiting(list(tensors_of(unet)), journal) as visit:
            visit.come()
            yield

    @contextmanager
    def _visiting(self, tensors: Sequence[Tensor], journal: UndoLog) -> Generator[Visit]:
        visit = Visit(tensors, self.mover or InTurn(self.device))
        before = self._stage.visit
        returns = before is not None and before.there
        with journal.block() as changes:
            changes.write(visit.leave)
            changes.set(self._stage, "visit", visit)
            if before is not None:
                before.leave()
            yield visit
        # After an error nobody goes on with what was there before.
        if before is not None and returns:
            before.come()


@dataclass(frozen=True, slots=True, eq=False)
class LayerByLayer(PartByPart):
    """As :class:`PartByPart`, and the UNet's large layers are on the device only while each of them works.

    Attributes:
        layer_mover: Copies them there; by default :class:`SideStream` on CUDA, and else :class:`InTurn`.
    """

    name: ClassVar[OffloadName] = "layers"
    layer_mover: Mover | None = None

    @property
    def fold_bytes(self) -> int | None:
        """Nothing, since a layer's weights stay for a call."""
        return 0

    @contextmanager
    def unet_at_work(self, unet: nn.Module, *, journal: UndoLog) -> Generator[None]:
        """Let a UNet's layers come one by one within a ``with`` block; what is small stays for all of it."""
        layers = list(_large_layers(unet))
        streamed = {tensor for layer in layers for tensor in tensors_of(layer)}
        rest = [tensor for tensor in tensors_of(unet) if tensor not in streamed]
        mover = self.layer_mover or _LAYER_MOVERS.get(self.device.type, InTurn)(self.device)
        with self._visiting(rest, journal) as visit, journal.block() as changes:
            visit.come()
            for layer in layers:
                own = Visit(list(tensors_of(layer)), mover)
                changes.write(own.leave)
                changes.shadow(layer, "forward", partial(own.working, layer.forward))
            yield


def _large_layers(unet: nn.Module) -> Iterator[nn.Module]:
    """Yield those layers of a diffusers UNet that hold nearly all of its weights; none lies in another."""
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    kinds = BasicTransformerBlock, Downsample2D, ResnetBlock2D, Upsample2D
    for module in unet.modules():
        if isinstance(module, kinds):
            yield module
