"""The networks that a prompt's tags name, loaded from ComfyUI's folders and put into its objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from promptengine.errors import (
    IncompatibleNetworkError,
    NetworkFormatError,
    PromptEngineError,
    RequestError,
)
from promptengine.files.weights import read_safetensors
from promptengine.integrations.comfyui.host import host_module
from promptengine.integrations.comfyui.patches import RunClock, add_hypernetworks, model_widths
from promptengine.networks.attention import require_fit
from promptengine.networks.hypernetwork.files import load_hypernetwork
from promptengine.networks.hypernetwork.inject import HypernetworkStack
from promptengine.networks.hypernetwork.module import Hypernetwork
from promptengine.networks.load import refusal_reason, skipped_report, use_report
from promptengine.networks.loader import BundledWord
from promptengine.networks.lora.delta import LoraModule
from promptengine.networks.lora.files import Lora, load_lora
from promptengine.prompt import Diagnostic
from promptengine.registry.registry import Registry
from promptengine.request.plan import NetworkUse, Plan
from promptengine.request.request import Policy
from promptengine.request.result import NetworkReport

__all__ = ["AppliedNetworks", "apply_networks", "weight_changes"]


@dataclass(slots=True, eq=False)
class AppliedNetworks:
    """A model and a text encoder with networks in them.

    Attributes:
        model: The caller's own clone.
        clip: Likewise.
        policy: What to do with a network that cannot be applied.
        reports: What became of each tag.
        diagnostics: What went wrong, for people.
        words: Embeddings that LoRA files bring along.
    """

    model: Any
    clip: Any
    policy: Policy
    reports: list[NetworkReport] = field(default_factory=list[NetworkReport])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    words: dict[str, BundledWord] = field(default_factory=dict[str, BundledWord])

    def refuse(self, use: NetworkUse, error: PromptEngineError, reason: str) -> None:
        """Note a network that is not applied; under ``strict`` that is an error instead."""
        if self.policy == "strict":
            raise error
        self.reports.append(use_report(use, reason=reason))
        if self.policy == "warn":
            hint = "it is not applied"
            self.diagnostics.append(Diagnostic("warning", str(error), use.span, hint))


def apply_networks(
    model: Any, clip: Any, plan: Plan, registry: Registry, *, policy: Policy, clock: RunClock
) -> AppliedNetworks:
    """Put the networks of a plan into clones of a model and a text encoder.

    Args:
        model: A ``ModelPatcher``; left as it is.
        clip: A ``CLIP``; left as it is.
        plan: What the prompt names.
        registry: Where the files are.
        policy: What to do with a network that cannot be applied.
        clock: Counts the calls of the model's runs.

    Raises:
        PromptEngineError: ``strict``, and a network cannot be applied.
    """
    found = AppliedNetworks(model.clone(), clip.clone(), policy)
    found.reports += map(skipped_report, plan.skipped)
    stack: list[tuple[Hypernetwork, NetworkUse]] = []
    appliers: dict[str, Callable[[NetworkUse], None]] = {
        "hypernet": lambda use: _hypernetwork(use, found, registry, stack),
        "lora": lambda use: _lora(use, found, registry),
    }
    for use in plan.networks:
        apply = appliers.get(use.entry.kind)
        try:
            if apply is None:
                raise _NotHere(use, "networks of this kind are not applied in ComfyUI")
            apply(use)
        except (NetworkFormatError, IncompatibleNetworkError) as error:
            found.refuse(use, error, refusal_reason(error))
        except _NotHere as error:
            found.refuse(use, error, error.reason)
    found.reports.sort(key=lambda report: report.span.start)
    if stack:
        add_hypernetworks(found.model, lambda call: _stack_at(stack, call), clock)
    return found


def _stack_at(uses: list[tuple[Hypernetwork, NetworkUse]], call: int) -> HypernetworkStack:
    return [(network, use.at(call), use.blocks) for network, use in uses]


def _hypernetwork(
    use: NetworkUse,
    found: AppliedNetworks,
    registry: Registry,
    stack: list[tuple[Hypernetwork, NetworkUse]],
) -> None:
    network = load_hypernetwork(use.entry.path)
    require_fit(model_widths(found.model), network, name=use.entry.name)
    if use.multiplier == 0:
        found.reports.append(use_report(use, reason="multiplier is 0"))
        return
    stack.append((network, use))
    found.reports.append(use_report(use, digest=registry.digest(use.entry)))


def _lora(use: NetworkUse, found: AppliedNetworks, registry: Registry) -> None:
    if use.multipliers or use.text_multipliers:
        raise _NotHere(use, "LoRAs cannot change over the steps in ComfyUI")
    if use.blocks is not None:
        raise _NotHere(use, "LoRAs have no block weights in ComfyUI")
    if use.extra is not None:
        raise _NotHere(use, "dyn= is not applied in ComfyUI")
    lora = load_lora(use.entry.path)
    if any(_has_outside_scale(module) for module in lora.modules.values()):
        reason = "its scale is not alpha / rank, which is all that ComfyUI reads"
        raise _NotHere(use, reason)
    text, unet = use.multiplier, use.at(0)
    if text == unet == 0 and not lora.embeddings:
        found.reports.append(use_report(use, reason="multiplier is 0"))
        return
    tensors, _ = read_safetensors(use.entry.path)
    before = weight_changes(found.model) + weight_changes(found.clip.patcher)
    load = host_module("comfy.sd").load_lora_for_models
    model, clip = load(found.model, found.clip, dict(tensors), unet, text)
    reached = weight_changes(model) + weight_changes(clip.patcher) - before
    if reached == 0 and not lora.embeddings:
        raise _NotHere(use, "it changes nothing")
    found.model, found.clip = model, clip
    found.words |= {word: (parts, lora.path.stem) for word, parts in lora.embeddings.items()}
    short = registry.short_hash(use.entry)
    found.reports.append(use_report(use, digest=registry.digest(use.entry), short_hash=short))
    _tell_leftovers(use, lora, reached, found)


def _tell_leftovers(use: NetworkUse, lora: Lora, reached: int, found: AppliedNetworks) -> None:
    missing = len(lora.modules) - reached
    if missing > 0 and found.policy != "ignore":
        message = f"{missing} of the {len(lora.modules)} parts of LoRA {use.name!r} have no place"
        told = Diagnostic("warning", f"{message} in this model", use.span, "the rest is applied")
        found.diagnostics.append(told)


def weight_changes(patcher: Any) -> int:
    """Count the changes of weights that wait in a ``ModelPatcher``."""
    return sum(map(len, patcher.patches.values()))


def _has_outside_scale(module: LoraModule) -> bool:
    alpha, rank = module.tensors.get("alpha"), module.rank
    stated = 1.0 if alpha is None or not rank else float(alpha) / rank
    return abs(module.scale - stated) > 1e-6 * abs(stated)


class _NotHere(RequestError):
    """A use that ComfyUI's objects cannot express."""

    def __init__(self, use: NetworkUse, reason: str) -> None:
        super().__init__(f"{use.tag.kind} {use.name!r}: {reason}", field="prompt")
        self.reason = reason
