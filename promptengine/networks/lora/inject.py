"""Lets LoRAs act on a UNet: merged where all rows of a batch agree at all steps, else beside its weights.

Where rows have LoRAs of their own, or a multiplier moves, a module answers with ``W x + multiplier * up (down x)``
for changes of small rank, row by row, and with weights of its own for those rows whose changes have no such
factors or are cheaper to add. Nothing is merged again because a multiplier moved.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptengine.accel.compile import suspend_compiled_regions
from promptengine.accel.onednn import linear
from promptengine.networks.attention import attentions, refuse_fused
from promptengine.networks.lora.delta import bias_delta, factors
from promptengine.networks.lora.merge import (
    Application,
    Change,
    changes_of,
    exchange_weights,
    set_weights,
)
from promptengine.networks.lora.weights import LoraWeights
from promptengine.networks.rows import RowGroup, group_rows
from promptengine.undo import UndoLog

__all__ = ["NO_LORAS", "LoraInjection", "LoraSchedule", "LoraStack", "inject_loras"]

LoraStack: TypeAlias = tuple[Application, ...]
"""LoRAs in order of application."""

_Chain = tuple[Change, ...]
_Rows = tuple[dict[nn.Module, list[Change]], ...]
_Reading = Literal["batch", "text", "image"]
"""Which rows a module reads: the batch's, or those that regions make of them for texts or for the image."""

_ADDED: Final = 16
"""Multiplications that a processor does in the time in which it adds two numbers of large matrices."""


@dataclass(frozen=True, slots=True, eq=False)
class LoraSchedule:
    """The LoRAs of a row over the calls of the denoiser.

    Attributes:
        at: Those that act at a 0-based call.
        steady: Whether they are the same at all calls.
    """

    at: Callable[[int], LoraStack]
    steady: bool = True


def _no_loras(_call: int) -> LoraStack:
    return ()


NO_LORAS: Final = LoraSchedule(_no_loras)
"""The schedule of a row without LoRAs."""


class LoraInjection:
    """Which LoRAs act on which rows of the batches that a UNet is asked about.

    Made by :func:`inject_loras`.

    Attributes:
        rows: By what a module reads, what the LoRAs of each of its rows do to each module, or once for all.
    """

    def __init__(self, *, merged: bool = False) -> None:
        self._merged = merged
        self._chosen: object = None
        self.rows: dict[_Reading, _Rows] = dict.fromkeys(get_args(_Reading), ({},))

    def choose(
        self,
        *stacks: LoraStack,
        text: tuple[int, ...] | None = None,
        image: tuple[int, ...] | None = None,
    ) -> None:
        """Set what acts from the next call of the UNet on.

        Args:
            stacks: One for all rows, or one for each row of the batches to come.
            text: Where rows have regions, of which row each row within cross-attentions is; None where
                these have the batch's rows.
            image: The same of what the projections of self-attentions read.
        """
        if self._merged or (stacks, text, image) == self._chosen:
            return
        known = {stack: changes_of(stack, "unet") for stack in stacks}
        self._chosen = stacks, text, image
        rows = tuple(known[stack] for stack in stacks)

        def spread(over: tuple[int, ...] | None) -> _Rows:
            return rows if over is None or len(rows) == 1 else tuple(rows[row] for row in over)

        self.rows = {"batch": rows, "text": spread(text), "image": spread(image)}


