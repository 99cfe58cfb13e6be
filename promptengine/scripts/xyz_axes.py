"""What can vary along an axis of WebUI's X/Y/Z plot: its list, in its order, on our own axes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import Final, Literal, cast

from promptengine.errors import RequestError
from promptengine.kinds import find_kind
from promptengine.registry.registry import Registry
from promptengine.request.options import SETTINGS
from promptengine.request.request import GenerationRequest
from promptengine.scripts.script import BOTH_TABS, IMG2IMG, ScriptTab
from promptengine.scripts.xyz_values import (
    PlotValue,
    orders,
    text_numbers,
    texts,
    whole_numbers,
)
from promptengine.xyz_plot.axes import AXIS_KINDS, Axis, AxisValue, request_at

__all__ = ["NOTHING", "PLOT_AXES", "PlotAxis", "model_name", "plot_axes"]

Write = Callable[[GenerationRequest, PlotValue, Sequence[PlotValue]], GenerationRequest]
"""Writes a value into a request; is told all values of the axis."""

Check = Callable[[GenerationRequest, Sequence[PlotValue], Registry], None]
"""Raises PromptEngineError where one of an axis's values cannot be used."""

Label = Callable[[str, PlotValue], str]
"""Says beside the images of a value what it is, given the axis's title."""


def _titled(title: str, value: PlotValue) -> str:
    return f"{title}: {_plain(title, value)}"


def _plain(_: str, value: PlotValue) -> str:
    return str(round(value, 8) if isinstance(value, float) else value)


def _joined(_: str, value: PlotValue) -> str:
    return ", ".join(cast("tuple[str, ...]", value))


def _file_name(_: str, value: PlotValue) -> str:
    return PurePath(str(value)).name


def _unlabeled(_: str, __: PlotValue) -> str:
    return ""


def _unchanged(
    request: GenerationRequest, _: PlotValue, __: Sequence[PlotValue]
) -> GenerationRequest:
    return request


def _usable(_: GenerationRequest, __: Sequence[PlotValue], ___: Registry) -> None:
    pass


@dataclass(frozen=True, slots=True)
class PlotAxis:
    """What can vary along an axis.

    Attributes:
        title: WebUI's name for it.
        read: Makes its values of the parts of a text; raises RequestError.
        write: Writes a value into a request; raises RequestError. None for what cannot be honored.
        check: Raises PromptEngineError for a value that cannot be used, before the first image is made.
        label: What stands beside the images of a value.
        tabs: Where it is in the list.
        cost: How long a change takes; the costliest axis is the outermost.
        choices: Whether its values may come as a list of choices.
        listed: The list of :mod:`promptengine.choices` that its values are of; empty for none.
        known: All values there are, or those beside the listed ones.
        late: Whether it is written behind other axes, whichever it is of the three.
        seed: Whether it sets a seed, so that -1 has one drawn.
        model: Which model of a step a value names; empty for none.
    """

    title: str
    read: Callable[[Sequence[str]], Sequence[PlotValue]] = texts
    write: Write | None = None
    check: Check = _usable
    label: Label = _titled
    tabs: frozenset[ScriptTab] = BOTH_TABS
    cost: float = 0.0
    choices: bool = False
    late: bool = False
    seed: bool = False
    model: Literal["", "checkpoint", "vae"] = ""
    listed: str = ""
    known: tuple[str, ...] = ()


_READERS: Final[Mapping[type, Callable[[Sequence[str]], Sequence[PlotValue]]]] = {
    str: texts,
    int: whole_numbers,
    float: text_numbers,
}


_HASH: Final = re.compile(r" \[[0-9a-f]{8,64}\]\Z")
_NO_MODEL: Final[Mapping[str, tuple[str, ...]]] = {
    "checkpoint": (),
    "vae": ("None", "Automatic"),
}
"""What names no file: a checkpoint's own VAE, and whichever belongs to it."""
_SWITCH: Final = ("True", "False")


def _axis(kind: str, values: Sequence[PlotValue]) -> Axis:
    return Axis(kind, cast("tuple[AxisValue, ...]", tuple(values)))


def _write(
    kind: str, request: GenerationRequest, value: PlotValue, values: Sequence[PlotValue]
) -> GenerationRequest:
    # Nothing asks for more than the first: it is what a search replaces.
    axis = _axis(kind, (values[0], value))
    return request_at(request, [(axis, cast("AxisValue", value))])


def _check(
    kind: str, request: GenerationRequest, values: Sequence[PlotValue], registry: Registry
) -> None:
    AXIS_KINDS.builtins[kind].check(request, _axis(kind, values), registry)


def model_name(value: PlotValue) -> str:
    """Return the name of a model's file of what may be its title: WebUI's lists have the hash behind it."""
    return _HASH.sub("", str(value))


def _check_models(
    kind: str, _: GenerationRequest, values: Sequence[PlotValue], registry: Registry
) -> None:
    for value in map(model_name, values):
        if value not in _NO_MODEL[kind] and registry.find(kind, value) is None:
            near = registry.near(kind, value)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"{value[:60]!r} is no {find_kind(kind).noun} in the models folder{hint}"
            raise RequestError(message, field="script_args")


def _names_model(
    title: str, kind: Literal["checkpoint", "vae"], cost: float, label: Label
) -> PlotAxis:
    """Name a model that a step is made with."""
    check = partial(_check_models, kind)
    return PlotAxis(
        title,
        texts,
        _unchanged,
        check,
        label,
        cost=cost,
        choices=True,
        model=kind,
        listed=f"{kind}s",
        known=tuple(reversed(_NO_MODEL[kind])),
    )


