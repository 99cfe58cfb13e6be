"""Networks that enlarge images."""

from __future__ import annotations

from typing import Final

from promptengine.kinds.kind import ModelKind

__all__ = ["UPSCALER"]

UPSCALER: Final = ModelKind(
    name="upscaler",
    noun="upscaler",
    plural="upscalers",
    folders=("ESRGAN", "RealESRGAN", "SwinIR", "upscaler"),
    suffixes=(".pth", ".pt", ".safetensors"),
    article="an",
    civitai_types=("Upscaler",),
    comfyui_folders=("upscale_models",),
)
"""Files of ESRGAN, Real-ESRGAN, its compact ones and SwinIR."""
