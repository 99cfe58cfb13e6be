"""WebUI's X/Y/Z plot: an image for every combination of values along three axes, and a grid of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, cast

from promptengine.errors import RequestError
from promptengine.images.labeled_grid import MOST_PIXELS, GridLabel, draw_labeled_grid
from promptengine.infotext.write import add_entries
from promptengine.request.ranges import drawn_seed
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult
from promptengine.scripts.script import (
    BOTH_TABS,
    Script,
    ScriptArgument,
    ScriptArguments,
    ScriptContext,
    ScriptImage,
    ScriptOutput,
    ScriptRun,
    ScriptStep,
    ScriptTab,
)
from promptengine.scripts.xyz_axes import NOTHING, PLOT_AXES, PlotAxis, model_name, plot_axes
from promptengine.scripts.xyz_values import PlotValue, separated, texts, written

__all__ = ["MOST_IMAGES", "XYZ_PLOT"]

MOST_IMAGES: Final = 2_000
"""Of a plot, those of all batches counted."""

_NAME: Final = "X/Y/Z plot"
_LONGEST_LABEL: Final = 200
"""Characters of a value that are written beside its images."""


_Place = tuple[int, int, int]
"""Numbers of the values along x, y and z."""


@dataclass(frozen=True, slots=True)
class _GivenAxis:
    """One axis as it was asked for.

    Attributes:
        letter: ``X``, ``Y`` or ``Z``.
        axis: What varies.
        values: In the order of the images.
        told: The values as infotexts repeat them.
        fixed: Whether infotexts repeat them as they were drawn, too.
        spread: Whether each of its places has a seed of its own.
    """

    letter: str
    axis: PlotAxis
    values: tuple[PlotValue, ...]
    told: str
    fixed: bool
    spread: bool

    @contextmanager
    def naming(self) -> Generator[None]:
        """Name the axis in errors of a request, whose fields have other names."""
        try:
            yield
        except RequestError as error:
            problem = f"axis {self.axis.title!r}: {error}"
            raise _refusal(self.letter, problem, "values") from None

    def labels(self, *, labeled: bool) -> list[list[GridLabel]]:
        """Return what stands beside the images of each value; nothing where a grid has no labels."""
        said = [self.axis.label(self.axis.title, value) for value in self.values]
        return [[GridLabel(text[:_LONGEST_LABEL] if labeled else "")] for text in said]

    @property
    def entries(self) -> dict[str, str]:
        """What infotexts of grids say of it."""
        if self.axis is NOTHING:
            return {}
        said = {f"{self.letter} Type": self.axis.title, f"{self.letter} Values": self.told}
        if self.fixed:
            said[f"Fixed {self.letter} Values"] = ", ".join(map(str, self.values))
        return said


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that a plot will make.

    Attributes:
        axes: x, y and z.
        places: In the order of making.
        steps: One for each place.
    """

    axes: tuple[_GivenAxis, _GivenAxis, _GivenAxis]
    places: tuple[_Place, ...]
    steps: tuple[ScriptStep, ...]


def _plan(request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext) -> _Plan:
    """Work a plot out and check it, before the first image is made.

    Raises:
        RequestError: A value that cannot be used, an axis that cannot be honored, or too many images.
    """
    tab: ScriptTab = "txt2img" if request.start is None else "img2img"
    x, y, z = (_read_axis(letter, tab, arguments) for letter in "XYZ")
    axes = x, y, z
    count = len(x.values) * len(y.values) * len(z.values)
    _check_count(count, request, context.native_size)
    if not arguments["no_fixed_seeds"]:
        request = with_seeds(request)
    for one in axes:
        with one.naming():
            if one.values:
                one.axis.check(request, one.values, context.registry)
    places = tuple(_in_making_order(axes))
    requests = [_request_at(request, axes, place) for place in places]
    if requests:
        sizes = [_size(made, context.native_size) for made in requests]
        _check_pixels(count, max(w for w, _ in sizes), max(h for _, h in sizes))
    steps = [_step(made, axes, place) for made, place in zip(requests, places, strict=True)]
    return _Plan(axes, places, tuple(steps))


def _refusal(letter: str, problem: str, argument: str = "type") -> RequestError:
    return RequestError(f"{_NAME}: {problem}", field=f"{letter.lower()}_{argument}")


