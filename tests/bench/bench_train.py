"""What a training step costs beside the passes it cannot avoid: ``python -m tests.bench.bench_train``.

Times whole steps, and forward and backward passes of the same UNet with the same network on inputs
made before, in turns. Prints both medians and their ratio.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from promptengine import Engine, TrainingProgress, train_hypernetwork
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork
from tests.bench.timing import calibration
from tests.conftest import CHECKPOINT, CONFIG
from tests.training.builders import NETWORK, config, files

_STEPS = 80
_WARM = 10
_PIXELS = 256
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

    def run(self) -> float:
        start = time.perf_counter()
        self.network.zero_grad(set_to_none=True)
        with inject_hypernetworks(self.unet, [(self.network, 1.0)]):
            found = self.unet(self.latents, self.timesteps, self.context, return_dict=False)[0]
            (found - self.noise).square().mean().backward()
        return time.perf_counter() - start


def measure(engine: Engine, root: Path, *, batch: int, pixels: int) -> None:
    """Train, run the bare passes between the steps, and print what both took.

    The batch must divide the three images, or some steps would be cheaper.
    """
    passes = _Passes(engine, batch, pixels)
    steps: list[float] = []
    bare: list[float] = []
    began = 0.0

    def on_step(progress: TrainingProgress) -> None:
        nonlocal began
        if progress.step > 1:
            steps.append(time.perf_counter() - began)
        bare.append(passes.run())
        began = time.perf_counter()

    asked = config(root, steps=_STEPS, batch_size=batch, width=pixels, height=pixels)
    places = files(root, f"ink{pixels}", save_every=0, preview=None)
    train_hypernetwork(engine, asked, places, on_step=on_step)
    step, unavoidable = median(steps[_WARM:]) * 1e3, median(bare[_WARM:]) * 1e3
    label = f"{pixels}×{pixels}, batch of {batch}"
    print(f"{label:<28}{step:9.1f} ms a step {unavoidable:9.1f} ms bare {step / unavoidable:8.3f}")


def main() -> None:
    """Measure on one thread and print."""
    torch.set_num_threads(1)
    print(f"calibration: 100,000 turns of a plain loop {calibration():.3f} ms")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        engine = Engine.open(CHECKPOINT, models=root / "models", config=CONFIG, device="cpu")
        measure(engine, root, batch=3, pixels=64)
        measure(engine, root, batch=1, pixels=_PIXELS)


if __name__ == "__main__":
    main()