@contextmanager
def inject_loras(
    unet: nn.Module,
    schedules: Sequence[LoraSchedule],
    weights: LoraWeights,
    *,
    journal: UndoLog | None = None,
) -> Generator[LoraInjection]:
    """Let LoRAs act on a UNet within a ``with`` block.

    Where all schedules are steady and equal, their changes are merged into the weights, rounded once to
    their dtype, as in WebUI. Otherwise what acts is chosen before each call. When the block ends, by an
    exception too, the UNet computes bit for bit what it did before.

    Args:
        unet: A diffusers UNet.
        schedules: Of all rows that the UNet will be asked about.
        weights: Of this UNet.
        journal: Of the run that this is a part of; by default the block stands alone.

    Yields:
        What the LoRAs of each row are chosen with.

    Raises:
        PromptEngineError: The UNet's projections are fused, so that changes would not act.
    """
    stacks = {schedule.at(0) for schedule in schedules}
    alike = len(stacks) <= 1 and all(schedule.steady for schedule in schedules)
    acting = [stack for stack in stacks if stack]
    with (journal or UndoLog()).block() as changes:
        if acting or not alike:
            refuse_fused(unet)
        if alike:
            for stack in acting:
                set_weights(weights.merged(stack, "unet"), changes)
            yield LoraInjection(merged=True)
            return
        injection, modules = LoraInjection(), _changed_modules(acting)
        readings, of_text = _readings(unet), _text_projections(unet)
        suspend_compiled_regions(unet, modules, changes)
        for module in modules:
            reading = readings.get(module, "batch")
            site = LoraSite(module, injection, weights, reading, of_text=module in of_text)
            changes.shadow(module, "forward", site)
        yield injection


def _changed_modules(stacks: Sequence[LoraStack]) -> set[nn.Module]:
    targets = (target for stack in stacks for use in stack for target, _ in use.fit.modules)
    return {target.module for target in targets if target.part == "unet"}


def _readings(unet: nn.Module) -> dict[nn.Module, _Reading]:
    """Return what the modules read of which regions may make other rows than the batch's."""
    found: dict[nn.Module, _Reading] = {}
    for attention in attentions(unet):
        of_text = attention.reads_text
        # What regions add to self-attention ends with its projections; its answers are rows of the batch.
        within = attention.module.modules() if of_text else attention.projections.values()
        found.update((module, "text" if of_text else "image") for module in within)
    return found


def _text_projections(unet: nn.Module) -> set[nn.Module]:
    """Return the modules that read the text itself, which stays the same from call to call."""
    return {
        attention.projections[part]
        for attention in attentions(unet)
        if attention.reads_text
        for part in ("key", "value")
    }


class _Branch(NamedTuple):
    """Some changes of a module as one product.

    Attributes:
        down: ``[ranks, in, ...]``.
        up: ``[out, ranks]``.
        sizes: How many ranks each change has.
        biases: What each adds to the bias at multiplier 1, ``[out]``.
    """

    down: Tensor
    up: Tensor
    sizes: tuple[int, ...]
    biases: tuple[Tensor | None, ...]


class _Product(NamedTuple):
    """What a module answers to a text by itself.

    Attributes:
        text: The tensor, while it is there.
        version: Its own at that time; another one if it was changed in place.
        answer: ``[rows, tokens, out]``.
    """

    text: weakref.ref[Tensor]
    version: int
    answer: Tensor


