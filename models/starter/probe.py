"""A small classifier that says what a picture shows: the judge of generated pictures.

It learns from drawings only, of all combinations, those held out from the checkpoint included, and in
all styles.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.starter.autoencoder import as_pixels
from models.starter.drawing import draw
from models.starter.loop import Trainer, rate_at, steps_left
from models.starter.pictures import draw_into
from models.starter.scenes import MOST_ALIKE
from models.starter.world import (
    COLOURS,
    KINDS,
    PLACES,
    STYLES,
    TIMES,
    WEATHERS,
    Scene,
    labels,
    sample_scene,
)
from promptengine.files.atomic import atomic_write

__all__ = [
    "PROBE_FILE",
    "Probe",
    "Verdict",
    "drawing",
    "judge",
    "load_probe",
    "probe_labels",
    "probe_scene",
    "probe_style",
    "save_probe",
    "stacked",
    "style_shares",
    "train_probe",
]

WHOLE = {
    "place": len(PLACES),
    "time": len(TIMES),
    "weather": len(WEATHERS),
    "style": len(STYLES),
}
"""What is asked of the whole picture, with the number of answers."""

EACH = {"present": 2, "colour": len(COLOURS), "count": MOST_ALIKE}
"""What is asked of each kind of object."""

CHANNELS = 96
SIZE = 128
PROBE_FILE = Path(__file__).with_name("probe.safetensors")


class Probe(nn.Module):
    """Convolutions to a 16 x 16 grid, where every kind of object looks for its own places."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, CHANNELS)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.Conv2d(CHANNELS, CHANNELS, 5, 1, 2), nn.BatchNorm2d(CHANNELS), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.places = nn.Conv2d(CHANNELS, len(KINDS), 1)
        self.whole = nn.Linear(2 * CHANNELS, sum(WHOLE.values()))
        self.each = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * CHANNELS + 1, 64), nn.ReLU(), nn.Linear(64, sum(EACH.values()))
            )
            for _ in KINDS
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Answer every question about pictures ``[batch, 3, 128, 128]`` in -1..1 with logits."""
        features = self.features(pixels).flatten(2)
        pooled = torch.cat([features.mean(2), features.amax(2)], dim=1)
        maps = self.places(features.unflatten(2, (-1, 16))).flatten(2)
        found = torch.einsum("bkp,bcp->bkc", maps.softmax(2), features)
        extent = maps.sigmoid().sum(2, keepdim=True) / 16
        answers = dict(zip(WHOLE, self.whole(pooled).split(list(WHOLE.values()), 1), strict=True))
        for number, kind in enumerate(KINDS):
            seen = torch.cat([found[:, number], features.amax(2), extent[:, number]], dim=1)
            parts = self.each[number](seen).split(list(EACH.values()), 1)
            answers |= {f"{what}/{kind}": part for what, part in zip(EACH, parts, strict=True)}
        return answers


def train_probe(
    folder: Path, *, pictures: int, steps: int, device: torch.device, batch: int = 64
) -> Probe:
    """Draw the probe's own pictures and train on them, or go on where ``folder`` says a run stopped.

    Pictures are shown mirrored, blurred and noisy at random: what a VAE decodes is never as sharp as
    a drawing.

    Returns:
        The probe in evaluation mode.
    """
    drawings = draw_into(folder / "probe.u8", pictures, SIZE, drawing)
    truth = [probe_labels(index) for index in range(pictures)]
    torch.manual_seed(0)
    probe = Probe()
    trainer = Trainer(probe, folder / "probe.pt", averaging=0.99, device=device)
    for step in steps_left(trainer, steps):
        rng = np.random.default_rng((0, step))
        rows = np.sort(rng.integers(pictures, size=batch))
        pixels = _worn(as_pixels(drawings[rows], device), rng)
        with torch.autocast(device.type, torch.bfloat16):
            answers = probe(pixels)
        trainer.update(_loss(answers, [truth[row] for row in rows]), rate_at(step, steps, 2e-3))
    probe.load_state_dict(trainer.averaged)
    return probe.eval().requires_grad_(False)


def save_probe(probe: Probe, path: Path) -> None:
    """Write the weights in float16."""
    halved = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in probe.state_dict().items()
    }
    with atomic_write(path) as temporary:
        save_file(halved, temporary)


def load_probe(path: Path = PROBE_FILE) -> Probe:
    """Read a probe, by default the one that judged the checkpoint beside it."""
    probe = Probe()
    probe.load_state_dict(load_file(path))
    return probe.eval().requires_grad_(False)


def _worn(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.random() < 0.5:
        pixels = pixels.flip(3)
    if rng.random() < 0.5:
        size = int(rng.choice((3, 5)))
        blurred = nn.functional.avg_pool2d(pixels, size, 1, size // 2, count_include_pad=False)
        pixels = pixels.lerp(blurred, float(rng.random()))
    noise = torch.from_numpy(rng.standard_normal(pixels.shape, dtype=np.float32))
    return pixels + noise.to(pixels.device) * float(rng.random() * 0.1)


def probe_scene(index: int) -> Scene:
    """The scene of probe picture ``index``, of any combination."""
    return sample_scene(random.Random(f"probe {index}"), held_out=None)


def probe_style(index: int) -> str:
    """Its style: every second picture is flat."""
    return STYLES[0] if index % 2 else STYLES[1 + index // 2 % (len(STYLES) - 1)]


def probe_labels(index: int) -> dict[str, int]:
    """The truth about it."""
    return {**labels(probe_scene(index)), "style": STYLES.index(probe_style(index))}


def drawing(index: int) -> Image.Image:
    """The picture itself."""
    return draw(probe_scene(index), seed=index, size=SIZE, style=probe_style(index))


def stacked(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures as ``[batch, 3, height, width]`` in -1..1."""
    return as_pixels(np.stack([np.asarray(picture) for picture in pictures]), torch.device("cpu"))


