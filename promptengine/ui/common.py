"""What the modules that lay out the page have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gradio.components import Component

__all__ = ["QUICK", "UNSEEN", "Controls", "named"]

Controls = dict[str, Component]
"""Controls by the names of what they hold."""

QUICK: Final[dict[str, Any]] = {
    "queue": False,
    "show_progress": "hidden",
    "api_visibility": "private",
}
"""Of events that are answered at once."""

UNSEEN: Final[dict[str, Any]] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of events that take their time, and show themselves how far they are."""


def named(controls: Controls, values: Mapping[Component, Any]) -> dict[str, Any]:
    """Values of controls, by the controls' names."""
    return {name: values[control] for name, control in controls.items()}
