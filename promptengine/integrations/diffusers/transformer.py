"""Pipelines with a diffusion transformer: what those of all families have in common.

No network of a prompt acts on a transformer: hypernetworks change the attention of UNets, LoRAs are loaded by the
pipeline itself (``pipe.load_lora_weights``), and embeddings were learned for other models. Their tags and words
are told, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import torch

from promptengine.errors import IncompatibleNetworkError, PromptEngineError, RequestError
from promptengine.integrations.diffusers.call import (
    AttachSettings,
    PipelineCall,
    SteeredCall,
    stacked_texts,
)
from promptengine.integrations.diffusers.loras import loras_scaled
from promptengine.integrations.diffusers.transformer_forward import (
    PromptTexts,
    composed,
    override_transformer_forward,
)
from promptengine.kinds import LORA, find_kind
from promptengine.networks.load import skipped_report, use_report
from promptengine.prompt import Diagnostic, Prompt, Schedule, parse
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.dialects import DIALECTS, WEBUI_RULE
from promptengine.prompt.lint import negative_weights
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.registry.open_models import Models, open_models
from promptengine.request.plan import Plan, make_plan
from promptengine.request.request import GenerationRequest
from promptengine.request.result import NetworkReport
from promptengine.text.conditioning import Conditioning
from promptengine.text.textual_inversion.loader import (
    AvailableEmbeddings,
    EmbeddingCache,
    UnusableEmbedding,
    misfit_diagnostics,
)
from promptengine.text.textual_inversion.table import EmbeddingTable
from promptengine.validation import check_type, shown

__all__ = [
    "T5_TOKENS",
    "TextReader",
    "TransformerFamily",
    "TransformerProcessor",
    "t5_length",
]

T5_TOKENS: Final = 512
"""The most tokens that pipelines let T5 read."""

_HINTS: Final[Mapping[str, str]] = {LORA.name: "load it with pipe.load_lora_weights"}


class TextReader(Protocol):
    """Turns texts into what a transformer is told."""

    def encode(self, schedule: Schedule, *, negative: bool = False) -> Conditioning:
        """Encode all texts of a schedule: states ``[segments, tokens, width]`` and pooled vectors."""
        ...

    def cut_off(self, schedule: Schedule) -> Sequence[str]:
        """Return the words of each text that an encoder has no room for; empty where it has."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerFamily:
    """All that differs between families of pipelines with a transformer.

    Attributes:
        title: As messages and documentation call it.
        transformer: Name of diffusers' class of the transformer.
        parts: What a pipeline must have.
        reader: Takes the pipeline, a call and the settings, and returns what reads texts.
        guided: Takes a call, and tells whether the pipeline asks for its negative prompts.
        guidance: The argument that this hangs on.
        needs_t5: Whether there is nothing to read without T5.
    """

    title: str
    transformer: str
    parts: tuple[str, ...]
    reader: Callable[[Any, PipelineCall, AttachSettings], TextReader]
    guided: Callable[[PipelineCall], bool]
    guidance: str
    needs_t5: bool = False

    def fits(self, pipe: Any) -> bool:
        """Tell whether a pipeline has this family's transformer, compiled or not."""
        module = getattr(pipe, "transformer", None)
        kinds_of_it = type(getattr(module, "_orig_mod", module)).__mro__
        return self.transformer in (kind.__name__ for kind in kinds_of_it)

    def processor(
        self, pipe: Any, models: Models, settings: AttachSettings
    ) -> TransformerProcessor:
        """Return what reads the pipeline's prompts.

        Raises:
            PromptEngineError: It lacks a part, or a setting means nothing to it.
        """
        missing = [name for name in self.parts if getattr(pipe, name, None) is None]
        if missing:
            message = f"{type(pipe).__name__} has no {' and no '.join(missing)}"
            raise PromptEngineError(f"{message}; a pipeline of {self.title} must have them")
        self._check(settings)
        return TransformerProcessor(self, pipe, models, settings)

    def _check(self, settings: AttachSettings) -> None:
        """Refuse settings that mean nothing to a transformer."""
        if settings.negative_weights != "scale":
            message = f"negative_weights is {settings.negative_weights!r}, and {self.title} can only scale"
            raise RequestError(f"{message}; leave it out", field="negative_weights")
        if DIALECTS[settings.dialect].weights != WEBUI_RULE:
            known = ", ".join(name for name, one in DIALECTS.items() if one.weights == WEBUI_RULE)
            message = f"dialect {settings.dialect!r} weighs words by a rule of its own"
            raise RequestError(
                f"{message}, which {self.title} has not; it must be one of {known}", field="dialect"
            )
        if self.needs_t5 and settings.t5 == "off":
            message = f"t5 is 'off', and {self.title} reads its prompt by T5"
            raise RequestError(f"{message}; it must be weighted or unweighted", field="t5")


