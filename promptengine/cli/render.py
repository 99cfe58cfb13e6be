"""How prompts, diagnostics and what became of networks look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from promptengine.cli.terminal import Line, Tree, columns, printable, show, styled
from promptengine.prompt.ast import (
    Alternating,
    Break,
    Diagnostic,
    Emphasis,
    Fragment,
    Group,
    Node,
    Part,
    Scheduled,
    Segment,
    Span,
    Tag,
    Text,
)
from promptengine.prompt.emphasis import emphasis
from promptengine.prompt.regions import texts_of
from promptengine.prompt.scheduled import ScheduledPrompt

if TYPE_CHECKING:
    from promptengine.request.plan import NetworkUse
    from promptengine.request.result import NetworkReport

__all__ = [
    "show_block_weights",
    "show_diagnostics",
    "show_prompt",
    "show_reports",
    "show_timelines",
]

SEVERITY_STYLES = {"info": "cyan", "warning": "yellow", "error": "red"}
DEEPEST = 24
"""Levels of nesting that are drawn; below, a terminal has no room."""

MOST_SEGMENTS = 40


def show_prompt(prompt: ScheduledPrompt, diagnostics: Iterable[Diagnostic]) -> None:
    """Draw tags, trees, schedules and diagnostics.

    Args:
        prompt: The prompt as read, over the steps of the pass whose schedule is shown.
        diagnostics: Its diagnostics, and perhaps more.
    """
    parsed = prompt.prompt
    root = Tree(styled(("prompt", "bold")))
    for tag in parsed.tags:
        root.add(_tag(tag))
    over_steps = zip(parsed.parts, prompt.texts, strict=True)
    for number, (part, timelines) in enumerate(over_steps, start=1):
        branch = root.add(_part_title(number, part, len(parsed.parts)))
        for title, text, timeline in zip(
            _text_titles(part), texts_of(part), timelines, strict=True
        ):
            twig = branch.add(styled((title, "bold"))) if title else branch
            _grow(twig.add(styled(("tree", "bold"))), text.nodes)
            _add_schedule(twig, timeline.segments)
    show(root)
    show_diagnostics(diagnostics, parsed.source)


def _tag(tag: Tag) -> Line:
    arguments = printable(" : ".join(tag.arguments))
    return styled(("tag ", "bold"), (tag.kind, "magenta"), f" {arguments}")


def _text_titles(part: Part) -> list[str]:
    """Return what the texts of a part are called; a single one has no name."""
    regions = part.regions
    if regions is None or not regions.texts:
        return [""]
    places = [f"region {number}" for number in range(1, regions.count + 1)]
    return places if regions.base is None else ["base", *places]


def _part_title(number: int, part: Part, parts: int) -> Line:
    title = styled((f"part {number}" if parts > 1 else "text", "bold"))
    weight = styled((f"  weight {part.weight:g}", "bold green"))
    return title if part.weight == 1.0 else title + weight


Drawn: TypeAlias = Node | Emphasis | Break
"""What can stand in a drawn tree: the bracket language, and the emphasis inside plain brackets."""


def _grow(root: Tree, nodes: Sequence[Drawn]) -> None:
    """Draw nodes below a branch; a stack instead of recursion, since nesting has no limit."""
    waiting: list[tuple[Tree, Drawn, int]] = [(root, node, 0) for node in reversed(_merged(nodes))]
    while waiting:
        branch, node, depth = waiting.pop()
        title, children = _node(node)
        twig = branch.add(title)
        if depth == DEEPEST and children:
            twig.add(styled(("…", "dim")))
            continue
        grown = [(twig if label is None else twig.add(label), below) for label, below in children]
        for under, below in reversed(grown):
            waiting += [(under, child, depth + 1) for child in reversed(_merged(below))]


def _merged(nodes: Sequence[Drawn]) -> list[Drawn]:
    """Join neighboring texts, and read brackets that hold no schedule as emphasis."""
    merged: list[Drawn] = []
    for node in nodes:
        plain = _plain_text(node) if isinstance(node, Group) else None
        if plain is not None:
            merged += emphasis(plain)
        elif isinstance(node, Text) and merged and isinstance(last := merged[-1], Text):
            span = Span(last.span.start, node.span.end)
            merged[-1] = Text(last.text + node.text, span)
        else:
            merged.append(node)
    return [piece for node in merged for piece in _broken(node)]


def _broken(node: Drawn) -> Sequence[Drawn]:
    """Show the word BREAK in text without brackets as what it is."""
    if isinstance(node, Text) and "BREAK" in node.text and not set(node.text) & set("()[]\\"):
        return emphasis(node.text)
    return [node]


def _plain_text(group: Group) -> str | None:
    """Return the text of a group, or None where what it says depends on the step."""
    texts: list[str] = []
    waiting: list[Node] = [group]
    while waiting:
        match waiting.pop():
            case Text(text=text):
                texts.append(text)
            case Group(children=children):
                waiting += reversed(children)
            case _:
                return None
    return "".join(texts)


def _node(node: Drawn) -> tuple[Line, list[tuple[Line | None, Sequence[Drawn]]]]:
    """Return a node's own line, and its children by label."""
    match node:
        case Text() | Break() | Tag():
            return _leaf(node), []
        case Emphasis(children=children, factor=factor):
            return styled((f"× {factor:.4g}", _weight_style(factor))), [(None, children)]
        case Group(children=children):
            return styled(("brackets", "green")), [(None, children)]
        case Scheduled(before=before, after=after, when=when):
            title = styled(("change ", "magenta"), f"at {printable(when)}")
            return title, [(_label("before"), before), (_label("after"), after)]
        case Alternating(arms=arms):
            count = len(arms)
            labels = [_label(f"step {n}, {n + count}, …") for n in range(1, count + 1)]
            return styled(("alternate", "magenta")), list(zip(labels, arms, strict=True))


