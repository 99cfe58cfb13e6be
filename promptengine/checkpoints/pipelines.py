"""Pipelines of diffusers as checkpoints, and checkpoints as pipelines; both share all modules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from promptengine.checkpoints.load import Checkpoint
from promptengine.errors import CheckpointError, PromptEngineError
from promptengine.families import (
    FAMILIES,
    TEXT_ENCODERS,
    Prediction,
    family_of_encoders,
    native_size,
    stated_prediction,
)
from promptengine.sampling.sigmas import DiscreteSchedule, scaled_linear_alphas
from promptengine.text.tokenizer import clip_tokenizer
from promptengine.undo import UndoLog

__all__ = ["checkpoint_from_pipeline", "pipeline_from_checkpoint", "pipeline_prediction"]

_PARTS: Final = ("unet", "vae", "scheduler")
_CONTEXT: Final = 77
_CLIP_PADDING: Final = "<|endoftext|>"
_OPEN_CLIP_PADDING: Final = "!"
"""The token with the id 0, which OpenCLIP's models were trained to see behind a text."""


def checkpoint_from_pipeline(
    pipe: Any, journal: UndoLog | None = None, *, prediction: Prediction = "epsilon"
) -> Checkpoint:
    """Return a pipeline's parts as the engine names them; nothing is copied.

    Args:
        pipe: Of Stable Diffusion 1, 2 or XL, or XL's refiner.
        journal: What a run changes in them; by default a new one.
        prediction: What the UNet's output means; a pipeline that runs itself need not know.

    Raises:
        PromptEngineError: It is no such pipeline.
    """
    texts = [name for name in TEXT_ENCODERS if getattr(pipe, name, None) is not None]
    missing = [name for name in _PARTS if getattr(pipe, name, None) is None]
    missing += [] if texts else [TEXT_ENCODERS[0]]
    if missing:
        raise PromptEngineError(
            f"{type(pipe).__name__} has no {' and no '.join(missing)}; "
            "promptengine works with pipelines of Stable Diffusion 1, 2 and XL and of XL's refiner"
        )
    encoders = tuple(getattr(pipe, name) for name in texts)
    family = family_of_encoders(texts, activation=encoders[0].config.hidden_act)
    # The pipeline's scheduler paces the run; one of another kind of noise, as EDM's, has no alphas.
    alphas = cast("Tensor", getattr(pipe.scheduler, "alphas_cumprod", scaled_linear_alphas()))
    return Checkpoint(
        path=_path(pipe),
        unet=pipe.unet,
        vae=pipe.vae,
        text_encoders=encoders,
        noise_table=DiscreteSchedule(alphas.detach().cpu(), family),
        native_size=native_size(dict(pipe.unet.config), family, prediction),
        family=family,
        prediction=prediction,
        journal=journal or UndoLog(),
    )


def pipeline_prediction(pipe: Any) -> Prediction:
    """Return what a pipeline's UNet predicts, as its scheduler says.

    Raises:
        CheckpointError: The scheduler says something that no engine can sample from.
    """
    return stated_prediction(dict(pipe.scheduler.config), _path(pipe)) or "epsilon"


def _path(pipe: Any) -> Path:
    return Path(str(getattr(pipe.config, "_name_or_path", "") or type(pipe).__name__))


def pipeline_from_checkpoint(checkpoint: Checkpoint) -> Any:
    """Return a pipeline of diffusers around a checkpoint's own modules.

    Its scheduler is Euler's on the checkpoint's noise levels; exchange it as with any pipeline. It has no
    safety checker.

    Args:
        checkpoint: Also one for inpainting, which gives an inpainting pipeline; SDXL's refiner gives one
            that starts from an image.

    Raises:
        CheckpointError: Its noise levels are not those of a diffusion in discrete steps.
    """
    import diffusers

    parts: dict[str, Any] = {
        "unet": checkpoint.unet,
        "vae": _vae_for(checkpoint),
        "scheduler": _scheduler(checkpoint),
        **_text_parts(checkpoint),
    }
    spec = FAMILIES[checkpoint.family]
    if spec.sizes:
        parts |= {"add_watermarker": False}
        kinds = diffusers.StableDiffusionXLPipeline, diffusers.StableDiffusionXLInpaintPipeline
        if spec.aesthetic_score:
            parts |= {"requires_aesthetics_score": True}
            kinds = diffusers.StableDiffusionXLImg2ImgPipeline, kinds[1]
    else:
        parts |= {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
        kinds = diffusers.StableDiffusionPipeline, diffusers.StableDiffusionInpaintPipeline
    return cast("Any", kinds[checkpoint.inpainting])(**parts)


def _text_parts(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the text encoders with their tokenizers, by diffusers' names; None for one that is lacking."""
    spec = FAMILIES[checkpoint.family]
    names = TEXT_ENCODERS if spec.sizes else TEXT_ENCODERS[:1]
    found: dict[str, Any] = dict.fromkeys(n for name in names for n in (name, _tokenizer_of(name)))
    for encoder, model in zip(spec.encoders, checkpoint.text_encoders, strict=True):
        padding = _OPEN_CLIP_PADDING if encoder.open_clip else _CLIP_PADDING
        found |= {encoder.part: model, _tokenizer_of(encoder.part): _tokenizer(padding)}
    return found


def _tokenizer_of(encoder: str) -> str:
    return encoder.replace("text_encoder", "tokenizer")


def _tokenizer(padding: str) -> Any:
    own: Any = copy.deepcopy(clip_tokenizer())
    own.pad_token = padding
    own.model_max_length = _CONTEXT
    return own


def _scheduler(checkpoint: Checkpoint) -> Any:
    import diffusers

    alphas = checkpoint.noise_table.alphas_cumprod
    scheduler: Any = diffusers.EulerDiscreteScheduler(
        **_betas(checkpoint, alphas.double()),
        num_train_timesteps=len(alphas),
        prediction_type="epsilon" if checkpoint.prediction == "epsilon" else "v_prediction",
        timestep_spacing="linspace",
        steps_offset=1,
    )
    # What is worked out from betas differs in the last digits.
    scheduler.alphas_cumprod = alphas.clone()
    return scheduler


def _betas(checkpoint: Checkpoint, alphas: Tensor) -> dict[str, Any]:
    """Return how diffusers states noise levels: Stable Diffusion's own in three words, others one by one."""
    usual = scaled_linear_alphas().double()
    if usual.shape == alphas.shape and torch.allclose(alphas, usual, rtol=1e-4):
        return {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    betas = 1 - alphas / torch.cat([alphas.new_ones(1), alphas[:-1]])
    if not bool(((betas >= 0) & (betas < 1)).all()):
        message = "its noise levels are none that a scheduler of diffusers can have"
        raise CheckpointError(message, path=checkpoint.path)
    return {"trained_betas": betas.tolist()}


def _vae_for(checkpoint: Checkpoint) -> nn.Module:
    """Return the VAE; where it is more precise than the UNet, one on the same weights that takes both."""
    vae: Any = checkpoint.vae
    if vae.dtype == next(checkpoint.unet.parameters()).dtype:
        return vae
    view = copy.copy(vae)
    view.encode = _casting(vae.encode, vae.dtype)
    view.decode = _casting(vae.decode, vae.dtype)
    return view


def _casting(method: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    """Return a method of a tensor and more that takes tensors of any precision."""

    def cast_first(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return method(x.to(dtype), *args, **kwargs)

    return cast_first
