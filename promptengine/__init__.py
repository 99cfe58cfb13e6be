"""An inference engine for Stable Diffusion that understands WebUI prompts and hypernetworks.

Reading a prompt needs no model::

    from promptengine import parse
    parse("a (cat:1.3) <hypernet:ink:0.8>").tags

Making an image does::

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
    from promptengine.errors import (
        CheckpointError,
        GenerationCancelled,
        ImageError,
        IncompatibleNetworkError,
        NetworkFormatError,
        OutOfMemoryError,
        PromptEngineError,
        PromptSyntaxError,
        RequestError,
        TrainingError,
        UnknownNetworkError,
        UnsupportedNetworkError,
    )
    from promptengine.generation.engine import Engine
    from promptengine.images import read_image_info, save_image, save_png
    from promptengine.infotext.read import Infotext, read_infotext
    from promptengine.infotext.recipe import Recipe, recipe_from_infotext
    from promptengine.inspection import inspect_file
    from promptengine.integrations.diffusers.attach import Attachment, attach, detach
    from promptengine.integrations.diffusers.processor import PromptProcessor
    from promptengine.interrupt import Interrupt
    from promptengine.networks.hypernetwork.files import (
        convert_hypernetwork,
        load_hypernetwork,
        save_hypernetwork,
    )
    from promptengine.networks.hypernetwork.inject import inject_hypernetworks
    from promptengine.networks.hypernetwork.module import Hypernetwork
    from promptengine.prompt import Prompt, Schedule, parse, schedule
    from promptengine.registry.registry import Registry
    from promptengine.request.options import Options
    from promptengine.request.plan import Plan, make_plan
    from promptengine.request.request import (
        GenerationRequest,
        GenerationResult,
        HiresPass,
        ImageStart,
        Inpainting,
        NetworkReport,
        Progress,
    )
    from promptengine.training.config import TrainingConfig, TrainingFiles
    from promptengine.training.loop import TrainingProgress, TrainingResult, train_hypernetwork
    from promptengine.xyz_plot.axes import Axis
    from promptengine.xyz_plot.plot import GridResult, plot_grid

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
    "ImageError",
    "ImageStart",
    "IncompatibleNetworkError",
    "Infotext",
    "Inpainting",
    "Interrupt",
    "NetworkFormatError",
    "NetworkReport",
    "Options",
    "OutOfMemoryError",
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
    "convert_hypernetwork",
    "detach",
    "inject_hypernetworks",
    "inspect_file",
    "load_hypernetwork",
    "make_plan",
    "parse",
    "plot_grid",
    "read_image_info",
    "read_infotext",
    "recipe_from_infotext",
    "save_hypernetwork",
    "save_image",
    "save_png",
    "schedule",
    "train_hypernetwork",
]

_HOMES = {
    "generation.engine": ["Engine"],
    "errors": [name for name in __all__ if name.endswith(("Error", "Cancelled"))],
    "xyz_plot.axes": ["Axis"],
    "xyz_plot.plot": ["GridResult", "plot_grid"],
    "inspection": ["inspect_file"],
    "interrupt": ["Interrupt"],
    "networks.hypernetwork.files": [
        "convert_hypernetwork",
        "load_hypernetwork",
        "save_hypernetwork",
    ],
    "networks.hypernetwork.module": ["Hypernetwork"],
    "networks.hypernetwork.inject": ["inject_hypernetworks"],
    "request.options": ["Options"],
    "images": ["read_image_info", "save_image", "save_png"],
    "integrations.diffusers.attach": ["Attachment", "attach", "detach"],
    "integrations.diffusers.processor": ["PromptProcessor"],
    "request.plan": ["Plan", "make_plan"],
    "infotext.recipe": ["Recipe", "recipe_from_infotext"],
    "infotext.read": ["Infotext", "read_infotext"],
    "registry.registry": ["Registry"],
    "request.request": [
        "GenerationRequest",
        "GenerationResult",
        "HiresPass",
        "ImageStart",
        "Inpainting",
        "NetworkReport",
        "Progress",
    ],
    "prompt": ["Prompt", "Schedule", "parse", "schedule"],
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