def _leaf(node: Text | Break | Tag) -> Line:
    if isinstance(node, Tag):
        return _tag(node)
    if isinstance(node, Break):
        return styled(("BREAK", "bold reverse"))
    return styled(f"“{printable(node.text)}”")


def _label(text: str) -> Line:
    return styled((text, "dim"))


def _weight_style(weight: float) -> str:
    if weight > 1.0:
        return "bold yellow"
    return "blue" if weight < 1.0 else ""


def _add_schedule(branch: Tree, segments: Sequence[Segment]) -> None:
    twig = branch.add(styled(("schedule", "bold")))
    first = 1
    for segment in segments[:MOST_SEGMENTS]:
        last = segment.until_step
        steps = f"step {last}" if first == last else f"steps {first}–{last}"
        pieces = (piece for fragment in segment.fragments for piece in _fragment(fragment))
        twig.add(styled((f"{steps:<14}", "cyan"), *pieces))
        first = last + 1
    if len(segments) > MOST_SEGMENTS:
        twig.add(styled((f"… and {len(segments) - MOST_SEGMENTS} more", "dim")))


def _fragment(fragment: Fragment) -> Line:
    """Text in the color of its weight, with the weight after it where it is not 1."""
    if fragment.text == "BREAK" and fragment.weight == -1.0:
        return styled((" BREAK ", "bold reverse"))
    style = _weight_style(fragment.weight)
    text = styled((printable(fragment.text), style))
    weight = styled((f"×{fragment.weight:.4g}", f"{style} dim"))
    return text if fragment.weight == 1.0 else text + weight


def show_timelines(timelines: Mapping[Tag, Sequence[float]]) -> None:
    """Print the multipliers of networks that change over the steps, for stretches of equal ones."""
    for tag, multipliers in timelines.items():
        tree = Tree(styled(("timeline ", "bold"), printable(tag.arguments[0])))
        call = 1
        stretches = [(value, len(list(same))) for value, same in groupby(multipliers)]
        for value, count in stretches[:MOST_SEGMENTS]:
            calls = f"call {call}" if count == 1 else f"calls {call}–{call + count - 1}"
            tree.add(styled((f"{calls:<14}", "cyan"), f"× {value:.4g}"))
            call += count
        if len(stretches) > MOST_SEGMENTS:
            tree.add(styled((f"… and {len(stretches) - MOST_SEGMENTS} more", "dim")))
        show(tree)


def show_block_weights(uses: Iterable[NetworkUse]) -> None:
    """Print what the multipliers of networks are multiplied with in each block, where a tag says so."""
    for use in uses:
        if use.blocks is not None:
            preset = f" {printable(use.blocks.preset)}" if use.blocks.preset else ""
            told = ", ".join(f"{block} {number:g}" for block, number in use.blocks.by_block.items())
            name = f"{printable(use.name)}{preset}: {told}"
            show(styled(("block weights ", "bold"), name))


def show_diagnostics(
    diagnostics: Iterable[Diagnostic], source: str, *, to_stderr: bool = False
) -> None:
    """Print each diagnostic and its code, with its places in the prompt underneath."""
    for diagnostic in diagnostics:
        style = SEVERITY_STYLES[diagnostic.severity]
        span = diagnostic.span
        place = "" if span is None else f" at column {span.column}"
        said = f"{diagnostic.severity}{place}: {printable(diagnostic.message)}"
        more = f" ({printable(diagnostic.hint)})" if diagnostic.hint else ""
        more += f" [{printable(diagnostic.code)}]"
        show(styled((said, f"bold {style}"), (more, f"bold {style} dim")), to_stderr=to_stderr)
        for line in () if span is None else _excerpt(source, span, style):
            show(line, to_stderr=to_stderr)
        for related in diagnostic.related:
            beside = f"    column {related.span.column}: {printable(related.message)}"
            show(styled((beside, "dim")), to_stderr=to_stderr)


def _excerpt(source: str, span: Span, style: str) -> tuple[Line, Line]:
    """Return the place in the prompt, and a line of marks to go below it."""
    left = max(span.start - 30, 0)
    end = min(max(span.end, span.start + 1), span.start + 60)
    before = ("…" if left else "") + printable(source[left : span.start])
    culprit = printable(source[span.start : end])
    after = printable(source[end : end + 30]) + ("…" if end + 30 < len(source) else "")
    marks = " " * columns(before) + "^" * max(columns(culprit), 1)
    place = styled((f"    {before}", "dim"), (culprit, style), (after, "dim"))
    return place, styled((f"    {marks}", style))


def show_reports(reports: Iterable[NetworkReport]) -> None:
    """Print a line per tag: applied or not, and why."""
    for report in reports:
        multiplier = "" if report.multiplier is None else f" × {report.multiplier:g}"
        if report.multipliers:
            low, high = min(report.multipliers), max(report.multipliers)
            multiplier = f" × {low:g} to {high:g} over the steps"
        if report.unet_multiplier not in (None, report.multiplier):
            multiplier += f" (UNet × {report.unet_multiplier:g})"
        if report.blocks is not None:
            multiplier += f" by block ({printable(report.blocks.preset or report.blocks.written)})"
        name = f"{report.kind} {printable(report.name)}{multiplier}"
        name += "" if report.region is None else f" in region {report.region}"
        if report.applied:
            digest = report.digest or ""
            where = printable(str(report.path))
            line = styled(("applied ", "green"), name, (f"  {where} {digest[:10]}", "dim"))
        else:
            line = styled(("not applied ", "yellow"), name, f": {printable(report.reason)}")
        show(line)
