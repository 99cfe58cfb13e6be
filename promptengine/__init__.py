"""An inference engine for Stable Diffusion that understands WebUI prompts and hypernetworks.

Reading a prompt needs no model::

    from promptengine import parse
    parse("a (cat:1.3) <hypernet:ink:0.8>").tags

Making a picture does::

    from promptengine import Engine, GenerationRequest
    engine = Engine.open("model.safetensors", models="models")
    result = engine.generate(GenerationRequest(prompt="a cat <hypernet:ink:0.8>"))
    result.images[0].save("cat.png")

Importing this package loads neither torch nor lark; names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from promptengine.version import __version__

if TYPE_CHECKING:
    from promptengine.diffusion.engine import Engine
    from promptengine.errors import (
        CheckpointError,
        GenerationCancelled,
        IncompatibleNetworkError,
        NetworkFormatError,
        OutOfMemoryError,
        PictureError,
        PromptEngineError,
        PromptSyntaxError,
        RequestError,
        TrainingError,
        UnknownNetworkError,
        UnsupportedNetworkError,
    )
    from promptengine.grid.axes import Axis
    from promptengine.grid.plot import GridResult, plot_grid
    from promptengine.inspection import inspect_file
    from promptengine.interrupt import Interrupt
    from promptengine.networks.files import convert, load_hypernetwork, save_hypernetwork
    from promptengine.networks.hypernetwork import Hypernetwork
    from promptengine.networks.inject import injected
    from promptengine.options import Options
    from promptengine.pictures import read_picture, save_picture, save_png
    from promptengine.pipelines.attaching import Attachment, attach, detach
    from promptengine.pipelines.processor import PromptProcessor
    from promptengine.plan import Plan, make_plan
    from promptengine.recipe.request import Recipe, request_from
    from promptengine.recipe.text import Infotext, read_infotext
    from promptengine.registry import Registry
    from promptengine.request import (
        GenerationRequest,
        GenerationResult,
        HiresPass,
        ImageStart,
        Inpainting,
        NetworkReport,
        Progress,
    )
    from promptengine.syntax import Prompt, Schedule, parse, schedule
    from promptengine.training.config import TrainingConfig, TrainingFiles
    from promptengine.training.loop import TrainingProgress, TrainingResult, train_hypernetwork

__all__ = [
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
    "PictureError",
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
    "read_picture",
    "request_from",
    "save_hypernetwork",
    "save_picture",
    "save_png",
    "schedule",
    "train_hypernetwork",
]

_HOMES = {
    "diffusion.engine": ["Engine"],
    "errors": [name for name in __all__ if name.endswith(("Error", "Cancelled"))],
    "grid.axes": ["Axis"],
    "grid.plot": ["GridResult", "plot_grid"],
    "inspection": ["inspect_file"],
    "interrupt": ["Interrupt"],
    "networks.files": ["convert", "load_hypernetwork", "save_hypernetwork"],
    "networks.hypernetwork": ["Hypernetwork"],
    "networks.inject": ["injected"],
    "options": ["Options"],
    "pictures": ["read_picture", "save_picture", "save_png"],
    "pipelines.attaching": ["Attachment", "attach", "detach"],
    "pipelines.processor": ["PromptProcessor"],
    "plan": ["Plan", "make_plan"],
    "recipe.request": ["Recipe", "request_from"],
    "recipe.text": ["Infotext", "read_infotext"],
    "registry": ["Registry"],
    "request": [
        "GenerationRequest",
        "GenerationResult",
        "HiresPass",
        "ImageStart",
        "Inpainting",
        "NetworkReport",
        "Progress",
    ],
    "syntax": ["Prompt", "Schedule", "parse", "schedule"],
    "training.config": ["TrainingConfig", "TrainingFiles"],
    "training.loop": ["TrainingProgress", "TrainingResult", "train_hypernetwork"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
