"""What a server begins with: the models and settings of a WebUI, and those that the command line gives."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promptengine.cli.arguments import assignments
from promptengine.cli.webui import (
    IMG2IMG,
    TXT2IMG,
    chosen_models,
    installation_of,
    tell_left_out,
)
from promptengine.errors import RequestError
from promptengine.integrations.webui.form_defaults import FormDefaults
from promptengine.integrations.webui.saved_settings import SavedSettings
from promptengine.registry.registry import Kind, Registry
from promptengine.request.edit import apply_settings
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import REQUEST_SETTINGS, read_settings
from promptengine.request.request import GenerationRequest
from promptengine.server.sdapi.options import OWN_SETTINGS, check_own

__all__ = ["BeginWith", "begin_with"]

_PLACES: Final = (
    ("", GenerationRequest, TXT2IMG),
    ("hires.", HiresPass, TXT2IMG),
    ("start.", ImageStart, IMG2IMG),
    ("start.inpainting.", Inpainting, IMG2IMG),
)
"""Where forms of our own API have the fields of dataclasses, and which tab of WebUI's page has their controls."""


@dataclass(frozen=True, slots=True)
class BeginWith:
    """What a server begins with; see :class:`promptengine.server.config.ServerConfig`.

    Attributes:
        checkpoint: A file or a name, or None for the first there is.
        vae: In the words of ``sd_vae``.
        vae_overrides: Whether that goes before what a checkpoint prefers.
        settings: By WebUI's names.
        form_defaults: By the paths of a form's fields.
    """

    checkpoint: str | None
    vae: str
    vae_overrides: bool
    settings: Mapping[str, object]
    form_defaults: Mapping[str, object]


def begin_with(options: argparse.Namespace, folders: Mapping[Kind, list[Path]]) -> BeginWith:
    """Return what a server begins with.

    Args:
        options: Of the command line.
        folders: Where models are.

    Raises:
        ModelNotFoundError: WebUI's choice of a model is not here.
        RequestError: A setting that cannot be used, or a file of WebUI's that cannot be read.
    """
    given = read_settings(assignments(options.option))
    apply_settings(GenerationRequest(prompt=""), given)
    installation = installation_of(options)
    if installation is None:
        vae = "Automatic" if options.vae is None else options.vae
        return BeginWith(options.checkpoint, vae, True, given, _fields(given))
    saved = installation.settings
    tell_left_out(saved, given, OWN_SETTINGS)
    settings = {**saved.known(given), **_own(saved), **given}
    checkpoint, vae, overrides = chosen_models(options, Registry.open(folders))
    return BeginWith(
        checkpoint=None if checkpoint is None else str(checkpoint),
        vae=str(vae),
        vae_overrides=overrides,
        settings=settings,
        form_defaults=_page_defaults(installation.forms) | _fields(settings),
    )


def _own(saved: SavedSettings) -> dict[str, object]:
    """Return the settings that say how images are saved.

    Raises:
        RequestError: One that cannot be used; names the file.
    """
    found: dict[str, object] = {}
    for name in OWN_SETTINGS:
        if saved.values.get(name) is not None:
            try:
                found |= check_own({name: saved.values[name]})
            except RequestError as error:
                raise RequestError(f"{saved.path}: {error}; mend it there", field=name) from None
    return found


def _fields(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that are fields of a form here."""
    return {field: settings[name] for name, field in REQUEST_SETTINGS.items() if name in settings}


def _page_defaults(forms: FormDefaults) -> dict[str, Any]:
    return {
        f"{above}{name}": value
        for above, owner, tab in _PLACES
        for name, value in forms.of(owner, tab).items()
    }
