"""A file or folder to the parts of a pipeline, without asking any hub.

Single files in the original layout go through diffusers' own key converter. Pickled files load with
``weights_only`` and never otherwise. A folder is a diffusers model.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from promptengine.diffusion.layout import (
    TEXT_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    Layout,
    infer_layout,
)
from promptengine.diffusion.schedules import NoiseTable, scaled_linear_alphas
from promptengine.errors import CheckpointError
from promptengine.tensorfiles import file_format, read_pickled, read_safetensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Checkpoint", "open_checkpoint"]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The parts of a Stable Diffusion model, in evaluation mode and without gradients.

    Attributes:
        path: Where it came from.
        unet: diffusers ``UNet2DConditionModel``.
        vae: diffusers ``AutoencoderKL``.
        text_encoder: transformers ``CLIPTextModel``.
        noise_table: The noise levels it was trained on.
        native_size: Pixels of a side it was trained at.
    """

    path: Path
    unet: nn.Module
    vae: nn.Module
    text_encoder: PreTrainedModel
    noise_table: NoiseTable
    native_size: int

    @property
    def scaling_factor(self) -> float:
        """What VAE latents are multiplied with for the UNet."""
        return self.vae.config.scaling_factor  # type: ignore[union-attr, return-value]


def open_checkpoint(
    path: Path,
    *,
    config: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Checkpoint:
    """Open a Stable Diffusion 1 model.

    Args:
        path: A ``.safetensors`` or ``.ckpt`` file in the original layout, or a diffusers folder.
        config: A folder of configurations in diffusers' form, for what weights and side file leave
            open.
        device: Where the model shall live.
        dtype: Of UNet and text encoder. The VAE is float32 always: it overflows in float16.

    Raises:
        CheckpointError: Missing, unreadable, unsafe, or of another family; names the file.
    """
    if path.is_dir():
        checkpoint = _open_folder(path, dtype)
    elif path.is_file():
        checkpoint = _open_file(path, config, dtype)
    else:
        raise CheckpointError("no such checkpoint", path=path)
    modules: list[nn.Module] = [checkpoint.unet, checkpoint.text_encoder, checkpoint.vae]
    for module in modules:
        module.to(device).eval().requires_grad_(False)
    return checkpoint


def _open_file(path: Path, config: Path | None, dtype: torch.dtype) -> Checkpoint:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    weights, metadata = _read(path)
    layout = infer_layout(weights, path, metadata=metadata, config=config)
    with _part_errors(path), torch.device("meta"):
        unet = cast("nn.Module", UNet2DConditionModel.from_config(dict(layout.unet)))
        vae = cast("nn.Module", AutoencoderKL.from_config(dict(layout.vae)))
        text_encoder = CLIPTextModel(CLIPTextConfig(**layout.text_encoder))
    with _part_errors(path):
        unet_weights = convert_ldm_unet_checkpoint(_under(weights, UNET_PREFIX), layout.unet)
        vae_weights = convert_ldm_vae_checkpoint(_under(weights, VAE_PREFIX), layout.vae)
    text_weights = _text_weights(weights, text_encoder)
    _fill(unet, unet_weights, dtype, path=path, part="UNet")
    _fill(vae, vae_weights, torch.float32, path=path, part="VAE")
    _fill(text_encoder, text_weights, dtype, path=path, part="text encoder")
    return Checkpoint(
        path=path,
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        noise_table=NoiseTable(_alphas(weights, layout)),
        native_size=layout.unet["sample_size"] * 8,
    )


def _read(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    if file_format(path, error=CheckpointError) == "safetensors":
        return read_safetensors(path, error=CheckpointError)
    document = read_pickled(path, error=CheckpointError)
    if isinstance(document, dict):
        entries = cast("dict[str, Any]", document)
        entries = entries.get("state_dict", entries)
        return {name: value for name, value in entries.items() if isinstance(value, Tensor)}, {}
    raise CheckpointError("holds no weights by name", path=path)


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _text_weights(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Names as this release of transformers has them: with or without ``text_model.``."""
    wrapper = "text_model." if hasattr(model, "text_model") else ""
    found = _under(weights, TEXT_PREFIX)
    return {
        wrapper + name.removeprefix(TEXT_PREFIX).removeprefix("text_model."): tensor
        for name, tensor in found.items()
    }


def _alphas(weights: Mapping[str, Tensor], layout: Layout) -> Tensor:
    stored = weights.get("alphas_cumprod")
    if stored is not None:
        return stored.float()
    schedule = layout.scheduler
    return scaled_linear_alphas(
        schedule["beta_start"], schedule["beta_end"], schedule["num_train_timesteps"]
    )


@contextmanager
def _part_errors(path: Path) -> Generator[None]:
    """Say in one line what diffusers and transformers find wrong with inferred settings."""
    try:
        yield
    except (KeyError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        message = f"its configuration and weights do not make a Stable Diffusion 1 model ({error})"
        raise CheckpointError(message, path=path) from error


def _fill(
    module: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype, *, path: Path, part: str
) -> None:
    """Give a module built on the meta device its weights, copied only where the dtype differs."""
    cast_weights = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    try:
        missing = module.load_state_dict(cast_weights, strict=False, assign=True).missing_keys
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        message = f"the {part}'s weights do not fit its configuration: {detail}"
        raise CheckpointError(message, path=path) from None
    if missing:
        named = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        message = f"the {part} lacks {len(missing)} weights ({named}); is the file complete?"
        raise CheckpointError(message, path=path)
    for name, buffer in list(module.named_buffers()):
        if buffer.is_meta and name.endswith("position_ids"):
            owner = module.get_submodule(name.rpartition(".")[0])
            owner.register_buffer("position_ids", torch.arange(77)[None], persistent=False)


def _open_folder(path: Path, dtype: torch.dtype) -> Checkpoint:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    if not (path / "model_index.json").is_file():
        message = "a folder without model_index.json is not a diffusers model"
        raise CheckpointError(message, path=path)
    try:
        unet = UNet2DConditionModel.from_pretrained(
            path, subfolder="unet", local_files_only=True, torch_dtype=dtype
        )
        vae = AutoencoderKL.from_pretrained(
            path, subfolder="vae", local_files_only=True, torch_dtype=torch.float32
        )
        text_encoder = CLIPTextModel.from_pretrained(
            path, subfolder="text_encoder", local_files_only=True, dtype=dtype
        )
        settings, _ = DDIMScheduler.load_config(
            path, subfolder="scheduler", local_files_only=True, return_unused_kwargs=True
        )
        alphas = scaled_linear_alphas(
            settings["beta_start"], settings["beta_end"], settings["num_train_timesteps"]
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        detail = str(error).splitlines()[0]
        raise CheckpointError(f"not a readable diffusers model: {detail}", path=path) from None
    return Checkpoint(
        path=path,
        unet=cast("nn.Module", unet),
        vae=cast("nn.Module", vae),
        text_encoder=text_encoder,
        noise_table=NoiseTable(alphas),
        native_size=cast("Any", unet).config.sample_size * 8,
    )
