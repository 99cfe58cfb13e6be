"""A call of a pipeline, and what stands in its place: the types that pipelines of all families share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from promptengine.errors import RequestError
from promptengine.prompt import Diagnostic
from promptengine.prompt.diagnostic_kinds import DiagnosticCode
from promptengine.prompt.dialects import WEBUI, DialectName
from promptengine.request.options import NegativeWeights, Options
from promptengine.request.request import Policy
from promptengine.request.result import NetworkReport
from promptengine.text.t5 import T5Weights
from promptengine.undo import UndoLog
from promptengine.validation import check_fields, check_type, shown

__all__ = [
    "AttachSettings",
    "PipelineCall",
    "PipelineProcessor",
    "SteeredCall",
    "stacked_texts",
]

_FURTHER_PROMPTS: Final = ("prompt_2", "negative_prompt_2", "prompt_3", "negative_prompt_3")
_EMBEDDINGS: Final = tuple(
    f"{side}{kind}_embeds" for side in ("", "negative_") for kind in ("prompt", "pooled_prompt")
)
_REPLACED: Final = ("self", "prompt", "negative_prompt", "clip_skip", *_FURTHER_PROMPTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachSettings:
    """How prompts are read; :func:`promptengine.attach` explains the fields.

    Raises:
        RequestError: On creation, if a value is none of those allowed.
    """

    policy: Policy = "warn"
    dialect: DialectName = WEBUI
    negative_weights: NegativeWeights = "scale"
    t5: T5Weights | None = None
    ignored_diagnostics: tuple[DiagnosticCode, ...] = ()

    def __post_init__(self) -> None:
        _ = Options(negative_weights=self.negative_weights)
        check_fields(self)


@dataclass(frozen=True, slots=True, eq=False)
class PipelineCall:
    """What a pipeline was called with.

    Attributes:
        pipe: The pipeline.
        given: Arguments by name.
        parameters: Those that the pipeline knows.
    """

    pipe: Any
    given: Mapping[str, Any]
    parameters: Mapping[str, inspect.Parameter]

    @classmethod
    def bind(
        cls, pipe: Any, method: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> PipelineCall:
        """Name the arguments of a call.

        Args:
            pipe: The pipeline.
            method: Its class's own ``__call__``.
            args: Arguments by position, behind the pipeline itself.
            kwargs: By name.

        Raises:
            TypeError: The pipeline knows no such argument.
        """
        signature = inspect.signature(method)
        given = dict(signature.bind(pipe, *args, **kwargs).arguments)
        given |= given.pop("kwargs", {})
        return cls(pipe, given, signature.parameters)

    def value(self, name: str) -> Any:
        """Return an argument, or the pipeline's default; None where it knows none of that name."""
        if name in self.given or name not in self.parameters:
            return self.given.get(name)
        return self.parameters[name].default

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Prompts with their negative prompts; one negative prompt serves all.

        Raises:
            RequestError: There is no prompt, there are more or fewer negative prompts, or prompts of single
                encoders or embeddings beside the prompt.
        """
        for name in _FURTHER_PROMPTS:
            if self.given.get(name) is not None:
                message = f"{name} means nothing in WebUI's prompts; all encoders read the prompt"
                raise RequestError(message, field=name)
        for name in _EMBEDDINGS:
            if self.given.get(name) is not None:
                message = f"{name} and prompt are both given; leave one of them out"
                raise RequestError(message, field=name)
        prompt, negative = self.given["prompt"], self.given.get("negative_prompt")
        for name, value in (("prompt", prompt), ("negative_prompt", negative or "")):
            check_type(name, value, str, list, tuple, words="text or a list of texts")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts:
            message = "prompt is an empty list; it must hold one text at least"
            raise RequestError(message, field="prompt")
        if negative is None or isinstance(negative, str):
            return [(one, negative or "") for one in prompts]
        if len(negative) != len(prompts):
            message = f"{len(negative)} negative prompts for {len(prompts)} prompts"
            raise RequestError(message, field="negative_prompt")
        return list(zip(prompts, negative, strict=True))

    @property
    def steps(self) -> int:
        """Steps of the run: as many as there are sigmas or timesteps, where the call lists these."""
        listed = (self.value(name) for name in ("sigmas", "timesteps"))
        return next(
            (len(some) for some in listed if some is not None), self.value("num_inference_steps")
        )

    @property
    def calls(self) -> int:
        """How often the denoiser is asked about an image, as prompt schedules count."""
        return self.steps * getattr(self.pipe.scheduler, "order", 1)

    @property
    def images(self) -> int:
        """Images of each prompt.

        Raises:
            RequestError: Less than one.
        """
        name = "num_images_per_prompt"
        images = self.value(name)
        images = 1 if images is None else images
        check_type(name, images, int)
        if images < 1:
            raise RequestError(f"{name} is {shown(images)}; it must be 1 or more", field=name)
        return images

    @property
    def without_prompts(self) -> dict[str, Any]:
        """The arguments that embeddings leave in place."""
        return {name: value for name, value in self.given.items() if name not in _REPLACED}


@dataclass(frozen=True, slots=True, eq=False)
class SteeredCall:
    """A call whose prompts are read.

    Attributes:
        arguments: What the pipeline is called with in the place of its prompts.
        diagnostics: What there is to say of these.
        acting: Takes the journal of what is changed, and lets the prompts act on the pipeline within a ``with`` block.
    """

    arguments: Mapping[str, Any]
    diagnostics: Sequence[Diagnostic]
    acting: Callable[[UndoLog], AbstractContextManager[None]]


class PipelineProcessor(Protocol):
    """Reads the prompts of one pipeline."""

    @property
    def pipe(self) -> Any:
        """The pipeline."""
        ...

    @property
    def reports(self) -> tuple[tuple[NetworkReport, ...], ...]:
        """What became of the tags of the prompts of the last call, prompt by prompt."""
        ...

    def steer(self, call: PipelineCall) -> SteeredCall:
        """Read the prompts of a call.

        Raises:
            PromptEngineError: As :func:`promptengine.attach` says of prompts.
        """
        ...


def stacked_texts(texts: Sequence[Tensor], length: int) -> Tensor:
    """Return texts ``[tokens, width]`` as ``[texts, length, width]``, each lengthened by its last vector."""
    return torch.stack(
        [torch.cat([text, text[-1:].expand(length - len(text), -1)]) for text in texts]
    )
