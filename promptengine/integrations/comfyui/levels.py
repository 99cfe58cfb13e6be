"""WebUI's timesteps and first noise for a ComfyUI model, and its sizes.

ComfyUI rounds timesteps to whole numbers and scales the first noise by ``sqrt(1 + sigma**2)``. Both are
methods of the model's ``model_sampling``, which :func:`webui_levels` exchanges in a clone.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from promptengine.errors import PromptEngineError
from promptengine.families import family_of_width
from promptengine.integrations.comfyui.patches import model_widths
from promptengine.integrations.comfyui.sizes import webui_sizes
from promptengine.sampling.sigmas import DiscreteSchedule, scaled_linear_alphas

__all__ = ["WebUILevels", "noise_levels", "webui_levels"]

_OBJECT: Final = "model_sampling"


class WebUILevels:
    """What a model's ``model_sampling`` does otherwise: mixed into a class of ComfyUI's.

    Attributes:
        webui_table: The model's noise levels.
        webui_timestep: Stands for the timestep of every sigma while it is set.
        webui_over_others: Whether they are over levels that another node had exchanged.
    """

    webui_table: DiscreteSchedule
    webui_over_others: bool = False
    webui_timestep: Tensor | None = None

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the timestep of each sigma, linear in log sigma between the trained ones."""
        if self.webui_timestep is not None:
            return self.webui_timestep.to(sigma.device).expand(sigma.shape)
        return self.webui_table.timestep(sigma.cpu()).to(sigma.device)

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        """Return latents with noise of ``sigma``, at the highest level, too."""
        base: Any = super()
        return base.noise_scaling(sigma, noise, latent_image, False)

    @contextmanager
    def asking(self, timestep: Tensor) -> Generator[None]:
        """Ask the model at a timestep, whatever the sigma, within a ``with`` block."""
        self.webui_timestep = timestep
        try:
            yield
        finally:
            self.webui_timestep = None


def noise_levels(model: Any) -> DiscreteSchedule:
    """Return the noise levels of a ``ModelPatcher``.

    Raises:
        PromptEngineError: It has none in discrete steps, as flow models.
    """
    levels = model.get_model_object(_OBJECT)
    sigmas = getattr(levels, "sigmas", None)
    if not isinstance(sigmas, Tensor) or not isinstance(
        getattr(levels, "log_sigmas", None), Tensor
    ):
        message = f"the model's noise levels ({type(levels).__name__}) are not of discrete steps"
        raise PromptEngineError(f"{message}; it must be Stable Diffusion 1, 2 or XL")
    spec = family_of_width(model_widths(model).text)
    return DiscreteSchedule(_alphas(sigmas), "SD1" if spec is None else spec.name)


def _alphas(sigmas: Tensor) -> Tensor:
    """Return the alphas of sigmas in single precision, as WebUI has them.

    Sigmas in single precision leave the last digit of an alpha open, which samplers with Brownian noise
    magnify, so that the usual table is recognized.
    """
    levels = sigmas.detach().cpu().double()
    usual = scaled_linear_alphas()
    if len(levels) == len(usual) and torch.allclose(
        ((1 - usual) / usual).sqrt(), levels, rtol=1e-6, atol=0
    ):
        return usual.float()
    return (1 / (1 + levels**2)).float()


def _has_other_levels(model: Any) -> bool:
    """Return whether another node has exchanged a model's noise levels."""
    found = model.object_patches.get(_OBJECT)
    return found.webui_over_others if isinstance(found, WebUILevels) else found is not None


def webui_levels(model: Any) -> Any:
    """Return a clone of a model that is asked at WebUI's timesteps, starts from WebUI's noise and takes
    WebUI's sizes.

    Raises:
        PromptEngineError: Its noise levels are not of discrete steps.
    """
    table, patched = noise_levels(model), model.clone()
    webui_sizes(patched)
    original = model.get_model_object(_OBJECT)
    if isinstance(original, WebUILevels):
        # Another clone may have put them there, and will take them away.
        patched.add_object_patch(_OBJECT, original)
        return patched
    changed: Any = copy.copy(original)
    kind = type(original)
    changed.__class__ = type(f"WebUI{kind.__name__}", (WebUILevels, kind), {})
    changed.webui_table = table
    changed.webui_over_others = _has_other_levels(model)
    patched.add_object_patch(_OBJECT, changed)
    return patched
