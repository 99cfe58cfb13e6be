"""The names that fields and arguments can be one of, by what their declarations call each list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from promptengine.choices import samplers, schedulers, upscalers
from promptengine.kinds import CHECKPOINT, VAE
from promptengine.prompt import DIALECTS
from promptengine.registry.registry import Registry

__all__ = ["named_lists"]


def named_lists(registry: Registry) -> Mapping[str, Sequence[str]]:
    """Return all lists, those of files as the folders are now."""
    enlarge = upscalers(registry)
    return {
        "samplers": [one.name for one in samplers()],
        "schedulers": [one.name for one in schedulers()],
        "scheduler_labels": [one.label for one in schedulers()],
        "upscalers": [one.name for one in enlarge],
        "pixel_upscalers": [one.name for one in enlarge if not one.latent],
        "checkpoints": [one.name for one in registry.entries(CHECKPOINT.name)],
        "vaes": [one.name for one in registry.entries(VAE.name)],
        "dialects": list(DIALECTS),
    }
