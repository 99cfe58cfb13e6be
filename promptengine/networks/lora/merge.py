"""Finds the modules that LoRAs change and changes them for the length of a ``with`` block."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from promptengine.errors import IncompatibleNetworkError, NetworkFormatError
from promptengine.kinds.blocks import BASE, BlockWeights
from promptengine.networks.blocks import UNetBlocks
from promptengine.networks.lora.algorithms.table import lacking
from promptengine.networks.lora.delta import LoraModule, bias_delta, fault, inputs, weight_delta
from promptengine.networks.lora.files import Lora
from promptengine.networks.lora.keys import TEXT_PREFIXES, original_name
from promptengine.undo import Changes, UndoLog

__all__ = [
    "Application",
    "Change",
    "ChangedWeights",
    "Fit",
    "Target",
    "changes_of",
    "exchange_weights",
    "fit_lora",
    "merge",
    "merge_module",
    "set_weights",
    "targets",
]

Part = Literal["unet", "text"]
_READS_TEXT: Final = ("attn2.to_k", "attn2.to_v")


class Target(NamedTuple):
    """A module of a model that a LoRA may change.

    Attributes:
        part: Whose module it is, which says which multiplier counts.
        path: Its path there, such as ``mid_block.attentions.0.proj_in``.
        module: The module; it has a ``weight`` and perhaps a ``bias``.
        block: The block it lies in, as :data:`promptengine.kinds.blocks.BLOCKS` names it; None for what
            lies in none.
    """

    part: Part
    path: str
    module: nn.Module
    block: str | None = None


class Slot(NamedTuple):
    """A place of a weight in a model."""

    module: nn.Module
    name: Literal["weight", "bias"]


ChangedWeights = Mapping[Slot, Tensor]
"""What stands in a model's weights while LoRAs are active, each in its weight's dtype and device."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A LoRA and the modules of one model that it changes.

    Attributes:
        lora: The file's content.
        modules: What it changes, and how.
        unmatched: Modules that are not in the model, or do not fit its weights there, each with the reason;
            an empty one where the model has no such module.
    """

    lora: Lora
    modules: tuple[tuple[Target, LoraModule], ...]
    unmatched: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Application:
    """One use of a LoRA at some moment; equal to another one of the same LoRA with the same numbers.

    Attributes:
        fit: The LoRA, fitted to the model.
        text: Multiplier of its changes to the text encoder.
        unet: Multiplier of its changes to the UNet.
        ranks: How many of the first ranks count; None for all.
        blocks: Weights by block, which multiply the multipliers; None for 1 everywhere.
    """

    fit: Fit
    text: float = 1.0
    unet: float = 1.0
    ranks: int | None = None
    blocks: BlockWeights | None = None

    def multiplier(self, target: Target) -> float:
        """Return the multiplier of the changes to a module."""
        multiplier = self.unet if target.part == "unet" else self.text
        return multiplier if self.blocks is None else multiplier * self.blocks.factor(target.block)

    @property
    def changes(self) -> bool:
        """Whether any weight differs for it: its multiplier may be 0 for all that it changes."""
        return any(self.multiplier(target) != 0 for target, _ in self.fit.modules)


def targets(unet: nn.Module, *text_encoders: nn.Module) -> dict[str, Target]:
    """List what LoRAs may change, by the spelling of :mod:`promptengine.networks.lora.keys`.

    Modules of the UNet are there twice, by their original name and by their diffusers path.

    Args:
        unet: A diffusers ``UNet2DConditionModel``.
        text_encoders: Each a transformers ``CLIPTextModel``, in the model's order: one, or SDXL's two. One
            with a projection is OpenCLIP-G and goes by its name in SDXL (``lora_te2_…``), also in SDXL's
            refiner, which has no other.
    """
    found: dict[str, Target] = {}
    config = cast("Any", unet).config
    layers = config.layers_per_block
    plain_up = {level for level, kind in enumerate(config.up_block_types) if "Attn" not in kind}
    blocks = UNetBlocks(path for path, _ in unet.named_modules())
    for path, module in _weighted(unet):
        target = Target("unet", path, module, blocks.of(path))
        name = path.replace(".", "_")
        found[f"unet_{name}"] = target
        if isinstance(layers, int):
            original = original_name(name, layers=layers, plain_up=plain_up)
            found[f"diffusion_model_{original or name}"] = target
    for encoder in text_encoders:
        prefix = TEXT_PREFIXES[hasattr(encoder, "text_projection")]
        for path, module in _weighted(encoder):
            name = path.removeprefix("text_model.").replace(".", "_")
            found[prefix + name] = Target("text", path, module, BASE)
    return found


def _weighted(model: nn.Module) -> Generator[tuple[str, nn.Module]]:
    for path, module in model.named_modules():
        if isinstance(getattr(module, "weight", None), nn.Parameter):
            yield path, module


def fit_lora(lora: Lora, model: Mapping[str, Target]) -> Fit:
    """Find the modules that a LoRA changes in a model.

    Those that the model lacks, or has in another shape, are left out. A LoRA *misfits* when nothing is
    left, or when it changes how text of another width is read: it was made for another family, of which
    it would change a part of the layers only.

    Args:
        lora: The LoRA.
        model: From :func:`targets`.

    Raises:
        IncompatibleNetworkError: It misfits.
        NetworkFormatError: A module of the model gets tensors that no formula is known for.
    """
    modules: list[tuple[Target, LoraModule]] = []
    unmatched: dict[str, str] = {}
    misshapen: list[tuple[Target, LoraModule]] = []
    for name, module in lora.modules.items():
        target = model.get(name)
        if target is None:
            unmatched[name] = ""
        elif module.algorithm is None:
            raise NetworkFormatError(
                f"{name}: {_unknown(module)}; it is not applied", path=lora.path
            )
        elif why := fault(module, cast("Tensor", target.module.weight)):
            misshapen.append((target, module))
            unmatched[name] = why
        else:
            modules.append((target, module))
    for target, module in misshapen:
        if target.path.endswith(_READS_TEXT):
            _refuse_text_width(lora, target, module)
    if lora.modules and not modules:
        reasons = [f"; of {name}, {why}" for name, why in unmatched.items() if why]
        raise IncompatibleNetworkError(
            f"LoRA {lora.path.stem!r} does not fit: none of its {len(lora.modules)} modules has a place in "
            f"this model{reasons[0] if reasons else ''}",
            found=(),
            needed=(),
        )
    return Fit(lora, tuple(modules), unmatched)


def _unknown(module: LoraModule) -> str:
    shapes = ", ".join(f"{tensor} {list(shape)}" for tensor, shape in sorted(module.shapes.items()))
    needs = lacking(module.tensors)
    return f"a change of unknown kind ({shapes})" + (f"; {needs}" if needs else "")


def _refuse_text_width(lora: Lora, target: Target, module: LoraModule) -> None:
    weight = cast("Tensor", target.module.weight)
    found, needed = inputs(module, weight), weight.shape[1]
    if found is None or found == needed:
        return
    raise IncompatibleNetworkError(
        f"LoRA {lora.path.stem!r} does not fit: it was made for text of width {found}, and this model "
        f"reads text of width {needed}",
        found=(found,),
        needed=(needed,),
    )


class Change(NamedTuple):
    """What a use of a LoRA does to one module.

    Attributes:
        module: What the file says of it.
        multiplier: Not 0.
        ranks: How many of the first ranks count; None for all.
    """

    module: LoraModule
    multiplier: float
    ranks: int | None


def changes_of(uses: Sequence[Application], *parts: Part) -> dict[nn.Module, list[Change]]:
    """Return what some LoRAs do to each module that they change, in their order.

    Args:
        uses: The LoRAs.
        parts: Which parts of the model count.
    """
    found: dict[nn.Module, list[Change]] = {}
    for use in uses:
        for target, module in use.fit.modules:
            multiplier = use.multiplier(target)
            if multiplier != 0 and target.part in parts:
                found.setdefault(target.module, []).append(Change(module, multiplier, use.ranks))
    return found


def merge(uses: Sequence[Application], parts: Sequence[Part] = ("unet", "text")) -> ChangedWeights:
    """Compute what weights become under some LoRAs, in their order, each upon the one before.

    ``W += multiplier * change`` in float32, rounded once to the weight's dtype. Order matters only where a
    change depends on the weight (IA3, GLoRA, OFT, BOFT, DoRA). The model is not changed.

    Args:
        uses: The LoRAs.
        parts: Which parts of the model are to be changed.
    """
    merged: dict[Slot, Tensor] = {}
    with torch.no_grad():
        for module, changes in changes_of(uses, *parts).items():
            merged.update(merge_module(module, changes))
    return merged


def merge_module(module: nn.Module, changes: Sequence[Change]) -> dict[Slot, Tensor]:
    """Compute what the weights of one module become; see :func:`merge`."""
    sums: dict[Slot, Tensor] = {}
    places = Slot(module, "weight"), Slot(module, "bias")
    before = cast("Tensor", module.weight)
    for change, multiplier, ranks in changes:
        weight = sums.get(places[0], before.detach().float())
        deltas = weight_delta(change, weight, ranks=ranks), bias_delta(change, len(weight))
        for place, delta in zip(places, deltas, strict=True):
            if delta is not None:
                start = sums.get(place, _present(place))
                step = delta.to(weight.device) * multiplier
                sums[place] = step if start is None else start + step
    return {place: tensor.to(before.dtype) for place, tensor in sums.items()}


def _present(place: Slot) -> Tensor | None:
    parameter = cast("Tensor | None", getattr(place.module, place.name))
    return None if parameter is None else parameter.detach().float()


@contextmanager
def exchange_weights(weights: ChangedWeights, *, journal: UndoLog | None = None) -> Generator[None]:
    """Let a model have other weights within a ``with`` block.

    The weights are exchanged, not computed, which takes no time worth speaking of. When the block ends,
    by an exception too, every weight is the very tensor that it was before. A module without a bias has
    one within the block where a LoRA brings one.

    Args:
        weights: From :func:`merge`.
        journal: Of the run that this is a part of; by default the block stands alone.
    """
    with (journal or UndoLog()).block() as changes:
        set_weights(weights, changes)
        yield


def set_weights(weights: ChangedWeights, changes: Changes) -> None:
    """Put other weights into a model; see :func:`exchange_weights`.

    Args:
        weights: From :func:`merge`.
        changes: Undoes it.
    """
    for slot, tensor in weights.items():
        parameter = cast("nn.Parameter | None", getattr(slot.module, slot.name))
        # They are kept where the model rests, which need not be where it is now.
        here = tensor.to(cast("Tensor", slot.module.weight).device)
        if parameter is None:
            bias = nn.Parameter(here, requires_grad=False)
            changes.set(slot.module, slot.name, bias)
        else:
            changes.set(parameter, "data", here)
