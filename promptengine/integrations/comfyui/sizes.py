"""WebUI's sizes for a ComfyUI model: those that are no multiples of 64 pixels.

Where an upsampled tensor does not match the skip that it is joined with, WebUI resizes it *after* the
upsampler's convolution and ComfyUI within the upsampler, before it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor
from torch.nn.functional import interpolate

from promptengine.integrations.comfyui.host import host_module

__all__ = ["WebUIUpsample", "webui_sizes"]

_MODULE: Final = "comfy.ldm.modules.diffusionmodules.openaimodel"
_ROOT: Final = "diffusion_model"


class WebUIUpsample:
    """What an upsampler does otherwise: mixed into a class of ComfyUI's."""

    def forward(self, x: Tensor, output_shape: Sequence[int] | None = None) -> Tensor:
        """Return features twice as large, then resized to the nearest neighbor.

        Args:
            x: Features ``[rows, channels, height, width]``.
            output_shape: The shape of what they are joined with; None leaves them as they are.
        """
        base: Any = super()
        found: Tensor = base.forward(x)
        size = found.shape[-2:] if output_shape is None else tuple(output_shape[-2:])
        return found if found.shape[-2:] == size else interpolate(found, size=size, mode="nearest")


def webui_sizes(model: Any) -> None:
    """Let a model resize as WebUI does.

    Args:
        model: A ``ModelPatcher`` that is the caller's own clone.
    """
    kind = host_module(_MODULE).Upsample
    for path, module in model.model.diffusion_model.named_modules():
        name = f"{_ROOT}.{path}"
        original = model.get_model_object(name) if isinstance(module, kind) else None
        if original is None:
            continue
        if isinstance(original, WebUIUpsample):
            # Another clone may have put it there, and will take it away.
            model.add_object_patch(name, original)
            continue
        # Weights stay those of the model, under their paths: only the class is another one.
        changed: Any = copy.copy(original)
        changed.__class__ = type(
            f"WebUI{type(original).__name__}", (WebUIUpsample, type(original)), {}
        )
        model.add_object_patch(name, changed)
