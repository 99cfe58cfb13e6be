"""How prompts, networks, files and results look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled
from rich.tree import Tree

from promptengine.kinds import FileSummary
from promptengine.prompt import (
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
    emphasis,
)
from promptengine.prompt.regions import texts_of
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.registry.registry import Clash, RegistryEntry, description
from promptengine.request.plan import NetworkUse
from promptengine.request.result import NetworkReport

if TYPE_CHECKING:
    from promptengine.images import ImageInfo
    from promptengine.inspection import FileReport

__all__ = [
    "printable",
    "show_block_weights",
    "show_diagnostics",
    "show_file",
    "show_infotext",
    "show_networks",
    "show_profile",
    "show_prompt",
    "show_reports",
    "show_timelines",
]

SEVERITY_STYLES = {"info": "cyan", "warning": "yellow", "error": "red"}
DEEPEST = 24
"""Levels of nesting that are drawn; below, a terminal has no room."""

MOST_SEGMENTS = 40
MOST_CHARACTERS = 300


def printable(text: str) -> str:
    """Spell out control characters, so that no prompt or file name can drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _console(*, to_stderr: bool = False) -> Console:
    return Console(stderr=to_stderr, highlight=False, soft_wrap=True)


def show_prompt(prompt: ScheduledPrompt, diagnostics: Iterable[Diagnostic]) -> None:
    """Draw tags, trees, schedules and diagnostics.

    Args:
        prompt: The prompt as read, over the steps of the pass whose schedule is shown.
        diagnostics: Its diagnostics, and perhaps more.
    """
    parsed = prompt.prompt
    console = _console()
    root = Tree(Styled("prompt", "bold"))
    for tag in parsed.tags:
        root.add(_tag(tag))
    over_steps = zip(parsed.parts, prompt.texts, strict=True)
    for number, (part, timelines) in enumerate(over_steps, start=1):
        branch = root.add(_part_title(number, part, len(parsed.parts)))
        for title, text, timeline in zip(
            _text_titles(part), texts_of(part), timelines, strict=True
        ):
            twig = branch.add(Styled(title, "bold")) if title else branch
            _grow(twig.add(Styled("tree", "bold")), text.nodes)
            _add_schedule(twig, timeline.segments)
    console.print(root)
    show_diagnostics(diagnostics, parsed.source)


def _tag(tag: Tag) -> Styled:
    arguments = printable(" : ".join(tag.arguments))
    return Styled.assemble(("tag ", "bold"), (tag.kind, "magenta"), f" {arguments}")


def _text_titles(part: Part) -> list[str]:
    """Return what the texts of a part are called; a single one has no name."""
    regions = part.regions
    if regions is None or not regions.texts:
        return [""]
    places = [f"region {number}" for number in range(1, regions.count + 1)]
    return places if regions.base is None else ["base", *places]


def _part_title(number: int, part: Part, parts: int) -> Styled:
    title = Styled(f"part {number}" if parts > 1 else "text", "bold")
    if part.weight != 1.0:
        title.append(f"  weight {part.weight:g}", "green")
    return title


Drawn = Node | Emphasis | Break
"""What can stand in a drawn tree: the bracket language, and the emphasis inside plain brackets."""


def _grow(root: Tree, nodes: Sequence[Drawn]) -> None:
    """Draw nodes below a branch; a stack instead of recursion, since nesting has no limit."""
    waiting: list[tuple[Tree, Drawn, int]] = [(root, node, 0) for node in reversed(_merged(nodes))]
    while waiting:
        branch, node, depth = waiting.pop()
        title, children = _node(node)
        twig = branch.add(title)
        if depth == DEEPEST and children:
            twig.add(Styled("…", "dim"))
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


def _node(node: Drawn) -> tuple[Styled, list[tuple[Styled | None, Sequence[Drawn]]]]:
    """Return a node's own line, and its children by label."""
    match node:
        case Text() | Break() | Tag():
            return _leaf(node), []
        case Emphasis(children=children, factor=factor):
            return Styled(f"× {factor:.4g}", _weight_style(factor)), [(None, children)]
        case Group(children=children):
            return Styled("brackets", "green"), [(None, children)]
        case Scheduled(before=before, after=after, when=when):
            title = Styled.assemble(("change ", "magenta"), f"at {printable(when)}")
            return title, [(_label("before"), before), (_label("after"), after)]
        case Alternating(arms=arms):
            count = len(arms)
            labels = [_label(f"step {n}, {n + count}, …") for n in range(1, count + 1)]
            return Styled("alternate", "magenta"), list(zip(labels, arms, strict=True))


def _leaf(node: Text | Break | Tag) -> Styled:
    if isinstance(node, Tag):
        return _tag(node)
    return (
        Styled("BREAK", "bold reverse")
        if isinstance(node, Break)
        else Styled(f"“{printable(node.text)}”")
    )