def _loss(answers: Mapping[str, Tensor], truth: Sequence[Mapping[str, int]]) -> Tensor:
    """Cross-entropy over all questions that have an answer; -1 marks those that have none."""
    losses: list[Tensor] = []
    for question, rough in answers.items():
        logits = rough.float()
        targets = torch.tensor([labels[question] for labels in truth], device=logits.device)
        if bool((targets >= 0).any()):
            losses.append(nn.functional.cross_entropy(logits, targets, ignore_index=-1))
    return torch.stack(losses).sum()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How often pictures show what was asked for, each from 0 to 1.

    Attributes:
        objects: Kinds that were asked for and are seen.
        colours: Of those seen, the ones in the colour asked for.
        counts: Of those seen, the ones in the number asked for.
        place: Pictures of the place asked for.
        time: Likewise for the time of day.
        weather: Likewise for the weather.
    """

    objects: float
    colours: float
    counts: float
    place: float
    time: float
    weather: float


def style_shares(probe: Probe, pixels: Tensor) -> Tensor:
    """How sure the probe is of each style ``[batch, styles]`` in pictures ``[batch, 3, 128, 128]``."""
    with torch.no_grad():
        return torch.cat([probe(part)["style"].softmax(1) for part in pixels.split(64)])


def judge(probe: Probe, pixels: Tensor, scenes: Sequence[Scene]) -> Verdict:
    """Compare pictures ``[batch, 3, 128, 128]`` with the scenes they were to show."""
    truth = [labels(scene) for scene in scenes]
    with torch.no_grad():
        parts = [probe(part) for part in pixels.split(64)]
    seen = {question: torch.cat([p[question] for p in parts]).argmax(1) for question in parts[0]}

    def right(question: str) -> list[bool]:
        return [int(answer) == t[question] for answer, t in zip(seen[question], truth, strict=True)]

    asked = [(row, kind) for row, t in enumerate(truth) for kind in KINDS if t[f"present/{kind}"]]
    shown = [(row, kind) for row, kind in asked if seen[f"present/{kind}"][row] == 1]
    return Verdict(
        objects=len(shown) / len(asked),
        colours=_share([right(f"colour/{kind}")[row] for row, kind in shown]),
        counts=_share([right(f"count/{kind}")[row] for row, kind in shown]),
        place=_share(right("place")),
        time=_share(right("time")),
        weather=_share(right("weather")),
    )


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / max(len(answers), 1)
