"""One call of a UNet on a device: diffusers' own, eager and compiled, beside ours with and without networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from promptengine.accel.compile import compile_regions, use_compiled_regions
from promptengine.accel.step_cache import StepCache, cache_steps
from promptengine.networks.attention import attention_widths
from promptengine.networks.hypernetwork.inject import Injection, inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork, HypernetworkSettings
from tests.bench.floor import wait
from tests.bench.timing import Rows, compared, interleaved
from tests.checkpoints.full_size import configured
from tests.checkpoints.original import tiny

__all__ = ["BASE", "CACHED", "SHAPES", "Shape", "measure"]

BASE: Final = "diffusers compiled"
"""What all others are compared with, where anything is compiled."""

INTERVAL: Final = 3
CACHED: Final = f"ours, cache interval {INTERVAL}, a call"

Stack = Sequence[tuple[Hypernetwork, float]]


@dataclass(frozen=True, slots=True)
class Shape:
    """A UNet without weights, and what it is asked with.

    Attributes:
        make: Makes it, on the device ``meta`` or with weights that are drawn anew.
        cells: Side of the latents.
        added: Sizes of SDXL's pooled text and time ids, or None.
    """

    make: Callable[[], nn.Module]
    cells: int
    added: tuple[int, int] | None = None


SHAPES: Mapping[str, Shape] = {
    "sd15": Shape(lambda: configured("sd15").unet, 64),
    "sdxl": Shape(lambda: configured("sdxl").unet, 128, (1280, 6)),
    "tiny": Shape(lambda: tiny("SD1").unet, 8),
    "tiny sdxl": Shape(lambda: tiny("SDXL").unet, 8, (32, 6)),
}


class _Calls:
    """Copies of a UNet that share its weights, and what they are asked with."""

    def __init__(self, shape: Shape, batch: int, dtype: torch.dtype, device: str) -> None:
        self.device, self.dtype = device, dtype
        self.plain = _random(shape.make(), dtype, device)
        config: Any = self.plain.config
        # Prompt and negative prompt are rows of one batch.
        rows = 2 * batch
        new = partial(torch.randn, device=device, dtype=dtype)
        self.x = new(rows, 4, shape.cells, shape.cells)
        self.text = new(rows, 77, config.cross_attention_dim)
        self.more: dict[str, Any] = {}
        if shape.added is not None:
            pooled, numbers = shape.added
            ids = torch.ones(rows, numbers, device=device, dtype=dtype)
            self.more = {"added_cond_kwargs": {"text_embeds": new(rows, pooled), "time_ids": ids}}

    def twin(self) -> nn.Module:
        """Another UNet with the very same weights."""
        return copy.deepcopy(self.plain, {id(p): p for p in self.plain.parameters()})

    def ask(self, unet: nn.Module, text: Tensor | None = None) -> None:
        """Ask once, and wait for the answer."""
        with torch.no_grad():
            unet(self.x, 500, self.text if text is None else text, return_dict=False, **self.more)
        wait(self.device)


def measure(
    name: str, batch: int, *, dtype: torch.dtype, device: str, rounds: int, backend: str
) -> Rows:
    """Time calls in turns.

    Args:
        name: Of a shape.
        batch: Images; the UNet gets two rows of each.
        dtype: Of weights and inputs.
        device: Where.
        rounds: How often each is timed.
        backend: Of ``torch.compile``; empty compiles nothing.

    Returns:
        Seconds of each, ratios to the compiled diffusers (or to the eager one), and spreads.
    """
    calls = _Calls(SHAPES[name], batch, dtype, device)
    actions: dict[str, Callable[[], object]] = {"diffusers": partial(calls.ask, calls.plain)}
    with ExitStack() as blocks:
        if backend:
            blocks.enter_context(use_compiled_regions())
            whole = calls.twin()
            whole.compile(backend=backend)
            actions[BASE] = partial(calls.ask, whole)
        for label in ("ours", "ours compiled") if backend else ("ours",):
            unet = calls.twin()
            if label != "ours":
                compile_regions(unet, backend=backend)
            injection = blocks.enter_context(inject_hypernetworks(unet))
            for kind, stack in _stacks(calls).items():
                # A text of its own for each, since only the last networks' keys and values are kept.
                ask = partial(_steered, calls, unet, injection, stack, calls.text.clone())
                actions[f"{label}, {kind}"] = ask
        unet = calls.twin()
        cache = blocks.enter_context(cache_steps(unet, INTERVAL, 20))
        assert cache is not None
        actions[CACHED] = partial(_three, calls, unet, cache)
        seconds = interleaved(actions, rounds, warm=2)
    seconds[CACHED] = [one / INTERVAL for one in seconds[CACHED]]
    return compared(seconds, BASE if backend else "diffusers")


def _steered(
    calls: _Calls, unet: nn.Module, injection: Injection, stack: Stack, text: Tensor
) -> None:
    injection.choose(stack)
    calls.ask(unet, text)


def _three(calls: _Calls, unet: nn.Module, cache: StepCache) -> None:
    names = [(row, 0) for row in range(len(calls.x))]
    for call in range(INTERVAL):
        cache.choose(names, call)
        calls.ask(unet)
    cache.choose([], 0)


def _stacks(calls: _Calls) -> Mapping[str, Stack]:
    """Return what acts: nothing, a linear network, and one with relu, small enough to leave numbers in range."""
    found: dict[str, Stack] = {"no network": ()}
    for kind, activation in (("linear", None), ("relu", "relu")):
        settings = HypernetworkSettings(activation=activation, activate_output=False)
        widths = attention_widths(calls.plain).all
        network = Hypernetwork(widths, name=kind, settings=settings, device=calls.device)
        for tensor in network.to(calls.dtype).eval().requires_grad_(False).parameters():
            tensor.uniform_(-0.01, 0.01)
        found[f"{kind} network"] = ((network, 0.8),)
    return found


def _random(unet: Any, dtype: torch.dtype, device: str) -> nn.Module:
    """Return a UNet with random weights whose numbers stay in range."""
    unet = unet.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    for name, tensor in unet.named_parameters():
        if tensor.ndim == 1:
            tensor.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            tensor.uniform_(-1, 1).mul_((3 / tensor[0].numel()) ** 0.5)
    return unet