def _label(text: str) -> Styled:
    return Styled(text, "dim")


def _weight_style(weight: float) -> str:
    if weight > 1.0:
        return "bold yellow"
    return "blue" if weight < 1.0 else ""


def _add_schedule(branch: Tree, segments: Sequence[Segment]) -> None:
    twig = branch.add(Styled("schedule", "bold"))
    first = 1
    for segment in segments[:MOST_SEGMENTS]:
        last = segment.until_step
        steps = f"step {last}" if first == last else f"steps {first}–{last}"
        line = Styled.assemble((f"{steps:<14}", "cyan"))
        for fragment in segment.fragments:
            line.append_text(_fragment(fragment))
        twig.add(line)
        first = last + 1
    if len(segments) > MOST_SEGMENTS:
        twig.add(Styled(f"… and {len(segments) - MOST_SEGMENTS} more", "dim"))


def _fragment(fragment: Fragment) -> Styled:
    """Text in the color of its weight, with the weight after it where it is not 1."""
    if fragment.text == "BREAK" and fragment.weight == -1.0:
        return Styled(" BREAK ", "bold reverse")
    text = Styled(printable(fragment.text), _weight_style(fragment.weight))
    if fragment.weight != 1.0:
        text.append(f"×{fragment.weight:.4g}", "dim")
    return text


def show_timelines(timelines: Mapping[Tag, Sequence[float]]) -> None:
    """Print the multipliers of networks that change over the steps, for stretches of equal ones."""
    console = _console()
    for tag, multipliers in timelines.items():
        tree = Tree(Styled.assemble(("timeline ", "bold"), printable(tag.arguments[0])))
        call = 1
        stretches = [(value, len(list(same))) for value, same in groupby(multipliers)]
        for value, count in stretches[:MOST_SEGMENTS]:
            calls = f"call {call}" if count == 1 else f"calls {call}–{call + count - 1}"
            tree.add(Styled.assemble((f"{calls:<14}", "cyan"), f"× {value:.4g}"))
            call += count
        if len(stretches) > MOST_SEGMENTS:
            tree.add(Styled(f"… and {len(stretches) - MOST_SEGMENTS} more", "dim"))
        console.print(tree)


def show_block_weights(uses: Iterable[NetworkUse]) -> None:
    """Print what the multipliers of networks are multiplied with in each block, where a tag says so."""
    console = _console()
    for use in uses:
        if use.blocks is not None:
            preset = f" {printable(use.blocks.preset)}" if use.blocks.preset else ""
            told = ", ".join(f"{block} {number:g}" for block, number in use.blocks.by_block.items())
            name = f"{printable(use.name)}{preset}: {told}"
            console.print(Styled.assemble(("block weights ", "bold"), name))


def show_diagnostics(
    diagnostics: Iterable[Diagnostic], source: str, *, to_stderr: bool = False
) -> None:
    """Print each diagnostic and its code, with its places in the prompt underneath."""
    console = _console(to_stderr=to_stderr)
    for diagnostic in diagnostics:
        style = SEVERITY_STYLES[diagnostic.severity]
        line = Styled(diagnostic.severity, f"bold {style}")
        if diagnostic.span is not None:
            line.append(f" at column {diagnostic.span.column}", "bold")
        line.append(f": {printable(diagnostic.message)}")
        if diagnostic.hint:
            line.append(f" ({printable(diagnostic.hint)})", "dim")
        line.append(f" [{printable(diagnostic.code)}]", "dim")
        console.print(line)
        if diagnostic.span is not None:
            console.print(_excerpt(source, diagnostic.span, style))
        for related in diagnostic.related:
            place = f"    column {related.span.column}: {printable(related.message)}"
            console.print(Styled(place, "dim"))


def _excerpt(source: str, span: Span, style: str) -> Styled:
    """Return the place in the prompt, with a line of marks below it."""
    left = max(span.start - 30, 0)
    end = min(max(span.end, span.start + 1), span.start + 60)
    before = ("…" if left else "") + printable(source[left : span.start])
    culprit = printable(source[span.start : end])
    after = printable(source[end : end + 30]) + ("…" if end + 30 < len(source) else "")
    marks = " " * cell_len(before) + "^" * max(cell_len(culprit), 1)
    return Styled.assemble(
        ("    " + before, "dim"), (culprit, style), (after, "dim"), ("\n    " + marks, style)
    )


def show_profile(seconds: Mapping[str, float]) -> None:
    """Print to standard error where a run's time went, stage by stage."""
    whole = sum(seconds.values())
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    for stage, spent in seconds.items():
        table.add_row(stage, f"{spent:.3f}", f"{spent / whole:.0%}")
    table.add_row("all", f"{whole:.3f}", "")
    Console(stderr=True, highlight=False).print(table)


