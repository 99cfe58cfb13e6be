"""One projection of an attention while networks are injected, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from promptengine.accel.onednn import OneDNNLinear, linear
from promptengine.errors import PromptEngineError
from promptengine.kinds.blocks import BlockWeights
from promptengine.networks.attention import refuse_fused
from promptengine.networks.hypernetwork.fuse import Chain, ProjectionFuser, is_affine, is_zero
from promptengine.networks.hypernetwork.module import Hypernetwork, ResidualNetwork
from promptengine.networks.regional_attention import MaskedRows
from promptengine.networks.rows import RowGroup, group_rows

__all__ = [
    "HypernetworkStack",
    "HypernetworkUse",
    "Injection",
    "PatchedProjection",
    "ProjectionPlace",
]

HypernetworkUse = tuple[Hypernetwork, float] | tuple[Hypernetwork, float, BlockWeights | None]
"""A hypernetwork with its multiplier, a finite number, and perhaps weights by block, which multiply it."""

HypernetworkStack = Sequence[HypernetworkUse]
"""Hypernetworks with their multipliers, in order of application."""

_Rows = tuple[tuple[HypernetworkUse, ...], ...]

_Value = TypeVar("_Value")


class _Latest(Generic[_Value]):
    """The last value of each place, with the state that it holds for."""

    def __init__(self) -> None:
        self._kept: dict[object, tuple[object, _Value]] = {}

    def at(self, place: object, state: object, make: Callable[[], _Value]) -> _Value:
        """Return a place's value, recomputed unless the state is as it was."""
        kept = self._kept.get(place)
        if kept is None or kept[0] != state:
            kept = self._kept[place] = state, make()
        return kept[1]


@dataclass(slots=True, eq=False)
class TextMemory:
    """What networks and projections make of one text, each under the networks asked for last.

    Attributes:
        version: Of the text's tensor.
        read: By part, width and group of rows: the text as the last network of a chain reads it, and
            what that network adds to it at multiplier 1; the same for all layers.
        projected: Both of these behind each projection.
        answers: What each projection answered.
    """

    version: int
    read: _Latest[tuple[Tensor, Tensor]] = field(default_factory=_Latest[tuple[Tensor, Tensor]])
    projected: _Latest[tuple[Tensor, Tensor]] = field(
        default_factory=_Latest[tuple[Tensor, Tensor]]
    )
    answers: _Latest[Tensor] = field(default_factory=_Latest[Tensor])


class PureForward(Protocol):
    """What stands in for a projection's ``forward`` and answers alike as long as its state is the same."""

    def __call__(self, x: Tensor) -> Tensor:
        """Project ``x`` ``[rows, tokens, width]``."""
        ...

    def chains(self) -> object:
        """Return what it does: the same object until that changes."""
        ...


