"""The families of pipelines that can be attached, as objects."""

from __future__ import annotations

from typing import Any, Final, Protocol

from promptengine.errors import PromptEngineError
from promptengine.integrations.diffusers.call import AttachSettings, PipelineProcessor
from promptengine.integrations.diffusers.flux import FLUX
from promptengine.integrations.diffusers.sd3 import SD3
from promptengine.integrations.diffusers.unet import UNET
from promptengine.registry.open_models import Models

__all__ = ["PIPELINE_FAMILIES", "PipelineFamily", "find_family"]


class PipelineFamily(Protocol):
    """Pipelines whose prompts are read in one way."""

    @property
    def title(self) -> str:
        """As messages call it."""
        ...

    def fits(self, pipe: Any) -> bool:
        """Tell whether a pipeline is one of them."""
        ...

    def processor(self, pipe: Any, models: Models, settings: AttachSettings) -> PipelineProcessor:
        """Return what reads the prompts of a pipeline of the family.

        Raises:
            PromptEngineError: It lacks a part, or a setting means nothing to it.
        """
        ...


PIPELINE_FAMILIES: Final[tuple[PipelineFamily, ...]] = (UNET, SD3, FLUX)
"""All of them."""


def find_family(pipe: Any) -> PipelineFamily:
    """Return the family of a pipeline.

    Raises:
        PromptEngineError: It is of none; the message lists what there is.
    """
    for family in PIPELINE_FAMILIES:
        if family.fits(pipe):
            return family
    known = "; ".join(family.title for family in PIPELINE_FAMILIES)
    raise PromptEngineError(
        f"{type(pipe).__name__} has no unet, and no transformer that promptengine knows; it must be a pipeline of one "
        f"of these: {known}"
    )
