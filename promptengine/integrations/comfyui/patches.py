"""Hypernetworks as patches on what the attentions of a ComfyUI model read.

ComfyUI hands such a patch the inputs of the query, key and value projections, which is the very place where
WebUI applies hypernetworks. The call of the denoiser is counted, as WebUI counts it, by two wrappers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from promptengine.errors import PromptEngineError
from promptengine.integrations.comfyui.host import host_module
from promptengine.networks.attention import AttentionWidths
from promptengine.networks.hypernetwork.inject import HypernetworkStack
from promptengine.networks.hypernetwork.module import Hypernetwork
from promptengine.networks.hypernetwork.projection import HypernetworkUse
from promptengine.request.result import NetworkReport

__all__ = ["HypernetworkPatch", "RunClock", "add_hypernetworks", "model_widths"]

KEY: Final = "promptengine"
"""Under which the wrappers stand in a model."""


class RunClock:
    """Counts how often the denoiser was called in a run.

    Attributes:
        call: The call that is under way, from 0.
    """

    def __init__(self) -> None:
        self.call = 0
        self._begun = 0

    def attach(self, model: Any) -> None:
        """Let a model's runs be counted.

        Args:
            model: A ``ModelPatcher`` that is the caller's own clone.
        """
        kinds = host_module("comfy.patcher_extension").WrappersMP
        model.add_wrapper_with_key(kinds.OUTER_SAMPLE, KEY, self._run)
        model.add_wrapper_with_key(kinds.PREDICT_NOISE, KEY, self._ask)

    def _run(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.call = self._begun = 0
        return executor(*args, **kwargs)

    def _ask(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.call = self._begun
        self._begun += 1
        return executor(*args, **kwargs)


class HypernetworkPatch:
    """Changes what the projections of one attention read: ``x + multiplier * f(x)``, network after network.

    Queries are changed by networks of the transform ``key,query`` alone. The tensors that come in are never
    written to, since key and value of ComfyUI are one tensor.

    Args:
        stack_at: The networks that act at a 0-based call of the denoiser.
        clock: Counts the calls.
        loaded: What is told of a network that a node of its own applies; None for those of a prompt's tags.
    """

    def __init__(
        self,
        stack_at: Callable[[int], HypernetworkStack],
        clock: RunClock,
        loaded: NetworkReport | None = None,
    ) -> None:
        self.loaded = loaded
        self._stack_at = stack_at
        self.clock = clock
        self._placed: dict[Hypernetwork, Hypernetwork] = {}

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, extra: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three inputs ``[rows, tokens, width]`` as the networks make them.

        Args:
            query: What the query projection reads.
            key: What the key projection reads.
            value: What the value projection reads.
            extra: ComfyUI's ``extra_options``, which name the block.
        """
        found = {"query": query, "key": key, "value": value}
        block = _block(extra.get("block"))
        for use in self._stack_at(self.clock.call):
            found = {part: self._changed(x, part, use, block) for part, x in found.items()}
        return found["query"], found["key"], found["value"]

    def to(self, place: torch.device | torch.dtype) -> HypernetworkPatch:
        """Forget the copies of networks on other devices, as ComfyUI asks when it moves a model."""
        if isinstance(place, torch.device):
            self._placed.clear()
        return self

    def _changed(self, x: Tensor, part: str, use: HypernetworkUse, block: str | None) -> Tensor:
        network, multiplier = use[:2]
        blocks = use[2] if len(use) > 2 else None
        residual = network.part(x.shape[-1], part)
        strength = multiplier if blocks is None else multiplier * blocks.factor(block)
        if residual is None or strength == 0:
            return x
        placed = self._placed.get(network)
        if placed is None or not _is_at(placed, x):
            placed = self._placed[network] = network.cast_to(device=x.device, dtype=x.dtype)
        residual = placed.part(x.shape[-1], part)
        assert residual is not None
        return residual(x, strength)


def add_hypernetworks(
    model: Any,
    stack_at: Callable[[int], HypernetworkStack],
    clock: RunClock,
    loaded: NetworkReport | None = None,
) -> None:
    """Let hypernetworks act on all attentions of a model, behind the patches that it has.

    Args:
        model: A ``ModelPatcher`` that is the caller's own clone.
        stack_at: The networks that act at a 0-based call of the denoiser.
        clock: Counts the calls; attached to the model.
        loaded: What is told of a network that a node of its own applies; None for those of a prompt's tags.
    """
    model.set_model_attn1_patch(HypernetworkPatch(stack_at, clock, loaded))
    model.set_model_attn2_patch(HypernetworkPatch(stack_at, clock, loaded))


def model_widths(model: Any) -> AttentionWidths:
    """Find what widths the attentions of a ``ModelPatcher``'s UNet read.

    Raises:
        PromptEngineError: It has no such attentions, as models of other architectures.
    """
    unet: nn.Module = model.model.diffusion_model
    text: set[int] = set()
    image: set[int] = set()
    for path, module in unet.named_modules():
        weight = getattr(getattr(module, "to_k", None), "weight", None)
        if isinstance(weight, Tensor):
            (text if path.endswith("attn2") else image).add(weight.shape[1])
    if not image:
        message = f"the model ({type(unet).__name__}) has no attentions that hypernetworks act on"
        raise PromptEngineError(f"{message}; it must be Stable Diffusion 1, 2 or XL")
    return AttentionWidths(text=max(text, default=None), image=frozenset(image))


def _is_at(network: Hypernetwork, x: Tensor) -> bool:
    weight = next(network.parameters())
    return weight.device == x.device and weight.dtype == x.dtype


def _block(block: object) -> str | None:
    """Return ComfyUI's ``("input", 1)`` as block weights name it: ``IN01``."""
    match block:
        case ("input", int(number)):
            return f"IN{number:02}"
        case ("output", int(number)):
            return f"OUT{number:02}"
        case ("middle", _):
            return "MID"
        case _:
            return None
