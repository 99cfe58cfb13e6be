"""What a prompt is, once read: frozen nodes, each with its place in the source.

Reading goes through stages (``parse.py``): comments, tags, ``AND``, then the bracket language of each
part. Offsets always count characters of the string the user wrote, whatever an earlier stage took out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from promptengine.prompt.source_map import MappedText

__all__ = [
    "Alternating",
    "Break",
    "Diagnostic",
    "Emphasis",
    "Fragment",
    "Group",
    "Mix",
    "MixKind",
    "Node",
    "Part",
    "Prompt",
    "Regions",
    "Related",
    "Remedy",
    "Schedule",
    "Scheduled",
    "Segment",
    "Severity",
    "Span",
    "Tag",
    "Text",
    "Weigh",
]

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open character offsets ``start:end`` in the source prompt."""

    start: int
    end: int

    @property
    def column(self) -> int:
        """The place as people count it, from 1."""
        return self.start + 1


@dataclass(frozen=True, slots=True)
class Remedy:
    """The one obvious mend of what a diagnostic tells of, for whoever takes it with one click.

    Attributes:
        span: What of the source it replaces; empty where it only puts something in.
        text: What stands there then.
        label: What it does, in a few words, such as ``use 'vintage'``.
    """

    span: Span
    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that has to do with what a diagnostic tells of.

    Attributes:
        span: Where it is.
        message: What stands there, in a few words, such as ``first named here``.
    """

    span: Span
    message: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something a person would want to know about a prompt; never an error by itself.

    Attributes:
        severity: ``info`` for a harmless oddity, ``warning`` where the prompt probably does not do
            what was meant, ``error`` where something asked for cannot be done.
        message: One sentence that names the thing.
        span: Where it is, or None where it concerns no place in the prompt.
        hint: What to write instead, or an empty string.
        remedy: A change of the source after which this is no longer to be said, where there is an obvious
            one.
        code: What kind of thing it is: a key of
            :data:`promptengine.prompt.diagnostic_kinds.DIAGNOSTIC_KINDS`, or a word of a plugin's own.
        related: Further places in the same prompt that have to do with it.
    """

    severity: Severity
    message: str
    span: Span | None = None
    hint: str = ""
    remedy: Remedy | None = None
    code: str = "remark"
    related: tuple[Related, ...] = ()

    def without_places(self) -> Diagnostic:
        """Return the same where the prompt that its places are in is not at hand."""
        return replace(self, span=None, remedy=None, related=())