def t5_length(call: PipelineCall) -> int:
    """Return how many tokens T5 reads in a call.

    Raises:
        RequestError: More than pipelines allow, or none.
    """
    name = "max_sequence_length"
    length = call.value(name)
    check_type(name, length, int)
    if not 1 <= length <= T5_TOKENS:
        message = f"{name} is {shown(length)}; it must be 1 to {T5_TOKENS}"
        raise RequestError(message, field=name)
    return length


@dataclass(frozen=True, slots=True, eq=False)
class _ReadPrompts:
    """A prompt and a negative prompt as read."""

    texts: PromptTexts
    reports: tuple[NetworkReport, ...]
    diagnostics: tuple[Diagnostic, ...]


class TransformerProcessor:
    """Reads the prompts of a pipeline with a transformer.

    Attributes:
        pipe: The pipeline.
        reports: What became of the tags of the prompts of the last call, prompt by prompt.
    """

    def __init__(
        self, family: TransformerFamily, pipe: Any, models: Models, settings: AttachSettings
    ) -> None:
        """Open the folders that tags name files in.

        Args:
            family: The pipeline's.
            pipe: The pipeline.
            models: WebUI's models folder, a mapping of kinds to folders, or a registry.
            settings: How prompts are read.
        """
        self.pipe = pipe
        self.reports: tuple[tuple[NetworkReport, ...], ...] = ()
        self._family = family
        self._settings = settings
        self._registry = open_models(models)
        self._embeddings = EmbeddingCache(self._registry)

    @torch.no_grad()
    def steer(self, call: PipelineCall) -> SteeredCall:
        """Read the prompts of a call.

        Raises:
            PromptEngineError: As :func:`promptengine.attach` says of prompts.
        """
        pairs = call.pairs
        reader = self._family.reader(self.pipe, call, self._settings)
        guided = self._family.guided(call)
        words = self._words()
        # The encoders whose LoRAs pipelines scale; that of Stable Diffusion 3's T5 is none.
        encoders = self.pipe.text_encoder, self.pipe.text_encoder_2
        with loras_scaled(encoders, call.value("joint_attention_kwargs")):
            read = [self._read(pair, call, reader, words, guided=guided) for pair in pairs]
        self.reports = tuple(one.reports for one in read)
        texts = [one.texts for one in read for _ in range(call.images)]
        arguments = _arguments(texts, guided=guided)
        acting = partial(
            override_transformer_forward,
            self.pipe.transformer,
            self.pipe.scheduler,
            texts,
            arguments.get("negative_prompt_embeds"),
        )
        return SteeredCall(
            # Pipelines with a transformer take embeddings for each image, and not for each prompt.
            arguments | ({"num_images_per_prompt": 1} if call.images != 1 else {}),
            [said for one in read for said in one.diagnostics],
            lambda journal: acting(journal=journal),
        )

    def _read(
        self,
        pair: tuple[str, str],
        call: PipelineCall,
        reader: TextReader,
        words: AvailableEmbeddings,
        *,
        guided: bool,
    ) -> _ReadPrompts:
        """Parse, plan and encode a prompt and its negative prompt."""
        prompts = self._parsed(pair, call)
        scheduled = ScheduledPrompt(prompts[0], call.calls)
        plan = make_plan(scheduled, prompts[1], self._registry, policy=self._settings.policy)
        reports, refused = self._refused(plan)
        needed = guided or composed([part.weight for part in plan.positive])
        texts = PromptTexts(
            tuple((reader.encode(part.schedule), part.weight) for part in plan.positive),
            reader.encode(plan.negative, negative=True) if needed else None,
        )
        read = plan.schedules if needed else plan.schedules[:-1]
        diagnostics = (
            *plan.diagnostics,
            *refused,
            *misfit_diagnostics(words, plan.texts),
            *_scaled(prompts),
            *_cut_off(read, reader),
            *([] if needed or not pair[1].strip() else [self._idle_negative(call)]),
        )
        return _ReadPrompts(texts, reports, diagnostics)

    def _parsed(self, pair: tuple[str, str], call: PipelineCall) -> tuple[Prompt, Prompt]:
        """Check and parse a prompt and its negative prompt."""
        prompt, negative = pair
        settings = self._settings
        request = GenerationRequest(
            prompt=prompt,
            negative_prompt=negative,
            seed=0,
            steps=call.steps,
            policy=settings.policy,
            dialect=settings.dialect,
        )
        read = partial(parse, comments=request.options.comments, dialect=request.dialect)
        found = read(request.prompt), read(request.negative_prompt, negative=True)
        if any(part.regions is not None for one in found for part in one.parts):
            message = "a pipeline has no regions; use promptengine.Engine for ADDCOL and its like"
            raise RequestError(message, field="prompt")
        return found

    def _refused(self, plan: Plan) -> tuple[tuple[NetworkReport, ...], list[Diagnostic]]:
        """Report all tags: what they name cannot act on a transformer."""
        reports = [skipped_report(tag) for tag in plan.skipped]
        diagnostics: list[Diagnostic] = []
        for use in plan.networks:
            kind = find_kind(use.entry.kind)
            reason = f"no {kind.noun} of a prompt acts on {self._family.title}"
            problem = f"{kind.noun} {use.name!r} is not applied: {reason}"
            if self._settings.policy == "strict":
                raise IncompatibleNetworkError(problem, found=(), needed=())
            reports.append(use_report(use, reason=reason))
            hint = _HINTS.get(kind.name, "take the tag out")
            diagnostics.append(kinds.UNUSABLE_NETWORK(problem, use.span, hint))
        reports.sort(key=lambda report: report.span.start)
        told = diagnostics if self._settings.policy == "warn" else []
        return tuple(reports), told

    def _words(self) -> AvailableEmbeddings:
        """Return all words of the embeddings' folders as ones that stay text."""
        known = self._embeddings.words()
        reason = f"no embedding acts on {self._family.title}"
        unread = (UnusableEmbedding(one.name, one.path, reason) for one in known.table.embeddings)
        return AvailableEmbeddings(EmbeddingTable(), (*known.misfits, *unread))

    def _idle_negative(self, call: PipelineCall) -> Diagnostic:
        name = self._family.guidance
        if name not in call.parameters:
            return kinds.PART_LEFT_OUT("the negative prompt does nothing in this pipeline")
        return kinds.PART_LEFT_OUT(
            f"the negative prompt does nothing, since {name} is {shown(call.value(name))}",
            None,
            f"set {name} above 1",
        )


