"""LoRAs, LyCORIS's included, as a kind of networks."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Final

from promptengine.kinds.blocks import split_blocks, without_blocks
from promptengine.kinds.kind import InfotextLabels, ListedReport, NetworkKind, OldUse
from promptengine.kinds.tag import ReadPoints, TagProblem, TagReading, TagSyntax, finite_number
from promptengine.plugins import LazyFunction

__all__ = ["LORA"]

_HOME: Final = "promptengine.networks.lora.kind"
_ITEMS: Final = ("te", "unet", "dyn")
_PLACES: Final = 4
_MOST_RANKS: Final = 1 << 31
_ADDED_NETWORK: Final = re.compile(r"AddNet (Module|Model|Weight A|Weight B) ([0-9]{1,3})")


def _items(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return a tag's arguments: by position, and those of the form ``key=value``."""
    split = [argument.split("=") for argument in arguments]
    positional = ["=".join(pieces) for pieces in split if len(pieces) != 2]
    return positional, {pieces[0]: pieces[1] for pieces in split if len(pieces) == 2}


def _idle(arguments: Sequence[str]) -> Sequence[str]:
    positional, named = _items(without_blocks(arguments))
    unknown = [f"{key}={value}" for key, value in named.items() if key not in _ITEMS]
    return [*positional[_PLACES:], *unknown]


def _name_in(arguments: Sequence[str]) -> str | None:
    return next(iter(_items(without_blocks(arguments))[0]), None)


def _read(word: str, arguments: Sequence[str], _: ReadPoints) -> TagReading:
    """Read ``<lora:name:te:unet:dyn>``, where ``te=``, ``unet=`` and ``dyn=`` may stand anywhere."""
    positional, named = _items(without_blocks(arguments))
    if not positional:
        reason = f"{arguments[0]!r} is no name, because of its '='"
        raise TagProblem(reason, f"in a <{word}:…> tag {reason}")
    name, *numbers = positional
    asked = dict(zip(_ITEMS, numbers, strict=False)) | named
    for key, read in (("te", finite_number), ("unet", finite_number), ("dyn", _whole_number)):
        if key in asked and read(asked[key]) is None:
            sort = "whole" if key == "dyn" else "finite"
            reason = f"{key} {asked[key]!r} is not a {sort} number"
            raise TagProblem(reason, f"LoRA {name!r}: {reason}")
    text = finite_number(asked.get("te", "1")) or 0.0
    unet = text if "unet" not in asked else finite_number(asked["unet"]) or 0.0
    blocks = split_blocks(arguments, f"LoRA {name!r}")[1]
    return TagReading(name, ((0.0, text),), unet, _whole_number(asked.get("dyn", "")), blocks)


def _whole_number(text: str) -> int | None:
    """Return what Python's ``int`` reads, as in WebUI, cut to what can be a number of ranks."""
    try:
        return max(min(int(text), _MOST_RANKS), -_MOST_RANKS)
    except ValueError:
        return None


def _old_uses(entries: MutableMapping[str, str]) -> Iterator[OldUse]:
    """Take the keys of the extension Additional Networks."""
    slots: dict[int, dict[str, str]] = {}
    for key in tuple(entries):
        if match := _ADDED_NETWORK.fullmatch(key):
            slots.setdefault(int(match[2]), {})[match[1]] = entries.pop(key)
    if entries.pop("AddNet Enabled", "True") != "True":
        return
    for number, slot in sorted(slots.items()):
        name, module = slot.get("Model", "None"), slot.get("Module", "LoRA")
        if name != "None" and module != "LoRA":
            yield OldUse(f"AddNet Module {number}", module, problem="only LoRA is known")
            continue
        unet = slot.get("Weight A", "1.0")
        text = slot.get("Weight B", unet)
        multiplier = unet if text == unet else f"{text}:{unet}"
        yield OldUse(f"AddNet Model {number}", name, multiplier=multiplier)


def _listed(report: ListedReport) -> str | None:
    return report.lora_hash


LORA: Final = NetworkKind(
    name="lora",
    noun="LoRA",
    plural="LoRAs",
    folders=("Lora", "LyCORIS"),
    suffixes=(".pt", ".ckpt", ".safetensors"),
    aliases=LazyFunction(f"{_HOME}:own_names"),
    page="lora",
    tag=TagSyntax(
        words=("lora", "lyco"),
        read=_read,
        title="a LoRA tag",
        usage=f"known are {', '.join(f'{key}=' for key in (*_ITEMS, 'lbw'))}",
        idle=_idle,
        name_in=_name_in,
        marks="=",
    ),
    loader=LazyFunction("promptengine.networks.lora.loader:LoraLoader"),
    labels=InfotextLabels("Lora hashes", "Lora skipped", listed=_listed, webui=True),
    short_hash=LazyFunction(f"{_HOME}:webui_hash"),
    file_digests=LazyFunction(f"{_HOME}:written_digests"),
    civitai=("lora", "lyco"),
    old_uses=_old_uses,
    file_kind="lora",
    describe=LazyFunction(f"{_HOME}:describe_lora"),
    summarize=LazyFunction(f"{_HOME}:summarize_loras"),
)
"""Changes of weights, of low rank as a rule."""
