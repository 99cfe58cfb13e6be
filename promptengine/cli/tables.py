"""Tables in a terminal: networks, what files and images say, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from promptengine.cli.terminal import printable, show, styled
from promptengine.kinds import FileSummary
from promptengine.registry.registry import Clash, RegistryEntry, description

if TYPE_CHECKING:
    from promptengine.images import ImageInfo
    from promptengine.inspection import FileReport

__all__ = ["show_file", "show_infotext", "show_networks", "show_profile"]

MOST_CHARACTERS = 300


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


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
        show(styled((f"warning: {printable(str(clash))}", "yellow")), to_stderr=True)


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