def _scaled(prompts: Sequence[Prompt]) -> list[Diagnostic]:
    """Tell of weights below 0, without the option that a transformer has not."""
    return [
        kinds.NEGATIVE_WEIGHT(told.message, told.span)
        for one in prompts
        for told in negative_weights(one)
    ]


def _cut_off(schedules: Sequence[Schedule], reader: TextReader) -> list[Diagnostic]:
    rests = (rest for one in schedules for rest in reader.cut_off(one) if rest)
    return [
        kinds.PROMPT_CUT_OFF(
            f"T5 has no room for the whole prompt and does not read this: {shown(rest)}",
            None,
            f"shorten the prompt, or raise max_sequence_length to at most {T5_TOKENS}",
        )
        for rest in dict.fromkeys(rests)
    ]


def _arguments(texts: Sequence[PromptTexts], *, guided: bool) -> dict[str, Any]:
    """Return texts as arguments of a pipeline, each by the first text of its first part."""
    sides = {"": [one.positive[0][0] for one in texts]}
    if guided:
        sides["negative_"] = [one.negative for one in texts if one.negative is not None]
    longest = max(text.embeddings.shape[1] for side in sides.values() for text in side)
    found: dict[str, Any] = {}
    for name, side in sides.items():
        found[f"{name}prompt_embeds"] = stacked_texts([text.at(0) for text in side], longest)
        pooled = [vector for text in side if (vector := text.pooled_at(0)) is not None]
        found[f"{name}pooled_prompt_embeds"] = torch.stack(pooled)
    return found
