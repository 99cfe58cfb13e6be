"""Pipelines of diffusers around tiny transformers, with a tiny T5."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from tests.checkpoints.diffusers_pipelines import with_padding
from tests.checkpoints.original import livelier

WORDS = ("a", "cat", "dog", "photo", "of", "snow", "fox")
T5_WIDTH = 48
CLIP_WIDTH = 16


@cache
def t5_tokenizer() -> PreTrainedTokenizerFast:
    """Words and letters behind T5's mark of a space, a text ending in ``</s>``."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["<pad>", "</s>", "<unk>", "▁", *letters, *(f"▁{word}" for word in WORDS)]
    costs = [0.0 if len(piece) > 2 else -5.0 for piece in pieces]
    model = Tokenizer(models.Unigram([*zip(pieces, costs, strict=True)], unk_id=2))
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    model.decoder = decoders.Metaspace()
    model.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def t5_encoder() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(t5_tokenizer()),
            d_model=T5_WIDTH,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
        )
    )


def clip_config(activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=CLIP_WIDTH,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act=activation,
        projection_dim=CLIP_WIDTH,
        bos_token_id=49406,
        eos_token_id=49407,
    )


def _vae(channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4,),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    )


def _made(pipe: Any) -> Any:
    for module in pipe.components.values():
        if isinstance(module, nn.Module):
            livelier(module)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sd3_pipeline(*, t5: bool = True, kind: Any = StableDiffusion3Pipeline) -> Any:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=2 * CLIP_WIDTH,
        pos_embed_max_size=16,
    )
    parts = {
        "transformer": transformer,
        "vae": _vae(16),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "text_encoder": CLIPTextModelWithProjection(clip_config("quick_gelu")),
        "text_encoder_2": CLIPTextModelWithProjection(clip_config("gelu")),
        "text_encoder_3": t5_encoder() if t5 else None,
        "tokenizer": with_padding("<|endoftext|>"),
        "tokenizer_2": with_padding("!"),
        "tokenizer_3": t5_tokenizer() if t5 else None,
    }
    return _made(kind(**parts))


def flux_pipeline(*, kind: Any = FluxPipeline) -> Any:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    parts = {
        "transformer": transformer,
        "vae": _vae(1),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "text_encoder": CLIPTextModel(clip_config("quick_gelu")),
        "text_encoder_2": t5_encoder(),
        "tokenizer": with_padding("<|endoftext|>"),
        "tokenizer_2": t5_tokenizer(),
    }
    return _made(kind(**parts))
