"""Routes over the scripts: what there are with their arguments, and how many images one will make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, get_args

from fastapi import APIRouter
from PIL import Image
from pydantic import BaseModel, Field

from promptengine.errors import RequestError
from promptengine.inspection import size_of_checkpoint
from promptengine.request.image_start import ImageStart
from promptengine.request.request import GenerationRequest
from promptengine.scripts.script import Script, ScriptArgument, ScriptControl, ScriptTab
from promptengine.scripts.table import SCRIPTS
from promptengine.scripts.xyz_axes import PlotAxis, plot_axes
from promptengine.scripts.xyz_values import text_numbers, whole_numbers
from promptengine.server.auth import BoundedRoute
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served
from promptengine.server.v1.named_lists import named_lists
from promptengine.server.v1.routes import PREFIX
from promptengine.server.v1.schemas import JobForm
from promptengine.server.v1.script_calls import counted_script
from promptengine.server.v1.to_request import request_from_form

__all__ = [
    "ArgumentEntry",
    "AxisEntry",
    "ScriptCount",
    "ScriptCountForm",
    "ScriptEntry",
    "ScriptList",
    "router",
]

ArgumentType = Literal["boolean", "integer", "number", "string", "array"]
AxisType = Literal["integer", "number", "string"]

_CONTROLS: Final[Mapping[ArgumentType, str]] = {
    "boolean": "checkbox",
    "integer": "number",
    "number": "number",
    "string": "text",
    "array": "checkboxes",
}
_AXIS_TYPES: Final[Mapping[object, AxisType]] = {whole_numbers: "integer", text_numbers: "number"}

router = APIRouter(
    prefix=f"{PREFIX}/scripts",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


class ArgumentEntry(BaseModel):
    """An argument of a script.

    Attributes:
        name: What a job's form calls it.
        label: As WebUI shows it.
        help: What it does, as a clause.
        type: Of its value, in JSON Schema's words; an array is one of texts.
        control: What shows it: ``checkbox``, ``number``, ``text``, ``choice``, ``checkboxes``, ``lines``,
            ``axis`` or ``values``.
        default: Where it is left out.
        minimum: The least number, or null.
        maximum: The greatest, likewise.
        choices: The values there are; empty where any will do.
        axis: The argument that says what these are values of, or null.
    """

    name: str
    label: str
    help: str
    type: ArgumentType
    control: str
    default: bool | int | float | str | list[str]
    minimum: float | None
    maximum: float | None
    choices: list[str]
    axis: str | None


class ScriptEntry(BaseModel):
    """A script.

    Attributes:
        name: As WebUI shows it.
        tabs: Where it can be used.
        arguments: Those that are shown.
    """

    name: str
    tabs: list[ScriptTab]
    arguments: list[ArgumentEntry]


class AxisEntry(BaseModel):
    """What can vary along an axis of a plot.

    Attributes:
        number: What an argument with the control ``axis`` is, where this is chosen.
        title: As WebUI shows it.
        type: Of its values; numbers may be ranges.
        choices: The values there are; empty where any will do.
    """

    number: int
    title: str
    type: AxisType
    choices: list[str]


class ScriptList(BaseModel):
    """What there is.

    Attributes:
        scripts: In WebUI's order.
        axes: By tab what can vary along an axis, in WebUI's order, those apart that cannot be honored.
    """

    scripts: list[ScriptEntry]
    axes: dict[str, list[AxisEntry]]


class ScriptCountForm(JobForm):
    """A job whose script is asked how much it makes. ``start`` may be left out for img2img."""

    tab: ScriptTab = Field(default="txt2img")


class ScriptCount(BaseModel):
    """How much a script makes.

    Attributes:
        images: What is generated, grids apart; null where only a run tells.
    """

    images: int | None


@router.get("")
def scripts(service: Served) -> ScriptList:
    """List the scripts with their arguments, and what X/Y/Z plots can vary."""
    lists = named_lists(service.registry)
    return ScriptList(
        scripts=[_entry(script, lists) for script in SCRIPTS.values()],
        axes={tab: _axes(tab, lists) for tab in get_args(ScriptTab)},
    )


@router.post("/count")
def count(service: Served, form: ScriptCountForm) -> ScriptCount:
    """Tell how many images a job's script will make; what a job would be refused for, this is."""
    if form.script is None:
        raise RequestError("script is null; name a script to count", field="script")
    limits, registry = service.config.limits, service.registry
    request, model = request_from_form(form, service.settings, registry, limits)
    if form.tab == "img2img" and request.start is None:
        request = _started(request, model)
    _, images = counted_script(form.script, request, registry, limits)
    return ScriptCount(images=images)


def _started(request: GenerationRequest, model: Model) -> GenerationRequest:
    """Return a request with a blank image to start from, whose size is what counting needs of it."""
    usual = size_of_checkpoint(model.checkpoint)
    size = (request.width or usual, request.height or usual)
    return replace(request, start=ImageStart(images=(Image.new("RGB", size),)))


def _entry(script: Script, lists: Mapping[str, Sequence[str]]) -> ScriptEntry:
    told = [one for one in script.arguments if one.label and one.control != "none"]
    tabs: list[ScriptTab] = [tab for tab in get_args(ScriptTab) if tab in script.tabs]
    arguments = [_argument(one, lists) for one in told]
    return ScriptEntry(name=script.name, tabs=tabs, arguments=arguments)


def _argument(one: ScriptArgument, lists: Mapping[str, Sequence[str]]) -> ArgumentEntry:
    kind, default = _type(one.default), one.default
    choices = [*one.choices, *lists.get(one.listed, ())]
    return ArgumentEntry(
        name=one.name,
        label=one.label,
        help=one.help,
        type=kind,
        control=_control(one.control, kind, chosen=bool(choices)),
        default=list(default) if isinstance(default, tuple) else default,
        minimum=one.low,
        maximum=one.high,
        choices=choices,
        axis=one.axis or None,
    )


def _type(default: Any) -> ArgumentType:
    match default:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case tuple():
            return "array"
        case _:
            return "string"


def _control(declared: ScriptControl, kind: ArgumentType, *, chosen: bool) -> str:
    if declared:
        return declared
    return "choice" if kind == "string" and chosen else _CONTROLS[kind]


def _axes(tab: ScriptTab, lists: Mapping[str, Sequence[str]]) -> list[AxisEntry]:
    return [
        AxisEntry(
            number=number,
            title=axis.title,
            type=_axis_type(axis),
            choices=[*axis.known, *lists.get(axis.listed, ())],
        )
        for number, axis in enumerate(plot_axes(tab))
        if axis.write is not None
    ]


def _axis_type(axis: PlotAxis) -> AxisType:
    return _AXIS_TYPES.get(axis.read, "string")
