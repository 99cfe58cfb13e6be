"""What LoRAs cost that differ from row to row or move over the steps: ``python -m tests.bench.bench_lora``.

Times calls of a UNet of Stable Diffusion 1's shape (random weights), taking turns, and prints medians of ratios:

- a guided step of one image under a merged LoRA, under one whose multiplier moves, and without any;
- one of eight images under one merged LoRA and under eight of their own, beside one of a single image, of which
  eight runs after one another take eight.

The LoRAs have rank 16 and change all linear layers and projections of the transformers, as kohya's trainer
writes them; with ``--conv`` all convolutions too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from promptengine.accel.memory import free_bytes
from promptengine.accel.onednn import pack_conv_weights, use_onednn
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.lora.algorithms.table import ALGORITHMS
from promptengine.networks.lora.delta import LoraModule
from promptengine.networks.lora.files import Lora
from promptengine.networks.lora.inject import LoraSchedule, inject_loras
from promptengine.networks.lora.merge import Application, Fit, Target
from promptengine.networks.lora.weights import LoraWeights
from tests.bench.bench_unet import DTYPES, random_unet
from tests.bench.floor import multiply_adds, quickest_product
from tests.bench.results import report
from tests.bench.timing import FLOOR, Rows, compared, options, timed

RANK = 16
IMAGES = 8
_Taken = TypeVar("_Taken")


def random_lora(unet: nn.Module, number: int, *, conv: bool) -> Fit:
    """A LoRA of random numbers for the layers that LoRAs change as a rule."""
    generator = torch.Generator().manual_seed(number)
    modules: list[tuple[Target, LoraModule]] = []
    for path, module in unet.named_modules():
        wanted = "attentions" in path or conv
        if not wanted or not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        weight = module.weight
        shape = (RANK, *weight.shape[1:])
        tensors: dict[str, Tensor] = {
            "lora_up.weight": torch.randn(len(weight), RANK, generator=generator) * 0.01,
            "lora_down.weight": torch.randn(shape, generator=generator) * 0.01,
        }
        made = LoraModule(ALGORITHMS["LoRA"], tensors, 1.0)
        modules.append((Target("unet", path, module), made))
    lora = Lora(Path(f"{number}.safetensors"), {}, {}, (), (), 0)
    return Fit(lora, tuple(modules), {})


def measure(dtype: str, size: int, *, rounds: int, conv: bool) -> Iterator[tuple[str, Rows]]:
    """Time one comparison after the other."""
    unet = random_unet(DTYPES[dtype], "cpu")
    loras = [random_lora(unet, number, conv=conv) for number in range(IMAGES)]
    packed = pack_conv_weights(unet, room=free_bytes(torch.device("cpu")))
    ask = Asking(unet, size)
    one = {
        "merged": [constant(loras[0])],
        "moving": [moving(loras[0])],
        "no LoRA": [LoraSchedule(lambda _: ())],
    }
    eight = {
        "one merged": [constant(loras[0])] * IMAGES,
        "eight of their own": [constant(lora) for lora in loras],
        "an eighth, merged": [constant(loras[0])],
    }
    with torch.no_grad(), use_onednn(unet, packed=packed):
        yield "one image", ask.taking_turns(one, "merged", rounds)
        yield "eight images", ask.taking_turns(eight, "one merged", rounds)


class Asking:
    """Guided steps of a UNet."""

    def __init__(self, unet: nn.Module, size: int) -> None:
        self._unet: Any = unet
        self._size = size // 8
        self._dtype = next(unet.parameters()).dtype
        self._weights = LoraWeights()
        self._floor = quickest_product(self._dtype)

    def taking_turns(
        self, schedules: Mapping[str, list[LoraSchedule]], base: str, rounds: int
    ) -> Rows:
        """Time a step under each, the first of a run left out, beside the one that ``base`` names."""
        seconds: dict[str, list[float]] = {name: [] for name in (FLOOR, *schedules)}
        for _ in range(rounds):
            seconds[FLOOR] += timed(self._floor, 1)
            for name, rows in schedules.items():
                seconds[name] += self._second_step(rows, lambda step: timed(step, 1))
        work = {name: self._second_step(rows, multiply_adds) for name, rows in schedules.items()}
        return compared(seconds, base, work=work | {FLOOR: multiply_adds(self._floor)})

    def _second_step(
        self, schedules: list[LoraSchedule], take: Callable[[Callable[[], object]], _Taken]
    ) -> _Taken:
        """Return what ``take`` says of a step that another one went before."""
        rows = 2 * len(schedules)
        x = torch.randn(rows, 4, self._size, self._size).to(self._dtype)
        text = torch.randn(rows, 77, 768).to(self._dtype)
        with (
            inject_loras(self._unet, schedules, self._weights) as loras,
            inject_hypernetworks(self._unet),
        ):

            def step(call: int) -> None:
                loras.choose(*(one.at(call) for one in schedules for _ in range(2)))
                self._unet(x, torch.tensor(500), text, return_dict=False)

            step(0)
            return take(partial(step, 1))


def constant(lora: Fit) -> LoraSchedule:
    """Return a LoRA that is the same at all steps."""
    stack = (Application(lora, unet=0.8),)
    return LoraSchedule(lambda _: stack)


def moving(lora: Fit) -> LoraSchedule:
    """Return a LoRA that is another at each step."""
    return LoraSchedule(lambda call: (Application(lora, unet=0.5 + 0.01 * call),), steady=False)


def main() -> None:
    """Read the options, measure and print."""
    parser = options(rounds=5)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--conv", action="store_true")
    chosen = parser.parse_args()
    tables = measure(chosen.dtype, chosen.size, rounds=chosen.rounds, conv=chosen.conv)
    report("bench_lora", chosen, tables)


if __name__ == "__main__":
    main()
