"""Every kind of diagnostic, once: its code, how much it matters, and what it is about.

A code never changes its meaning, so that programs can tell kinds apart and people can silence them. What
says something finds its kind here and calls it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final

from promptengine.errors import RequestError
from promptengine.prompt.ast import Diagnostic, Related, Remedy, Severity, Span
from promptengine.validation import shown

__all__ = [
    "DIAGNOSTIC_KINDS",
    "DiagnosticCode",
    "DiagnosticKind",
    "KnownCode",
    "check_codes",
    "read_codes",
    "without_codes",
]


@dataclass(frozen=True, slots=True)
class DiagnosticKind:
    """One sort of thing that diagnostics tell of. Calling it makes a diagnostic.

    Attributes:
        code: Its name in words with hyphens.
        severity: How much it matters, where nothing else is said.
        summary: What it is about, in one line.
    """

    code: str
    severity: Severity
    summary: str

    def __call__(
        self,
        message: str,
        span: Span | None = None,
        hint: str = "",
        remedy: Remedy | None = None,
        *,
        severity: Severity | None = None,
        related: Iterable[Related] = (),
    ) -> Diagnostic:
        """Say it of one place.

        Args:
            message: One sentence that names the thing.
            span: Where it is, or None where it concerns no place in the prompt.
            hint: What to write instead.
            remedy: A change of the source that mends it.
            severity: Where it matters more or less than usual.
            related: Further places that have to do with it.
        """
        severity = severity or self.severity
        return Diagnostic(severity, message, span, hint, remedy, self.code, tuple(related))


# Brackets and weights.
UNCLOSED_BRACKET: Final = DiagnosticKind(
    "unclosed-bracket", "warning", "a bracket, brace or weight is opened and never closed"
)
UNOPENED_BRACKET: Final = DiagnosticKind(
    "unopened-bracket", "warning", "a bracket, brace or weight is closed and was never opened"
)
NOT_A_WEIGHT: Final = DiagnosticKind(
    "not-a-weight", "info", "what stands for a bracket's weight is no number"
)
WEIGHT_OF_WHOLE: Final = DiagnosticKind(
    "weight-of-whole-prompt", "warning", "a number at the end is the weight of the whole prompt"
)
WEIGHTED_BREAK: Final = DiagnosticKind(
    "weighted-break", "info", "a BREAK in brackets with a weight starts no new chunk"
)
NEGATIVE_WEIGHT: Final = DiagnosticKind(
    "negative-weight", "info", "a weight below 0 does not push the image away from the words"
)
BARE_WEIGHT: Final = DiagnosticKind(
    "bare-weight", "info", "a weight stands behind words without brackets"
)
FULL_WIDTH_MARK: Final = DiagnosticKind(
    "full-width-mark", "info", "a full-width bracket or colon is text"
)

# Schedules.
NOT_A_SCHEDULE: Final = DiagnosticKind(
    "not-a-schedule", "warning", "square brackets look like a schedule and are none"
)
STRAY_BAR: Final = DiagnosticKind("stray-bar", "info", "a | outside of square brackets is text")
BACKSLASH_AT_LINE_END: Final = DiagnosticKind(
    "backslash-at-line-end",
    "warning",
    "a backslash ends a line, so that nothing of the text is scheduled",
)
UNSCHEDULED_TAG: Final = DiagnosticKind(
    "unscheduled-tag", "info", "a tag in brackets acts at all steps all the same"
)

# Tags, comments, functions and regions.
UNKNOWN_TAG: Final = DiagnosticKind(
    "unknown-tag", "warning", "a tag is of no known kind, is taken out and does nothing"
)
IDLE_ARGUMENT: Final = DiagnosticKind(
    "idle-argument", "warning", "an argument of a tag means nothing"
)
ALMOST_TAG: Final = DiagnosticKind(
    "almost-tag", "warning", "something looks like a tag and is text"
)
TAG_IN_NEGATIVE: Final = DiagnosticKind(
    "tag-in-negative", "warning", "a tag stands in a negative prompt, where it is text"
)
COMMENT_IN_TEXT: Final = DiagnosticKind(
    "comment-in-text", "info", "a # within a line begins a comment, which is left out"
)
PART_LEFT_OUT: Final = DiagnosticKind(
    "part-left-out", "warning", "a part of the prompt means nothing here and is left out"
)
NOTHING_SWAPPED: Final = DiagnosticKind(
    "nothing-swapped", "warning", "compel's .swap() swaps nothing"
)
NOTHING_MIXED: Final = DiagnosticKind(
    "nothing-mixed", "warning", "compel's .blend() or .and() is text"
)
WEIGHTS_CANCEL: Final = DiagnosticKind(
    "weights-cancel", "warning", "the weights of a .blend() add up to 0"
)
NOTHING_WRAPPED: Final = DiagnosticKind(
    "nothing-wrapped", "warning", "a template's %{ } wraps nothing"
)
MISPLACED_KEYWORD: Final = DiagnosticKind(
    "misplaced-keyword", "warning", "ADDCOMM or ADDBASE stands where it divides nothing"
)
TOO_MANY_REGIONS: Final = DiagnosticKind(
    "too-many-regions", "error", "a prompt has more regions than can be made"
)
SCHEDULE_LEFT_OUT: Final = DiagnosticKind(
    "schedule-left-out", "warning", "a schedule is too long to be shown"
)

# Syntax of other programs.
COMPEL_SYNTAX: Final = DiagnosticKind(
    "compel-syntax", "info", "marks of compel (InvokeAI) are text"
)
COMFYUI_SYNTAX: Final = DiagnosticKind("comfyui-syntax", "warning", "marks of ComfyUI are text")
DYNAMIC_SYNTAX: Final = DiagnosticKind(
    "dynamic-prompts-syntax", "warning", "marks of Dynamic Prompts are text"
)
EXTENSION_SYNTAX: Final = DiagnosticKind(
    "extension-syntax", "warning", "keywords of an extension of WebUI are text"
)
INFOTEXT_SYNTAX: Final = DiagnosticKind(
    "infotext-syntax", "warning", "the prompt is the text of an image's metadata"
)
MIDJOURNEY_SYNTAX: Final = DiagnosticKind(
    "midjourney-syntax", "info", "marks of Midjourney are text"
)
NOVELAI_SYNTAX: Final = DiagnosticKind("novelai-syntax", "warning", "marks of NovelAI are text")
EXTENDED_SYNTAX: Final = DiagnosticKind(
    "extended-syntax",
    "warning",
    "keywords of the extended dialect, which divide an image, are text",
)
SWARMUI_SYNTAX: Final = DiagnosticKind("swarmui-syntax", "warning", "tags of SwarmUI do nothing")

WEBUI_SYNTAX: Final = DiagnosticKind("webui-syntax", "info", "marks of WebUI are text")

# Networks and embeddings.
UNKNOWN_NETWORK: Final = DiagnosticKind(
    "unknown-network", "warning", "a tag names a network that is in no folder"
)
UNUSABLE_TAG: Final = DiagnosticKind(
    "unusable-tag", "warning", "a tag asks for what cannot be applied"
)
REPEATED_NETWORK: Final = DiagnosticKind(
    "repeated-network", "warning", "a prompt names a network several times"
)
UNUSABLE_NETWORK: Final = DiagnosticKind(
    "unusable-network", "warning", "a network cannot be read or does not fit the model"
)
UNMATCHED_PARTS: Final = DiagnosticKind(
    "unmatched-parts", "warning", "parts of a LoRA have no place in the model"
)
WHOLE_WEIGHTS: Final = DiagnosticKind(
    "whole-weights", "warning", "weights that a LoRA's file holds as a whole are not applied"
)
UNUSABLE_EMBEDDING: Final = DiagnosticKind(
    "unusable-embedding", "warning", "an embedding cannot be applied, and its word is text"
)
NOT_IN_REGIONS: Final = DiagnosticKind(
    "not-in-regions", "warning", "a network cannot act in a region alone"
)
NETWORKS_EVERYWHERE: Final = DiagnosticKind(
    "networks-everywhere",
    "warning",
    "networks of a prompt with AND and regions act on the whole image",
)

UNKNOWN_WILDCARD: Final = DiagnosticKind(
    "unknown-wildcard", "warning", "a template names a wildcard that has no values"
)

# Settings and images.
IDLE_REGION_SETTING: Final = DiagnosticKind(
    "idle-region-setting", "warning", "a setting of regions does nothing without regions"
)
IDLE_TOKEN_MERGING: Final = DiagnosticKind(
    "idle-token-merging", "warning", "a model has nothing where tokens could be merged"
)
IDLE_SCHEDULER: Final = DiagnosticKind(
    "idle-scheduler", "warning", "a schedule type does nothing with the sampler"
)
TWO_SCHEDULERS: Final = DiagnosticKind(
    "two-schedulers", "warning", "the sampler's name and the scheduler say different things"
)
PROMPT_CUT_OFF: Final = DiagnosticKind(
    "prompt-cut-off", "warning", "the old emphasis, or T5, has no room for the whole prompt"
)
DECODED_IN_TILES: Final = DiagnosticKind(
    "decoded-in-tiles", "warning", "memory is short, so an image is decoded in tiles"
)
NOT_FINITE: Final = DiagnosticKind(
    "not-finite", "warning", "an image holds values that are no numbers"
)
UNFINISHED: Final = DiagnosticKind(
    "unfinished", "warning", "an interrupt ended an image before its last step"
)

# Infotexts and other metadata.
SETTING_LEFT_OUT: Final = DiagnosticKind(
    "setting-left-out", "warning", "a setting of an infotext cannot be used and is left out"
)
SETTING_CHANGED: Final = DiagnosticKind(
    "setting-changed", "info", "a setting of an infotext means something else today"
)
UNKNOWN_ENTRY: Final = DiagnosticKind(
    "unknown-entry", "warning", "an entry of an infotext is not understood and is left out"
)
MISSING_FILE: Final = DiagnosticKind(
    "missing-file", "warning", "a file that an infotext names is not here"
)
RENAMED_FILE: Final = DiagnosticKind(
    "renamed-file", "info", "a file that an infotext names has another name here"
)
OTHER_FILE: Final = DiagnosticKind(
    "other-file", "warning", "a file of the name that an infotext says has other content"
)
UNNAMEABLE_FILE: Final = DiagnosticKind(
    "unnameable-file", "warning", "a prompt cannot be changed to name a file as it is called here"
)
MISSING_IMAGE: Final = DiagnosticKind(
    "missing-image",
    "warning",
    "an image or mask that an infotext's image was made from is not in its text",
)
SKIPPED_NETWORK: Final = DiagnosticKind(
    "skipped-network", "warning", "an image was made without a network that its prompt names"
)
PRESET_CHANGED: Final = DiagnosticKind(
    "preset-changed", "info", "block weights of an infotext are written out"
)
OTHER_PROGRAM: Final = DiagnosticKind(
    "other-program",
    "warning",
    "an image was made by another program, whose settings are not all known",
)
NO_INFOTEXT: Final = DiagnosticKind(
    "no-infotext", "warning", "an image does not say how it was made"
)
UNREADABLE_INFOTEXT: Final = DiagnosticKind(
    "unreadable-infotext", "warning", "an image's infotext cannot be read"
)
UNKNOWN_CHECKPOINT: Final = DiagnosticKind(
    "unknown-checkpoint", "warning", "it is not known which checkpoint made an image"
)
REMARKS_LEFT_OUT: Final = DiagnosticKind(
    "remarks-left-out", "warning", "there are more remarks than are shown"
)

# Translations.
LEFT_OUT_THERE: Final = DiagnosticKind(
    "left-out-there", "warning", "something has no words in the other dialect and is left out"
)
CHANGED_THERE: Final = DiagnosticKind(
    "changed-there",
    "warning",
    "something is written in the other dialect as near as it can be said",
)
READ_THERE: Final = DiagnosticKind(
    "read-there", "warning", "words would be read as marks in the other dialect"
)
OTHER_WEIGHT_RULE: Final = DiagnosticKind(
    "other-weight-rule", "info", "weights do something else in the other dialect"
)
OTHER_STEP: Final = DiagnosticKind(
    "other-step", "info", "words change at another step in the other dialect"
)
NOT_QUITE_THE_SAME: Final = DiagnosticKind(
    "not-quite-the-same", "warning", "a translation comes close and does not say the same"
)

# Others.
REMARK: Final = DiagnosticKind(
    "remark", "warning", "a remark of a plugin, whose kind it does not name"
)


DIAGNOSTIC_KINDS: Final[Mapping[str, DiagnosticKind]] = MappingProxyType(
    {one.code: one for one in tuple(globals().values()) if isinstance(one, DiagnosticKind)}
)
"""All of the above by their codes."""

_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class KnownCode:
    """A rule for fields: the code of a kind of diagnostic."""

    def problem(self, value: str) -> str:
        """Say what is wrong with a code; empty if nothing is."""
        if value in DIAGNOSTIC_KINDS:
            return ""
        # Its import would cost every program more than it costs the few that need it.
        from difflib import get_close_matches

        near = get_close_matches(value[:_SHOWN].lower(), DIAGNOSTIC_KINDS, n=3, cutoff=0.5)
        codes = " or ".join(map(repr, near)) if near else f"one of {', '.join(DIAGNOSTIC_KINDS)}"
        return f"; it must be {codes}" if not near else f"; did you mean {codes}?"


DiagnosticCode = Annotated[str, KnownCode()]
"""The code of a kind of diagnostic that there is."""


def check_codes(codes: Iterable[str], field: str = "ignored_diagnostics") -> None:
    """Refuse codes that no kind of diagnostic has.

    Args:
        codes: Of diagnostics.
        field: What they were given as.

    Raises:
        RequestError: There is no such code; the message names those like it.
    """
    for code in codes:
        if problem := KnownCode().problem(code):
            raise RequestError(f"{field} is {shown(code)}{problem}", field=field)


def read_codes(text: str) -> tuple[str, ...]:
    """Read codes with commas between, as command lines have them; their names are not checked."""
    return tuple(code.strip() for code in text.split(",") if code.strip())


def without_codes(
    diagnostics: Iterable[Diagnostic], codes: Collection[str]
) -> tuple[Diagnostic, ...]:
    """Leave out what someone does not want to be told.

    Args:
        diagnostics: What there is to tell.
        codes: Of the kinds to leave out. Errors are told all the same.
    """
    return tuple(one for one in diagnostics if one.severity == "error" or one.code not in codes)
