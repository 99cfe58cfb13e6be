"""Answers a pipeline's questions to its UNet with what the prompts say at that step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from promptengine.errors import PromptEngineError
from promptengine.generation.cond_batch import CondBatch, CondBatches, UNetCall
from promptengine.integrations.diffusers.rows import chosen_rows
from promptengine.networks.hypernetwork.inject import Injection
from promptengine.networks.lora.inject import LoraInjection
from promptengine.undo import UndoLog

__all__ = ["override_unet_forward"]


@contextmanager
def override_unet_forward(
    unet: nn.Module,
    texts: CondBatches,
    images: int,
    injection: Injection,
    loras: LoraInjection,
    *,
    journal: UndoLog | None = None,
) -> Generator[None]:
    """Let a UNet answer with a prompt's own texts, whatever texts it is asked with, in a ``with`` block.

    A pipeline asks with one row for each image, or with two, the unconditional ones first, and guides by
    ``U + scale * (C - U)``. It gets ``C = U + sum(weight * (C_part - U))``, so that prompts of several
    parts are guided as in WebUI.

    Args:
        unet: The pipeline's.
        texts: The texts of its images.
        images: How many there are.
        injection: Where the hypernetworks of each row are chosen.
        loras: Where its LoRAs are.
        journal: Of the run that this is a part of; by default the block stands alone.
    """
    with (journal or UndoLog()).block() as changes:
        steering = _Steering(unet.forward, unet, texts, images, injection, loras)
        changes.shadow(unet, "forward", steering)
        yield


@dataclass(slots=True, eq=False)
class _Steering:
    """Stands in for a UNet's ``forward``, counting its calls."""

    ask: Callable[..., Any]
    unet: nn.Module
    texts: CondBatches
    images: int
    injection: Injection
    loras: LoraInjection
    calls: int = 0

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        *,
        return_dict: bool = True,
        **more: Any,
    ) -> Any:
        """Answer as ``UNet2DConditionModel.forward`` does, row for row."""
        asked = len(sample)
        if asked not in (self.images, 2 * self.images):
            message = f"the pipeline asks about {asked} rows for {self.images} images"
            raise PromptEngineError(f"{message}; promptengine cannot tell which prompts they have")
        guided = asked == 2 * self.images
        plain = all(
            len(one.positive) == 1 and one.positive[0][1] == 1
            for one in map(self.texts.of, range(self.images))
        )
        batch = self.texts.at(
            self.calls,
            self.images,
            encoder_hidden_states.dtype,
            unguided=plain and not guided,
        )
        sources = _sources(batch, self.images, guided=guided)
        answers = torch.cat(
            [
                self._answer(
                    call, sample, timestep, sources[start : start + len(call.images)], more
                )
                for start, call in _with_starts(batch.calls)
            ]
        )
        self.calls += 1
        found = _combined(answers, batch, guided=guided, plain=plain)
        if not return_dict:
            return (found,)
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        return UNet2DConditionOutput(sample=found)

    def _answer(
        self,
        call: UNetCall,
        sample: Tensor,
        timestep: Tensor | float,
        sources: Sequence[int],
        more: Mapping[str, Any],
    ) -> Tensor:
        """Ask with the texts of one call; ``sources`` are the pipeline's rows that ours stand for."""
        own = [self.texts.of(image) for image in call.images]
        self.injection.choose(*(one.networks(self.calls) for one in own))
        self.injection.sign(call.signs)
        self.loras.choose(*(one.loras.at(self.calls) for one in own))
        chosen = chosen_rows(more, sources, len(sample))
        latents, times = chosen_rows((sample, timestep), sources, len(sample))
        if call.pooled[0] is not None:
            pooled = torch.stack([one for one in call.pooled if one is not None])
            added = chosen.get("added_cond_kwargs") or {}
            chosen["added_cond_kwargs"] = {**added, "text_embeds": pooled.to(call.context.dtype)}
        if call.mask is not None:
            chosen["encoder_attention_mask"] = call.mask
        return self.ask(
            latents,
            times,
            call.context,
            return_dict=False,
            **chosen,
        )[0]


def _with_starts(calls: Sequence[UNetCall]) -> list[tuple[int, UNetCall]]:
    starts = [0]
    for call in calls:
        starts.append(starts[-1] + len(call.images))
    return list(zip(starts, calls, strict=False))


def _sources(batch: CondBatch, images: int, *, guided: bool) -> list[int]:
    """For each of our rows the pipeline's row with the same latents and extras."""
    owners = [image for call in batch.calls for image in call.images]
    if not guided:
        return owners
    unconditional = set(batch.negative)
    return [image if row in unconditional else images + image for row, image in enumerate(owners)]


def _combined(answers: Tensor, batch: CondBatch, *, guided: bool, plain: bool) -> Tensor:
    """Return the answers to a pipeline's rows from those to ours."""
    if plain and not guided:
        return answers[batch.parts[0]]
    negative = answers[batch.negative]
    if plain:
        return torch.cat([negative, answers[batch.parts[0]]])
    found = batch.guided([answers[rows] for rows in batch.parts], negative)
    return torch.cat([negative, found]) if guided else found
