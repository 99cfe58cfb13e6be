"""Presets of block weights in infotexts: numbers in their place, since a preset is a name on one machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from promptengine.infotext.read import Infotext
from promptengine.infotext.write import BLOCK_WEIGHTS
from promptengine.kinds import PresetTable
from promptengine.prompt import Diagnostic, Remedy, parse
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.dialects import WEBUI, written_dialect
from promptengine.prompt.remedies import of_argument

__all__ = ["write_out_presets"]

_PROMPTS: Final = ("Prompt", "Hires prompt")
_ARGUMENT: Final = "lbw="
_MOST: Final = 200
_ITEM: Final = re.compile(r"\s*([^:;]{1,100}):\s*([-+0-9.,eEXRU_]{1,2000})\s*")
"""Numbers as presets may have them: nothing that could end a tag."""


def write_out_presets(
    infotext: Infotext, presets: PresetTable
) -> tuple[Infotext, tuple[Diagnostic, ...]]:
    """Let tags say the numbers of presets that are not here, or are others here.

    Args:
        infotext: As read.
        presets: Of this machine.

    Returns:
        The infotext without its list of presets, and what was changed.
    """
    entries = dict(infotext.entries)
    text = entries.pop(BLOCK_WEIGHTS, None)
    if text is None:
        return infotext, ()
    found = [_ITEM.fullmatch(item) for item in text.split(";")[:_MOST]]
    told = {match[1].strip(): match[2] for match in found if match is not None}
    other = {name: text for name, text in told.items() if presets.texts.get(name) != text}
    known = written_dialect(entries.get("Prompt syntax", ""))
    dialect = WEBUI if known is None else known.name
    prompts = {_PROMPTS[0]: infotext.prompt, **entries}
    changed: dict[str, None] = {}
    for label in _PROMPTS:
        remedies = tuple(_remedies(prompts.get(label, ""), other, dialect))
        for remedy in reversed(remedies):
            prompt, span = prompts[label], remedy.span
            prompts[label] = prompt[: span.start] + remedy.text + prompt[span.end :]
        changed |= dict.fromkeys(remedy.label for remedy in remedies)
    prompt = prompts.pop(_PROMPTS[0])
    remarks = [kinds.PRESET_CHANGED(message) for message in changed]
    if None in found:
        remarks.append(kinds.UNKNOWN_ENTRY(f"{BLOCK_WEIGHTS} holds something that is no preset"))
    entries = {key: prompts[key] for key in entries}
    return replace(infotext, prompt=prompt, entries=entries), tuple(remarks)


def _remedies(prompt: str, presets: Mapping[str, str], dialect: str) -> Iterator[Remedy]:
    """Yield what writes numbers for names, in the prompt's order."""
    if not presets or _ARGUMENT not in prompt:
        return
    for tag in parse(prompt, dialect=dialect).tags:
        for number, argument in enumerate(tag.arguments):
            name = argument.removeprefix(_ARGUMENT).strip()
            if argument.startswith(_ARGUMENT) and name in presets:
                told = f"the preset {name!r} of block weights is another one here, or none; its numbers stand in the tag"
                if remedy := of_argument(tag, number, _ARGUMENT + presets[name], told):
                    yield remedy
