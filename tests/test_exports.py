"""The public face: what can be imported from the package itself, and that all of it is explained."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import promptengine
from tests.public_surface import Name, exports, reachable, resolve

INNER = {
    "Chain",
    "EngineContext",
    "LoraSchedule",
    "MaskedRows",
    "Opening",
    "PatchedProjection",
    "PipelineProcessor",
    "PreparedPrompts",
    "ProjectionFuser",
    "Residence",
    "TextMemory",
    "UndoLog",
}
"""Types that callers may hold and hand on, but not look into; what these name is no part of the face."""

FUNCTIONS = sorted(name for name in exports() if inspect.isroutine(getattr(promptengine, name)))


def public() -> set[Name]:
    found = {resolve(module, name) for name, module in exports().items() if name != "__version__"}
    return {name for name in found if name is not None}


def test_the_stub_is_what_there_is_at_run_time() -> None:
    assert sorted(exports()) == sorted(promptengine.__all__) == sorted(dir(promptengine))
    for name, module in exports().items():
        assert getattr(promptengine, name) is getattr(sys.modules[module], name)


def test_all_types_of_public_signatures_are_exported() -> None:
    named = {name for start in public() for name in reachable(start)}
    missing = {name.name: name.module for name in named - public()}
    assert set(missing) == INNER, missing


def test_a_type_is_exported_from_where_it_is_defined() -> None:
    for name, module in exports().items():
        assert name == "__version__" or resolve(module, name) == Name(module, name)


def test_every_export_is_documented() -> None:
    for name in exports():
        value = getattr(promptengine, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), name


def test_the_name_of_nothing_is_an_attribute_error() -> None:
    assert not hasattr(promptengine, "nothing")


@pytest.mark.parametrize(
    "wrong", [object(), 5, None, [], {}, b"a", 1.5], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_of_wrong_types_are_refused_in_words(name: str, wrong: object) -> None:
    function: Callable[..., Any] = getattr(promptengine, name)
    needed = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
    ]
    by_place = [wrong for parameter in needed if parameter.kind is not parameter.KEYWORD_ONLY]
    by_name = {p.name: wrong for p in needed if p.kind is p.KEYWORD_ONLY}
    if not needed:
        return
    with pytest.raises(promptengine.PromptEngineError) as caught:
        made = function(*by_place, **by_name)
        if hasattr(made, "__enter__"):
            made.__enter__()
    assert "\n" not in str(caught.value)


def test_the_error_tree_is_drawn_in_full() -> None:
    from promptengine import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.PromptEngineError)
        assert name in (errors.__doc__ or "")


def test_every_error_has_a_code_of_its_own() -> None:
    from promptengine import errors

    codes = [getattr(errors, name).code for name in errors.__all__]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").islower() for code in codes)


def test_errors_can_be_passed_on_to_other_processes() -> None:
    from promptengine import errors

    samples = [
        errors.PromptSyntaxError("bad multiplier", source="a <hypernet:ink:x>", span=(2, 18)),
        errors.UnknownNetworkError("unknown 'inkk'", kind="hypernet", name="inkk", near=("ink",)),
        errors.NetworkFormatError("damaged", path=Path("ink.pt")),
        errors.UnsupportedNetworkError("VeRA", path=Path("a.pt")),
        errors.IncompatibleNetworkError("no width fits", found=(320,), needed=(640, 768)),
        errors.CheckpointError("damaged", path=Path("model.safetensors")),
        errors.ModelNotFoundError("none", kind="checkpoint", name="sd", near=("sd15",)),
        errors.ImageError("no image", path=Path("a.png")),
        errors.RequestError("too many steps", field="steps"),
        errors.OutOfMemoryError("no room"),
        errors.PluginError("taken"),
        errors.TrainingError("exploded", path=Path("ink.pt"), step=12),
        errors.DownloadError("not there"),
        errors.EngineClosedError(),
        errors.GenerationCancelled("cancelled"),
        errors.PromptEngineError("something"),
    ]
    assert {type(sample).__name__ for sample in samples} == set(errors.__all__)
    for sample in samples:
        copy = pickle.loads(pickle.dumps(sample))
        assert type(copy) is type(sample)
        assert str(copy) == str(sample)
        assert vars(copy) == vars(sample)


def test_a_star_import_works() -> None:
    code = "from promptengine import *; parse('a'); Engine"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
