"""The UNet as samplers see it: guided, scheduled, and asked at any noise level."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from promptengine.diffusion.extras import NO_EXTRAS, Extras
from promptengine.diffusion.noise import ImageNoise
from promptengine.diffusion.prediction import denoised_from, noise_from
from promptengine.diffusion.sampling import OnStep, Sampler, SigmaSampler
from promptengine.diffusion.schedules import NoiseTable
from promptengine.families import Prediction
from promptengine.text.encode import Conditioning

__all__ = ["Guidance", "GuidedUnet", "predict_noise", "sample", "skips_resized_like_webui"]


@dataclass(frozen=True, slots=True, eq=False)
class Guidance:
    """What steers a pass, and how hard.

    Attributes:
        positive: The prompt's parts with their weights (one part without ``AND``).
        negative: The negative prompt.
        scale: CFG scale; 1 follows the prompt alone, higher exaggerates it.
    """

    positive: Sequence[tuple[Conditioning, float]]
    negative: Conditioning
    scale: float


@dataclass(slots=True, eq=False)
class GuidedUnet:
    """A UNet with classifier-free guidance, counting its own calls.

    The result is ``U + sum(weight * scale * (C - U))`` over the prompt's parts (composable diffusion,
    arXiv:2206.01714). U is asked for at scale 1 too, as in WebUI.

    Attributes:
        unet: A diffusers ``UNet2DConditionModel``.
        guidance: What to follow; read anew at each call, because prompts are scheduled.
        extras: What the UNet reads beside latents, timestep and text.
        prediction: What its answers mean.
        calls: Calls so far; the counter that prompt schedules are read with.
    """

    unet: nn.Module
    guidance: Guidance
    extras: Extras = NO_EXTRAS
    prediction: Prediction = "epsilon"
    calls: int = field(default=0, init=False)

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        """Predict the guided noise in ``x``.

        Args:
            x: Latents ``[images, channels, height, width]`` as the UNet wants them scaled.
            timestep: 0-d, 0 to 999, integer or not.

        Returns:
            The prediction, shaped and typed like ``x``.
        """
        parts = _padded([c.at(self.calls) for c, _ in self.guidance.positive])
        negative = self.guidance.negative.at(self.calls)
        asked = [*(c for c, _ in self.guidance.positive), self.guidance.negative]
        pooled = [conditioning.pooled_at(self.calls) for conditioning in asked]
        self.calls += 1
        *conditional, unconditional = self._predictions(x, timestep, [*parts, negative], pooled)
        guided = unconditional
        for prediction, (_, weight) in zip(conditional, self.guidance.positive, strict=True):
            guided = guided + (prediction - unconditional) * (weight * self.guidance.scale)
        return guided

    def _predictions(
        self,
        x: Tensor,
        timestep: Tensor,
        texts: Sequence[Tensor],
        pooled: Sequence[Tensor | None],
    ) -> list[Tensor]:
        """One prediction per text; texts of equal length share a call of the UNet."""
        x = self.extras.joined_to(x)
        answers: dict[int, Tensor] = {}
        for length in dict.fromkeys(len(text) for text in texts):
            rows = [row for row, text in enumerate(texts) if len(text) == length]
            context = torch.stack([texts[row] for row in rows]).repeat_interleave(len(x), dim=0)
            batch = x.repeat(len(rows), 1, 1, 1)
            added = self.extras.added([pooled[row] for row in rows], len(x))
            times = timestep.expand(len(batch))
            prediction = predict_noise(self.unet, batch, times, context, added=added)
            answers.update(zip(rows, prediction.split(len(x)), strict=True))
        return [answers[row] for row in range(len(texts))]


def predict_noise(
    unet: nn.Module,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    *,
    added: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Ask a UNet once. What it predicts is the noise or, by some models, v.

    Args:
        unet: A diffusers ``UNet2DConditionModel``; ``x`` and ``context`` are cast to its dtype.
        x: ``[batch, channels, height, width]``.
        timestep: ``[batch]``, integer or not.
        context: Text embeddings ``[batch, tokens, width]``.
        added: SDXL's ``added_cond_kwargs``, see :meth:`promptengine.diffusion.extras.Extras.added`.

    Returns:
        The prediction, typed like ``x`` and shaped like its latents.
    """
    dtype = next(unet.parameters()).dtype
    more = {} if added is None else {"added_cond_kwargs": added}
    answer = unet(x.to(dtype), timestep, context.to(dtype), **more, return_dict=False)[0]
    return answer.to(x.dtype)


def _padded(texts: Sequence[Tensor]) -> list[Tensor]:
    """Lengthen each ``[tokens, width]`` to the longest by repeating its own last vector."""
    longest = max(len(text) for text in texts)
    return [torch.cat([text, text[-1:].expand(longest - len(text), -1)]) for text in texts]


def sample(
    sampler: Sampler,
    model: GuidedUnet,
    table: NoiseTable,
    noise: ImageNoise,
    *,
    steps: int,
    on_step: OnStep,
) -> Tensor:
    """Sample from pure noise.

    Args:
        sampler: Which sampler.
        model: The guided UNet; its call counter starts where it stands.
        table: The noise levels the model was trained on.
        noise: Where noise comes from; its first draw starts the picture.
        steps: As the user asked.
        on_step: Called after each step; may raise to stop.

    Returns:
        Latents ``[images, channels, height, width]``, float32.
    """
    schedule = sampler.schedule(table, steps).to(noise.device)
    x = noise.draw()
    if isinstance(sampler, SigmaSampler):

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            timestep = table.timestep(sigma.cpu()).to(x.device)
            output = model(x / (sigma**2 + 1).sqrt(), timestep)
            return denoised_from(model.prediction, output, x, sigma)

        return sampler.run(denoise, x * schedule[0], schedule, noise=noise.draw, on_step=on_step)

    def predict(x: Tensor, timestep: Tensor) -> Tensor:
        alpha = table.alphas_cumprod.to(x)[timestep.long()]
        return noise_from(model.prediction, model(x, timestep), x, alpha)

    return sampler.run(
        predict,
        x,
        schedule,
        alphas=table.alphas_cumprod.to(x),
        noise=noise.draw,
        on_step=on_step,
    )


@contextmanager
def skips_resized_like_webui(unet: nn.Module) -> Generator[None]:
    """Let sizes that are not multiples of 64 pixels come out as in WebUI.

    Where an upsampled tensor does not match the skip it is joined with, the original UNet resizes it
    *after* the upsampler's convolution (nearest neighbour); diffusers resizes inside the upsampler,
    which moves the prediction by up to 1.0. Leaving the block restores the UNet exactly.
    """

    def resize(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        size = kwargs["res_hidden_states_tuple"][-1].shape[-2:]
        hidden = kwargs["hidden_states"]
        if hidden.shape[-2:] != size:
            hidden = nn.functional.interpolate(hidden, size=size, mode="nearest")
        return args, {**kwargs, "hidden_states": hidden, "upsample_size": None}

    blocks: Any = unet.up_blocks
    handles = [block.register_forward_pre_hook(resize, with_kwargs=True) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
