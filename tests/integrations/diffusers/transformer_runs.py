"""Runs of attached pipelines with a transformer, and what the transformer is asked in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.checkpoints.transformer_pipelines import flux_pipeline, sd3_pipeline

SIZE = 16
RUN: dict[str, Any] = {"height": SIZE, "width": SIZE, "max_sequence_length": 12}
PIPELINES: dict[str, Callable[..., Any]] = {"SD3": sd3_pipeline, "Flux": flux_pipeline}
UNGUIDED: dict[str, dict[str, Any]] = {"SD3": {"guidance_scale": 1.0}, "Flux": {}}
GUIDED: dict[str, dict[str, Any]] = {
    "SD3": {"guidance_scale": 3.0},
    "Flux": {"true_cfg_scale": 3.0},
}
BOTH = pytest.mark.parametrize("family", PIPELINES)


def latents(pipe: Any, prompt: Any, *, steps: int = 2, seed: int = 5, **more: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    run = {**RUN, "num_inference_steps": steps, "generator": generator, "output_type": "latent"}
    return pipe(prompt, **{**run, **more})[0]


@contextmanager
def asked(pipe: Any) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The texts that the transformer is asked with, call by call, and their pooled vectors."""
    found: list[tuple[Tensor, Tensor]] = []
    forward = pipe.transformer.forward

    def record(*args: Any, **kwargs: Any) -> Any:
        found.append((kwargs["encoder_hidden_states"], kwargs["pooled_projections"]))
        return forward(*args, **kwargs)

    pipe.transformer.forward = record
    try:
        yield found
    finally:
        del pipe.transformer.forward


def own_texts(pipe: Any, text: str) -> tuple[Tensor, Tensor]:
    """A text as the pipeline itself encodes it, without its batch."""
    with torch.no_grad():
        found = pipe.encode_prompt(
            text,
            None,
            **({"prompt_3": None} if hasattr(pipe, "text_encoder_3") else {}),
            max_sequence_length=RUN["max_sequence_length"],
        )
    pooled = found[2] if hasattr(pipe, "text_encoder_3") else found[1]
    return found[0][0], pooled[0]
