"""What a request may choose from, as plain descriptions: samplers, schedulers, upscalers, options.

Each list is read where the names themselves are kept, so that nothing can be in one and not in the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from promptengine.registry.registry import Registry
from promptengine.request.options import SETTINGS, Options
from promptengine.request.samplers import SAMPLERS
from promptengine.request.schedulers import AUTOMATIC, SCHEDULERS

__all__ = [
    "OptionInfo",
    "SamplerInfo",
    "SchedulerInfo",
    "UpscalerInfo",
    "options",
    "samplers",
    "schedulers",
    "upscalers",
]


@dataclass(frozen=True, slots=True)
class SamplerInfo:
    """A sampler that :attr:`promptengine.GenerationRequest.sampler` can name.

    Attributes:
        name: As WebUI shows it.
        aliases: Other spellings that are understood.
    """

    name: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SchedulerInfo:
    """A schedule type that :attr:`promptengine.GenerationRequest.scheduler` can name.

    Attributes:
        name: As APIs spell it.
        label: As WebUI shows it and infotexts have it.
        aliases: Other spellings that are understood.
    """

    name: str
    label: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpscalerInfo:
    """What :attr:`promptengine.HiresPass.upscaler` can name.

    Attributes:
        name: As WebUI shows it.
        latent: Whether it enlarges latents, and not finished images.
    """

    name: str
    latent: bool


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One field of :class:`promptengine.Options`.

    Attributes:
        name: The field.
        label: WebUI's name of the setting.
        type: Of its values.
        default: What it is where nothing is said.
        minimum: The least number allowed, or None.
        maximum: The greatest number allowed, or None.
        choices: All values allowed, where they are counted; else empty.
    """

    name: str
    label: str
    type: type[bool | int | float | str]
    default: bool | int | float | str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]


def samplers() -> tuple[SamplerInfo, ...]:
    """Return every sampler, in WebUI's order."""
    return tuple(SamplerInfo(one.name, tuple(one.aliases)) for one in SAMPLERS.values())


def schedulers() -> tuple[SchedulerInfo, ...]:
    """Return every schedule type; ``automatic``, the sampler's own, comes first."""
    automatic = SchedulerInfo(AUTOMATIC, "Automatic", ())
    own = (SchedulerInfo(one.name, one.label, tuple(one.aliases)) for one in SCHEDULERS.values())
    return automatic, *own


def upscalers(registry: Registry | None = None) -> tuple[UpscalerInfo, ...]:
    """Return everything that enlarges, those of latents first.

    Args:
        registry: Whose files to name too, as they are now.
    """
    from promptengine.images.upscalers import latent_upscalers, pixel_upscalers

    latent = (UpscalerInfo(name, latent=True) for name in latent_upscalers())
    return *latent, *(UpscalerInfo(name, latent=False) for name in pixel_upscalers(registry))


def options() -> tuple[OptionInfo, ...]:
    """Return every field of :class:`promptengine.Options`, in its order."""
    return tuple(_options())


def _options() -> Iterator[OptionInfo]:
    usual = Options()
    for own in fields(usual):
        label = Options.webui_name(own.name)
        setting = SETTINGS[label]
        number = setting.kind in (int, float)
        yield OptionInfo(
            name=own.name,
            label=label,
            type=setting.kind,
            default=getattr(usual, own.name),
            minimum=setting.low if number else None,
            maximum=setting.high if number else None,
            choices=tuple(setting.choices.values()),
        )
