"""The models that a request names beside the one it is made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promptengine.checkpoints.load import Checkpoint
from promptengine.checkpoints.resolve import resolve_further
from promptengine.errors import RequestError
from promptengine.registry.registry import Registry
from promptengine.request.hires_pass import named_hires_checkpoint
from promptengine.request.refiner_fields import named_refiner
from promptengine.request.request import GenerationRequest

__all__ = ["NamedModels", "check_latents", "find_models", "names_models"]


@dataclass(frozen=True, slots=True)
class NamedModels:
    """Files of further models.

    Attributes:
        hires: The second pass's checkpoint, or None where it names none.
        refiner: What takes over on the way, or None where none is named.
    """

    hires: Path | None
    refiner: Path | None


def names_models(request: GenerationRequest) -> bool:
    """Return whether a request names a further model."""
    hires = request.hires
    return bool(
        named_refiner(request.refiner) or (hires and named_hires_checkpoint(hires.checkpoint))
    )


def find_models(request: GenerationRequest, registry: Registry, current: Path) -> NamedModels:
    """Find the further models that a request names.

    Args:
        request: Any.
        registry: Where checkpoints are found.
        current: The checkpoint that the request is made with, which may be named too.

    Raises:
        RequestError: There is none of a name.
    """

    def found(name: str | None, field: str) -> Path | None:
        return None if name is None else resolve_further(name, registry, current, field=field)

    hires = request.hires
    later = None if hires is None else named_hires_checkpoint(hires.checkpoint)
    return NamedModels(
        hires=found(later, "hires.checkpoint"),
        refiner=found(named_refiner(request.refiner), "refiner"),
    )


def check_latents(own: Checkpoint, other: Checkpoint, *, starts: bool, field: str) -> None:
    """Refuse a further model that cannot go on with latents that the first one made.

    Args:
        own: The first model.
        other: The further one.
        starts: Whether images are started from, so that an inpainting model had to see them.
        field: Of the request, to be named in the error.

    Raises:
        RequestError: Their latents differ, or it reads an image around a mask that the first one does not.
    """
    what = f"{field} is {other.path.name} ({other.family}), which"
    if (own.latent_channels, own.scaling_factor) != (other.latent_channels, other.scaling_factor):
        message = f"{what} has other latents than {own.path.name} ({own.family})"
        raise RequestError(f"{message}; name a checkpoint of the same family", field=field)
    if starts and other.inpainting and not own.inpainting:
        message = f"{what} is for inpainting, as {own.path.name} is not"
        raise RequestError(f"{message}; name another for images to start from", field=field)
