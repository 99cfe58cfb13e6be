"""A file or folder to the parts of a pipeline, without asking any hub.

Stable Diffusion 1 and 2, SDXL and its refiner, each also for inpainting. Pickled files load with ``weights_only``
and never otherwise. A folder is a diffusers model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from promptengine.checkpoints.build import ModelBuilder, read_weights
from promptengine.checkpoints.convert_keys import (
    clip_weights,
    open_clip_weights,
    unet_weights,
    vae_weights,
)
from promptengine.checkpoints.diffusers_folder import (
    part_config,
    part_weights,
    read_diffusers_folder,
)
from promptengine.checkpoints.infer_config import InferredConfig, infer_config
from promptengine.checkpoints.vae import read_vae
from promptengine.errors import CheckpointError, ModelNotFoundError
from promptengine.families import (
    FAMILIES,
    UNET_PREFIX,
    VAE_PREFIX,
    Family,
    ModelConfig,
    PipelineConfigs,
    Prediction,
    grouped,
    native_size,
    read_vae_structure,
    require_known_schedule,
    stated_prediction,
)
from promptengine.sampling.parameterization import noise_table, predicts_v
from promptengine.sampling.sigmas import DiscreteSchedule
from promptengine.text.encoder import (
    TextModel,
)
from promptengine.undo import UndoLog

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Checkpoint", "open_checkpoint"]

_USUAL_SCALING = 0.18215

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The parts of a Stable Diffusion model, in evaluation mode and without gradients.

    Attributes:
        path: Where it came from.
        unet: diffusers ``UNet2DConditionModel``.
        vae: diffusers ``AutoencoderKL``.
        text_encoders: transformers ``CLIPTextModel``; SDXL's second is one with a projection.
        noise_table: The noise levels it was trained on.
        native_size: Pixels of a side it was trained at.
        family: Which it belongs to.
        prediction: What its UNet's output means.
        vae_path: Where the VAE came from, if not from ``path``.
        left_aside: Names of weights in the files that no part reads.
        journal: What a run changes in the parts above; empty between runs.
    """

    path: Path
    unet: nn.Module
    vae: nn.Module
    text_encoders: tuple[PreTrainedModel, ...]
    noise_table: DiscreteSchedule
    native_size: int
    family: Family = "SD1"
    prediction: Prediction = "epsilon"
    vae_path: Path | None = None
    left_aside: tuple[str, ...] = ()
    journal: UndoLog = field(default_factory=UndoLog, repr=False)

    @property
    def text_encoder(self) -> PreTrainedModel:
        """The first text encoder; the only one but in SDXL."""
        return self.text_encoders[0]

    @property
    def scaling_factor(self) -> float:
        """What VAE latents are multiplied with for the UNet."""
        return self.vae.config.scaling_factor  # type: ignore[union-attr, return-value]

    @property
    def latent_channels(self) -> int:
        """Channels of the latents, whatever more the UNet reads."""
        return self.vae.config.latent_channels  # type: ignore[union-attr, return-value]

    @property
    def inpainting(self) -> bool:
        """Whether the UNet also reads a mask and the image around it."""
        unet: Any = self.unet
        return unet.config.in_channels == 2 * self.latent_channels + 1

    def text_model(self, *, clip_skip: int = 1) -> TextModel:
        """Return all text encoders as one function; clip skip counts for SD1 alone, as in WebUI.

        Raises:
            RequestError: ``clip_skip`` is larger than the number of SD1's layers.
        """
        spec = FAMILIES[self.family]
        settings = {"clip_skip": clip_skip} if spec.clip_skip else {}
        return spec.read_text(*self.text_encoders, **settings)


