"""Networks that this package cannot apply, called by their names. Names of tensors only, no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["unsupported"]

_ROOT: Final = (
    r"^(?:(?:base_model\.model|transformer|unet|diffusion_model|model)\."
    r"|lora_unet_|lora_transformer_|lycoris_)*"
)
# A LoRA of a U-Net has "transformer_blocks" too, but below its attentions, never at the root.
# Where several hold, the first tells most.
_RULES: Final = tuple(
    (re.compile(pattern), noun)
    for pattern, noun in (
        (r"(?:^|[._])motion_modules[._]", "a motion module (AnimateDiff)"),
        (r"^lora_prior_(?:unet|te)_", "a LoRA for Stable Cascade"),
        (
            _ROOT + r"(?:down|up)_blocks[._]\d+[._]\d+[._](?:attention|mapper|channelwise|kv_)",
            "a LoRA for Stable Cascade",
        ),
        (_ROOT + r"(?:joint_transformer_blocks|double_layers)[._]\d", "a LoRA for AuraFlow"),
        (_ROOT + r"double_blocks[._]\d+[._]img_mlp[._]fc", "a LoRA for HunyuanVideo"),
        (
            _ROOT + r"(?:single_transformer_blocks|double_blocks|single_blocks)[._]\d",
            "a LoRA for Flux",
        ),
        (_ROOT + r"joint_blocks[._]\d", "a LoRA for Stable Diffusion 3"),
        (_ROOT + r"transformer_blocks[._]\d+[._](?:img_|txt_)", "a LoRA for Qwen-Image"),
        (_ROOT + r"transformer_blocks[._]\d+[._]attn[._]", "a LoRA for Stable Diffusion 3"),
        (
            _ROOT + r"transformer_blocks[._]\d+[._]",
            "a LoRA for a diffusion transformer (PixArt or its like)",
        ),
        (_ROOT + r"blocks[._]\d+[._](?:self_attn|cross_attn)[._]", "a LoRA for Wan"),
        (
            _ROOT + r"blocks[._]\d+[._](?:attn[12][._](?:Wqkv|q_proj|kv_proj)|default_modulation)",
            "a LoRA for HunyuanDiT",
        ),
        (_ROOT + r"blocks[._]\d+[._]attn[12][._]", "a LoRA for Wan or HunyuanDiT"),
        (
            _ROOT + r"layers[._]\d+[._](?:attention|feed_forward|adaLN)",
            "a LoRA for Z-Image or Lumina",
        ),
        (r"^(?:lora_te3_|text_encoder_3\.)", "a LoRA for Stable Diffusion 3 or Flux"),
        (r"\.boft_[Rs]\b", "BOFT in peft's form"),
        (r"\.oft_[Rrs]\b", "OFT in peft's form"),
        (r"\.vera_lambda_[bd]\b", "VeRA"),
        (r"\.fourierft_spectrum\b", "FourierFT"),
        (r"\.lora_embedding_[AB]\b", "a LoRA of embeddings"),
    )
)


def unsupported(names: Iterable[str]) -> str | None:
    """Return what a network is called that cannot be applied, such as ``VeRA``, or None.

    Args:
        names: Of the tensors in its file.
    """
    found = {noun for name in names for rule, noun in _RULES if rule.search(name)}
    return next((noun for _, noun in _RULES if noun in found), None)
