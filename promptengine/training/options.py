"""What a person sets of a training: one declaration of every option, from which command line and forms derive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from promptengine.errors import RequestError
from promptengine.networks.hypernetwork.transform import Transform
from promptengine.request.fields import Flag, LeftOut, described
from promptengine.request.ranges import MAX_SEED, Share
from promptengine.request.request import GenerationRequest
from promptengine.validation import Between, MultipleOf, check_fields

if TYPE_CHECKING:
    from promptengine.networks.hypernetwork.module import HypernetworkSettings
    from promptengine.training.config import TrainingConfig, TrainingFiles

__all__ = ["GROUPS", "Clipping", "LatentSampling", "TrainingOptions", "option_lists"]

Clipping = Literal["none", "value", "norm"]
"""How gradients are bounded: not, each number of them, or all together by their norm."""

LatentSampling = Literal["once", "deterministic", "random"]
"""Which latents stand for an image: one draw for the whole run, the mean, or a draw per use."""

GROUPS: Final = ("Steps", "Images and prompts", "The network", "Files and previews")
"""What the options are for, in the order of a form."""

_STEPS, _IMAGES, _NETWORK, _FILES = GROUPS
_NO_API: Final = LeftOut("WebUI's API trains nothing")
_NO_ENTRY: Final = LeftOut("infotexts tell of images")
_COSTLY: Final = LeftOut("a pattern can keep a server busy for ever")

_Count = Annotated[int, Between(0, 100_000_000)]
_Side = Annotated[int, Between(64, 2048), MultipleOf(8)]


def _option(group: str, label: str, help_: str, flag: Flag, **more: Any) -> Mapping[str, object]:
    return described(label, help_, flag=flag, api=_NO_API, entry=_NO_ENTRY, group=group, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """The options of a training, flat, with lists of numbers as text. Defaults are WebUI's.

    What each one does is part of its declaration; :class:`TrainingConfig` and :class:`TrainingFiles` say it
    at length. ``preview_count`` of 0 makes no previews.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    steps: Annotated[int, Between(1, 100_000_000)] = field(
        default=100_000,
        metadata=_option(
            _STEPS, "Max steps", "updates of the weights, in all", Flag("--steps", "N")
        ),
    )
    learning_rate: str = field(
        default="0.00001",
        metadata=_option(
            _STEPS,
            "Hypernetwork Learning rate",
            "or until which step: 5e-5:100, 1e-5",
            Flag("--learning-rate", "RATE"),
        ),
    )
    batch_size: Annotated[int, Between(1, 1024)] = field(
        default=1,
        metadata=_option(_STEPS, "Batch size", "images at once", Flag("--batch-size", "N")),
    )
    accumulation: Annotated[int, Between(1, 100_000)] = field(
        default=1,
        metadata=_option(
            _STEPS,
            "Gradient accumulation steps",
            "batches in one step",
            Flag("--accumulation", "N"),
        ),
    )
    clipping: Clipping = field(
        default="none",
        metadata=_option(
            _STEPS, "Gradient Clipping", "what bounds the gradients", Flag("--clipping")
        ),
    )
    clip_at: str = field(
        default="0.1",
        metadata=_option(
            _STEPS,
            "Gradient clip value",
            "the bound, in the form of the learning rate",
            Flag("--clip-at", "BOUND"),
        ),
    )
    seed: Annotated[int, Between(-1, MAX_SEED)] = field(
        default=-1,
        metadata=_option(
            _STEPS,
            "Seed",
            "number that all that is drawn derives from; -1 draws one",
            Flag("--seed", "N"),
            control="seed",
        ),
    )
    gradient_checkpointing: bool = field(
        default=False,
        metadata=_option(
            _STEPS,
            "Gradient checkpointing",
            "less memory, more time",
            Flag("--gradient-checkpointing"),
        ),
    )
    template: str = field(
        default="style_filewords",
        metadata=_option(
            _IMAGES,
            "Prompt template",
            "what prompts an image is trained with",
            Flag("--template", "NAME|FILE"),
            choices="templates",
        ),
    )
    width: _Side | None = field(
        default=None,
        metadata=_option(
            _IMAGES,
            "Width",
            "pixels that images are scaled and cut to",
            Flag("--width", "PX"),
            usual="the checkpoint's own",
        ),
    )
    height: _Side | None = field(
        default=None,
        metadata=_option(
            _IMAGES,
            "Height",
            "pixels that images are scaled and cut to",
            Flag("--height", "PX"),
            usual="the checkpoint's own",
        ),
    )
    resize: bool = field(
        default=True,
        metadata=_option(
            _IMAGES,
            "Resize images",
            "scale and cut images to that size; otherwise they keep their own",
            Flag("--resize"),
        ),
    )
    shuffle_tags: bool = field(
        default=False,
        metadata=_option(
            _IMAGES,
            "Shuffle tags by ',' when creating prompts",
            "reorder what captions have between commas",
            Flag("--shuffle-tags"),
        ),
    )
    tag_dropout: Share = field(
        default=0.0,
        metadata=_option(
            _IMAGES,
            "Drop out tags when creating prompts",
            "probability to leave each of these out",
            Flag("--tag-dropout", "P"),
        ),
    )
    latent_sampling: LatentSampling = field(
        default="once",
        metadata=_option(
            _IMAGES,
            "Latent sampling method",
            "the latents that stand for an image: one draw, the mean, or a draw per use",
            Flag("--latent-sampling"),
        ),
    )
    alpha_weights: bool = field(
        default=False,
        metadata=_option(
            _IMAGES,
            "Use PNG alpha channel as loss weight",
            "what is transparent counts less",
            Flag("--alpha-weights"),
        ),
    )
    clip_skip: Annotated[int, Between(1, 100)] = field(
        default=1,
        metadata=_option(
            _IMAGES,
            "Clip skip",
            "1 reads the text model's last layer, n the n-th from the end",
            Flag("--clip-skip", "N"),
        ),
    )
    strict_data: bool = field(
        default=False,
        metadata=_option(
            _IMAGES,
            "Refuse unreadable images",
            "refuse images that cannot be read; otherwise they are left out, and told",
            Flag("--strict-data"),
        ),
    )
    word_pattern: str = field(
        default="",
        metadata=_option(
            _IMAGES,
            "Filename word regex",
            "finds the words in a file's name",
            Flag("--word-pattern", "REGEX"),
            form=_COSTLY,
        ),
    )
    word_join: str = field(
        default=" ",
        metadata=_option(
            _IMAGES,
            "Filename join string",
            "goes between these words",
            Flag("--word-join", "TEXT"),
            form=_COSTLY,
        ),
    )
    layer_structure: str = field(
        default="1, 2, 1",
        metadata=_option(
            _NETWORK,
            "Hypernetwork layer structure",
            "width of each stage as a factor; the first and the last are 1",
            Flag("--layer-structure", "LIST"),
        ),
    )
    activation: str = field(
        default="linear",
        metadata=_option(
            _NETWORK,
            "Activation function",
            "linear, relu, swish, mish, …",
            Flag("--activation", "NAME"),
            choices="activations",
        ),
    )
    weight_init: str = field(
        default="Normal",
        metadata=_option(
            _NETWORK,
            "Layer weights initialization",
            "how the weights begin: Normal, XavierNormal, KaimingUniform, …",
            Flag("--init", "NAME"),
            choices="initialisations",
        ),
    )
    layer_norm: bool = field(
        default=False,
        metadata=_option(
            _NETWORK, "Add layer normalization", "after each layer", Flag("--layer-norm")
        ),
    )
    activate_output: bool = field(
        default=False,
        metadata=_option(
            _NETWORK,
            "Activate output",
            "the last layer has the activation as well",
            Flag("--activate-output"),
        ),
    )
    dropout_structure: str | None = field(
        default=None,
        metadata=_option(
            _NETWORK,
            "Hypernetwork Dropout structure",
            "probability after each stage, such as 0, 0.1, 0; the first and the last are 0",
            Flag("--dropout-structure", "LIST"),
            usual="no dropout",
        ),
    )
    widths: str | None = field(
        default=None,
        metadata=_option(
            _NETWORK,
            "Modules",
            "widths to build networks for, such as 320, 768",
            Flag("--widths", "N,N"),
            usual="all that the checkpoint's attention reads",
        ),
    )
    transform: Transform = field(
        default="key,value",
        metadata=_option(
            _NETWORK,
            "Transforms",
            "key,query is for this program's .safetensors only",
            Flag("--transform"),
        ),
    )
    save_every: _Count = field(
        default=500,
        metadata=_option(
            _FILES,
            "Save a copy every N steps",
            "steps between snapshots; 0 for none before the end",
            Flag("--save-every", "N"),
        ),
    )
    keep: Annotated[int, Between(1, 100_000)] = field(
        default=3,
        metadata=_option(
            _FILES, "Copies kept", "newest snapshots that stay, plus the best", Flag("--keep", "N")
        ),
    )
    preview_every: _Count = field(
        default=500,
        metadata=_option(
            _FILES,
            "Save an image every N steps",
            "steps between previews; 0 for one at the end",
            Flag("--preview-every", "N"),
        ),
    )
    preview_prompt: str = field(
        default="",
        metadata=_option(
            _FILES,
            "Preview prompt",
            "what previews show",
            Flag("--preview-prompt", "TEXT"),
            usual="the template's first",
        ),
    )
    preview_steps: Annotated[int, Between(1, 1000)] = field(
        default=20,
        metadata=_option(_FILES, "Preview steps", "of each preview", Flag("--preview-steps", "N")),
    )
    preview_count: Annotated[int, Between(0, 1024)] = field(
        default=2,
        metadata=_option(
            _FILES, "Preview images", "at once; 0 for no previews", Flag("--preview-count", "N")
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def suffix(self) -> str:
        """The usual suffix of the network's file: WebUI's, where that can hold it."""
        return ".pt" if self.transform == "key,value" else ".safetensors"

    @property
    def structure(self) -> tuple[float, ...]:
        """The factors of ``layer_structure``.

        Raises:
            RequestError: It is no list of numbers.
        """
        return _numbers("layer_structure", self.layer_structure)

    def config(self, data: Path) -> TrainingConfig:
        """Return what decides the result of a training on the images of a folder.

        Raises:
            RequestError: Options that cannot be used; names the first.
        """
        from promptengine.training.config import TrainingConfig

        widths = None if self.widths is None else _widths(self.widths)
        return TrainingConfig(
            data=data,
            network=self._network(),
            widths=widths,
            steps=self.steps,
            learning_rate=self.learning_rate,
            clipping=self.clipping,
            clip_at=self.clip_at,
            batch_size=self.batch_size,
            accumulation=self.accumulation,
            width=self.width,
            height=self.height,
            resize=self.resize,
            template=self.template,
            word_pattern=self.word_pattern,
            word_join=self.word_join,
            shuffle_tags=self.shuffle_tags,
            tag_dropout=self.tag_dropout,
            latent_sampling=self.latent_sampling,
            alpha_weights=self.alpha_weights,
            clip_skip=self.clip_skip,
            seed=self.seed,
            gradient_checkpointing=self.gradient_checkpointing,
            strict_data=self.strict_data,
        )

    def files(self, output: Path, folder: Path, name: str) -> TrainingFiles:
        """Return where a training writes.

        Args:
            output: The finished network.
            folder: The run's own folder.
            name: Of the network.

        Raises:
            RequestError: Options that cannot be used, or a name that no network can have.
        """
        from promptengine.training.config import TrainingFiles

        preview = GenerationRequest(
            prompt=self.preview_prompt,
            seed=self.seed,
            steps=self.preview_steps,
            width=self.width,
            height=self.height,
            batch_size=max(self.preview_count, 1),
            clip_skip=self.clip_skip,
        )
        return TrainingFiles(
            output=output,
            folder=folder,
            name=name,
            save_every=self.save_every,
            keep=self.keep,
            preview=preview if self.preview_count else None,
            preview_every=self.preview_every,
        )

    def _network(self) -> HypernetworkSettings:
        from promptengine.networks.hypernetwork.module import HypernetworkSettings

        structure = self.structure
        dropout: tuple[float, ...] = (0,) * len(structure)
        if self.dropout_structure is not None:
            dropout = _numbers("dropout_structure", self.dropout_structure)
        try:
            return HypernetworkSettings(
                structure=structure,
                activation=self.activation,
                weight_init=self.weight_init,
                layer_norm=self.layer_norm,
                activate_output=self.activate_output,
                use_dropout=any(dropout),
                dropout_structure=dropout,
                transform=self.transform,
            )
        except ValueError as error:
            message = f"no network can be built: {error}"
            raise RequestError(message, field="layer_structure") from None


def option_lists() -> Mapping[str, Sequence[str]]:
    """Return the names that options can be one of, by what their declarations call each list."""
    from promptengine.networks.hypernetwork.init import INITIALISATIONS
    from promptengine.networks.hypernetwork.module import ACTIVATIONS
    from promptengine.training.captions import TEMPLATES

    return {
        "activations": ["linear", *ACTIVATIONS],
        "initialisations": list(INITIALISATIONS),
        "templates": list(TEMPLATES),
    }


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        numbers = [float(piece) for piece in text.split(",")]
        # Whole numbers are written as such, which is how WebUI's files have them.
        return tuple(int(number) if number.is_integer() else number for number in numbers)
    except (ValueError, OverflowError):
        message = f"{name} {text[:60]!r} is no list of numbers such as '1, 2, 1'"
        raise RequestError(message, field=name) from None


def _widths(text: str) -> tuple[int, ...]:
    widths = _numbers("widths", text)
    if not all(isinstance(width, int) for width in widths) or len({*widths}) < len(widths):
        message = f"widths {text[:60]!r} is no list of different whole numbers such as '320,768'"
        raise RequestError(message, field="widths")
    return tuple(int(width) for width in widths)