def _read_axis(letter: str, tab: ScriptTab, arguments: ScriptArguments) -> _GivenAxis:
    own = letter.lower()
    number, listed = cast("int", arguments[f"{own}_type"]), plot_axes(tab)
    if not 0 <= number < len(listed):
        last = len(listed) - 1
        raise _refusal(letter, f"{letter} type must be from 0 to {last} in {tab} (got {number})")
    axis = listed[number]
    if axis.write is None:
        raise _refusal(letter, f"axis {axis.title!r} cannot be honored; choose another one")
    fixed = axis.seed and not arguments["no_fixed_seeds"]
    given = _GivenAxis(letter, axis, (0,), "", fixed, bool(arguments[f"vary_seeds_{own}"]))
    if axis is NOTHING:
        return given
    with given.naming():
        told = cast("str", arguments[f"{own}_values"])
        chosen = cast("tuple[str, ...]", arguments[f"{own}_values_dropdown"])
        # Beyond WebUI, which then makes nothing, a text counts where no choices are given.
        if axis.choices and not arguments["csv_mode"] and (chosen or not told):
            parts, told = texts(chosen), written(chosen)
        else:
            parts = separated(told)
        values = tuple(axis.read(parts))
    if fixed:
        values = tuple(drawn_seed(cast("int", one)) for one in values)
    return replace(given, values=values, told=told)


def _size(request: GenerationRequest, native: int) -> tuple[int, int]:
    usual = (native, native) if request.start is None else request.start.images[0].size
    return request.width or usual[0], request.height or usual[1]


def _check_count(count: int, request: GenerationRequest, native: int) -> None:
    made = count * request.batch_images * request.batch_count
    if made > MOST_IMAGES:
        message = f"{_NAME}: there would be {made} images; {MOST_IMAGES} are the most"
        raise RequestError(message, field="script_args")
    _check_pixels(count, *_size(request, native))


def _check_pixels(count: int, width: int, height: int) -> None:
    if (pixels := count * width * height) > MOST_PIXELS:
        most = MOST_PIXELS // 10**6
        message = (
            f"the grid would have {pixels / 1e6:.0f} million pixels; {most} million are the most"
        )
        raise RequestError(f"{_NAME}: {message}", field="script_args")


def _in_making_order(axes: Sequence[_GivenAxis]) -> Iterator[_Place]:
    """Yield all places, the costliest axis outermost; of equal ones z, then y, then x."""
    numbers = range(len(axes))
    outer = sorted(numbers, key=lambda number: (axes[number].axis.cost, number), reverse=True)
    for place in product(*(range(len(axes[number].values)) for number in outer)):
        x, y, z = (place[outer.index(number)] for number in numbers)
        yield x, y, z


def _at(axes: Sequence[_GivenAxis], place: _Place) -> list[tuple[_GivenAxis, PlotValue]]:
    """Return the values of a place in the order in which they are written into a request."""
    pairs = [(one, one.values[number]) for one, number in zip(axes, place, strict=True)]
    return sorted(pairs, key=lambda pair: pair[0].axis.late)


def _request_at(
    request: GenerationRequest, axes: Sequence[_GivenAxis], place: _Place
) -> GenerationRequest:
    for one, value in _at(axes, place):
        if one.axis.write is not None:
            with one.naming():
                request = one.axis.write(request, value, one.values)
    if min(request.seed, request.variation_seed) < 0:
        request = with_seeds(request)
    offset = _seed_offset(axes, place)
    return replace(request, seed=request.seed + offset) if offset else request


def _seed_offset(axes: Sequence[_GivenAxis], place: _Place) -> int:
    """Return how far a place's seed is from the first: counted along the axes that have seeds of their own."""
    offset, stride = 0, 1
    for one, number in zip(axes, place, strict=True):
        if one.spread:
            offset += number * stride
            stride *= len(one.values)
    return offset


def _step(request: GenerationRequest, axes: Sequence[_GivenAxis], place: _Place) -> ScriptStep:
    named = {one.axis.model: model_name(value) for one, value in _at(axes, place)}
    return ScriptStep((request,), checkpoint=named.get("checkpoint", ""), vae=named.get("vae", ""))