class Injection:
    """Which networks act on which rows of the batches that a UNet is asked about.

    Made by :func:`promptengine.networks.hypernetwork.inject.inject_hypernetworks`.

    Args:
        unet: What it is about.
        folder: Folds; None never folds.
        copies: Whether networks of another device or dtype than the UNet are copied.

    Attributes:
        folder: As given.
        rows: What was chosen last, without networks of multiplier 0; of a context with regions, for each of
            its rows.
        image_rows: The same for self-attention, where that differs, else None.
        masked: What the rows of ``image_rows`` are, where a row of the batch has several; else None.
        signs: What was given to :meth:`sign` last.
    """

    def __init__(self, unet: nn.Module, folder: ProjectionFuser | None, *, copies: bool) -> None:
        self._unet = unet
        self.folder = folder
        self._copies = copies
        self._cast: dict[tuple[Hypernetwork, torch.device, torch.dtype], Hypernetwork] = {}
        self._zero: dict[ResidualNetwork, bool] = {}
        self._texts = WeakIdKeyDictionary()
        self.rows: _Rows = ((),)
        self.image_rows: _Rows | None = None
        self.masked: MaskedRows | None = None
        self.signs: Tensor | None = None

    def choose(self, *stacks: HypernetworkStack) -> None:
        """Set what acts from the next call of the UNet on.

        Args:
            stacks: One for all rows, or one for each row of the batches to come.

        Raises:
            PromptEngineError: The UNet's projections are fused.
        """
        if not stacks:
            raise ValueError("choose at least one stack, which may be empty")
        self.image_rows = self.masked = None
        self.rows = self._chosen(stacks, self.rows)

    def choose_regions(
        self,
        text: Sequence[HypernetworkStack],
        image: Sequence[HypernetworkStack],
        masked: MaskedRows | None,
    ) -> None:
        """Set what acts from the next call of the UNet on, where its rows have regions.

        Args:
            text: For each row of the context.
            image: For self-attention: for each row of the batch, or for each of ``masked``.
            masked: Where several stacks act in one row, each in a part of the image; None where none do.

        Raises:
            PromptEngineError: The UNet's projections are fused.
        """
        self.rows = self._chosen(text, self.rows)
        self.image_rows = self._chosen(image, self.image_rows or ())
        self.masked = masked

    def _chosen(self, stacks: Sequence[HypernetworkStack], before: _Rows) -> _Rows:
        """Return stacks without what does nothing; the very same object where nothing has changed."""
        rows = tuple(tuple(use for use in stack if use[1] != 0) for stack in stacks)
        if rows == before:
            return before
        refuse_fused(self._unet)
        return rows

    def sign(self, signs: Tensor | None) -> None:
        """Set what the values of texts are multiplied by from the next call of the UNet on.

        Args:
            signs: ``[rows, tokens]`` of the context, 1 or -1; never changed in place. None leaves values
                alone.

        Raises:
            PromptEngineError: The UNet's projections are fused.
        """
        if signs is not None and signs is not self.signs:
            refuse_fused(self._unet)
        self.signs = signs

    def chain(self, stack: HypernetworkStack, site: PatchedProjection) -> Chain:
        """Return the networks of a stack that act at a site, in its projection's device and dtype.

        Those that add nothing are left out, but for what a gradient may reach.
        """
        chain: list[tuple[ResidualNetwork, float]] = []
        for network, multiplier, *more in stack:
            blocks = more[0] if more else None
            here = multiplier if blocks is None else multiplier * blocks.factor(site.block)
            residual = self._at(site.weight, network).part(site.width, site.part)
            if here != 0 and residual is not None and not self._adds_nothing(residual):
                chain.append((residual, here))
        return tuple(chain)

    def _adds_nothing(self, network: ResidualNetwork) -> bool:
        if network not in self._zero:
            learns = any(tensor.requires_grad for tensor in network.parameters())
            self._zero[network] = not learns and is_zero(network)
        return self._zero[network]

    def _at(self, weight: Tensor, network: Hypernetwork) -> Hypernetwork:
        if not self._copies:
            return network
        place = network, weight.device, weight.dtype
        if place not in self._cast:
            self._cast[place] = network.cast_to(device=weight.device, dtype=weight.dtype)
        return self._cast[place]

    def forget(self) -> None:
        """Let go of what was computed at once: sites and injection know each other, so it would stay until
        the garbage collector finds them.
        """
        self._texts = WeakIdKeyDictionary()
        self._cast.clear()

    def text(self, context: Tensor) -> TextMemory:
        """Return what is known of a text, forgotten with the tensor or when that is changed in place."""
        known: TextMemory | None = self._texts.get(context)
        if known is None or known.version != context._version:
            known = self._texts[context] = TextMemory(context._version)
        return known


class ProjectionPlace(NamedTuple):
    """Where a projection is.

    Attributes:
        part: What it makes: ``key``, ``value`` or ``query``.
        of_text: Whether its attention reads text.
        reads_text: Whether it does so itself, as key and value do.
        block: The block of its attention; see :class:`promptengine.networks.attention.Attention`.
    """

    part: str
    of_text: bool
    reads_text: bool
    block: str | None


