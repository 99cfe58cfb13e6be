"""Pipelines of diffusers around tiny models."""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)

from promptengine.text.tokenizer import clip_tokenizer
from tests.checkpoints.original import Original


def pipeline(original: Original, *, prediction: str = "epsilon", inpainting: bool = False) -> Any:
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        timestep_spacing="linspace",
    )
    first, last = (with_padding(token) for token in ("<|endoftext|>", "!"))
    parts = {"unet": original.unet, "vae": original.vae, "scheduler": scheduler}
    if original.family == "SDXL refiner":
        kind: Any = (
            StableDiffusionXLInpaintPipeline if inpainting else StableDiffusionXLImg2ImgPipeline
        )
        made = kind(
            text_encoder=None,
            text_encoder_2=original.encoders[0],
            tokenizer=None,
            tokenizer_2=last,
            requires_aesthetics_score=True,
            add_watermarker=False,
            **parts,
        )
    elif original.family == "SDXL":
        kind = StableDiffusionXLInpaintPipeline if inpainting else StableDiffusionXLPipeline
        made = kind(
            text_encoder=original.encoders[0],
            text_encoder_2=original.encoders[1],
            tokenizer=first,
            tokenizer_2=last,
            add_watermarker=False,
            **parts,
        )
    else:
        kind = StableDiffusionInpaintPipeline if inpainting else StableDiffusionPipeline
        made = kind(
            text_encoder=original.encoders[0],
            tokenizer=first if original.family == "SD1" else last,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **parts,
        )
    made.set_progress_bar_config(disable=True)
    return made


def noise_of(pipe: Any, *seeds: int) -> dict[str, Any]:
    """What a pipeline is called with so that it starts from the noise of seeds, for 64 x 64 pixels.

    The refiner's starts from an image, even where that is covered by noise: from latents of zeros.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    if isinstance(pipe, StableDiffusionXLImg2ImgPipeline):
        image = torch.zeros(len(seeds), 4, 8, 8)
        return {"image": image, "strength": 1.0, "generator": generators}
    noise = [torch.randn(4, 8, 8, generator=generator) for generator in generators]
    return {"latents": torch.stack(noise), "height": 64, "width": 64}


def with_padding(token: str):
    own = copy.deepcopy(clip_tokenizer())
    own.pad_token = token
    own.model_max_length = 77
    return own
