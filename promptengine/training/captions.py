"""Captions and templates: which prompt an image is trained with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from promptengine.errors import TrainingError

__all__ = ["TEMPLATES", "caption_of", "fill_template", "template_lines", "vary_tags"]

TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "hypernetwork": ("[filewords]", "[filewords], detailed", "an image of [filewords]"),
    "none": ("an image",),
    "style": (
        "an artwork in the style of [name]",
        "a drawing made in [name] style",
        "a scene, [name] style",
        "[name] style",
    ),
    "style_filewords": (
        "[filewords], in the style of [name]",
        "an artwork of [filewords] in [name] style",
        "[filewords], [name] style",
    ),
    "subject": ("an image of [name]", "[name]", "a picture that shows [name]", "[name], close up"),
    "subject_filewords": (
        "[name], [filewords]",
        "an image of [name], [filewords]",
        "[filewords] with [name]",
    ),
}
"""The built-in templates, under WebUI's names."""

_NUMBERING: Final = re.compile(r"^[-\d]+\s*")


def caption_of(image: Path, *, word_pattern: str = "", word_join: str = " ") -> str:
    """Find an image's caption.

    Args:
        image: ``image.png``; the text of ``image.txt`` beside it is the caption if it is there.
            Otherwise it is the file's stem without the digits and dashes it begins with.
        word_pattern: Regular expression that finds the words of a stem (its first group, where it
            has groups); empty keeps the stem as it is. Text files are not searched.
        word_join: What joins these words.

    Raises:
        TrainingError: The text file is not UTF-8.
        OSError: It cannot be read.
    """
    beside = image.with_suffix(".txt")
    if beside.is_file():
        return _read_text(beside).strip()
    stem = _NUMBERING.sub("", image.stem)
    if not word_pattern:
        return stem
    found = re.finditer(word_pattern, stem)
    return word_join.join(match[1 if match.re.groups else 0] or "" for match in found)


def template_lines(template: str | Path) -> tuple[str, ...]:
    """Read a template's prompts.

    Args:
        template: One of :data:`TEMPLATES`, with or without ``.txt``, or a UTF-8 text file with one
            prompt a line. A file comes before a built-in template of its name.

    Raises:
        TrainingError: Neither a file nor a built-in name, or a file without a prompt.
    """
    path = Path(template)
    if not path.is_file():
        known = TEMPLATES.get(str(template).removesuffix(".txt"))
        if known is not None:
            return known
        names = ", ".join(TEMPLATES)
        raise TrainingError(f"template {str(template)!r} is no file and none of {names}")
    lines = tuple(line.strip() for line in _read_text(path).splitlines() if line.strip())
    if not lines:
        raise TrainingError(f"{path}: the template holds no prompt")
    return lines


def fill_template(line: str, *, name: str, caption: str) -> str:
    """Put a name and a caption into a template's line, each everywhere it is asked for."""
    values = {"[name]": name, "[filewords]": caption}
    return re.sub(r"\[(?:name|filewords)\]", lambda found: values[found[0]], line)


def vary_tags(caption: str, *, shuffle: bool, dropout: float, generator: torch.Generator) -> str:
    """Shuffle and thin out the parts between a caption's commas.

    Args:
        caption: Such as ``a cat, snow, night``.
        shuffle: Put what is left in a random order.
        dropout: Probability to leave each part out; 0 for none.
        generator: Where randomness comes from.
    """
    tags: Sequence[str] = [tag.strip() for tag in caption.split(",") if tag.strip()]
    kept = torch.rand(len(tags), generator=generator) >= dropout
    order = torch.randperm(len(tags), generator=generator) if shuffle else torch.arange(len(tags))
    return ", ".join(tags[i] for i in order.tolist() if kept[i])


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as failure:
        raise TrainingError(f"{path}: not UTF-8 text ({failure.reason})") from None
