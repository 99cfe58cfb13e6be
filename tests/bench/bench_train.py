"""What a training step costs beside the passes it cannot avoid: ``python -m tests.bench.bench_train``.

Times whole steps, and forward and backward passes of the same UNet with the same network on inputs
made before, in turns, on one thread.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from promptengine import Engine, TrainingProgress, train_hypernetwork
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork
from tests.bench.floor import multiply_adds, quickest_product
from tests.bench.results import report
from tests.bench.timing import FLOOR, Rows, compared, options, timed
from tests.conftest import CHECKPOINT, CONFIG
from tests.training.builders import NETWORK, config, files

_WARM = 10
_WIDTHS = (48, 32, 64, 128)


class _Passes:
    """The unavoidable: one forward and one backward pass."""

    def __init__(self, engine: Engine, batch: int, pixels: int) -> None:
        self.unet = engine.checkpoint.unet
        self.network = Hypernetwork(_WIDTHS, name="ink", settings=NETWORK).train()
        self.latents = torch.randn(batch, 4, pixels // 8, pixels // 8)
        self.noise = torch.randn_like(self.latents)
        self.context = torch.randn(batch, 77, 48)
        self.timesteps = torch.full((batch,), 500)

    def run(self) -> None:
        self.network.zero_grad(set_to_none=True)
        with inject_hypernetworks(self.unet, [(self.network, 1.0)]):
            found = self.unet(self.latents, self.timesteps, self.context, return_dict=False)[0]
            (found - self.noise).square().mean().backward()


def measure(engine: Engine, root: Path, *, batch: int, pixels: int, rounds: int) -> Rows:
    """Train, and run the bare passes and the floor between the steps.

    The batch must divide the three images, or some steps would be cheaper.
    """
    passes, floor = _Passes(engine, batch, pixels), quickest_product(torch.float32)
    step, bare = "training step", "passes alone"
    seconds: dict[str, list[float]] = {FLOOR: [], bare: [], step: []}
    began = 0.0

    def on_step(progress: TrainingProgress) -> None:
        nonlocal began
        spent = time.perf_counter() - began
        if progress.step > _WARM:
            seconds[step].append(spent)
            seconds[bare] += timed(passes.run, 1)
            seconds[FLOOR] += timed(floor, 1)
        began = time.perf_counter()

    asked = config(root, steps=_WARM + rounds, batch_size=batch, width=pixels, height=pixels)
    places = files(root, f"ink{pixels}", save_every=0, preview=None)
    train_hypernetwork(engine, asked, places, on_step=on_step)
    # A step does more than these passes; how much more torch computes is not counted.
    work = {FLOOR: multiply_adds(floor), bare: multiply_adds(passes.run)}
    return compared(seconds, bare, work=work, theirs=(bare,))


def tables(rounds: int) -> Iterator[tuple[str, Rows]]:
    """Measure two sizes of images."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        engine = Engine.open(CHECKPOINT, models=root / "models", config=CONFIG, device="cpu")
        for batch, pixels in ((3, 64), (1, 256)):
            rows = measure(engine, root, batch=batch, pixels=pixels, rounds=rounds)
            yield f"{pixels}×{pixels}, batch of {batch}", rows


def main() -> None:
    """Read the options, measure and print."""
    parser = options(rounds=70)
    parser.set_defaults(threads=1)
    given = parser.parse_args()
    report("bench_train", given, tables(given.rounds))


if __name__ == "__main__":
    main()
