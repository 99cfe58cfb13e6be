"""Lets a pipeline of diffusers be called with WebUI's prompts."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from promptengine.errors import PromptEngineError
from promptengine.integrations.diffusers.call import (
    AttachSettings,
    PipelineCall,
    PipelineProcessor,
)
from promptengine.integrations.diffusers.families import find_family
from promptengine.prompt import Diagnostic
from promptengine.prompt.diagnostic_kinds import DiagnosticCode, without_codes
from promptengine.prompt.dialects import WEBUI
from promptengine.registry.open_models import Models
from promptengine.request.options import NegativeWeights
from promptengine.request.request import Policy
from promptengine.request.result import NetworkReport
from promptengine.text.t5 import T5Weights
from promptengine.undo import UndoLog

__all__ = ["Attachment", "attach", "detach"]

_ATTRIBUTE = "_promptengine"


class Attachment:
    """What :func:`attach` put on a pipeline.

    As a context manager it gives the pipeline back at the end of its block.

    Attributes:
        processor: What reads the pipeline's prompts; of one with a UNet a :class:`promptengine.PromptProcessor`.
        original: The pipeline's own class.
        ignored: Codes of diagnostics that are not told.
        journal: What a call changes in the pipeline; empty between calls.
    """

    def __init__(
        self, processor: PipelineProcessor, original: type, ignored: Sequence[DiagnosticCode] = ()
    ) -> None:
        self.processor = processor
        self.original = original
        self.ignored = tuple(ignored)
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
    t5: T5Weights | None = None,
    ignored_diagnostics: Sequence[DiagnosticCode] = (),
) -> Attachment:
    """Let a pipeline understand WebUI's prompts, until :func:`detach`.

    ``pipe("a (cat:1.3) <hypernet:ink:0.8>", negative_prompt=…)`` then knows tags, weights, schedules,
    ``BREAK``, ``AND``, embeddings and prompts of any length, for every call; all else is the pipeline's
    own. The prompts of a batch may differ in all of it. What could not be applied is told as a Python
    warning. ``with attach(pipe) as attachment:`` detaches at the end of the block. A call with
    ``prompt_embeds`` passes through unchanged, as do the pipeline's class name and ``isinstance``.

    Args:
        pipe: A text-to-image, image-to-image, inpainting or ControlNet pipeline of Stable Diffusion 1, 2 or XL,
            of Stable Diffusion 3, or of Flux. On a transformer, which the latter two have, no network and no
            embedding of a prompt acts, and that is told. A ControlNet reads each prompt's first text, without
            networks.
        models: WebUI's models folder, a mapping of kinds to folders, or a registry.
        policy: What to do with a network that cannot be applied: ``strict`` raises.
        dialect: That prompts are written in, such as ``extended``. For a transformer one that weighs words by WebUI's
            rule.
        negative_weights: What weights below 0 do: ``subtract`` turns the UNet against the words, see
            :class:`promptengine.request.options.Options`. A ControlNet reads them as words of a weight above 0.
        t5: What weights do to T5's states, in Stable Diffusion 3 and Flux: ``weighted`` multiplies by them,
            ``unweighted`` leaves the states alone, and ``off``, for Stable Diffusion 3 alone, puts zeros in their
            place. By default ``unweighted`` for Stable Diffusion 3, as in WebUI 1.10.1, and ``weighted`` for Flux,
            where weights act on nothing else.
        ignored_diagnostics: Codes of what is not to be told, such as ``negative-weight``; each warning ends in its
            code. What is refused stays refused.

    Raises:
        PromptEngineError: Not such a pipeline, one that is attached already, no such dialect or code, or a setting
            that the pipeline cannot honor: ``negative_weights`` with a dialect that has a rule of its own for
            weights, or with a transformer, and ``t5`` where there is none.
    """
    if hasattr(pipe, _ATTRIBUTE):
        raise PromptEngineError("the pipeline is attached already; detach it first")
    family = find_family(pipe)
    settings = AttachSettings(
        policy=policy,
        dialect=dialect,
        negative_weights=negative_weights,
        t5=t5,
        ignored_diagnostics=cast("tuple[DiagnosticCode, ...]", ignored_diagnostics),
    )
    original: type = type(pipe)
    if not {"prompt", "num_inference_steps"} <= _parameters(original).keys():
        raise PromptEngineError(f"{original.__name__} takes no prompt and steps")
    processor = family.processor(pipe, models, settings)
    attachment = Attachment(processor, original, settings.ignored_diagnostics)
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
    call = PipelineCall.bind(pipe, original, args, kwargs)
    if call.given.get("prompt") is None:
        return original(pipe, *args, **kwargs)
    steered = attachment.processor.steer(call)
    _warn(without_codes(steered.diagnostics, attachment.ignored))
    with attachment.journal.run(), steered.acting(attachment.journal):
        return original(pipe, **{**call.without_prompts, **steered.arguments})


def _warn(diagnostics: Iterable[Diagnostic]) -> None:
    for diagnostic in dict.fromkeys(diagnostics):
        hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
        code = f" [{diagnostic.code}]" if diagnostic.code else ""
        warnings.warn(f"{diagnostic.message}{hint}{code}", stacklevel=3)
