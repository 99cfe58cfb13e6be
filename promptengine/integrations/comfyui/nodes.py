"""The nodes as ComfyUI knows them: their sockets and widgets, and what they call."""

from __future__ import annotations

from typing import Any, Final

from promptengine.integrations.comfyui.host import file_names, find_file
from promptengine.integrations.comfyui.patches import RunClock, add_hypernetworks, model_widths
from promptengine.networks.attention import require_fit
from promptengine.networks.hypernetwork.files import load_hypernetwork

__all__ = [
    "NODE_CLASS_MAPPINGS",
    "NODE_DISPLAY_NAME_MAPPINGS",
    "LoadHypernetwork",
]

_CATEGORY: Final = "promptengine"

Sockets = dict[str, dict[str, tuple[Any, ...]]]
"""ComfyUI's table of inputs: ``required`` and ``optional``, each by name."""


class LoadHypernetwork:
    """Lets a hypernetwork act on a model at all calls, whatever its layout."""

    CATEGORY = _CATEGORY
    DESCRIPTION = "Applies a hypernetwork as WebUI does: every layout, activation and layer norm."
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "STRING")
    RETURN_NAMES = ("model", "report")

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:  # noqa: N802
        """Return what the node takes."""
        strength = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.05}
        return {
            "required": {
                "model": ("MODEL",),
                "hypernetwork": (file_names("hypernet"),),
                "strength": ("FLOAT", strength),
            }
        }

    def load(self, model: Any, hypernetwork: str, strength: float) -> tuple[Any, str]:
        """Return the model with the network, and what was done.

        Raises:
            PromptEngineError: There is no such file, it cannot be read, or the network does not fit.
        """
        network = load_hypernetwork(find_file("hypernet", hypernetwork))
        require_fit(model_widths(model), network, name=hypernetwork)
        if strength == 0:
            return model, f"hypernetwork {hypernetwork!r} is not applied: its strength is 0"
        patched, clock = model.clone(), RunClock()
        add_hypernetworks(patched, lambda _: ((network, strength),), clock)
        return patched, f"hypernetwork {hypernetwork!r} is applied at {strength:g}"


NODE_CLASS_MAPPINGS: Final[dict[str, type]] = {
    "PromptEngineLoadHypernetwork": LoadHypernetwork,
}
"""The nodes by the names that stand in workflows."""

NODE_DISPLAY_NAME_MAPPINGS: Final = {
    "PromptEngineLoadHypernetwork": "Load Hypernetwork (WebUI)",
}
"""What menus call them."""