def _varies(
    title: str,
    kind: str,
    *,
    write: Callable[..., GenerationRequest] = _write,
    label: Label = _titled,
    tabs: frozenset[ScriptTab] = BOTH_TABS,
    cost: float = 0.0,
    listed: str = "",
    known: tuple[str, ...] = (),
) -> PlotAxis:
    """Stand on one of our own kinds of axes, by its name there."""
    return PlotAxis(
        title,
        _READERS[AXIS_KINDS.builtins[kind].values],
        partial(write, kind),
        partial(_check, kind),
        label,
        tabs,
        cost,
        choices=bool(listed or known),
        listed=listed,
        known=known,
    )


def _choices_of(setting: str) -> tuple[str, ...]:
    """Return the values of one of WebUI's settings; those of a switch are words here."""
    return tuple(SETTINGS[setting].choices) or _SWITCH


def _write_order(
    request: GenerationRequest, value: PlotValue, _: Sequence[PlotValue]
) -> GenerationRequest:
    """Put texts of the prompt at each other's places, as far as they are in it one after another."""
    parts, prompt = cast("tuple[str, ...]", value), request.prompt
    pieces: list[str] = []
    done = 0
    for part, put in zip(sorted(parts, key=prompt.find), parts, strict=True):
        start = prompt.find(part, done)
        if start < 0:
            message = f"{part[:60]!r} is not in the prompt, or only within another of the texts"
            raise RequestError(message, field="script_args")
        pieces += prompt[done:start], put
        done = start + len(part)
    return replace(request, prompt="".join([*pieces, prompt[done:]]))


def _write_capped(
    kind: str, request: GenerationRequest, value: PlotValue, values: Sequence[PlotValue]
) -> GenerationRequest:
    """Set an order below the number of steps."""
    return _write(kind, request, max(min(cast("int", value), request.steps - 1), 1), values)


_TXT2IMG: Final[frozenset[ScriptTab]] = frozenset({"txt2img"})

NOTHING: Final = PlotAxis("Nothing", write=_unchanged, label=_unlabeled)
"""Stands for an axis that is not there."""

PLOT_AXES: Final[tuple[PlotAxis, ...]] = (
    NOTHING,
    replace(_varies("Seed", "seed"), seed=True),
    replace(_varies("Var. seed", "variation-seed"), seed=True),
    _varies("Var. strength", "variation-strength"),
    _varies("Steps", "steps"),
    _varies("Hires steps", "hires-steps", tabs=_TXT2IMG),
    _varies("CFG Scale", "cfg"),
    PlotAxis("Image CFG Scale", text_numbers, tabs=IMG2IMG),
    _varies("Prompt S/R", "prompt", label=_plain),
    PlotAxis("Prompt order", orders, _write_order, label=_joined),
    _varies("Sampler", "sampler", label=_plain, listed="samplers"),
    _varies("Hires sampler", "hires-sampler", tabs=_TXT2IMG, listed="samplers"),
    _names_model("Checkpoint name", "checkpoint", 1.0, _file_name),
    _varies("Negative Guidance minimum sigma", "unguided-below"),
    _varies("Sigma Churn", "churn"),
    _varies("Sigma min", "churn-from"),
    _varies("Sigma max", "churn-to"),
    _varies("Sigma noise", "noise-scale"),
    _varies("Schedule type", "scheduler", listed="scheduler_labels"),
    _varies("Schedule min sigma", "sigma-min"),
    _varies("Schedule max sigma", "sigma-max"),
    _varies("Schedule rho", "rho"),
    _varies("Beta schedule alpha", "beta-alpha"),
    _varies("Beta schedule beta", "beta-beta"),
    replace(_varies("Eta", "eta"), late=True),
    _varies("Clip skip", "clip-skip"),
    _varies("Denoising", "denoising"),
    _varies("Initial noise multiplier", "initial-noise-multiplier"),
    _varies("Extra noise", "extra-noise"),
    _varies("Hires upscaler", "hires-upscaler", tabs=_TXT2IMG, listed="upscalers"),
    _varies("Cond. Image Mask Weight", "mask-strength", tabs=IMG2IMG),
    _names_model("VAE", "vae", 0.7, _titled),
    PlotAxis("Styles", choices=True),
    _varies("UniPC Order", "unipc-order", write=_write_capped, cost=0.5),
    PlotAxis("Face restore"),
    _varies("Token merging ratio", "token-merging"),
    _varies("Token merging ratio high-res", "token-merging-hires"),
    _varies(
        "Always discard next-to-last sigma",
        "discard-penultimate",
        known=_choices_of("always_discard_next_to_last_sigma"),
    ),
    _varies("SGM noise multiplier", "sgm-noise", known=_choices_of("sgm_noise_multiplier")),
    _varies("Refiner checkpoint", "refiner", label=_file_name, cost=1.0, listed="checkpoints"),
    _varies("Refiner switch at", "refiner-switch-at"),
    _varies("RNG source", "noise-source", known=_choices_of("randn_source")),
    PlotAxis("FP8 mode", cost=0.9, choices=True),
    _varies("Size", "size"),
)
"""WebUI's axes in its order. Each tab's list has those that are for it, and arguments hold places there."""


def plot_axes(tab: ScriptTab) -> tuple[PlotAxis, ...]:
    """Return the list of a tab."""
    return tuple(axis for axis in PLOT_AXES if tab in axis.tabs)
