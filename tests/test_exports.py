"""The public face: what can be imported from the package itself, and that all of it is explained."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import promptengine


def test_exports() -> None:
    assert promptengine.__all__ == [
        "Attachment",
        "Axis",
        "CheckpointError",
        "Engine",
        "GenerationCancelled",
        "GenerationRequest",
        "GenerationResult",
        "GridResult",
        "HiresPass",
        "Hypernetwork",
        "ImageStart",
        "IncompatibleNetworkError",
        "Infotext",
        "Inpainting",
        "Interrupt",
        "NetworkFormatError",
        "NetworkReport",
        "Options",
        "OutOfMemoryError",
        "ImageError",
        "Plan",
        "Progress",
        "Prompt",
        "PromptEngineError",
        "PromptProcessor",
        "PromptSyntaxError",
        "Recipe",
        "Registry",
        "RequestError",
        "Schedule",
        "TrainingConfig",
        "TrainingError",
        "TrainingFiles",
        "TrainingProgress",
        "TrainingResult",
        "UnknownNetworkError",
        "UnsupportedNetworkError",
        "__version__",
        "attach",
        "convert",
        "detach",
        "injected",
        "inspect_file",
        "load_hypernetwork",
        "make_plan",
        "parse",
        "plot_grid",
        "read_infotext",
        "read_image",
        "request_from",
        "save_hypernetwork",
        "save_image",
        "save_png",
        "schedule",
        "train_hypernetwork",
    ]


def test_every_export_exists_and_is_documented() -> None:
    for name in promptengine.__all__:
        value = getattr(promptengine, name)
        assert name == "__version__" or inspect.getdoc(value), name


def test_the_name_of_nothing_is_an_attribute_error() -> None:
    assert not hasattr(promptengine, "nothing")
    assert "Engine" in dir(promptengine)


def test_the_error_tree_is_drawn_in_full() -> None:
    from promptengine import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.PromptEngineError)
        assert name in (errors.__doc__ or "")


def test_errors_can_be_passed_on_to_other_processes() -> None:
    from promptengine import errors

    samples = [
        errors.PromptSyntaxError("bad multiplier", source="a <hypernet:ink:x>", span=(2, 18)),
        errors.UnknownNetworkError("unknown 'inkk'", kind="hypernet", name="inkk", near=("ink",)),
        errors.NetworkFormatError("damaged", path=Path("ink.pt")),
        errors.UnsupportedNetworkError("DoRA", path=Path("a.pt")),
        errors.IncompatibleNetworkError("no width fits", found=(320,), needed=(640, 768)),
        errors.CheckpointError("damaged", path=Path("model.safetensors")),
        errors.ImageError("no image", path=Path("a.png")),
        errors.RequestError("too many steps", field="steps"),
        errors.OutOfMemoryError("no room"),
        errors.TrainingError("exploded", path=Path("ink.pt"), step=12),
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
