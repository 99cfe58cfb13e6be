"""Lets a pipeline of diffusers be called with WebUI's prompts."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from torch import nn

from promptengine.accel.onednn import use_onednn
from promptengine.errors import PromptEngineError, RequestError
from promptengine.generation.cfg_denoiser import skips_resized_like_webui
from promptengine.generation.cond_batch import CondBatches
from promptengine.generation.conditioning import PreparedPrompts
from promptengine.integrations.diffusers.processor import PromptProcessor, embedding_arguments
from promptengine.integrations.diffusers.unet_forward import override_unet_forward
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.lora.inject import inject_loras
from promptengine.prompt.dialects import WEBUI
from promptengine.registry.open_models import Models
from promptengine.request.options import NegativeWeights, Options
from promptengine.request.request import Policy
from promptengine.request.result import NetworkReport
from promptengine.undo import UndoLog

__all__ = ["Attachment", "attach", "detach"]

_ATTRIBUTE = "_promptengine"
_SECOND_PROMPTS = ("prompt_2", "negative_prompt_2")


class Attachment:
    """What :func:`attach` put on a pipeline.

    As a context manager it gives the pipeline back at the end of its block.

    Attributes:
        processor: The pipeline's prompt processor.
        original: The pipeline's own class.
        journal: What a call changes in the pipeline's UNet; empty between calls.
    """

    def __init__(self, processor: PromptProcessor, original: type) -> None:
        self.processor = processor
        self.original = original
        self.journal = UndoLog()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        pipe = self.processor.pipe
        if getattr(pipe, _ATTRIBUTE, None) is self:
            detach(pipe)

    @property
    def networks(self) -> tuple[tuple[NetworkReport, ...], ...]:
        """For each prompt of the last call what became of its tags: applied or not, and why."""
        return self.processor.reports


def attach(
    pipe: Any,
    models: Models = "models",
    *,
    policy: Policy = "warn",
    dialect: str = WEBUI,
    negative_weights: NegativeWeights = "scale",
) -> Attachment:
    """Let a pipeline understand WebUI's prompts, until :func:`detach`.

    ``pipe("a (cat:1.3) <hypernet:ink:0.8>", negative_prompt=…)`` then knows tags, weights, schedules,
    ``BREAK``, ``AND``, embeddings and prompts of any length, for every call; all else is the pipeline's
    own. The prompts of a batch may differ in all of it. What could not be applied is told as a Python
    warning. ``with attach(pipe) as attachment:`` detaches at the end of the block. A call with
    ``prompt_embeds`` passes through unchanged, as do the pipeline's class name and ``isinstance``.

    Args:
        pipe: Any text-to-image, image-to-image, inpainting or ControlNet pipeline of Stable Diffusion
            1, 2 or XL. A ControlNet reads each prompt's first text, without networks.
        models: WebUI's models folder, a mapping of kinds to folders, or a registry.
        policy: What to do with a network that cannot be applied: ``strict`` raises.
        dialect: That prompts are written in, such as ``extended``.
        negative_weights: What weights below 0 do: ``subtract`` turns the UNet against the words, see
            :class:`promptengine.request.options.Options`. A ControlNet reads them as words of a weight above 0.

    Raises:
        PromptEngineError: Not such a pipeline, one that is attached already, no such dialect, or one with a rule
            of its own for weights, which leaves ``negative_weights`` no say.
    """
    if hasattr(pipe, _ATTRIBUTE):
        raise PromptEngineError("the pipeline is attached already; detach it first")
    processor = PromptProcessor(pipe, models, policy, dialect, negative_weights)
    original: type = type(pipe)
    if not {"prompt", "num_inference_steps"} <= _parameters(original).keys():
        raise PromptEngineError(f"{original.__name__} takes no prompt and steps")
    _ = processor.parts
    attachment = Attachment(processor, original)
    setattr(pipe, _ATTRIBUTE, attachment)
    pipe.__class__ = type(
        original.__name__,
        (original,),
        {"__call__": _call, "__module__": original.__module__, "__doc__": original.__doc__},
    )
    return attachment


def detach(pipe: Any) -> None:
    """Give a pipeline back as it was before :func:`attach`.

    Raises:
        PromptEngineError: It is not attached.
    """
    attachment: Attachment | None = getattr(pipe, _ATTRIBUTE, None)
    if attachment is None:
        raise PromptEngineError("the pipeline is not attached")
    attachment.journal.restore()
    pipe.__class__ = attachment.original
    delattr(pipe, _ATTRIBUTE)


def _parameters(pipeline: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(cast("Any", pipeline).__call__).parameters


def _call(pipe: Any, *args: Any, **kwargs: Any) -> Any:
    """Return an attached pipeline's ``__call__``."""
    attachment: Attachment = getattr(pipe, _ATTRIBUTE)
    original: Callable[..., Any] = cast("Any", attachment.original).__call__
    signature = inspect.signature(original)
    given = dict(signature.bind(pipe, *args, **kwargs).arguments)
    given |= given.pop("kwargs", {})
    prompt = given.get("prompt")
    if prompt is None:
        return original(pipe, *args, **kwargs)

    def value(name: str) -> Any:
        return given.get(name, signature.parameters[name].default)

    second = [name for name in _SECOND_PROMPTS if given.get(name) is not None]
    if second:
        message = f"{second[0]} means nothing in WebUI's prompts; both encoders read the prompt"
        raise RequestError(message, field=second[0])
    steps = value("num_inference_steps")
    prepared = attachment.processor.prepare(
        _pairs(prompt, given.get("negative_prompt")),
        steps=steps,
        calls=steps * getattr(pipe.scheduler, "order", 1),
        clip_skip=(given.get("clip_skip") or 0) + 1,
    )
    _warn(prepared)
    if hasattr(pipe, "controlnet") and any(one.guidance.signed for one in prepared):
        message = "the ControlNet reads words of negative weight as ones of positive weight"
        warnings.warn(f"{message}; the UNet subtracts them", stacklevel=2)
    for name in ("self", "prompt", "negative_prompt", "clip_skip", *_SECOND_PROMPTS):
        given.pop(name, None)
    with (
        attachment.journal.run(),
        _acting(attachment, prepared, value("num_images_per_prompt") or 1),
    ):
        return original(pipe, **given, **embedding_arguments(prepared))


def _pairs(
    prompt: str | Sequence[str], negative: str | Sequence[str] | None
) -> list[tuple[str, str]]:
    """Prompts with their negative prompts; one negative prompt serves all."""
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if negative is None or isinstance(negative, str):
        return [(one, negative or "") for one in prompts]
    if len(negative) != len(prompts):
        message = f"{len(negative)} negative prompts for {len(prompts)} prompts"
        raise RequestError(message, field="negative_prompt")
    return list(zip(prompts, negative, strict=True))


def _warn(prepared: Sequence[PreparedPrompts]) -> None:
    for diagnostic in dict.fromkeys(d for one in prepared for d in one.diagnostics):
        hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
        warnings.warn(f"{diagnostic.message}{hint}", stacklevel=4)


@contextmanager
def _acting(
    attachment: Attachment, prepared: Sequence[PreparedPrompts], images: int
) -> Generator[None]:
    """Let prompts act on the pipeline's UNet within a ``with`` block; ``images`` for each of them."""
    parts, journal = attachment.processor.parts, attachment.journal
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