class LoraSite:
    """A module of a UNet, answering with the LoRAs of each row.

    Args:
        module: Any with a ``weight``; its first axis of inputs counts rows.
        injection: Says which.
        weights: Of the model.
        reading: Which rows it reads.
        of_text: Whether it reads a text, of which its own product is kept for the calls to come.
    """

    def __init__(
        self,
        module: nn.Module,
        injection: LoraInjection,
        weights: LoraWeights,
        reading: _Reading,
        *,
        of_text: bool = False,
    ) -> None:
        self._module = module
        self._forward: Callable[..., Tensor] = module.forward
        self._injection = injection
        self._weights = weights
        self._reading: _Reading = reading
        self._of_text = of_text
        self._kept: _Product | None = None
        self._branches: dict[object, _Branch | None] = {}
        self._chains: tuple[object, tuple[_Chain, ...]] = (None, ((),))
        self._rows: tuple[object, tuple[Tensor, Tensor]] | None = None

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Answer to ``x`` ``[rows, …]``."""
        chains = self.chains()
        if not any(chains):
            return self._forward(x, *args, **kwargs)
        groups = group_rows(chains, len(x))
        if len(groups) == 1:
            return self._answer(x, groups[0].chain, args, kwargs)
        return self._apart(x, groups, args, kwargs)

    def chains(self) -> tuple[_Chain, ...]:
        """Return what acts here: for each row, or once for all. The same object until it changes."""
        rows = self._injection.rows[self._reading]
        if self._chains[0] is not rows:
            self._chains = rows, tuple(tuple(row.get(self._module, ())) for row in rows)
        return self._chains[1]

    def _answer(
        self, x: Tensor, chain: _Chain, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        if not chain:
            return self._forward(x, *args, **kwargs)
        branch = self._branch(chain, x)
        if branch is not None:
            return self._add(self._product(x, args, kwargs), x, chain, branch)
        with exchange_weights(self._weights.of_module(self._module, chain)):
            return self._forward(x, *args, **kwargs)

    def _apart(
        self,
        x: Tensor,
        groups: Sequence[RowGroup[_Chain]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Tensor:
        branches = [self._branch(group.chain, x[group.rows]) for group in groups]
        pairs = list(zip(groups, branches, strict=True))
        whole: Tensor | None = None
        if any(branch is not None or not group.chain for group, branch in pairs):
            whole = self._product(x, args, kwargs)
            together = [pair for pair in pairs if pair[1] is not None]
            if len(together) > 1 and self._is_product:
                whole = self._add_by_row(whole, x, groups, branches)
            else:
                for group, branch in together:
                    assert branch is not None
                    part = self._add(whole[group.rows], x[group.rows], group.chain, branch)
                    whole[group.rows] = part
        for group, branch in pairs:
            if branch is None and group.chain:
                part = self._answer(x[group.rows], group.chain, args, kwargs)
                if whole is None:
                    whole = part.new_empty(len(x), *part.shape[1:])
                whole[group.rows] = part
        assert whole is not None
        return whole

    def _product(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Return the module's own answer, which may be overwritten."""
        if not self._of_text or torch.is_grad_enabled() or x.is_inference():
            return self._forward(x, *args, **kwargs)
        kept = self._kept
        if kept is None or kept.text() is not x or kept.version != x._version:
            answer = self._forward(x, *args, **kwargs)
            kept = self._kept = _Product(weakref.ref(x), x._version, answer)
        return kept.answer.clone()

    @property
    def _is_product(self) -> bool:
        """Whether the module is a matrix product over positions."""
        module = self._module
        return isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.kernel_size == module.stride == (1, 1)
        )

    def _branch(self, chain: _Chain, x: Tensor) -> _Branch | None:
        """Return some changes as one product, or None where other weights are cheaper or there is none."""
        if not chain or not isinstance(self._module, nn.Linear | nn.Conv2d):
            return None
        key = tuple((change.module, change.ranks) for change in chain)
        if key not in self._branches:
            self._branches[key] = self._made(chain)
        branch = self._branches[key]
        return None if branch is None or self._is_cheaper_added(branch, x) else branch

    def _is_cheaper_added(self, branch: _Branch, x: Tensor) -> bool:
        """Return whether products over all positions take longer than to add a change to the weight."""
        if not self._is_product or self._of_text:
            # Weights of convolutions are kept in oneDNN's order, which those made anew are not in; with new
            # weights the whole product of a text would be made again.
            return False
        weight = cast("Tensor", self._module.weight)
        positions = x.numel() // weight.shape[1]
        return positions * len(branch.down) * sum(weight.shape[:2]) > _ADDED * weight.numel()

    def _made(self, chain: _Chain) -> _Branch | None:
        weight = cast("Tensor", self._module.weight)
        found = [factors(change.module, weight, ranks=change.ranks) for change in chain]
        pairs = [pair for pair in found if pair is not None]
        if len(pairs) < len(found):
            return None
        biases = [bias_delta(change.module, len(weight)) for change in chain]
        return _Branch(
            down=torch.cat([down for _, down in pairs]).to(weight),
            up=torch.cat([up for up, _ in pairs], dim=1).to(weight),
            sizes=tuple(len(down) for _, down in pairs),
            biases=tuple(None if bias is None else bias.to(weight) for bias in biases),
        )

    def _add(self, answer: Tensor, x: Tensor, chain: _Chain, branch: _Branch) -> Tensor:
        """Add what changes come to, to an answer that may be overwritten."""
        module = self._module
        if isinstance(module, nn.Conv2d):
            # It pads as the module does, which tiling changes.
            inner = module._conv_forward(x, branch.down, None)  # pyright: ignore[reportPrivateUsage]
            inner = inner.mul_(_scales(chain, branch).view(-1, 1, 1))
            answer = answer.add_(functional.conv2d(inner, branch.up[:, :, None, None]))
        else:
            inner = linear(x, branch.down).flatten(0, -2).mul_(_scales(chain, branch))
            answer.view(-1, answer.shape[-1]).addmm_(inner, branch.up.mT)
        return self._add_biases(answer, chain, branch)

    def _add_biases(self, answer: Tensor, chain: _Chain, branch: _Branch) -> Tensor:
        ones = (1, 1) if isinstance(self._module, nn.Conv2d) else ()
        for change, bias in zip(chain, branch.biases, strict=True):
            if bias is not None:
                answer = answer.add_(bias.view(-1, *ones), alpha=change.multiplier)
        return answer

    def _add_by_row(
        self,
        answer: Tensor,
        x: Tensor,
        groups: Sequence[RowGroup[_Chain]],
        branches: Sequence[_Branch | None],
    ) -> Tensor:
        """Add what the changes of several groups come to, all rows at once."""
        rows = len(x)
        down, up = self._by_row(rows, groups, branches)
        if isinstance(self._module, nn.Conv2d):
            inner = torch.bmm(down, x.flatten(2))
            found = torch.baddbmm(answer.flatten(2), up.mT, inner).view_as(answer)
        else:
            inner = torch.bmm(x.reshape(rows, -1, x.shape[-1]), down.mT)
            found = answer.view(rows, -1, answer.shape[-1]).baddbmm_(inner, up).view_as(answer)
        for group, branch in zip(groups, branches, strict=True):
            if branch is not None and any(bias is not None for bias in branch.biases):
                found[group.rows] = self._add_biases(found[group.rows], group.chain, branch)
        return found

    def _by_row(
        self, rows: int, groups: Sequence[RowGroup[_Chain]], branches: Sequence[_Branch | None]
    ) -> tuple[Tensor, Tensor]:
        """Return the factors of all rows, ``[rows, ranks, in]`` and, multiplied, ``[rows, ranks, out]``.

        Rows of smaller rank, or without changes, are filled up with zeros.
        """
        chains = self.chains()
        if self._rows is None or self._rows[0] is not chains or len(self._rows[1][0]) != rows:
            weight = cast("Tensor", self._module.weight)
            ranks = max(len(branch.down) for branch in branches if branch is not None)
            down = weight.new_zeros(rows, ranks, weight.shape[1])
            up = weight.new_zeros(rows, ranks, len(weight))
            for group, branch in zip(groups, branches, strict=True):
                if branch is not None:
                    count = len(branch.down)
                    down[group.rows, :count] = branch.down.flatten(1)
                    scaled = branch.up * _scales(group.chain, branch)
                    up[group.rows, :count] = scaled.mT
            self._rows = chains, (down, up)
        return self._rows[1]


def _scales(chain: _Chain, branch: _Branch) -> Tensor:
    """Return the multiplier of each rank ``[ranks]``."""
    counted = zip(chain, branch.sizes, strict=True)
    numbers = [change.multiplier for change, size in counted for _ in range(size)]
    return branch.up.new_tensor(numbers)
