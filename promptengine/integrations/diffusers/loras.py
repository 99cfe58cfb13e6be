"""LoRAs that a pipeline itself has loaded into its text encoders, at the scale that a call asks for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from promptengine.undo import UndoLog

__all__ = ["loras_scaled"]


@contextmanager
def loras_scaled(
    encoders: Iterable[nn.Module], attention_arguments: Mapping[str, Any] | None
) -> Generator[None]:
    """Scale the LoRAs of text encoders within a ``with`` block, as pipelines do while they encode texts themselves.

    Args:
        encoders: The pipeline's.
        attention_arguments: Of the call, ``cross_attention_kwargs`` or ``joint_attention_kwargs``, whose ``scale``
            counts.
    """
    scale = (attention_arguments or {}).get("scale")
    known = [] if scale is None else [(one, _scalings(one)) for one in encoders]
    with UndoLog().block() as changes:
        for encoder, scalings in known:
            for scaling in scalings:
                changes.write(partial(scaling.update, dict(scaling)))
            if scalings:
                from diffusers.utils import scale_lora_layers

                scale_lora_layers(encoder, scale)
        yield


def _scalings(encoder: nn.Module) -> list[dict[str, float]]:
    """Return what peft multiplies LoRAs by, module by module; none where it has put nothing into the encoder."""
    held = (vars(module).get("scaling") for module in encoder.modules())
    return [scaling for scaling in held if isinstance(scaling, dict)]
