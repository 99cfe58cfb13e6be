"""What is asked of an engine, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from promptengine.errors import RequestError
from promptengine.syntax.tree import Diagnostic, Span

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = [
    "GenerationRequest",
    "GenerationResult",
    "NetworkReport",
    "Policy",
    "Progress",
    "with_hypernetwork",
]

Policy = Literal["strict", "warn", "ignore"]
"""What to do with a network that cannot be applied: refuse, report with a diagnostic, or only report."""

MAX_SEED = 2**64 - 1
LATENT_SCALE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One text-to-image job. Defaults are WebUI's.

    Attributes:
        prompt: WebUI prompt, tags included.
        negative_prompt: What to steer away from. Tags are words here, as in WebUI.
        seed: 0 to 2**64 - 1, or -1 to have one drawn and reported. Image i has ``seed + i``.
        steps: 1 to 1000.
        sampler: A name or alias from :data:`promptengine.diffusion.sampling.SAMPLERS`.
        cfg_scale: Guidance; 1 follows the prompt alone.
        width: Pixels, a multiple of 8, or None for the checkpoint's own size.
        height: Likewise.
        batch_size: Images made at once.
        batch_count: Batches made one after another.
        clip_skip: 1 reads CLIP's last layer, n the n-th from the end.
        policy: What to do with a network that cannot be applied.

    Raises:
        RequestError: On creation, if a value is out of its range; names the field and the range.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = -1
    steps: int = 20
    sampler: str = "Euler a"
    cfg_scale: float = 7.0
    width: int | None = None
    height: int | None = None
    batch_size: int = 1
    batch_count: int = 1
    clip_skip: int = 1
    policy: Policy = "warn"

    def __post_init__(self) -> None:
        _check_range("seed", self.seed, -1, MAX_SEED)
        _check_range("steps", self.steps, 1, 1000)
        _check_range("cfg_scale", self.cfg_scale, -1000, 1000)
        _check_range("batch_size", self.batch_size, 1, 1024)
        _check_range("batch_count", self.batch_count, 1, 1_000_000)
        _check_range("clip_skip", self.clip_skip, 1, 100)
        _check_range("seed", self.seed + self.batch_size * self.batch_count - 1, -1, MAX_SEED)
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None:
                _check_range(name, value, LATENT_SCALE, 16384)
                _check_multiple(name, value)
        if self.policy not in get_args(Policy):
            choices = ", ".join(get_args(Policy))
            raise RequestError(f"policy {self.policy!r} is none of {choices}", field="policy")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise RequestError(f"{name} is {value}; it must be {low} to {high}", field=name)


def _check_multiple(name: str, value: int) -> None:
    if value % LATENT_SCALE:
        below = value - value % LATENT_SCALE
        message = f"{name} is {value}, no multiple of 8; try {below} or {below + LATENT_SCALE}"
        raise RequestError(message, field=name)


def with_hypernetwork(prompt: str, name: str, multiplier: str = "1") -> str:
    """Append a hypernetwork's tag to a prompt.

    Args:
        prompt: Any prompt.
        name: As the registry knows it.
        multiplier: As it shall stand in the tag.

    Raises:
        RequestError: No tag can hold this name.
    """
    if not name or any(mark in name for mark in "<>:\r\n"):
        message = f"{name!r} is no name of a hypernetwork that a tag can hold"
        raise RequestError(message, field="hypernetwork")
    # On the line of a comment the tag would be part of it.
    line_break = "\n" if "#" in prompt.rpartition("\n")[2] else ""
    return f"{prompt}{line_break}<hypernet:{name}:{multiplier}>"


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """What became of one tag.

    Attributes:
        kind: The tag's kind, such as ``hypernet``.
        name: The network's name as written.
        multiplier: As used, or None where it could not be read; a LoRA's for the text encoder.
        applied: Whether the network changed the model while the picture was made.
        reason: Why not, in words; empty if applied.
        span: The tag's place in the prompt.
        path: The file, where one was found.
        digest: Its SHA-256 in hex, where it was applied.
        unet_multiplier: A LoRA's for the UNet, as used; None for other kinds.
        lora_hash: A LoRA's 12 digits in WebUI's ``Lora hashes``, where its file was used or would have
            been, were its multiplier not 0.
    """

    kind: str
    name: str
    multiplier: float | None
    applied: bool
    reason: str
    span: Span
    path: Path | None = None
    digest: str | None = None
    unet_multiplier: float | None = None
    lora_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. Steps are the sampler's updates.

    Attributes:
        batch: Batches finished before this one.
        batches: Batches in all.
        step: Steps done in this batch, from 1.
        steps: Steps of a batch, as asked for.
    """

    batch: int
    batches: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True, eq=False)
class GenerationResult:
    """Finished pictures and the truth about how they were made.

    Attributes:
        images: Pillow images, RGB, in order of their seeds.
        latents: ``[images, 4, height / 8, width / 8]``, float32, on the CPU.
        infotexts: WebUI's ``parameters`` text of each image.
        seeds: Of each image.
        networks: Every tag of the prompt: applied or not, and why.
        diagnostics: What a person would want to know about the prompts and files.
        timings: Seconds by stage: plan, load, encode, sample, decode.
    """

    images: tuple[Image, ...]
    latents: Tensor
    infotexts: tuple[str, ...]
    seeds: tuple[int, ...]
    networks: tuple[NetworkReport, ...]
    diagnostics: tuple[Diagnostic, ...]
    timings: Mapping[str, float] = field(default_factory=dict[str, float])
