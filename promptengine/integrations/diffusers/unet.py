"""Pipelines with a UNet: Stable Diffusion 1, 2, XL, and XL's refiner."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from torch import nn

from promptengine.accel.onednn import use_onednn
from promptengine.errors import RequestError
from promptengine.generation.cfg_denoiser import skips_resized_like_webui
from promptengine.generation.cond_batch import CondBatches
from promptengine.generation.conditioning import PreparedPrompts
from promptengine.integrations.diffusers.call import AttachSettings, PipelineCall, SteeredCall
from promptengine.integrations.diffusers.loras import loras_scaled
from promptengine.integrations.diffusers.processor import PromptProcessor, embedding_arguments
from promptengine.integrations.diffusers.unet_forward import override_unet_forward
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.lora.inject import inject_loras
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.registry.open_models import Models
from promptengine.request.options import Options
from promptengine.undo import UndoLog

__all__ = ["UNET", "UNetFamily", "UNetProcessor"]

_CONTROLNET: Final = kinds.NEGATIVE_WEIGHT(
    "the ControlNet reads words of negative weight as ones of positive weight; the UNet subtracts them",
    severity="warning",
)


class UNetProcessor(PromptProcessor):
    """Reads the prompts of a pipeline with a UNet."""

    __slots__ = ()

    def steer(self, call: PipelineCall) -> SteeredCall:
        """Read the prompts of a call.

        Raises:
            PromptEngineError: As :func:`promptengine.attach` says of prompts.
        """
        encoders = self.parts.checkpoint.text_encoders
        with loras_scaled(encoders, call.value("cross_attention_kwargs")):
            prepared = self.prepare(
                call.pairs,
                steps=call.steps,
                calls=call.calls,
                clip_skip=(call.given.get("clip_skip") or 0) + 1,
            )
        diagnostics = [said for one in prepared for said in one.diagnostics]
        if hasattr(self.pipe, "controlnet") and any(one.guidance.signed for one in prepared):
            diagnostics.append(_CONTROLNET)
        return SteeredCall(
            embedding_arguments(prepared),
            diagnostics,
            partial(self._acting, prepared, call.images),
        )

    @contextmanager
    def _acting(
        self, prepared: Sequence[PreparedPrompts], images: int, journal: UndoLog
    ) -> Generator[None]:
        """Let prompts act on the pipeline's UNet within a ``with`` block; ``images`` for each of them."""
        parts = self.parts
        unet: nn.Module = parts.checkpoint.unet
        guidance = [one.guidance for one in prepared for _ in range(images)]
        texts = CondBatches(guidance, Options())
        with (
            prepared[0].stack.merged(journal),
            use_onednn(unet, journal=journal),
            inject_loras(
                unet, [one.loras for one in guidance], parts.networks.lora_weights, journal=journal
            ) as loras,
            inject_hypernetworks(unet, folder=parts.networks.folder, journal=journal) as injection,
            skips_resized_like_webui(unet, journal=journal),
            override_unet_forward(unet, texts, len(guidance), injection, loras, journal=journal),
        ):
            yield


@dataclass(frozen=True, slots=True)
class UNetFamily:
    """Pipelines that the engine's own families of models are behind."""

    title: str = "Stable Diffusion 1, 2 and XL, XL's refiner included"

    def fits(self, pipe: Any) -> bool:
        """Tell whether a pipeline has a UNet."""
        return getattr(pipe, "unet", None) is not None

    def processor(self, pipe: Any, models: Models, settings: AttachSettings) -> UNetProcessor:
        """Return what reads the pipeline's prompts.

        Raises:
            PromptEngineError: It lacks a part, or a setting means nothing to it.
        """
        if settings.t5 is not None:
            message = f"t5 is {settings.t5!r}, and {type(pipe).__name__} reads no T5; leave it out"
            raise RequestError(message, field="t5")
        processor = UNetProcessor(
            pipe, models, settings.policy, settings.dialect, settings.negative_weights
        )
        _ = processor.parts
        return processor


UNET: Final = UNetFamily()
"""Those whose UNet networks can change."""
