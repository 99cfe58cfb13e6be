"""Which checkpoint and which VAE a WebUI's settings mean."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from promptengine.checkpoints.resolve import checkpoint_named
from promptengine.checkpoints.vae import vae_named
from promptengine.errors import ModelNotFoundError
from promptengine.integrations.webui.saved_settings import SavedSettings
from promptengine.registry.registry import Registry
from promptengine.validation import check_type

__all__ = ["chosen_checkpoint", "chosen_vae"]

_SHOWN_CHARACTERS: Final = 100


def chosen_checkpoint(settings: SavedSettings, registry: Registry) -> Path | None:
    """Return the checkpoint that is chosen; None where none is.

    Args:
        settings: Of ``config.json``.
        registry: Where it is looked up, by its name alone: the hash in its title is not looked at, since files
            of other names would have to be read for it.

    Raises:
        ModelNotFoundError: It is not here.
        RequestError: The setting is no text.
    """
    _check(settings, registry)
    name = settings.checkpoint
    if name is None:
        return None
    path = checkpoint_named(name, registry, by_hash=False)
    if path is None:
        raise _missing(settings, registry, "checkpoint", name, "sd_model_checkpoint")
    return path


def chosen_vae(settings: SavedSettings, registry: Registry) -> str | Path:
    """Return the VAE that is chosen: ``Automatic``, ``None``, or a file.

    Args:
        settings: Of ``config.json``.
        registry: Where it is looked up.

    Raises:
        ModelNotFoundError: It is not here.
        RequestError: The setting is no text.
    """
    _check(settings, registry)
    name = settings.vae
    if name in ("Automatic", "None"):
        return name
    path = vae_named(name, registry)
    if path is None:
        raise _missing(settings, registry, "vae", name, "sd_vae")
    return path


def _check(settings: SavedSettings, registry: Registry) -> None:
    check_type("settings", settings, SavedSettings)
    check_type("registry", registry, Registry)


def _missing(
    settings: SavedSettings, registry: Registry, kind: str, name: str, option: str
) -> ModelNotFoundError:
    noun = "checkpoint" if kind == "checkpoint" else "VAE"
    near = registry.near(kind, name)
    hint = f"did you mean {near[0]!r}, or " if near else ""
    message = f"{option} is {name[:_SHOWN_CHARACTERS]!r}, which is no {noun} here; {hint}name one"
    raise ModelNotFoundError(message, kind=kind, name=name, near=near, path=settings.path)
