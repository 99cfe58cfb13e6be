"""What a training is asked for: the settings that decide its result, and where its files go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from promptengine.errors import RequestError
from promptengine.networks.hypernetwork.init import INITIALISATIONS
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from promptengine.request.ranges import MAX_SEED
from promptengine.request.request import GenerationRequest
from promptengine.training.lr_schedule import StepSchedule, parse_schedule
from promptengine.training.options import Clipping, LatentSampling
from promptengine.validation import Between, MultipleOf, check_fields

__all__ = ["Clipping", "LatentSampling", "TrainingConfig", "TrainingFiles"]

Count = Annotated[int, Between(0, 100_000_000)]
Side = Annotated[int, Between(64, 2048), MultipleOf(8)]

_PLAIN = HypernetworkSettings(activation="linear", activate_output=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What decides the result of a training: the same values and images give the same network.

    Attributes:
        data: Folder of images, each with its caption in a ``.txt`` beside it or in its name.
        network: How the network is built; its ``weight_init`` is how it begins.
        widths: Widths to build networks for; None for all that the checkpoint's attention reads.
        steps: Updates of the weights. More of them may be asked for later; the run goes on.
        learning_rate: A number, or ``5e-5:100, 1e-5``: each until its step, counted from the start.
        clipping: How gradients are bounded.
        clip_at: The bound, in the form of ``learning_rate``.
        batch_size: Images in one pass.
        accumulation: Passes in one step.
        width: Pixels, a multiple of 8 from 64 to 2048; None for the checkpoint's own size.
        height: Likewise.
        resize: Scale and crop every image to that size; otherwise images keep theirs, cut to
            multiples of 8, and only those of one size share a batch.
        template: A built-in template's name or a text file of one prompt a line, in which ``[name]``
            is the network's name and ``[filewords]`` the caption.
        word_pattern: Regular expression for the words of a file's name that make its caption; empty
            for the whole name.
        word_join: What joins those words.
        shuffle_tags: Put the parts between a caption's commas in a new order at each use.
        tag_dropout: Probability, from 0 to below 1, to leave each of these parts out.
        latent_sampling: Which latents stand for an image.
        alpha_weights: Weigh the loss by the images' alpha channel.
        clip_skip: 1 reads the text model's last layer, n the n-th from the end.
        seed: 0 to 2**64 - 1, or -1 to have one drawn (a resumed run keeps its own).
        gradient_checkpointing: Trade time for memory; changes nothing else.
        strict_data: Refuse a folder with images that cannot be read, which are else skipped with a warning.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    data: Path
    network: HypernetworkSettings = _PLAIN
    widths: tuple[int, ...] | None = None
    steps: Annotated[int, Between(1, 100_000_000)] = 100_000
    learning_rate: str = "0.00001"
    clipping: Clipping = "none"
    clip_at: str = "0.1"
    batch_size: Annotated[int, Between(1, 1024)] = 1
    accumulation: Annotated[int, Between(1, 100_000)] = 1
    width: Side | None = None
    height: Side | None = None
    resize: bool = True
    template: str | Path = "style_filewords"
    word_pattern: str = ""
    word_join: str = " "
    shuffle_tags: bool = False
    tag_dropout: float = 0.0
    latent_sampling: LatentSampling = "once"
    alpha_weights: bool = False
    clip_skip: Annotated[int, Between(1, 100)] = 1
    seed: Annotated[int, Between(-1, MAX_SEED)] = -1
    gradient_checkpointing: bool = False
    strict_data: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _check_choice("weight_init", self.network.weight_init, tuple(INITIALISATIONS))
        if not 0 <= self.tag_dropout < 1:
            message = f"tag_dropout is {self.tag_dropout}; it must be 0 or more and below 1"
            raise RequestError(message, field="tag_dropout")
        if any((self.network.dropout_structure[0], self.network.dropout_structure[-1])):
            message = "the dropout structure must begin and end with 0"
            raise RequestError(message, field="dropout_structure")
        try:
            re.compile(self.word_pattern)
        except re.error as error:
            message = f"word_pattern {self.word_pattern!r} is no regular expression: {error}"
            raise RequestError(message, field="word_pattern") from None
        for name, schedule in (("learning_rate", self.rates), ("clip_at", self.clip_bounds)):
            _check_reaches(name, schedule, self.steps)

    @property
    def rates(self) -> StepSchedule:
        """The learning rate of every step."""
        return parse_schedule(self.learning_rate, field="learning_rate")

    @property
    def clip_bounds(self) -> StepSchedule:
        """The bound of the gradients at every step."""
        return parse_schedule(self.clip_at, field="clip_at")

    @property
    def varies_text(self) -> bool:
        """Whether an image's prompt differs from use to use."""
        return self.shuffle_tags or self.tag_dropout > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFiles:
    """Where a training writes, and how often; none of it changes the network.

    Attributes:
        output: The finished network; its suffix picks the format.
        folder: The run's own folder, for snapshots, previews, losses and settings.
        name: What ``[name]`` stands for in templates and what snapshots are called; by default the
            stem of ``output``.
        save_every: Steps between snapshots, which are what a killed run goes on from; 0 for none
            before the end.
        keep: How many of the newest snapshots stay, beside the best.
        preview: What to draw with the network in training, or None for no previews. Its size is
            used as it is.
        preview_every: Steps between previews; 0 for one at the end.

    Raises:
        RequestError: On creation, for a value of another type or out of its range, or a name no network
            can have.
    """

    output: Path
    folder: Path
    name: str = ""
    save_every: Count = 500
    keep: Annotated[int, Between(1, 100_000)] = 3
    preview: GenerationRequest | None = None
    preview_every: Count = 500

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "name", self.name or self.output.stem)
        allowed = all(character.isalnum() or character in "._- " for character in self.name)
        if not allowed or self.name != self.name.strip(" .") or self.name in ("", "None"):
            message = (
                f"{self.name!r} is no name for a network; use letters, digits, '.', '_', '-' and "
                "spaces between them"
            )
            raise RequestError(message, field="name")
        _check_choice("output suffix", self.output.suffix, (".pt", ".safetensors"))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(f"{name} {value!r} is none of {', '.join(choices)}", field=name)


def _check_reaches(name: str, schedule: StepSchedule, steps: int) -> None:
    last = schedule.last_step
    if last is not None and last < steps:
        message = (
            f"{name} ends at step {last} and the training at {steps}; add a last entry without a "
            "step, or ask for fewer steps"
        )
        raise RequestError(message, field=name)
