"""The upscalers, of images and of latents, as objects; what needs torch is loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from PIL.Image import Image, Resampling

from promptengine.errors import RequestError
from promptengine.images.resample import resample
from promptengine.plugins import SCRIPT, LazyFunction, ObjectRegistry, Plugin

if TYPE_CHECKING:
    from torch import Tensor

    from promptengine.registry.registry import Registry

__all__ = [
    "UPSCALERS",
    "LatentUpscaler",
    "PixelUpscaler",
    "Upscaler",
    "find_pixel_upscaler",
    "find_upscaler",
    "is_known_upscaler",
    "latent_upscalers",
    "pixel_upscalers",
    "register_upscaler",
    "unknown_upscaler",
]


@dataclass(frozen=True, slots=True)
class PixelUpscaler:
    """What enlarges images.

    Attributes:
        name: As users write it.
        enlarge: Takes an image and the width and height that are aimed at. What it gives back may have
            another size, such as four times its own: where that falls short it is called up to three
            times in all, and Lanczos brings the result to the size. None is Pillow's Lanczos in one go.
    """

    name: str
    enlarge: Callable[[Image, tuple[int, int]], Image] | None


@dataclass(frozen=True, slots=True)
class LatentUpscaler:
    """What enlarges latents.

    Attributes:
        name: As users write it.
        enlarge: Takes latents ``[images, channels, height, width]`` and the height and width in cells to
            bring them to.
    """

    name: str
    enlarge: Callable[[Tensor, tuple[int, int]], Tensor]


Upscaler = PixelUpscaler | LatentUpscaler


def _interpolated(
    mode: str, *, antialias: bool = False
) -> Callable[[Tensor, tuple[int, int]], Tensor]:
    function = LazyFunction("promptengine.images.latent_upscale:interpolate_latents")
    return partial(function, mode=mode, antialias=antialias)


UPSCALERS: Final[ObjectRegistry[Upscaler]] = ObjectRegistry(
    "promptengine.upscalers",
    "upscaler",
    (PixelUpscaler, LatentUpscaler),
    (
        LatentUpscaler("Latent", _interpolated("bilinear")),
        LatentUpscaler("Latent (antialiased)", _interpolated("bilinear", antialias=True)),
        LatentUpscaler("Latent (bicubic)", _interpolated("bicubic")),
        LatentUpscaler("Latent (bicubic antialiased)", _interpolated("bicubic", antialias=True)),
        LatentUpscaler("Latent (nearest)", _interpolated("nearest")),
        LatentUpscaler("Latent (nearest-exact)", _interpolated("nearest-exact")),
        PixelUpscaler("None", None),
        PixelUpscaler("Lanczos", partial(resample, resampling=Resampling.LANCZOS)),
        PixelUpscaler("Nearest", partial(resample, resampling=Resampling.NEAREST)),
    ),
    spellings=lambda upscaler: (upscaler.name,),
)
"""Every upscaler by its name, in WebUI's order."""


def pixel_upscalers(registry: Registry | None = None) -> list[str]:
    """Name what enlarges images.

    Args:
        registry: Whose files to name too, behind all others.
    """
    names = [name for name, one in UPSCALERS.items() if isinstance(one, PixelUpscaler)]
    entries = () if registry is None else registry.current_entries("upscaler")
    return [*names, *(entry.name for entry in entries if entry.name not in UPSCALERS)]


def latent_upscalers() -> list[str]:
    """Name what enlarges latents."""
    return [name for name, one in UPSCALERS.items() if isinstance(one, LatentUpscaler)]


def is_known_upscaler(name: str, registry: Registry | None) -> bool:
    """Return whether there is an upscaler of a name, of images or latents, in a registry's file or not."""
    return name in UPSCALERS or (
        registry is not None and registry.find("upscaler", name) is not None
    )


def find_upscaler(name: str, *, field: str = "upscaler") -> Upscaler:
    """Look an upscaler up that needs no file.

    Args:
        name: As in :data:`UPSCALERS`.
        field: Of the request, to be named in the error.

    Raises:
        RequestError: No such upscaler; the message lists what there is.
    """
    if name in UPSCALERS:
        return UPSCALERS[name]
    raise unknown_upscaler(name, list(UPSCALERS), field)


def find_pixel_upscaler(name: str, *, field: str = "upscaler") -> PixelUpscaler:
    """Look an upscaler of images up that needs no file.

    Raises:
        RequestError: No such upscaler, or one of latents; the message lists what there is.
    """
    found = UPSCALERS.get(name)
    if isinstance(found, PixelUpscaler):
        return found
    raise unknown_upscaler(name, pixel_upscalers(), field)


def unknown_upscaler(name: str, known: list[str], field: str) -> RequestError:
    """Make (not raise) the error for a name that no upscaler has.

    Args:
        name: As it was written.
        known: What there is.
        field: Of the request.
    """
    return RequestError(f"unknown upscaler {name!r}; there are {', '.join(known)}", field=field)


def register_upscaler(upscaler: Upscaler, *, origin: str = SCRIPT) -> None:
    """Add an upscaler for the rest of the process.

    Args:
        upscaler: The upscaler, of images or of latents.
        origin: Who adds it, as infotexts shall say.

    Raises:
        PluginError: It is no upscaler, or has a name that is taken.
    """
    UPSCALERS.register(upscaler, Plugin(origin))
