"""WebUI's ``styles.csv``: named texts that are put around or behind a prompt."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from promptengine.errors import RequestError
from promptengine.files.atomic import atomic_write
from promptengine.request.request import GenerationRequest
from promptengine.validation import check_type

__all__ = [
    "MOST_STYLES",
    "Style",
    "apply_styles",
    "chosen_styles",
    "delete_style",
    "read_styles",
    "styled_hires_prompts",
    "styled_prompts",
    "with_styles",
    "write_style",
]

MOST_STYLES: Final = 10_000
"""In one file."""

_MOST_BYTES: Final = 4 << 20
_MOST_CHARACTERS: Final = 1_000_000
"""Of a prompt with its styles, where nobody says otherwise."""

_PLACE: Final = "{prompt}"
_ENCODING: Final = "utf-8-sig"
_COLUMNS: Final = ("name", "prompt", "negative_prompt")
_OLD_PROMPT: Final = "text"
"""What the column of prompts was called in 2022."""

_COMMENT: Final = "#"


@dataclass(frozen=True, slots=True)
class Style:
    """One row of the file.

    Attributes:
        name: What requests call it.
        prompt: Goes around the prompt where it holds ``{prompt}``, else behind it.
        negative_prompt: Likewise.
    """

    name: str
    prompt: str
    negative_prompt: str


def read_styles(path: Path | None) -> list[Style]:
    """Return the styles of a file, of several of one name the last; none where it is missing or cannot
    be read.
    """
    try:
        if path is None or path.stat().st_size > _MOST_BYTES:
            return []
        with path.open(encoding=_ENCODING, newline="", errors="replace") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, csv.Error):
        return []
    found = {
        name: Style(
            name, row.get("prompt") or row.get(_OLD_PROMPT) or "", row.get("negative_prompt") or ""
        )
        for row in rows
        if (name := row.get("name")) and not name.startswith(_COMMENT)
    }
    return list(found.values())


def chosen_styles(styles: Sequence[Style], names: Sequence[str]) -> list[Style]:
    """Return the styles of some names in the order of these; names that are not known are left out."""
    known = {style.name: style for style in styles}
    return [known[name] for name in names if name in known]


def with_styles(prompt: str, texts: Sequence[str], *, most: int) -> str:
    """Put the texts of styles around a prompt, one after another.

    Args:
        prompt: The prompt.
        texts: Of the styles.
        most: Characters that it may become.

    Raises:
        RequestError: It would be longer.
    """
    for text in texts:
        places = text.count(_PLACE)
        size = len(text) + places * (len(prompt) - len(_PLACE)) if places else len(prompt)
        if size > most:
            message = f"the prompt with its styles is longer than the {most} characters allowed"
            raise RequestError(f"{message}; choose fewer styles", field="styles")
        if places:
            prompt = text.replace(_PLACE, prompt)
        else:
            prompt = ", ".join(part for part in (prompt.strip(), text.strip()) if part)
    return prompt


def styled_prompts(
    prompt: str, negative_prompt: str, styles: Sequence[Style], *, most: int
) -> dict[str, str]:
    """Return both prompts with styles around them, by the names of a request's fields.

    Args:
        prompt: The prompt.
        negative_prompt: What it is to be unlike.
        styles: In their order.
        most: Characters that each may become.

    Raises:
        RequestError: One would be longer.
    """
    texts = [style.prompt for style in styles], [style.negative_prompt for style in styles]
    return {
        "prompt": with_styles(prompt, texts[0], most=most),
        "negative_prompt": with_styles(negative_prompt, texts[1], most=most),
    }


def styled_hires_prompts(
    prompt: str, negative_prompt: str, styles: Sequence[Style], *, most: int
) -> dict[str, str]:
    """Return the same of a second pass, whose empty prompts mean the first pass's with its styles.

    Raises:
        RequestError: One would be longer.
    """
    styled = styled_prompts(prompt, negative_prompt, styles, most=most)
    given = {"prompt": prompt, "negative_prompt": negative_prompt}
    return {name: styled[name] if text else text for name, text in given.items()}


def apply_styles(
    request: GenerationRequest,
    names: Sequence[str],
    styles: Sequence[Style] | str | Path,
    *,
    most: int = _MOST_CHARACTERS,
) -> GenerationRequest:
    """Return a request with the texts of styles around its prompts, those of a second pass among them.

    Args:
        request: What to change.
        names: Of the styles, in the order in which they are applied.
        styles: All that there are, or WebUI's ``styles.csv``.
        most: Characters that each prompt may become.

    Raises:
        RequestError: There is no such file, or no style of a name, or a prompt would be longer.
    """
    check_type("request", request, GenerationRequest)
    check_type("names", names, list, tuple)
    if isinstance(styles, (str, Path)):
        styles = _styles_of(Path(styles))
    known = [style.name for style in styles]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name[:100], known, n=1)
            there = ", ".join(known[:10]) or "none"
            remedy = f"did you mean {near[0]!r}?" if near else f"there are: {there}"
            raise RequestError(f"unknown style {name[:100]!r}; {remedy}", field="styles")
    chosen, hires = chosen_styles(styles, names), request.hires
    if hires is not None:
        given = styled_hires_prompts(hires.prompt, hires.negative_prompt, chosen, most=most)
        hires = replace(hires, **given)
    given = styled_prompts(request.prompt, request.negative_prompt, chosen, most=most)
    return replace(request, hires=hires, **given)


def _styles_of(path: Path) -> list[Style]:
    if not path.is_file():
        raise RequestError(f"there is no file of styles {path}; name another", field="styles")
    return read_styles(path)


def write_style(path: Path, style: Style) -> None:
    """Write a style into a file as WebUI does, in place of the one of its name or behind all others.

    Other rows and columns stay as they are. One writer at a time.

    Args:
        path: The file; it need not exist.
        style: Its name is not empty, begins with no ``#`` and is one line.

    Raises:
        ValueError: The file cannot be read and would be lost, or would be too large.
        OSError: It cannot be written.
    """
    header, rows = _table(path)
    values = dict(zip(_COLUMNS, (style.name, style.prompt, style.negative_prompt), strict=True))
    row = next((row for row in reversed(rows) if _named(row, header, style.name)), None)
    if row is None:
        row = [""] * len(header)
        rows.append(row)
    row += [""] * (len(header) - len(row))
    for column, value in values.items():
        row[header.index(column)] = value
    _write(path, header, rows)


def delete_style(path: Path, name: str) -> bool:
    """Take all styles of a name out of a file; return whether there were any.

    Raises:
        ValueError: The file cannot be read.
        OSError: It cannot be written.
    """
    header, rows = _table(path)
    left = [row for row in rows if not _named(row, header, name)]
    if len(left) < len(rows):
        _write(path, header, left)
    return len(left) < len(rows)


def _named(row: Sequence[str], header: Sequence[str], name: str) -> bool:
    place = header.index("name")
    return len(row) > place and row[place] == name


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the columns of a file, WebUI's three among them, and its rows.

    Raises:
        ValueError: It is no such file.
        OSError: It cannot be read.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
        text = path.read_bytes().decode(_ENCODING)
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)) or [
            list(_COLUMNS)
        ]
    except FileNotFoundError:
        return list(_COLUMNS), []
    except UnicodeDecodeError:
        raise ValueError("it is not written in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"it is no CSV: {error}") from None
    if "prompt" not in header:
        header = ["prompt" if column == _OLD_PROMPT else column for column in header]
    if "name" not in header or "prompt" not in header:
        raise ValueError("its first line does not name the columns name and prompt")
    header += [column for column in _COLUMNS if column not in header]
    return header, rows


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if len(rows) > MOST_STYLES:
        raise ValueError(f"it would hold more than {MOST_STYLES} styles")
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *(row for row in rows if row)])
    data = text.getvalue().encode(_ENCODING)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it would be larger than the {_MOST_BYTES >> 20} MiB that are read")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
