"""Pipelines of diffusers around tiny models."""

from __future__ import annotations

import copy
from typing import Any

from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
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
    if original.family == "SDXL":
        kind: Any = StableDiffusionXLInpaintPipeline if inpainting else StableDiffusionXLPipeline
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


def with_padding(token: str):
    own = copy.deepcopy(clip_tokenizer())
    own.pad_token = token
    own.model_max_length = 77
    return own
