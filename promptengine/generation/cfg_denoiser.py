"""The UNet as samplers see it: guided, scheduled, and asked at any noise level."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from promptengine.accel.step_cache import StepCache
from promptengine.errors import PromptEngineError
from promptengine.families import Prediction
from promptengine.generation.cond_batch import CondBatch, CondBatches, PromptCond, UNetCall
from promptengine.generation.model_inputs import NO_EXTRAS, ExtraModelInputs
from promptengine.generation.regions import choose_regions
from promptengine.networks.hypernetwork.inject import HypernetworkStack, Injection
from promptengine.networks.lora.inject import LoraInjection
from promptengine.networks.regional_attention import RegionalAttention
from promptengine.request.options import Options
from promptengine.undo import UndoLog

__all__ = ["CFGDenoiser", "predict_noise", "skips_resized_like_webui"]


@dataclass(slots=True, eq=False)
class CFGDenoiser:
    """A UNet with classifier-free guidance, counting its own calls.

    The result is ``U + sum(weight * scale * (C - U))`` over the prompt's parts (composable diffusion,
    arXiv:2206.01714). U is asked for at scale 1 too, as in WebUI. All images and all their texts are
    one batch, texts of different length too: the shorter are filled up, and a mask hides the filling.

    Attributes:
        unet: A diffusers ``UNet2DConditionModel``.
        guidance: What to follow: for each image, or once for all.
        options: How prompts of different length are evened out, how many are asked at once, and
            at which calls the negative prompt is left out.
        extras: What the UNet reads beside latents, timestep and text.
        prediction: What its answers mean.
        injection: Where hypernetworks are chosen; None for a UNet that none are injected into.
        loras: Where LoRAs are chosen, likewise.
        regional: Where regions are chosen; None for a UNet that none act in.
        step_cache: Where calls learn whether they are whole; None where all are.
        planned: Calls of the pass in all, which ``Options.unguided_early`` is a share of.
        unconditional: What the last call predicted for the negative prompt, or, where that was left
            out, for the prompt's first part; None before the first call.
        calls: Calls so far; the counter that prompt schedules are read with.
    """

    unet: nn.Module
    guidance: Sequence[PromptCond]
    options: Options = field(default_factory=Options)
    extras: ExtraModelInputs = NO_EXTRAS
    prediction: Prediction = "epsilon"
    injection: Injection | None = None
    loras: LoraInjection | None = None
    regional: RegionalAttention | None = None
    step_cache: StepCache | None = None
    planned: int = 1
    unconditional: Tensor | None = field(default=None, init=False)
    calls: int = field(default=0, init=False)
    _texts: CondBatches = field(init=False)

    def __post_init__(self) -> None:
        self._texts = CondBatches(self.guidance, self.options)

    def become(self, other: CFGDenoiser) -> None:
        """Go on as another one in the middle of a pass: its model and texts, this one's count of calls."""
        self.unet, self.guidance, self._texts = other.unet, other.guidance, other._texts
        self.extras, self.prediction = other.extras, other.prediction
        self.injection, self.loras, self.regional = other.injection, other.loras, other.regional
        self.step_cache = other.step_cache

    def __call__(
        self,
        x: Tensor,
        timestep: Tensor,
        *,
        level: Tensor | None = None,
        reading: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Predict the guided noise in ``x``, or what follows from it.

        Args:
            x: Latents ``[images, channels, height, width]`` as the UNet wants them scaled.
            timestep: 0-d, 0 to 999, integer or not.
            level: What ``Options.unguided_below`` is compared with: the sigma, or the timestep for
                samplers over timesteps; None leaves the negative prompt in.
            reading: Applied to each prediction before they are combined. If it is linear the order
                makes no difference but in the last digits, which adaptive samplers magnify.

        Returns:
            The prediction, shaped and typed like ``x``.
        """
        unguided = self._leaves_guidance_out(level)
        dtype = next(self.unet.parameters()).dtype
        batch = self._texts.at(self.calls, len(x), dtype, unguided=unguided)
        rows = self._predictions(x, timestep, batch)
        self.calls += 1
        conditional = [rows[index] for index in batch.parts]
        unconditional = rows[batch.negative]
        if reading is not None:
            conditional = [reading(answer) for answer in conditional]
            unconditional = conditional[0] if unguided else reading(unconditional)
        self.unconditional = unconditional
        return batch.guided(conditional, unconditional)

    def _leaves_guidance_out(self, level: Tensor | None) -> bool:
        early, low = self.options.unguided_early, self.options.unguided_below
        if early and self.calls / self.planned <= early:
            return True
        if level is None or not low:
            return False
        chosen = self.options.unguided_below_always or self.calls % 2 == 1
        return chosen and bool(level < low)

    def _predictions(self, x: Tensor, timestep: Tensor, batch: CondBatch) -> Tensor:
        """Return one prediction per text, ``[texts, channels, height, width]``."""
        x = self.extras.joined_to(x)
        answers: list[Tensor] = []
        for call in batch.calls:
            self._choose(call, (x.shape[-2], x.shape[-1]))
            images = x[call.images]
            answers.append(
                predict_noise(
                    self.unet,
                    images,
                    timestep.expand(len(images)),
                    call.context,
                    mask=call.mask,
                    added=self.extras.added(call.pooled, call.scores),
                )
            )
        return torch.cat(answers) if len(answers) > 1 else answers[0]

    def _choose(self, call: UNetCall, cells: tuple[int, int]) -> None:
        """Let the networks and regions of a call act in it."""
        rows = [self._texts.of(image) for image in call.images]
        injection, regional = self.injection, self.regional
        if call.regions is not None and regional is not None:
            choose_regions(call.regions, regional, injection, self._stacks, cells)
        else:
            if regional is not None:
                regional.choose(None)
            if injection is not None:
                injection.choose(*(row.networks(self.calls) for row in rows))
        if injection is not None:
            injection.sign(call.signs)
        elif call.signs is not None:
            raise PromptEngineError("negative_weights is subtract; it needs an injection")
        if self.loras is not None:
            text = None if regional is None else regional.chosen
            image = None if injection is None else injection.masked
            self.loras.choose(
                *(row.loras.at(self.calls) for row in rows),
                text=text and text.rows,
                image=image and image.rows,
            )
        if self.step_cache is not None:
            texts = [row.segments_at(self.calls) for row in rows]
            names = zip(call.images, call.numbers, strict=True)
            self.step_cache.choose(list(zip(names, texts, strict=True)), self.calls)

    def _stacks(self, image: int) -> tuple[HypernetworkStack, Sequence[HypernetworkStack]]:
        """Return the networks that act on an image, and those of each group of its regions."""
        one = self._texts.of(image)
        groups = () if one.regions is None else one.regions.networks(self.calls)
        return one.networks(self.calls), groups


def predict_noise(
    unet: nn.Module,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    *,
    mask: Tensor | None = None,
    added: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Ask a UNet once. What it predicts is the noise or, by some models, v.

    Args:
        unet: A diffusers ``UNet2DConditionModel``; ``x`` and ``context`` are cast to its dtype.
        x: ``[batch, channels, height, width]``.
        timestep: ``[batch]``, integer or not.
        context: Text embeddings ``[batch, tokens, width]``.
        mask: ``[batch, tokens]``, true where there is text; None where there is nothing else.
        added: SDXL's ``added_cond_kwargs``, see :meth:`promptengine.generation.model_inputs.ExtraModelInputs.added`.

    Returns:
        The prediction, typed like ``x`` and shaped like its latents.
    """
    dtype = next(unet.parameters()).dtype
    more: dict[str, Any] = {} if added is None else {"added_cond_kwargs": added}
    if mask is not None:
        more["encoder_attention_mask"] = mask
    answer = unet(x.to(dtype), timestep, context.to(dtype), **more, return_dict=False)[0]
    return answer.to(x.dtype)


@contextmanager
def skips_resized_like_webui(unet: nn.Module, *, journal: UndoLog | None = None) -> Generator[None]:
    """Let sizes that are not multiples of 64 pixels come out as in WebUI.

    Where an upsampled tensor does not match the skip it is joined with, the original UNet resizes it
    *after* the upsampler's convolution (nearest neighbor); diffusers resizes inside the upsampler,
    which moves the prediction by up to 1.0. Leaving the block restores the UNet exactly.

    Args:
        unet: A diffusers ``UNet2DConditionModel``.
        journal: Of the run that this is a part of; by default the block stands alone.
    """
    blocks: Any = unet.up_blocks
    with (journal or UndoLog()).block() as changes:
        for block in blocks:
            changes.shadow(block, "forward", partial(_resized_first, block.forward))
        yield


def _resized_first(forward: Callable[..., Tensor], **given: Any) -> Tensor:
    """Return what an upward block answers to hidden states of the size of the skip they are joined with."""
    size = given["res_hidden_states_tuple"][-1].shape[-2:]
    hidden = given["hidden_states"]
    if hidden.shape[-2:] != size:
        hidden = nn.functional.interpolate(hidden, size=size, mode="nearest")
    return forward(**{**given, "hidden_states": hidden, "upsample_size": None})
