"""What a whole run costs beside diffusers' own pipeline: ``python -m tests.bench.bench_run``.

Text to image with ``StableDiffusionPipeline`` and with our engine, in turns, from the very same file:
Euler, CFG 7, 256×256, float32, another prompt each time so that no memory of texts helps. Models are the
starter checkpoint and one of Stable Diffusion 1.5's shape with random weights. Ours runs without networks,
with one ``[1, 2, 1]`` relu network, and with a linear one. Prints median ratios to the pipeline without any.

The floor is that of ``bench_unet``: one relu network's products in self-attention, less the projections of the
text, which are computed once and not at every step, and what oneDNN saves. Both sides decode with the same VAE.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import torch

from promptengine import Engine, GenerationRequest, save_hypernetwork
from promptengine.checkpoints.load import open_checkpoint
from promptengine.networks.attention import attention_widths
from promptengine.networks.hypernetwork.module import Hypernetwork, HypernetworkSettings
from tests.bench.floor import measured, quickest_product
from tests.bench.results import report
from tests.bench.timing import Rows, options
from tests.checkpoints.diffusers_pipelines import pipeline
from tests.checkpoints.full_size import configured, write_random
from tests.checkpoints.original import Original

STARTER = (
    Path(__file__).parent.parent.parent / "models" / "Stable-diffusion" / "starter.safetensors"
)
NETWORKS: Mapping[str, str | None] = {"relu": "relu", "linear": None}
PIXELS = 256


def opened(model: str, folder: Path) -> Engine:
    """An engine for a model, with a relu and a linear network for its widths."""
    path = STARTER
    if model == "sd15":
        path = folder / "sd15.safetensors"
        write_random(configured("sd15").weights(), path, torch.float32)
    engine = Engine.open(path, models=folder, device="cpu")
    (folder / "hypernetworks").mkdir(exist_ok=True)
    for name, activation in NETWORKS.items():
        settings = HypernetworkSettings(activation=activation, activate_output=False)
        widths = attention_widths(engine.checkpoint.unet).all
        network = Hypernetwork(widths, name=name, settings=settings)
        with torch.no_grad():
            for tensor in network.parameters():
                tensor.uniform_(-0.01, 0.01)
        save_hypernetwork(network, folder / "hypernetworks" / f"{name}.safetensors")
    return engine


def actions(engine: Engine, steps: int) -> dict[str, Callable[[], object]]:
    """Whole runs, by name."""
    # Opened once more: the engine's own modules are quicker than diffusers'.
    parts = open_checkpoint(engine.checkpoint.path)
    modules: Any = parts.unet, parts.vae
    pipe = pipeline(Original("SD1", *modules, parts.text_encoders))
    numbers = count()

    def diffusers() -> None:
        pipe(f"a cat, {next(numbers)}", width=PIXELS, height=PIXELS, num_inference_steps=steps)

    def ours(tag: str) -> Callable[[], object]:
        def run() -> None:
            request = GenerationRequest(
                prompt=f"a cat, {next(numbers)}{tag}",
                cfg_scale=7.5,
                sampler="Euler",
                steps=steps,
                width=PIXELS,
                height=PIXELS,
                policy="strict",
            )
            engine.generate(request)

        return run

    tags = {"none": "", **{name: f" <hypernet:{name}:0.8>" for name in NETWORKS}}
    return {"diffusers": diffusers} | {f"ours, {name}": ours(tag) for name, tag in tags.items()}


def measure(model: str, *, steps: int, rounds: int) -> Rows:
    """Time whole runs in turns, beside diffusers."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(
            actions(opened(model, Path(folder)), steps),
            "diffusers",
            rounds=rounds,
            floor=quickest_product(torch.float32),
            theirs=("diffusers",),
        )


def run(name: str, measure: Callable[..., Rows]) -> None:
    """Read the options of a benchmark of whole runs, measure and print.

    Args:
        name: Of the benchmark.
        measure: Takes a model's name, ``steps`` and ``rounds``.
    """
    parser = options(rounds=5)
    parser.add_argument(
        "--models", nargs="*", choices=["starter", "sd15"], default=["starter", "sd15"]
    )
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    steps, rounds = given.steps, given.rounds
    tables = (
        (f"{model}, {steps} steps", measure(model, steps=steps, rounds=rounds))
        for model in given.models
    )
    report(name, given, tables)


if __name__ == "__main__":
    run("bench_run", measure)
