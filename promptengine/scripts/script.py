"""What a script is: a name, arguments in their order, and a run that asks for images and gets them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Final, Literal

from PIL.Image import Image

from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult

__all__ = [
    "BOTH_TABS",
    "IMG2IMG",
    "Script",
    "ScriptArgument",
    "ScriptArguments",
    "ScriptCall",
    "ScriptContext",
    "ScriptControl",
    "ScriptImage",
    "ScriptOutput",
    "ScriptRun",
    "ScriptStep",
    "ScriptTab",
]

ScriptTab = Literal["txt2img", "img2img"]
"""Where a script can be used, by the names of WebUI's API."""

ScriptControl = Literal["", "lines", "axis", "values", "none"]
"""What a page shows for an argument: what follows from its type, a text of several lines, a choice of what
varies along an axis (told by its place in the list of :func:`promptengine.scripts.xyz_axes.plot_axes`), the
values of such an axis, or nothing where other arguments say the same."""

ScriptArguments = Mapping[str, object]
"""An argument's value by its name; all of a script's are there, and checked."""


@dataclass(frozen=True, slots=True)
class ScriptArgument:
    """One of a script's arguments.

    Attributes:
        name: As programs and command lines write it, such as ``pixels``; unique in its script.
        label: As WebUI shows it; empty where WebUI has a place for a value that means nothing, and any is
            taken.
        default: Its value where it is left out; an empty list for one that takes several choices.
        low: The smallest value of a number; None for one without limits, and for what is no number.
        high: The largest, likewise.
        choices: What a text, or each of a list of texts, may be; empty where it may be anything.
        numbered: Whether a choice may be given by its number too, from 0, as WebUI's page sends it.
        help: What it does, as a clause; empty where the label says it all.
        control: What a page shows for it; empty follows the type.
        listed: The list of :mod:`promptengine.choices` that it names one of; empty for none.
        axis: The argument that says what these are values of; empty for what are none.
    """

    name: str
    label: str
    default: bool | int | float | str | tuple[str, ...]
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    numbered: bool = False
    _: KW_ONLY
    help: str = ""
    control: ScriptControl = ""
    listed: str = ""
    axis: str = ""


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """Which script is to run, and how: what other processes are told of it.

    Attributes:
        name: As in the table of scripts.
        arguments: All of them, checked.
    """

    name: str
    arguments: ScriptArguments


@dataclass(frozen=True, slots=True)
class ScriptContext:
    """What a script may know beside its request.

    Attributes:
        registry: Where names are looked up.
        native_size: Pixels of a side that a request leaves open.
        device: Where networks that enlarge images run.
    """

    registry: Registry
    native_size: int
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class ScriptStep:
    """Images that a script asks for: one batch, or all of a single request's.

    Attributes:
        requests: Made together; their seeds are set.
        networks: As for :meth:`promptengine.Engine.generate_batch`.
        checkpoint: Name of the model; empty for the one at hand.
        vae: Name of the VAE; empty for the one at hand.
    """

    requests: tuple[GenerationRequest, ...]
    networks: Literal["own", "first-prompt"] = "own"
    checkpoint: str = ""
    vae: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ScriptImage:
    """An image that a script returns.

    Attributes:
        image: RGB or RGBA.
        infotext: What it was made with.
        grid: Whether it is made of several.
    """

    image: Image
    infotext: str
    grid: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ScriptOutput:
    """What a script comes to.

    Attributes:
        images: In WebUI's order: grids first, then as the script returns them.
        results: Everything that was generated on the way, in the order made.
        notes: What to say beside the diagnostics of the results, a sentence each.
        requests: What each of the results was made by; whoever drives the run puts it in.
    """

    images: tuple[ScriptImage, ...]
    results: tuple[GenerationResult, ...]
    notes: tuple[str, ...] = ()
    requests: tuple[GenerationRequest, ...] = ()


ScriptRun = Generator[ScriptStep, tuple[GenerationResult, ...], ScriptOutput]
"""A run: yields what is to be made next, is sent the results (one for each request of the step), and returns
what it comes to. It needs no engine, so that a program, a server's worker and a test may drive it."""


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """A script.

    Attributes:
        name: As users write it and WebUI calls it; upper and lower case are alike, as in WebUI.
        arguments: In the order of WebUI's ``script_args``.
        tabs: Where it can be used.
        run: Begins a run for a request with all arguments. Raises RequestError before the first step where
            a value cannot be used.
        steps: Yields what a run will ask for, one step after another and without making any, so that
            whoever has limits can stop early; raises RequestError as a run does. None for a script whose
            steps depend on the images that it gets.
        expands: Whether it is for requests with ``dynamic``, and for no others.
    """

    name: str
    arguments: tuple[ScriptArgument, ...]
    tabs: frozenset[ScriptTab]
    run: Callable[[GenerationRequest, ScriptArguments, ScriptContext], ScriptRun]
    steps: (
        Callable[[GenerationRequest, ScriptArguments, ScriptContext], Iterator[ScriptStep]] | None
    ) = None
    expands: bool = False


BOTH_TABS: Final[frozenset[ScriptTab]] = frozenset({"txt2img", "img2img"})
IMG2IMG: Final[frozenset[ScriptTab]] = frozenset({"img2img"})