def _steps(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> Iterator[ScriptStep]:
    yield from _plan(request, arguments, context).steps


def _begin(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> ScriptRun:
    return _run(_plan(request, arguments, context), arguments)


def _run(plan: _Plan, arguments: ScriptArguments) -> ScriptRun:
    made: dict[_Place, GenerationResult] = {}
    for place, step in zip(plan.places, plan.steps, strict=True):
        (made[place],) = yield step
    if not made:
        idle = next(one for one in plan.axes if not one.values)
        note = f"{_NAME}: axis {idle.axis.title!r} has no values, so that there is nothing to make"
        return ScriptOutput((), (), (note,))
    return ScriptOutput(_returned(plan, made, arguments), tuple(made.values()))


def _returned(
    plan: _Plan, made: Mapping[_Place, GenerationResult], arguments: ScriptArguments
) -> tuple[ScriptImage, ...]:
    """Return the grid of all images, and if asked for those of each z and the images, x running fastest."""
    x, y, z = plan.axes
    labeled = bool(arguments["draw_legend"])
    # WebUI has margins in labeled grids only.
    margin = cast("int", arguments["margin_size"]) if labeled else 0
    columns, rows, titles = (one.labels(labeled=labeled) for one in plan.axes)
    subs: list[ScriptImage] = []
    lone: list[ScriptImage] = []
    for depth in range(len(z.values)):
        numbers = product(range(len(y.values)), range(len(x.values)))
        cells = [made[across, down, depth] for down, across in numbers]
        lone += [ScriptImage(cell.images[0], cell.infotexts[0]) for cell in cells]
        sheet = draw_labeled_grid([cell.images[0] for cell in cells], columns, rows, margin)
        subs.append(ScriptImage(sheet, _told(cells[0], x, y), grid=True))
    whole = draw_labeled_grid([sub.image for sub in subs], titles, [[GridLabel("")]])
    main = ScriptImage(whole, _told(made[0, 0, 0], x, y, z), grid=True)
    return (
        main,
        *(subs if arguments["include_sub_grids"] else ()),
        *(lone if arguments["include_lone_images"] else ()),
    )


def _told(first: GenerationResult, *axes: _GivenAxis) -> str:
    entries: dict[str, object] = {"Script": _NAME}
    for one in axes:
        entries.update(one.entries)
    return add_entries(first.infotexts[0], entries)


def _axis_arguments(letter: str) -> tuple[ScriptArgument, ...]:
    own = letter.lower()
    return (
        ScriptArgument(
            f"{own}_type",
            f"{letter} type",
            0,
            low=0,
            high=len(PLOT_AXES) - 1,
            help="what varies along this axis",
            control="axis",
        ),
        ScriptArgument(
            f"{own}_values",
            f"{letter} values",
            "",
            help="between commas; numbers also as 1-5, 1-10 (+3) or 1-10 [4]",
            control="values",
            axis=f"{own}_type",
        ),
        ScriptArgument(f"{own}_values_dropdown", f"{letter} values", (), control="none"),
    )


XYZ_PLOT: Final = Script(
    name=_NAME,
    arguments=(
        *(argument for letter in "XYZ" for argument in _axis_arguments(letter)),
        ScriptArgument("draw_legend", "Draw legend", True, help="the values beside the images"),
        ScriptArgument(
            "include_lone_images", "Include Sub Images", False, help="each image beside the grid"
        ),
        ScriptArgument(
            "include_sub_grids", "Include Sub Grids", False, help="a grid for each value of Z"
        ),
        ScriptArgument(
            "no_fixed_seeds", "Keep -1 for seeds", False, help="a seed for each image, not for all"
        ),
        *(
            ScriptArgument(
                f"vary_seeds_{letter.lower()}",
                f"Vary seeds for {letter}",
                False,
                help="each value has a seed of its own",
            )
            for letter in "XYZ"
        ),
        ScriptArgument("margin_size", "Grid margins (px)", 0, low=0, high=500),
        ScriptArgument("csv_mode", "Use text inputs instead of dropdowns", False, control="none"),
    ),
    tabs=BOTH_TABS,
    run=_begin,
    steps=_steps,
)
"""WebUI's X/Y/Z plot. Axis types are places in the list of the tab that the request is for."""