def open_checkpoint(
    path: Path,
    *,
    config: Path | None = None,
    vae: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Checkpoint:
    """Open a model.

    What its UNet predicts is read, the first that says it, from a ``.yaml`` beside it, from
    ``config``, from metadata, or from a marker among its weights; of a Stable Diffusion 2 model that
    says nothing it is found out by one small question to the UNet, as in WebUI; else it is epsilon.

    Args:
        path: A ``.safetensors`` or ``.ckpt`` file in the original layout, or a diffusers folder.
        config: A folder of configurations in diffusers' form, for what weights and side file leave
            open.
        vae: A file with a VAE in the original layout, or a diffusers VAE's folder, to use in place
            of the model's own. Its scaling is the model's.
        device: Where the model shall live.
        dtype: Of UNet and text encoders. The VAE is float32 always: it overflows in float16.

    Raises:
        CheckpointError: Missing, unreadable, unsafe, or of a family that is not supported; names
            the file.
    """
    builder = ModelBuilder(path, torch.device(device), dtype)
    if path.is_dir():
        checkpoint = _open_folder(builder, vae)
    elif path.is_file():
        checkpoint = _open_file(builder, config, vae)
    else:
        raise ModelNotFoundError("no such checkpoint", kind="checkpoint", name=str(path), path=path)
    _require_whole(checkpoint)
    if checkpoint.left_aside:
        count, names = len(checkpoint.left_aside), grouped(checkpoint.left_aside)
        _log.warning("%s: %d weights that no part reads are left aside: %s", path, count, names)
    return checkpoint


def _require_whole(checkpoint: Checkpoint) -> None:
    """Check that UNet, text encoders and VAE belong together, and that the latents' scale is a number."""
    _require_told(checkpoint)
    unet: Any = checkpoint.unet
    path = checkpoint.vae_path or checkpoint.path
    if not checkpoint.inpainting and unet.config.in_channels != checkpoint.latent_channels:
        message = (
            f"its VAE's {checkpoint.latent_channels} latent channels do not fit the UNet; choose "
            "another with --vae"
        )
        raise CheckpointError(message, path=path)
    vae: Any = checkpoint.vae
    scaling: object = vae.config.scaling_factor
    if not isinstance(scaling, int | float) or not 0 < scaling < float("inf"):
        message = f"its VAE's scaling factor is {scaling!r}, not a number above 0"
        raise CheckpointError(message, path=path)


def _require_told(checkpoint: Checkpoint) -> None:
    """Check that the UNet reads the numbers that its family is told beside the text."""
    spec, config = FAMILIES[checkpoint.family], cast("Any", checkpoint.unet).config
    if not spec.told_numbers:
        return
    pooled: int = checkpoint.text_encoders[-1].config.projection_dim
    width: int = config.addition_time_embed_dim or 0
    needed, told = config.projection_class_embeddings_input_dim, spec.told_numbers
    if pooled + told * width != needed:
        message = (
            f"its UNet reads a vector of width {needed} beside the text, and that of {spec.title} has "
            f"{pooled} for the text and {told} times {width} for sizes and scores"
        )
        raise CheckpointError(message, path=checkpoint.path)


def _open_file(builder: ModelBuilder, config: Path | None, vae_path: Path | None) -> Checkpoint:
    weights, metadata = read_weights(builder.path)
    if vae_path is not None and not vae_path.is_dir():
        own = {name: t for name, t in weights.items() if not name.startswith(VAE_PREFIX)}
        weights = own | read_vae(vae_path)
    separate = vae_path if vae_path is not None and not vae_path.is_dir() else None
    layout = infer_config(
        weights, builder.path, metadata=metadata, config=config, vae_path=separate
    )
    if vae_path is None and not any(name.startswith(VAE_PREFIX) for name in weights):
        message = (
            "it holds no VAE (first_stage_model); name one with --vae, or put "
            f"{builder.path.stem}.vae.safetensors beside it"
        )
        raise CheckpointError(message, path=builder.path)
    strangers = frozenset(layout.left_aside)
    weights = {name: tensor for name, tensor in weights.items() if name not in strangers}
    per_level = layout.unet["layers_per_block"]
    unet = builder.unet(layout.unet, unet_weights(weights, UNET_PREFIX, layers_per_block=per_level))
    if vae_path is not None and vae_path.is_dir():
        vae = _folder_vae(builder, vae_path, layout.vae)
    else:
        vae = _original_vae(_of_vae(builder, vae_path), layout.vae, weights)
    builder.left_aside.extend(layout.left_aside)
    parts: PipelineConfigs = {"unet": layout.unet, "scheduler": layout.scheduler}
    return _checkpoint(
        builder,
        parts,
        layout.family,
        modules=(unet, vae, _text_encoders(builder, layout, weights)),
        stored_alphas=weights.get("alphas_cumprod"),
        vae_path=vae_path,
    )


def _of_vae(builder: ModelBuilder, vae_path: Path | None) -> ModelBuilder:
    """Return a builder that blames a VAE of its own for its own faults."""
    return builder if vae_path is None else replace(builder, path=vae_path)


def _text_encoders(
    builder: ModelBuilder, layout: InferredConfig, weights: Mapping[str, Tensor]
) -> tuple[PreTrainedModel, ...]:
    encoders: list[PreTrainedModel] = []
    for spec in FAMILIES[layout.family].encoders:
        config = layout.text_config(spec.part)
        if spec.open_clip:
            with builder.renaming():
                layers = config["num_hidden_layers"]
                renamed = open_clip_weights(weights, spec.prefix, layers=layers)
        else:
            renamed = clip_weights(weights, spec.prefix)
        encoders.append(builder.text_encoder(config, renamed, projected=spec.projected))
    return tuple(encoders)


def _open_folder(builder: ModelBuilder, vae_path: Path | None) -> Checkpoint:
    path = builder.path
    folder = read_diffusers_folder(path)
    parts = folder.parts
    unet = builder.unet(parts["unet"], part_weights(path / "unet"))
    if vae_path is None:
        vae = builder.vae(parts["vae"], part_weights(path / "vae"))
    elif vae_path.is_dir():
        vae = _folder_vae(builder, vae_path, parts["vae"])
    else:
        separate = read_vae(vae_path)
        structure = read_vae_structure({n: tuple(t.shape) for n, t in separate.items()}, vae_path)
        config = {**parts["vae"], **structure.facts["vae"]}
        for name in structure.left_aside:
            del separate[name]
        builder.left_aside.extend(structure.left_aside)
        vae = _original_vae(_of_vae(builder, vae_path), config, separate)
    encoders = [
        builder.text_encoder(
            parts[spec.part], part_weights(path / spec.part), projected=spec.projected
        )
        for spec in FAMILIES[folder.family].encoders
    ]
    return _checkpoint(
        builder, parts, folder.family, modules=(unet, vae, tuple(encoders)), vae_path=vae_path
    )


def _original_vae(
    builder: ModelBuilder, config: ModelConfig, weights: Mapping[str, Tensor]
) -> nn.Module:
    with builder.renaming():
        levels = len(config["block_out_channels"])
        renamed = vae_weights(weights, VAE_PREFIX, levels=levels)
    return builder.vae(config, renamed)


def _folder_vae(builder: ModelBuilder, folder: Path, usual: ModelConfig) -> nn.Module:
    """Return a diffusers VAE from a folder of its own; the scaling stays the model's."""
    scaling = usual.get("scaling_factor", _USUAL_SCALING)
    config = {**part_config(folder), "scaling_factor": scaling}
    return _of_vae(builder, folder).vae(config, part_weights(folder))


def _checkpoint(
    builder: ModelBuilder,
    parts: PipelineConfigs,
    family: Family,
    *,
    modules: tuple[nn.Module, nn.Module, tuple[PreTrainedModel, ...]],
    stored_alphas: Tensor | None = None,
    vae_path: Path | None,
) -> Checkpoint:
    unet, vae, encoders = modules
    scheduler = parts.get("scheduler", {})
    require_known_schedule(scheduler, builder.path)
    prediction = stated_prediction(scheduler, builder.path)
    if prediction is None:
        with builder.renaming():
            prediction = _tried(family, unet)
    try:
        table = noise_table(stored_alphas, scheduler, family)
    except KeyError as missing:
        message = f"its noise schedule cannot be used: its configuration lacks {missing}"
        raise CheckpointError(message, path=builder.path) from None
    except (ValueError, TypeError, RuntimeError) as error:
        message = f"its noise schedule cannot be used: {error}"
        raise CheckpointError(message, path=builder.path) from None
    return Checkpoint(
        path=builder.path,
        unet=unet,
        vae=vae,
        text_encoders=encoders,
        noise_table=table,
        native_size=native_size(parts["unet"], family, prediction),
        family=family,
        prediction=prediction,
        vae_path=vae_path,
        left_aside=tuple(builder.left_aside),
    )


def _tried(family: Family, unet: nn.Module) -> Prediction:
    """Return what a model predicts that says nothing: only some, without inpainting, may predict v."""
    config: Any = unet.config
    if not FAMILIES[family].predicts_v or config.in_channels != 4:
        return "epsilon"
    weight = next(unet.parameters())

    def ask(x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        inputs = x.to(weight), timestep.to(weight.device), context.to(weight)
        return unet(*inputs, return_dict=False)[0]

    return "v" if predicts_v(ask, config.cross_attention_dim) else "epsilon"
