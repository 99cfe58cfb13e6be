"""LoRAs, LyCORIS's included, as a kind of networks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Final

from promptengine.kinds.blocks import split_blocks, without_blocks
from promptengine.kinds.kind import InfotextLabels, ListedReport, NetworkKind, OldUse
from promptengine.kinds.tag import (
    Curve,
    ReadCurve,
    TagProblem,
    TagReading,
    TagSyntax,
)
from promptengine.plugins import LazyFunction

__all__ = ["LORA"]

_HOME: Final = "promptengine.networks.lora.kind"
_ITEMS: Final = ("te", "unet", "dyn")
_ITEMS_OVER_STEPS: Final = ("hr", "hrte", "hrunet", "start", "stop", "step")
_GLUED: Final = re.compile(rf";(?=\s*(?:{'|'.join((*_ITEMS, *_ITEMS_OVER_STEPS))})=)")
"""What loractl's documentation has between a list over the steps and the item behind it."""

_PLACES: Final = 4
_MOST_RANKS: Final = 1 << 31
_ADDED_NETWORK: Final = re.compile(r"AddNet (Module|Model|Weight A|Weight B) ([0-9]{1,3})")


def _items(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return a tag's arguments: by position, and those of the form ``key=value``."""
    split = [argument.split("=") for argument in arguments]
    positional = ["=".join(pieces) for pieces in split if len(pieces) != 2]
    return positional, {pieces[0]: pieces[1] for pieces in split if len(pieces) == 2}


def _idle(arguments: Sequence[str], over_steps: bool) -> Sequence[str]:
    rest = without_blocks(arguments)
    positional, named = _items(_unglued(rest) if over_steps else rest)
    known = (*_ITEMS, *_ITEMS_OVER_STEPS) if over_steps else _ITEMS
    unknown = [f"{key}={value}" for key, value in named.items() if key not in known]
    return [*positional[_PLACES:], *unknown]


def _unglued(arguments: Sequence[str]) -> list[str]:
    return [piece.strip() for argument in arguments for piece in _GLUED.split(argument)]


def _name_in(arguments: Sequence[str]) -> str | None:
    return next(iter(_items(without_blocks(arguments))[0]), None)


def _read(word: str, arguments: Sequence[str], read_curve: ReadCurve) -> TagReading:
    """Read ``<lora:name:te:unet:dyn>``, where ``te=``, ``unet=`` and ``dyn=`` may stand anywhere.

    Where multipliers may change over the steps, ``hr=``, ``hrte=`` and ``hrunet=`` take their places in
    the second pass, as in loractl, and ``start=``, ``stop=`` and ``step=a-b`` bound them.
    """
    over_steps, rest = read_curve.over_steps, without_blocks(arguments)
    positional, named = _items(_unglued(rest) if over_steps else rest)
    if not positional:
        reason = f"{arguments[0]!r} is no name, because of its '='"
        raise TagProblem(reason, f"in a <{word}:…> tag {reason}")
    name, *numbers = positional
    asked = dict(zip(_ITEMS, numbers, strict=False)) | named
    ranks = _whole_number(asked["dyn"]) if "dyn" in asked else None
    if "dyn" in asked and ranks is None:
        raise _problem(name, "dyn", asked["dyn"], "a whole number")
    curves = _curves(name, asked, read_curve)
    text = curves.get("te", Curve())
    unet = curves.get("unet", text)
    own_text = "te" in named or len(numbers) > 1
    if over_steps:
        unet = unet.within(*_window(name, asked, read_curve))
        text = text if own_text else text.within(unet.start, unet.stop)
    if read_curve.later and over_steps:
        unet = curves.get("hrunet", curves.get("hr", unet))
        text = curves.get("hrte", curves.get("hr", text))
    blocks = split_blocks(arguments, f"LoRA {name!r}")[1]
    return TagReading(name, text, unet, ranks, blocks)


def _curves(name: str, asked: Mapping[str, str], read_curve: ReadCurve) -> dict[str, Curve]:
    """Read the multipliers that a tag names."""
    known = ("te", "unet", *(("hr", "hrte", "hrunet") if read_curve.over_steps else ()))
    curves: dict[str, Curve] = {}
    for key in known:
        if key in asked:
            curve = read_curve(asked[key])
            if curve is None:
                raise _problem(name, key, asked[key], "a finite number")
            curves[key] = curve
    return curves


def _window(name: str, asked: Mapping[str, str], read_curve: ReadCurve) -> tuple[float, float]:
    """Return the calls between which a tag holds: from the first on, and before the second."""
    start, dash, stop = asked.get("step", "").partition("-")
    if "step" in asked and not dash:
        raise _problem(name, "step", asked["step"], "two steps such as 2-10")
    bounds = {"start": start.strip() or "0", "stop": stop.strip()}
    bounds |= {key: asked[key] for key in bounds if key in asked}
    found = {key: read_curve.step(text) for key, text in bounds.items() if text}
    for key, step in found.items():
        if step is None:
            raise _problem(name, key, bounds[key], "a step")
    return found["start"] or 0.0, found.get("stop") or math.inf


def _problem(name: str, key: str, text: str, what: str) -> TagProblem:
    reason = f"{key} {text!r} is not {what}"
    return TagProblem(reason, f"LoRA {name!r}: {reason}")


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
    civitai_types=("LORA", "LoCon", "DoRA"),
    comfyui_folders=("loras",),
    tag=TagSyntax(
        words=("lora", "lyco"),
        read=_read,
        title="a LoRA tag",
        usage=f"known are {', '.join(f'{key}=' for key in (*_ITEMS, 'lbw'))}; and in the dialect "
        f"extended {', '.join(f'{key}=' for key in _ITEMS_OVER_STEPS)}",
        idle=_idle,
        name_in=_name_in,
        marks="=",
        over_steps=True,
    ),
    loader=LazyFunction("promptengine.networks.lora.loader:LoraLoader"),
    labels=InfotextLabels(
        "Lora hashes", "Lora skipped", "Lora schedule", listed=_listed, webui=True
    ),
    short_hash=LazyFunction(f"{_HOME}:webui_hash"),
    file_digests=LazyFunction(f"{_HOME}:written_digests"),
    civitai=("lora", "lyco"),
    old_uses=_old_uses,
    file_kind="lora",
    describe=LazyFunction(f"{_HOME}:describe_lora"),
    summarize=LazyFunction(f"{_HOME}:summarize_loras"),
)
"""Changes of weights, of low rank as a rule."""
