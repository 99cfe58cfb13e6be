"""Checks of whole generations on a device: precision, rows of a batch, noise, what is compiled, and what leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from promptengine import Engine, GenerationRequest
from promptengine.accel.compile import compile_regions
from promptengine.accel.offload import OFFLOADS, Offload
from promptengine.registry.registry import Registry
from promptengine.request.options import Options
from promptengine.sampling.noise import philox_normal
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI

__all__ = ["CHECKS", "Finding", "Setup"]

BASE = GenerationRequest(
    prompt="a (cat:1.2) on a [hill:lake:0.5]",
    negative_prompt="rain",
    seed=7,
    steps=4,
    width=64,
    height=64,
    sampler="Euler",
    policy="strict",
)
TAGS = (
    "",
    " <hypernet:hn-relu:1>",
    " <hypernet:hn-relu:0.4>",
    " <hypernet:hn-linear:0.7><hypernet:hn-relu:1.2>",
    " <lora:lo-kohya:0.8>",
    " <lora:lo-locon:0.5>",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        name: What was checked.
        value: The measured figure.
        limit: What it must not exceed; None where it is only told.
    """

    name: str
    value: float
    limit: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it does not; a figure that is no number never holds."""
        return self.limit is None or self.value <= self.limit

    def __str__(self) -> str:
        """Return a line for people."""
        limit = "" if self.limit is None else f" (at most {self.limit:g})"
        return f"{'ok  ' if self.holds else 'FAIL'} {self.name}: {self.value:.3g}{limit}"


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep float32 products on a GPU in float32; TF32 has ten bits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@dataclass(frozen=True, slots=True)
class Setup:
    """What is checked with.

    Attributes:
        folder: An empty folder; becomes one of models.
        device: Where.
        dtypes: Of UNet and text model.
        tags: Networks, one set for each image.
        backend: Of ``torch.compile``.
    """

    folder: Path
    device: str
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    tags: tuple[str, ...] = TAGS
    backend: str = "inductor"

    def models(self) -> Path:
        """Return the golden data's networks as a models folder has them."""
        if not (self.folder / "Lora").is_dir():
            shutil.copytree(NETWORKS, self.folder / "hypernetworks")
            shutil.copytree(WEBUI.parent / "webui-2" / "loras", self.folder / "Lora")
        return self.folder

    def opened(self, dtype: str = "float32", *, device: str | None = None) -> Engine:
        """Open the tiny checkpoint, on another device if one is named."""
        kind = getattr(torch, dtype)
        return Engine.open(CHECKPOINT, self.models(), CONFIG, device or self.device, kind)

    def compiled(self) -> Engine:
        """Open it compiled."""
        parts = self.opened().checkpoint
        compile_regions(parts.unet, backend=self.backend)
        registry = Registry.open(self.models())
        return Engine(parts, registry, torch.device(self.device), compiled=True)

    def away(self, kind: Offload) -> Engine:
        """Open it at home, to be on the device only while it works."""
        parts, device = self.opened(device="cpu").checkpoint, torch.device(self.device)
        registry = Registry.open(self.models())
        return Engine(parts, registry, device, residence=kind.residence(device))

    def requests(self) -> list[GenerationRequest]:
        """Return an image for each set of networks."""
        return [
            replace(BASE, prompt=BASE.prompt + tag, seed=7 + n) for n, tag in enumerate(self.tags)
        ]


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, in standard deviations of the second; infinite where a value is no number."""
    one, other = one.detach().cpu().double(), other.detach().cpu().double()
    if not one.isfinite().all():
        return float("inf")
    return float((one - other).abs().max() / other.std())


def precision(setup: Setup) -> Iterator[Finding]:
    """How far each dtype on the device is from float32 on the CPU, and rows of a batch from images made alone.

    Rounding in another order moves an image about as far as rounding at all does, so rows may be three times as far
    from the same image made alone as that is from the exact one.
    """
    requests = setup.requests()
    with exact_products():
        exact = [setup.opened(device="cpu").generate(one).latents for one in requests]
        for dtype in setup.dtypes:
            engine = setup.opened(dtype)
            alone = [engine.generate(one).latents for one in requests]
            rows = [made.latents for made in engine.generate_batch(requests)]
            far = max(apart(one, other) for one, other in zip(alone, exact, strict=True))
            among = max(apart(one, other) for one, other in zip(rows, alone, strict=True))
            single = dtype == "float32"
            yield Finding(f"{dtype} from float32 on the CPU", far, 1e-3 if single else 1.0)
            yield Finding(
                f"{dtype}, rows with networks of their own", among, 1e-4 if single else 3 * far
            )


def graphs(setup: Setup) -> Iterator[Finding]:
    """What ``--compile`` compiles again when prompts, networks and multipliers change."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    engine, plain = setup.compiled(), setup.opened()
    with exact_products():
        before = counters["stats"]["unique_graphs"]
        engine.generate(BASE)
        made = counters["stats"]["unique_graphs"]
        far = [
            apart(engine.generate(request).latents, plain.generate(request).latents)
            for request in setup.requests()
        ]
        again = counters["stats"]["unique_graphs"] - made
    yield Finding("graphs of the first image", made - before)
    yield Finding("graphs compiled again for other networks", again, 0)
    yield Finding("compiled from plain, float32", max(far), 1e-3)
    torch._dynamo.reset()


def noise(setup: Setup) -> Iterator[Finding]:
    """Noise as WebUI draws it on an NVIDIA GPU, against the GPU itself."""
    request = replace(BASE, options=Options(noise_source="nv"), steps=1)
    with exact_products():
        made, on_cpu = (
            setup.opened(device=device).generate(request).latents
            for device in (setup.device, "cpu")
        )
    yield Finding("an image of nv's noise from the CPU's", apart(made, on_cpu), 1e-3)
    if setup.device.startswith("cuda"):
        generator = torch.Generator(setup.device).manual_seed(7)
        theirs = torch.randn((4, 64, 64), generator=generator, device=setup.device)
        far = apart(philox_normal(7, 0, theirs.shape), theirs)
        yield Finding("nv's noise from the GPU's own", far, 1e-5)


def leaving(setup: Setup) -> Iterator[Finding]:
    """How far images are apart whose model leaves the device at times, from those of one that stays.

    On a GPU LoRAs are merged beside it, and on a CPU convolutions are not in oneDNN's order, which moves last digits.
    """
    requests = setup.requests()

    def made_by(engine: Engine) -> list[Tensor]:
        made = [*engine.generate_batch(requests), engine.generate(requests[-1])]
        return [one.latents for one in made]

    with exact_products():
        staying = made_by(setup.opened())
        for kind in OFFLOADS:
            if kind.moves:
                far = max(map(apart, made_by(setup.away(kind)), staying))
                yield Finding(f"offload {kind.name} from none, float32", far, 1e-4)


CHECKS = {"precision": precision, "noise": noise, "leaving": leaving, "graphs": graphs}
"""By name, in the order in which they run."""