def show_reports(reports: Iterable[NetworkReport]) -> None:
    """Print a line per tag: applied or not, and why."""
    console = _console()
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
            line = Styled.assemble(("applied ", "green"), name, (f"  {where} {digest[:10]}", "dim"))
        else:
            line = Styled.assemble(
                ("not applied ", "yellow"), name, f": {printable(report.reason)}"
            )
        console.print(line)


def show_networks(
    entries: Sequence[RegistryEntry],
    clashes: Sequence[Clash],
    models: str,
    summaries: Mapping[Path, FileSummary],
) -> None:
    """Print a table of model files, and the clashes between their names.

    Args:
        entries: The files.
        clashes: Warnings.
        models: Where they were looked for.
        summaries: What networks hold, by path.
    """
    console = _console()
    if not entries:
        console.print(Styled(f"no model files in {printable(models)}"))
    else:
        table = Table(box=None, pad_edge=False)
        for title in ("kind", "name", "MB", "holds", "description"):
            table.add_column(title, justify="right" if title == "MB" else "left")
        for entry in entries:
            table.add_row(
                Styled(entry.kind, "magenta"),
                Styled(printable(entry.name), "bold"),
                f"{entry.size / 1e6:.1f}",
                _holds(summaries.get(entry.path)),
                _lines(description(entry).replace("\r\n", "\n").strip()),
            )
        console.print(table)
    for clash in clashes:
        _console(to_stderr=True).print(Styled(f"warning: {printable(str(clash))}", "yellow"))


def _holds(summary: FileSummary | None) -> Styled:
    """Return what a network holds, or why it cannot be used; nothing of files without a summary."""
    if summary is None:
        return Styled()
    if summary.problem is not None:
        return Styled(printable(f"not usable: {summary.problem}"), "yellow")
    return Styled(printable(summary.text), "dim")


def show_file(report: FileReport) -> None:
    """Print what a file is."""
    console = _console()
    safe = Styled("yes", "green") if report.safe else Styled("NO", "bold red")
    if report.unsafe_globals:
        safe.append(printable(f": it asks to run {', '.join(report.unsafe_globals)}; refused"))
    dtypes = ", ".join(f"{count} {name}" for name, count in report.dtypes.items())
    rows: list[tuple[str, str | Styled]] = [
        ("file", str(report.path)),
        ("kind", report.kind),
        ("format", report.format),
        ("size", f"{report.size:,} bytes"),
        ("sha256", f"{report.digest}…"),
        ("safe to load", safe),
        *(() if report.base_model is None else (("made for", report.base_model),)),
        ("tensors", f"{report.tensors} ({report.parameters:,} numbers; {dtypes or 'none'})"),
        *(("layers", layer) for layer in report.layers),
        *(
            (name, value)
            for name in ("family", "prediction", "vae", "vectors")
            if (value := getattr(report, name))
        ),
        *((f"metadata {key}", value) for key, value in report.metadata.items()),
        *(("note", note) for note in report.notes),
    ]
    _print_rows(console, rows)


def show_infotext(info: ImageInfo, *, spaced: bool = False) -> None:
    """Print what an image says about how it was made, below an empty line if ``spaced``."""
    console = _console()
    rows: list[tuple[str, str | Styled]] = [("file", str(info.path)), ("format", info.format)]
    if info.program and info.infotext is None:
        rows.append(("made by", f"{info.program}, whose metadata is not read"))
    elif info.image is not None:
        rows.append(("made by", f"{info.program}; {info.image.verdict}"))
    if info.infotext is not None:
        infotext = info.infotext
        rows += [
            ("read from", info.source),
            ("prompt", _lines(infotext.prompt)),
            ("negative prompt", _lines(infotext.negative_prompt)),
            *infotext.entries.items(),
            *(("not understood", stray) for stray in infotext.strays),
        ]
        if infotext.trailing:
            rows.append(("after it", _lines(infotext.trailing)))
    unmapped = () if info.image is None else info.image.unmapped
    for place, value, reason in unmapped:
        rows.append((f"left out: {place}", f"{value} ({reason})" if reason else value))
    for keyword, text in info.texts.items():
        shown = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
        rows.append((f"text {keyword}", _lines(shown)))
    if spaced:
        console.print()
    _print_rows(console, rows)


def _lines(text: str) -> Styled:
    return Styled("\n".join(map(printable, text.split("\n"))))


def _print_rows(console: Console, rows: Iterable[tuple[str, str | Styled]]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        shown = value if isinstance(value, Styled) else Styled(printable(value))
        table.add_row(Styled(printable(name), "bold"), shown)
    console.print(table)
