"""The UNet as samplers see it: guided, scheduled, and asked at any noise level."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from promptengine.diffusion.extras import NO_EXTRAS, Extras
from promptengine.families import Prediction
from promptengine.options import Options
from promptengine.text.encode import Conditioning

__all__ = ["Guidance", "GuidedUnet", "predict_noise", "skips_resized_like_webui"]


@dataclass(frozen=True, slots=True, eq=False)
class Guidance:
    """What steers a pass, and how hard.

    Attributes:
        positive: The prompt's parts with their weights (one part without ``AND``).
        negative: The negative prompt.
        scale: CFG scale; 1 follows the prompt alone, higher exaggerates it.
        empty: The encoded empty prompt ``[77, width]``; needed for ``Options.pad_with_empty`` only.
    """

    positive: Sequence[tuple[Conditioning, float]]
    negative: Conditioning
    scale: float
    empty: Tensor | None = None

    @property
    def uneven(self) -> bool:
        """Whether prompt and negative prompt are of different length."""
        longest = max(part.embeddings.shape[1] for part, _ in self.positive)
        return longest != self.negative.embeddings.shape[1]


@dataclass(slots=True, eq=False)
class GuidedUnet:
    """A UNet with classifier-free guidance, counting its own calls.

    The result is ``U + sum(weight * scale * (C - U))`` over the prompt's parts (composable diffusion,
    arXiv:2206.01714). U is asked for at scale 1 too, as in WebUI.

    Attributes:
        unet: A diffusers ``UNet2DConditionModel``.
        guidance: What to follow; read anew at each call, because prompts are scheduled.
        options: How prompts of different length are evened out, how many are asked at once, and
            below which noise level the negative prompt is left out at every second call.
        extras: What the UNet reads beside latents, timestep and text.
        prediction: What its answers mean.
        calls: Calls so far; the counter that prompt schedules are read with.
    """

    unet: nn.Module
    guidance: Guidance
    options: Options = field(default_factory=Options)
    extras: Extras = NO_EXTRAS
    prediction: Prediction = "epsilon"
    calls: int = field(default=0, init=False)

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
        parts = _padded([c.at(self.calls) for c, _ in self.guidance.positive])
        negative = self.guidance.negative.at(self.calls)
        parts, negative = self._evened(parts, negative)
        unguided = self.calls % 2 == 1 and level is not None and self._is_low(level)
        asked = [*(c for c, _ in self.guidance.positive), self.guidance.negative]
        pooled = [conditioning.pooled_at(self.calls) for conditioning in asked]
        self.calls += 1
        texts = parts if unguided else [*parts, negative]
        answers = self._predictions(x, timestep, texts, pooled)
        if reading is not None:
            answers = [reading(answer) for answer in answers]
        conditional = answers[: len(parts)]
        unconditional = answers[0] if unguided else answers[-1]
        scale = 1.0 if unguided else self.guidance.scale
        guided = unconditional
        for prediction, (_, weight) in zip(conditional, self.guidance.positive, strict=True):
            guided = guided + (prediction - unconditional) * (weight * scale)
        return guided

    def _is_low(self, level: Tensor) -> bool:
        return bool(level < self.options.unguided_below)

    def _evened(self, parts: list[Tensor], negative: Tensor) -> tuple[list[Tensor], Tensor]:
        """Give prompt and negative prompt one length, where an option wants that."""
        missing = len(parts[0]) - len(negative)
        if self.options.pad_with_last:
            return parts, _padded([negative], len(parts[0]))[0][: len(parts[0])]
        empty = self.guidance.empty
        if not self.options.pad_with_empty or empty is None:
            return parts, negative
        filling = empty.repeat(abs(missing) // len(empty), 1)
        if missing > 0:
            return parts, torch.cat([negative, filling])
        return [torch.cat([part, filling]) for part in parts], negative

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
        for rows in self._calls_for(texts):
            context = torch.stack([texts[row] for row in rows]).repeat_interleave(len(x), dim=0)
            batch = x.repeat(len(rows), 1, 1, 1)
            added = self.extras.added([pooled[row] for row in rows], len(x))
            times = timestep.expand(len(batch))
            prediction = predict_noise(self.unet, batch, times, context, added=added)
            answers.update(zip(rows, prediction.split(len(x)), strict=True))
        return [answers[row] for row in range(len(texts))]

    def _calls_for(self, texts: Sequence[Tensor]) -> list[list[int]]:
        """Which texts go into one call of the UNet, by their index."""
        if not self.options.batch_guidance:
            return [[row] for row in range(len(texts))]
        lengths = dict.fromkeys(len(text) for text in texts)
        return [[row for row, t in enumerate(texts) if len(t) == length] for length in lengths]


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


def _padded(texts: Sequence[Tensor], length: int = 0) -> list[Tensor]:
    """Lengthen each ``[tokens, width]`` to the longest, or to ``length``, by its own last vector."""
    longest = max(length, *(len(text) for text in texts))
    return [torch.cat([text, text[-1:].expand(longest - len(text), -1)]) for text in texts]


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
