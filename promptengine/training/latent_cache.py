"""Images and prompts as the UNet takes them, worked out once before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from promptengine.checkpoints.load import Checkpoint
from promptengine.errors import TrainingError
from promptengine.families import FAMILIES
from promptengine.prompt import parse, schedule
from promptengine.text.conditioning import TextModel, encode_schedule
from promptengine.training.captions import fill_template, template_lines, vary_tags
from promptengine.training.config import TrainingConfig
from promptengine.training.dataset import TrainingImage, read_training_image
from promptengine.training.rng import generator

__all__ = ["Inputs", "TrainingExamples", "prepare_examples"]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """A batch for the UNet, on the CPU.

    Attributes:
        latents: ``[batch, 4, height / 8, width / 8]``, scaled as the UNet has them.
        context: Text embeddings ``[batch, tokens, width]``.
        weights: Of the loss, ``[batch, 1, height / 8, width / 8]`` with mean 1 for each image.
    """

    latents: Tensor
    context: Tensor
    weights: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Example:
    """One image: its latents' mean, their deviation where each use draws, weights and text."""

    latents: Tensor
    deviation: Tensor | None
    weights: Tensor
    context: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class _Prompts:
    """Turns captions into text embeddings."""

    config: TrainingConfig
    name: str
    lines: tuple[str, ...]
    model: TextModel

    def encode(self, caption: str, random: torch.Generator) -> Tensor:
        """Encode one use of a caption, in a line of the template drawn for it: ``[tokens, width]``."""
        config = self.config
        if config.varies_text:
            caption = vary_tags(
                caption,
                shuffle=config.shuffle_tags,
                dropout=config.tag_dropout,
                generator=random,
            )
        line = self.lines[int(torch.randint(len(self.lines), (), generator=random))]
        text = fill_template(line, name=self.name, caption=caption)
        # A caption may hold any sign: read as a negative prompt, it has no tags and no AND.
        (part,) = parse(text, comments=False, negative=True).parts
        return encode_schedule(schedule(part, 1), self.model).at(0).float().cpu()


@dataclass(frozen=True, slots=True, eq=False)
class TrainingExamples:
    """All that the steps draw from.

    Attributes:
        buckets: Indices of the images of each size.
    """

    buckets: tuple[tuple[int, ...], ...]
    _images: tuple[TrainingImage, ...]
    _examples: tuple[_Example, ...]
    _prompts: _Prompts

    def inputs(self, images: Sequence[int], random: torch.Generator) -> Inputs:
        """Put images of one size together; what is drawn at each use comes from ``random``."""
        examples = [self._examples[index] for index in images]
        contexts = [
            self._prompts.encode(self._images[index].caption, random)
            if example.context is None
            else example.context
            for index, example in zip(images, examples, strict=True)
        ]
        return Inputs(
            latents=torch.stack([_drawn(example, random) for example in examples]),
            context=_stacked(contexts),
            weights=torch.stack([example.weights[None] for example in examples]),
        )


def prepare_examples(
    checkpoint: Checkpoint, config: TrainingConfig, images: Sequence[TrainingImage], *, name: str
) -> TrainingExamples:
    """Encode every image, and every prompt where it is the same at each use.

    Afterwards VAE and text model are idle, the latter unless tags are shuffled or left out. A
    image's line of the template is then drawn once; otherwise at each use.

    Args:
        checkpoint: Whose VAE and text model to use.
        config: With width and height worked out.
        images: What to train on.
        name: What ``[name]`` stands for in templates.

    Raises:
        TrainingError: An image or the template cannot be used, or the model is SDXL or one for
            inpainting.
        RequestError: ``clip_skip`` is more than the text model's layers.
    """
    family = FAMILIES[checkpoint.family]
    if not family.trainable or checkpoint.inpainting:
        kind = "models for inpainting" if family.trainable else family.title
        message = f"training on {kind} is not supported; take a model of Stable Diffusion 1 or 2"
        raise TrainingError(message)
    model = checkpoint.text_model(clip_skip=config.clip_skip)
    prompts = _Prompts(config, name, template_lines(config.template), model)
    examples = tuple(
        _example(checkpoint, config, image, index, prompts) for index, image in enumerate(images)
    )
    buckets: dict[tuple[int, ...], list[int]] = {}
    for index, example in enumerate(examples):
        buckets.setdefault(tuple(example.latents.shape), []).append(index)
    groups = tuple(tuple(bucket) for _, bucket in sorted(buckets.items()))
    return TrainingExamples(groups, tuple(images), examples, prompts)


@torch.no_grad()
def _example(
    checkpoint: Checkpoint,
    config: TrainingConfig,
    image: TrainingImage,
    index: int,
    prompts: _Prompts,
) -> _Example:
    size = (config.width or 0, config.height or 0) if config.resize else None
    pixels, opacity = read_training_image(image.path, size, alpha=config.alpha_weights)
    vae: Any = checkpoint.vae
    posterior = vae.encode(pixels[None].to(vae.device)).latent_dist
    scale = checkpoint.scaling_factor
    mean, deviation = posterior.mean[0].cpu() * scale, posterior.std[0].cpu() * scale
    draws = partial(generator, config.seed, index=index)
    if config.latent_sampling == "once":
        mean = mean + deviation * torch.randn(mean.shape, generator=draws("latents"))
    weights = torch.ones(mean.shape[1:]) if opacity is None else opacity / opacity.mean()
    text = None if config.varies_text else prompts.encode(image.caption, draws("prompt"))
    varies = config.latent_sampling == "random"
    return _Example(mean, deviation if varies else None, weights, text)


def _drawn(example: _Example, random: torch.Generator) -> Tensor:
    if example.deviation is None:
        return example.latents
    noise = torch.randn(example.latents.shape, generator=random)
    return example.latents + example.deviation * noise


def _stacked(contexts: Sequence[Tensor]) -> Tensor:
    """Stack ``[tokens, width]``, shorter ones lengthened by their own last vector, as in inference."""
    longest = max(len(context) for context in contexts)
    return torch.stack(
        [torch.cat([c, c[-1:].expand(longest - len(c), -1)]) for c in contexts],
    )