class PatchedProjection:
    """A projection of an attention, computed with what is injected in place of by itself."""

    def __init__(self, module: nn.Module, place: ProjectionPlace, injection: Injection) -> None:
        before = module.__dict__.get("forward")
        self._module = module
        self._outer = before if isinstance(before, PatchedProjection) else None
        self._project: Callable[..., Tensor] = (
            self._outer._project if self._outer else module.forward
        )
        self._injection = injection
        self.part = place.part
        self.block = place.block
        self.width = cast("int", module.in_features)
        self.weight = cast("Tensor", module.weight)
        bare = before is None if self._outer is None else self._outer._plain
        plain = type(module) in (nn.Linear, OneDNNLinear) and bare
        self._plain = plain and self.weight.device.type != "meta"
        pure = self._project if hasattr(self._project, "chains") else None
        self._pure = cast("PureForward | None", pure)
        self._of_text, self._reads_text = place.of_text, place.reads_text
        self._chains: tuple[object, object, tuple[Chain, ...]] = (None, None, ())

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Project ``x`` ``[rows, tokens, width]`` behind the networks of each row."""
        masked = None if self._of_text else self._injection.masked
        if masked is not None:
            # A projection is linear, so its results may be mixed in place of what it reads.
            return masked.mix(self._answer(masked.expand(x), args, kwargs))
        return self._answer(x, args, kwargs)

    def _answer(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        keeps = self._reads_text and not (torch.is_grad_enabled() or x.is_inference())
        signs = self.signs()
        if keeps and self._plain:
            return self._kept(x, signs)
        if keeps and self._pure is not None:
            pure, state = self._pure, (self.chains(), self._pure.chains())
            answers = self._injection.text(x).answers
            return answers.at((self, signs), state, lambda: _signed(pure(self._changed(x)), signs))
        return _signed(self._computed(x, args, kwargs), signs)

    def _computed(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if not self._plain:
            # What is beneath may tell rows apart, so it is asked about all of them at once.
            return self._project(self._changed(x), *args, **kwargs)
        groups = group_rows(self.chains(), len(x))
        if len(groups) == 1:
            return self._projected(x, groups[0].chain, args, kwargs)
        return _assembled(
            len(x),
            groups,
            [self._projected(x[group.rows], group.chain, args, kwargs) for group in groups],
        )

    def _changed(self, x: Tensor) -> Tensor:
        """Return what the networks of each row make of ``x``."""
        groups = group_rows(self.chains(), len(x))
        if len(groups) == 1:
            return _through(x, groups[0].chain)
        parts = [_through(x[group.rows], group.chain) for group in groups]
        return _assembled(len(x), groups, parts)

    def _projected(
        self, x: Tensor, chain: Chain, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        folder = self._injection.folder
        if torch.is_grad_enabled():
            return self._project(_through(x, chain), *args, **kwargs)
        folded = 0 if folder is None else _affine_tail(chain)
        for network, multiplier in chain[: len(chain) - folded]:
            x = _changed(x, network, multiplier)
        if folder is None or not folded:
            return self._project(x, *args, **kwargs)
        bias = cast("Tensor | None", self._module.bias)
        return linear(x, *folder.fold(self.weight, bias, chain[-folded:]))

    def _kept(self, x: Tensor, signs: Tensor | None) -> Tensor:
        """Return the projection of a text, from memory unless text or networks are new."""
        text = self._injection.text(x)

        def answer() -> Tensor:
            groups = group_rows(self.chains(), len(x))
            parts = [self._projected_text(x, n, group, text) for n, group in enumerate(groups)]
            whole = parts[0] if len(parts) == 1 else _assembled(len(x), groups, parts)
            return _signed(whole, signs)

        # A tensor is a key by what it is, not by its numbers, and is held, so that none takes its place.
        return text.answers.at((self, signs), self.chains(), answer)

    def _projected_text(
        self, x: Tensor, number: int, group: RowGroup[Chain], text: TextMemory
    ) -> Tensor:
        """``W x + multiplier * W f(x)`` for the last network, both products kept."""
        if not group.chain:
            return self._project(x[group.rows])
        *before, (last, multiplier) = group.chain
        state = before, last, group.rows

        def read() -> tuple[Tensor, Tensor]:
            start = x[group.rows]
            for network, factor in before:
                start = _changed(start, network, factor)
            return start, last.linear(start)

        def project() -> tuple[Tensor, Tensor]:
            start, change = text.read.at((self.part, self.width, number), state, read)
            return self._project(start), linear(change, self.weight)

        start, change = text.projected.at((self, number), state, project)
        return torch.add(start, change, alpha=multiplier)

    def signs(self) -> Tensor | None:
        """Return what the rows of the answer are multiplied by, for values of a text; else None."""
        if self.part != "value" or not self._reads_text:
            return None
        own = self._injection.signs
        return own if own is not None or self._outer is None else self._outer.signs()

    def chains(self) -> tuple[Chain, ...]:
        """Return the networks that act here: for each row, or once for all. The same object until they change."""
        injection = self._injection
        apart = None if self._of_text else injection.image_rows
        rows = injection.rows if apart is None else apart
        outer = ((),) if self._outer is None else self._outer.chains()
        if self._chains[0] is not rows or self._chains[1] is not outer:
            own = [self._injection.chain(stack, self) for stack in rows]
            count = max(len(own), len(outer))
            first, then = (list(some) * (count // len(some)) for some in (outer, own))
            whole = tuple((*a, *b) for a, b in zip(first, then, strict=True))
            self._chains = rows, outer, whole
        return self._chains[2]


def _assembled(rows: int, groups: Sequence[RowGroup[Chain]], parts: Sequence[Tensor]) -> Tensor:
    whole = parts[0].new_empty(rows, *parts[0].shape[1:])
    for group, part in zip(groups, parts, strict=True):
        whole[group.rows] = part
    return whole


def _signed(values: Tensor, signs: Tensor | None) -> Tensor:
    """Multiply the values of tokens ``[rows, tokens, width]`` by their signs."""
    if signs is None:
        return values
    if values.shape[:-1] != signs.shape:
        found, wanted = (tuple(shape) for shape in (values.shape[:-1], signs.shape))
        message = f"an attention reads texts of {found} rows and tokens; negative weights are known for {wanted}"
        raise PromptEngineError(f"{message}. Leave the option negative_weights at scale")
    return values * signs.to(values).unsqueeze(-1)


def _affine_tail(chain: Chain) -> int:
    """Return how many networks at the end of a chain can be folded."""
    count = 0
    for network, _ in reversed(chain):
        if not is_affine(network):
            break
        count += 1
    return count


def _through(x: Tensor, chain: Chain) -> Tensor:
    """Return what the networks of a chain make of ``x``, one after the other."""
    learning = torch.is_grad_enabled()
    for network, multiplier in chain:
        x = network(x, multiplier) if learning else _changed(x, network, multiplier)
    return x


def _changed(x: Tensor, network: ResidualNetwork, multiplier: float) -> Tensor:
    """``x + multiplier * f(x)`` without the copies that gradients would need."""
    change = x
    for layer in network.linear:
        if type(layer) is nn.Linear:
            change = linear(change, layer.weight, layer.bias)
        elif type(layer) is nn.ReLU and change is not x:
            change = change.relu_()
        else:
            change = layer(change)
    return torch.add(x, change, alpha=multiplier)
