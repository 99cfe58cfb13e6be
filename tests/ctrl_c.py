"""Interrupts where a model changes: found by what changes, not by where the code stands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor, nn

import promptengine

_PACKAGE = str(Path(promptengine.__file__).parent)

State = Mapping[tuple[str, int], object]
"""What each module has of each kind of thing that a run may change."""


def modules_of(*models: nn.Module) -> dict[int, nn.Module]:
    """All modules of some models, numbered."""
    return dict(enumerate(module for model in models for module in model.modules()))


def state_of(modules: Mapping[int, nn.Module]) -> State:
    """All that a run may change; weights by place, address, type and version."""
    found: dict[tuple[str, int], object] = {}
    for number, module in modules.items():
        held = vars(module)
        weights: Mapping[str, Tensor | None] = held["_parameters"]
        found["weights", number] = [
            None if w is None else (id(w), w.data_ptr(), w.dtype, w.device, w._version)
            for w in weights.values()
        ]
        found["class", number] = type(module)
        found["hooks", number] = [*held["_forward_hooks"], *held["_forward_pre_hooks"]]
        for name in ("forward", "packing", "padding_mode", "use_tiling", "gradient_checkpointing"):
            found[name, number] = held.get(name)
    return found


def ends_of_changes(before: State, within: State) -> dict[str, list[int]]:
    """For each kind that differs the first and the last module that does."""
    found: dict[str, list[int]] = {}
    for (kind, number), value in within.items():
        if value != before[kind, number]:
            found.setdefault(kind, []).append(number)
    return {kind: sorted({numbers[0], numbers[-1]}) for kind, numbers in found.items()}


def moves(run: Callable[[], object], modules: Mapping[int, nn.Module]) -> Sequence[tuple[str, int]]:
    """The kind and number of each line of the package after which a module is another."""
    found: list[tuple[str, int]] = []
    before, number = state_of(modules), 0

    def on_line() -> None:
        nonlocal before, number
        now = state_of(modules)
        kinds = {kind for (kind, _), value in now.items() if value != before[kind, _]}
        found.extend((kind, number) for kind in sorted(kinds))
        before, number = now, number + 1

    with _traced(on_line):
        run()
    return found


def lines_around(
    run: Callable[[], object], modules: Mapping[int, nn.Module], ends: Mapping[str, Sequence[int]]
) -> list[int]:
    """Before and after each line that changes the first or the last module of a kind."""
    watched = {number: modules[number] for numbers in ends.values() for number in numbers}
    found = moves(run, watched)
    assert {kind for kind, _ in found} == ends.keys()
    return sorted({line for _, after in found for line in (after, after + 1)})


def interrupted(run: Callable[[], object], at: int) -> bool:
    """Run with an interrupt before the package's line of that number; whether it came that far."""
    number = 0

    def on_line() -> None:
        nonlocal number
        number += 1
        if number == at:
            raise KeyboardInterrupt

    try:
        with _traced(on_line):
            run()
    except KeyboardInterrupt:
        return True
    return False


@contextmanager
def _traced(on_line: Callable[[], None]) -> Iterator[None]:
    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        if event == "line":
            on_line()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
