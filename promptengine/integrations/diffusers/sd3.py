"""Pipelines of Stable Diffusion 3 and 3.5 (Esser et al., arXiv:2403.03206)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn

from promptengine.errors import RequestError
from promptengine.integrations.diffusers.call import AttachSettings, PipelineCall
from promptengine.integrations.diffusers.transformer import TransformerFamily, t5_length
from promptengine.prompt import Schedule
from promptengine.text.conditioning import Conditioning, encode_schedule
from promptengine.text.encoder import TextModel, sd3_text_model
from promptengine.text.t5 import NoT5, T5Model, T5Reader

__all__ = ["SD3"]


@dataclass(frozen=True, slots=True, eq=False)
class _SD3Texts:
    """CLIP's chunks ``[77 * chunks, width]`` as WebUI has them, then T5's tokens, as the pipeline has them.

    Attributes:
        clip: Reads prompts.
        clip_of_negative: Reads negative prompts, of which the pipeline skips no layer.
        t5: Reads both.
        device: The pipeline's.
    """

    clip: TextModel
    clip_of_negative: TextModel
    t5: T5Reader
    device: torch.device

    def encode(self, schedule: Schedule, *, negative: bool = False) -> Conditioning:
        """Encode all texts of a schedule."""
        clip = encode_schedule(schedule, self.clip_of_negative if negative else self.clip)
        assert clip.pooled is not None
        t5 = torch.stack([self.t5(one.fragments) for one in schedule.segments]).to(self.device)
        states = clip.embeddings.to(self.device)
        states = nn.functional.pad(states, (0, t5.shape[-1] - states.shape[-1]))
        return replace(
            clip,
            embeddings=torch.cat([states, t5], dim=1),
            pooled=clip.pooled.to(self.device),
        )

    def cut_off(self, schedule: Schedule) -> Sequence[str]:
        """Return the words of each text that T5 has no room for; CLIP has room for all."""
        return [self.t5.cut_off(one.fragments) for one in schedule.segments]


def _texts(pipe: Any, call: PipelineCall, settings: AttachSettings) -> _SD3Texts:
    clips = pipe.text_encoder, pipe.text_encoder_2
    paddings = pipe.tokenizer.pad_token_id, pipe.tokenizer_2.pad_token_id
    clip_skip = call.given.get("clip_skip") or 0
    if not isinstance(clip_skip, int):
        raise RequestError(
            f"clip_skip is {clip_skip!r}; it must be a whole number", field="clip_skip"
        )
    device, length = torch.device(pipe._execution_device), t5_length(call)
    t5: T5Reader
    if settings.t5 == "off" or pipe.text_encoder_3 is None:
        width = pipe.transformer.config.joint_attention_dim
        t5 = NoT5(torch.zeros(length, width, dtype=pipe.text_encoder.dtype, device=device))
    else:
        weighted = settings.t5 == "weighted"
        t5 = T5Model(pipe.text_encoder_3, pipe.tokenizer_3, length, device, weighted)
    return _SD3Texts(
        sd3_text_model(*clips, clip_skip=clip_skip, paddings=paddings, device=device),
        sd3_text_model(*clips, paddings=paddings, device=device),
        t5,
        device,
    )


def _guided(call: PipelineCall) -> bool:
    return (call.value("guidance_scale") or 0) > 1


SD3: Final = TransformerFamily(
    title="Stable Diffusion 3",
    transformer="SD3Transformer2DModel",
    parts=("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
    reader=_texts,
    guided=_guided,
    guidance="guidance_scale",
)
"""WebUI's chunks and weights for both CLIPs, and T5."""