@dataclass(frozen=True, slots=True)
class Text:
    """Characters without further structure."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Group:
    """A balanced bracket pair that is not a schedule: its brackets stay in the text, where the
    attention stage reads them as emphasis.

    ``children`` include the brackets (and a weight's colon) as :class:`Text`.
    """

    children: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Scheduled:
    """``[before:after:when]``: one text up to a step, another from then on.

    Attributes:
        when: The number as written, stripped: with a dot a fraction of the steps, else a step.
    """

    before: tuple[Node, ...]
    after: tuple[Node, ...]
    when: str
    span: Span


@dataclass(frozen=True, slots=True)
class Alternating:
    """``[a|b|c]``: step *n* (from 1) takes arm *(n − 1) mod len(arms)*. Empty arms count."""

    arms: tuple[tuple[Node, ...], ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Emphasis:
    """Brackets that weight the text inside: ``(a:1.2)``, ``(a)`` = 1.1, ``[a]`` = 1/1.1."""

    children: Sequence[Text | Emphasis | Break]
    factor: float
    span: Span


@dataclass(frozen=True, slots=True)
class Break:
    """The word ``BREAK``: what follows starts a new 75-token chunk."""

    span: Span


@dataclass(frozen=True, slots=True)
class Tag:
    """``<kind:argument:…>``, taken out of the text. Every kind is a tag, known or not."""

    kind: str
    arguments: tuple[str, ...]
    span: Span


Node = Text | Group | Scheduled | Alternating | Tag
"""Of the bracket language; tags stand there in dialects that schedule tags only, and only in brackets."""

MixKind = Literal["blend", "sum", "concatenate"]


@dataclass(frozen=True, slots=True)
class Mix:
    """Several texts that are encoded each on its own and then become one (compel's ``.blend`` and ``.and``).

    Attributes:
        kind: ``blend`` adds encodings by their weights' shares, ``sum`` by the weights as they are, and
            ``concatenate`` sets one behind the other, each moved from the empty prompt's by its weight.
        weights: One for each arm.
        arms: What each text is read to.
    """

    kind: MixKind
    weights: tuple[float, ...]
    arms: tuple[tuple[Node, ...], ...] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Part:
    """One operand of ``AND`` (the only one where there is none).

    Attributes:
        text: The operand after tags and its trailing weight are taken out.
        weight: How much this part's guidance counts; any float.
        nodes: The bracket language of ``text``. Where ``text`` cannot be scheduled (a stray ``|``, a
            backslash at the end of a line) this is one :class:`Text`.
        span: From the first to past the last character of ``text`` in the source.
        weigh: Reads the weights of a scheduled text of this part; None for WebUI's brackets.
        mix: How several texts become one, where they do; ``nodes`` are then those of all its arms.
        exact_steps: Whether the n-th call of the denoiser is step n, and a number below 1 a fraction;
            WebUI's steps lag behind by one.
        regions: What it says where, in a dialect that has regions; else None. ``text`` and ``nodes`` are of all
            regions then, keywords included.
    """

    text: str
    weight: float
    # They follow from the text. Left out here, parts compare, hash and print at any depth of nesting.
    nodes: tuple[Node, ...] = field(repr=False, compare=False)
    span: Span
    weigh: Weigh | None = field(default=None, repr=False, compare=False)
    mix: Mix | None = None
    exact_steps: bool = False
    regions: Regions | None = field(default=None, repr=False, compare=False)

    @property
    def arms(self) -> tuple[tuple[Node, ...], ...]:
        """The texts that are encoded each on its own: of most parts one."""
        return (self.nodes,) if self.mix is None else self.mix.arms


@dataclass(frozen=True, slots=True)
class Regions:
    """What a part says in each region of the image.

    Attributes:
        texts: Of each region, the common text in front; empty where there are too many regions to be used.
        base: What the whole image follows in part, likewise, or None.
        separators: Between regions: ``ADDCOL`` begins a new column, ``ADDROW`` a new row.
        begins: Where the text of each region begins in the source; tags from there on are its own.
        count: How many regions there are.
    """

    texts: tuple[Part, ...]
    base: Part | None
    separators: tuple[str, ...]
    begins: tuple[int, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """A whole prompt, read.

    Attributes:
        source: As written.
        tags: In the order of the source.
        parts: The operands of ``AND``.
        diagnostics: What a person would want to know about it.
        dialect: Name of the dialect it was read in.
        comments: Where comments stand, in the order of the source; they say nothing.
    """

    source: str
    tags: tuple[Tag, ...]
    parts: tuple[Part, ...]
    diagnostics: tuple[Diagnostic, ...]
    dialect: str = "webui"
    comments: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Fragment:
    """Text with one weight, as the attention stage leaves it.

    ``("BREAK", -1.0)`` is the chunk break. 1.0 is neutral; 0 silences; negative is allowed.
    """

    text: str
    weight: float
    span: Span


@dataclass(frozen=True, slots=True)
class Segment:
    """What a part says up to and including a step.

    Attributes:
        until_step: Last step, counted from 1, at which ``text`` holds.
        text: The scheduled text, brackets of emphasis included.
        fragments: ``text`` with its weights worked out; never empty.
        tags: The tags in brackets that hold, in a dialect that schedules tags.
        arms: The fragments of each text that is encoded on its own, where there are several.
    """

    until_step: int
    text: str
    fragments: tuple[Fragment, ...]
    tags: tuple[Tag, ...] = ()
    arms: tuple[tuple[Fragment, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """A part over the steps of one sampling pass; segments ascend in ``until_step``.

    Attributes:
        steps: Of the pass.
        segments: What holds until when.
        mix: How the segments' arms become one, where they have several.
        exact_steps: As of the part.
    """

    steps: int
    segments: tuple[Segment, ...]
    mix: Mix | None = None
    exact_steps: bool = False

    @property
    def last_calls(self) -> tuple[int, ...]:
        """For each segment the last call of the denoiser, counted from 0, that it serves."""
        ends = [segment.until_step - self.exact_steps for segment in self.segments]
        return (*ends[:-1], self.segments[-1].until_step)

    @property
    def first_calls(self) -> tuple[int, ...]:
        """For each segment the 0-based denoiser call that it serves first."""
        return 0, *(last + 1 for last in self.last_calls[:-1])

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        """What its texts consist of, segment by segment."""
        return tuple(fragment for segment in self.segments for fragment in segment.fragments)

    def at(self, call: int) -> Segment:
        """Return what holds at the 0-based denoiser call ``call``.

        The sampler compares its 0-based counter with numbers that count steps from 1, as WebUI does:
        a segment with ``until_step`` 4 serves calls 0 to 4, five of them, unless steps are exact. Past
        the last segment the first one holds again.
        """
        for segment, last in zip(self.segments, self.last_calls, strict=True):
            if call <= last:
                return segment
        return self.segments[0]


Weigh = Callable[["MappedText"], tuple[Fragment, ...]]
"""Reads the weights of a scheduled text: at least one fragment, of which neighbors differ in weight."""
