"""WebUI's prompts for a pipeline of diffusers, by hand: embeddings to pass in, networks to hold in."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from promptengine.accel.onednn import use_onednn
from promptengine.accel.residence import Resident
from promptengine.checkpoints.pipelines import checkpoint_from_pipeline
from promptengine.errors import RequestError
from promptengine.generation.conditioning import (
    EngineContext,
    PreparedPrompts,
    encoding_cache,
    prepare_prompts,
)
from promptengine.generation.timing import StageTimer
from promptengine.images.upscaler_cache import UpscalerCache
from promptengine.integrations.diffusers.call import stacked_texts
from promptengine.networks.hypernetwork.inject import Injection, inject_hypernetworks
from promptengine.networks.load import NetworkCache
from promptengine.networks.lora.inject import inject_loras
from promptengine.prompt.dialects import WEBUI, find_dialect
from promptengine.registry.open_models import Models, open_models
from promptengine.registry.registry import Registry
from promptengine.request.options import NegativeWeights, Options
from promptengine.request.request import GenerationRequest, Policy
from promptengine.request.result import NetworkReport
from promptengine.request.weighing import check_weighing
from promptengine.text.textual_inversion.loader import EmbeddingCache
from promptengine.undo import UndoLog

__all__ = ["PromptProcessor", "embedding_arguments"]


@dataclass(slots=True, eq=False)
class PromptProcessor:
    """Turns WebUI's prompts into what a pipeline of diffusers takes.

    ``pipe(**processor("a (cat:1.3)", "dog"))`` passes the embeddings, and
    ``with processor.networks("a cat <hypernet:ink:0.8>"):`` holds networks in for all that is done with
    the pipeline's UNet within. Prompts that change over the steps need
    :func:`promptengine.attach`.

    Attributes:
        pipe: A pipeline of Stable Diffusion 1, 2 or XL; its text encoders and UNet are used as they are.
        models: WebUI's models folder, a mapping of kinds to folders, or a registry.
        policy: What to do with a network that cannot be applied.
        dialect: That prompts are written in.
        negative_weights: What weights below 0 do, see :class:`promptengine.request.options.Options`.
        reports: What became of the tags of the prompts that were prepared last, prompt by prompt.

    Raises:
        PromptEngineError: It is no pipeline of Stable Diffusion 1, 2 or XL, there is no such dialect, or it weighs
            words by a rule of its own, which leaves ``negative_weights`` no say.
    """

    pipe: Any
    models: Models = "models"
    policy: Policy = "warn"
    dialect: str = WEBUI
    negative_weights: NegativeWeights = "scale"
    reports: tuple[tuple[NetworkReport, ...], ...] = field(default=(), init=False)
    _registry: Registry = field(init=False)
    _embeddings: EmbeddingCache = field(init=False)
    _modules: tuple[int, ...] = field(default=(), init=False)
    _parts: EngineContext | None = field(default=None, init=False)
    _journal: UndoLog = field(default_factory=UndoLog, init=False, repr=False)

    def __post_init__(self) -> None:
        find_dialect(self.dialect)
        check_weighing(self.dialect, Options(negative_weights=self.negative_weights))
        checkpoint_from_pipeline(self.pipe, self._journal)
        self._registry = open_models(self.models)
        self._embeddings = EmbeddingCache(self._registry)

    @property
    def parts(self) -> EngineContext:
        """The pipeline as an engine has its model; rebuilt when modules of it were exchanged."""
        unet: nn.Module = self.pipe.unet
        modules = tuple(map(id, unet.modules()))
        if self._parts is None or modules != self._modules:
            checkpoint = checkpoint_from_pipeline(self.pipe, self._journal)
            networks = NetworkCache(unet, *checkpoint.text_encoders)
            device = torch.device(self.pipe._execution_device)
            self._modules = modules
            # The pipeline's own LoRAs may change its text encoders at any time.
            kept = encoding_cache(room=0)
            self._parts = EngineContext(
                checkpoint,
                self._registry,
                networks,
                self._embeddings,
                kept,
                UpscalerCache(self._registry, device),
                Resident(device),
            )
        return self._parts

    @torch.no_grad()
    def prepare(
        self,
        prompts: Sequence[tuple[str, str]],
        *,
        steps: int,
        calls: int,
        clip_skip: int = 1,
        negative_weights: NegativeWeights | None = None,
    ) -> list[PreparedPrompts]:
        """Parse, plan, load and encode prompts with their negative prompts.

        Args:
            prompts: Pairs of prompt and negative prompt.
            steps: Of the run.
            calls: How often the UNet will be asked in it, as prompt schedules count.
            clip_skip: As WebUI counts: 1 reads the text model's last layer.
            negative_weights: What weights below 0 do; None is the processor's own.

        Raises:
            RequestError: Prompts of one batch name different networks of a kind that changes the whole model.
            PromptEngineError: As :meth:`promptengine.Engine.generate` says of prompts.
        """
        prepared: list[PreparedPrompts] = []
        for prompt, negative in prompts:
            request = GenerationRequest(
                prompt=prompt,
                negative_prompt=negative,
                seed=0,
                steps=steps,
                cfg_scale=1.0,
                clip_skip=clip_skip,
                policy=self.policy,
                dialect=self.dialect,
                options=Options(negative_weights=negative_weights or self.negative_weights),
            )
            # A block around the one within, since that may be cut short by an interrupt.
            with self._journal.block():
                one = prepare_prompts(self.parts, request, StageTimer(), calls=(calls, None))
            if one.guidance.regions is not None:
                message = (
                    "a pipeline has no regions; use promptengine.Engine for ADDCOL and its like"
                )
                raise RequestError(message, field="prompt")
            prepared.append(one)
        if len({one.stack.model_key for one in prepared}) > 1:
            message = "the prompts of a batch name networks that change the whole model; make them one after another"
            raise RequestError(message, field="prompt")
        self.reports = tuple(one.stack.reports for one in prepared)
        return prepared

    def __call__(
        self, prompt: str, negative_prompt: str = "", *, clip_skip: int = 1
    ) -> dict[str, Tensor]:
        """Encode a prompt and a negative prompt.

        Embeddings alone cannot turn a word's value around, so negative weights are scaled as in WebUI
        whatever :attr:`negative_weights` says; a Python warning tells of it.

        Args:
            prompt: WebUI's syntax. Of what changes over the steps the first counts; tags act within
                :meth:`networks` alone, but for LoRAs, which act on the text encoders here.
            negative_prompt: Likewise.
            clip_skip: As WebUI counts: 1 reads the text model's last layer.

        Returns:
            The pipeline's arguments ``prompt_embeds`` and ``negative_prompt_embeds``
            ``[1, tokens, width]``, of one length, and for SDXL ``pooled_prompt_embeds`` and
            ``negative_pooled_prompt_embeds`` ``[1, width]``.

        Raises:
            RequestError: The prompt holds ``AND``, which embeddings alone cannot express.
            PromptEngineError: As :meth:`promptengine.Engine.generate` says of prompts.
        """
        prepare = partial(
            self.prepare, [(prompt, negative_prompt)], steps=1, calls=1, clip_skip=clip_skip
        )
        (prepared,) = prepare()
        if prepared.guidance.signed:
            message = "embeddings cannot subtract words, so negative weights are scaled as in WebUI"
            remedy = f"use promptengine.attach(pipe, negative_weights={self.negative_weights!r})"
            warnings.warn(f"{message} ({remedy})", stacklevel=2)
            (prepared,) = prepare(negative_weights="scale")
        if len(prepared.guidance.positive) > 1:
            message = "embeddings cannot express AND; use promptengine.attach(pipe)"
            raise RequestError(message, field="prompt")
        return embedding_arguments([prepared])

    @contextmanager
    def networks(self, prompt: str) -> Generator[Injection]:
        """Hold the networks that a prompt's tags name in the UNet within a ``with`` block.

        Raises:
            PromptEngineError: As :meth:`promptengine.Engine.generate` says of prompts.
        """
        (prepared,) = self.prepare([(prompt, "")], steps=1, calls=1)
        stack, parts, journal = prepared.stack, self.parts, self._journal
        unet, folder = parts.checkpoint.unet, parts.networks.folder
        weights = parts.networks.lora_weights
        with (
            journal.block(),
            stack.merged(journal),
            inject_loras(unet, [replace(stack.loras, steady=True)], weights, journal=journal),
            use_onednn(unet, journal=journal),
            inject_hypernetworks(unet, stack.at(0), folder=folder, journal=journal) as injection,
        ):
            yield injection


def embedding_arguments(prepared: Sequence[PreparedPrompts]) -> dict[str, Tensor]:
    """Return prompts as arguments of a pipeline, each by the first text of its first part.

    Shorter ones are lengthened by their last vector, since pipelines want one length.
    """
    texts = [one.guidance.positive[0][0] for one in prepared]
    negative = [one.guidance.negative for one in prepared]
    longest = max(one.embeddings.shape[1] for one in (*texts, *negative))
    arguments = {
        "prompt_embeds": stacked_texts([text.at(0) for text in texts], longest),
        "negative_prompt_embeds": stacked_texts([text.at(0) for text in negative], longest),
    }
    for name, some in (
        ("pooled_prompt_embeds", texts),
        ("negative_pooled_prompt_embeds", negative),
    ):
        pooled = [vector for one in some if (vector := one.pooled_at(0)) is not None]
        if pooled:
            arguments[name] = torch.stack(pooled)
    return arguments
