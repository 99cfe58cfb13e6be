"""``promptengine info``: what images say about how they were made."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from promptengine.cli.civitai import Lookup, add_base_url, show_online
from promptengine.cli.tables import show_infotext
from promptengine.cli.terminal import printable
from promptengine.errors import ImageError
from promptengine.images import ImageInfo, read_image_info
from promptengine.infotext.programs.reader import ProgramImage
from promptengine.prompt.serialize import well_formed

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = "Show the infotext of images (PNG, JPEG, WEBP, GIF) and text files."
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--online", action="store_true", help="ask Civitai what the hashes in it belong to"
    )
    add_base_url(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Show what each file says; one that cannot be read gets a line of its own.

    Returns:
        0, or 1 where a file could not be read or holds no infotext.
    """
    status = 0
    lookup = Lookup(options.base_url) if options.online else None
    answers: list[dict[str, Any]] = []
    for path in options.files:
        found, error = _read(path)
        if found is None:
            status = 1
            answers.append({"file": str(path), "error": error})
            print(f"promptengine: error: {printable(error)}", file=sys.stderr)
            continue
        if not options.json:
            show_infotext(found, spaced=bool(answers))
        answer = _as_json(found)
        if lookup is not None:
            online = lookup.of(found.infotext.entries if found.infotext else {})
            answer["online"] = online
            if not options.json:
                show_online(online)
        answers.append(answer)
    if options.json:
        print(json.dumps(well_formed(answers), indent=2))
    return status


def _read(path: Path) -> tuple[ImageInfo | None, str]:
    try:
        found = read_image_info(path)
    except OSError as error:
        return None, f"{path}: {error.strerror or error}"
    except ImageError as error:
        return None, str(error)
    if found.infotext is None and (not found.texts or found.format == "text"):
        return None, f"{path}: {found.nothing}"
    return found, ""


def _program_document(image: ProgramImage) -> dict[str, Any]:
    return {
        "place": image.place,
        "dialect": image.dialect,
        "verdict": image.verdict,
        "same": not image.differences,
        "differences": list(image.differences),
        "unmapped": [one._asdict() for one in image.unmapped],
    }


def _as_json(found: ImageInfo) -> dict[str, Any]:
    infotext = found.infotext
    told = infotext and {
        "prompt": infotext.prompt,
        "negative_prompt": infotext.negative_prompt,
        "entries": dict(infotext.entries),
        "strays": list(infotext.strays),
        "trailing": infotext.trailing,
    }
    return {
        "file": str(found.path),
        "format": found.format,
        "source": found.source,
        **({"program": found.program} if found.program else {}),
        "infotext": told,
        **({"other_program": _program_document(found.image)} if found.image else {}),
        "texts": dict(found.texts),
    }
