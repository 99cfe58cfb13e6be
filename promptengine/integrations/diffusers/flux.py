"""Pipelines of Flux.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from promptengine.integrations.diffusers.call import AttachSettings, PipelineCall
from promptengine.integrations.diffusers.transformer import TransformerFamily, t5_length
from promptengine.prompt import Schedule
from promptengine.text.chunks import chunk_fragments
from promptengine.text.conditioning import Conditioning
from promptengine.text.encoder import pooled_text
from promptengine.text.t5 import T5Model

__all__ = ["FLUX"]


@dataclass(frozen=True, slots=True, eq=False)
class _FluxTexts:
    """T5's states, and CLIP's pooled state of the first chunk, on which weights have no say.

    Attributes:
        clip: A ``CLIPTextModel``.
        padding: The id that its tokenizer puts behind the end token.
        t5: Reads the whole text.
        device: The pipeline's.
    """

    clip: Any
    padding: int
    t5: T5Model
    device: torch.device

    def encode(self, schedule: Schedule, *, negative: bool = False) -> Conditioning:
        """Encode all texts of a schedule, those of negative prompts alike."""
        segments = schedule.segments
        return Conditioning(
            embeddings=torch.stack([self.t5(one.fragments) for one in segments]).to(self.device),
            until_step=schedule.last_calls,
            pooled=self._pooled(schedule),
        )

    def cut_off(self, schedule: Schedule) -> Sequence[str]:
        """Return the words of each text that T5 has no room for."""
        return [self.t5.cut_off(one.fragments) for one in schedule.segments]

    def _pooled(self, schedule: Schedule) -> Tensor:
        """Return the pooled vectors ``[segments, width]``; equal texts are encoded once."""
        # Without the rule for commas: the pipeline's CLIP reads as much as its window holds.
        first = [chunk_fragments(one.fragments, comma_backtrack=0)[0] for one in schedule.segments]
        ids = {one.tokens: torch.tensor([one.tokens], device=self.device) for one in first}
        found = {
            tokens: pooled_text(self.clip, row, padding=self.padding)[0]
            for tokens, row in ids.items()
        }
        return torch.stack([found[one.tokens] for one in first]).to(self.device)


def _texts(pipe: Any, call: PipelineCall, settings: AttachSettings) -> _FluxTexts:
    device = torch.device(pipe._execution_device)
    weighted = settings.t5 in (None, "weighted")
    t5 = T5Model(pipe.text_encoder_2, pipe.tokenizer_2, t5_length(call), device, weighted)
    return _FluxTexts(pipe.text_encoder, pipe.tokenizer.pad_token_id, t5, device)


def _guided(call: PipelineCall) -> bool:
    return call.given.get("negative_prompt") is not None and (call.value("true_cfg_scale") or 1) > 1


FLUX: Final = TransformerFamily(
    title="Flux",
    transformer="FluxTransformer2DModel",
    parts=("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
    reader=_texts,
    guided=_guided,
    guidance="true_cfg_scale",
    needs_t5=True,
)
"""T5's states with weights, and a pooled vector of CLIP."""
