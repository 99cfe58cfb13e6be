"""What ``--webui DIR`` says where a command line says nothing: settings, defaults of the page, and models."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from promptengine.cli.arguments import assignments
from promptengine.cli.field_options import flagged_fields, given_fields
from promptengine.cli.model_folders import names_in_short, styles_of
from promptengine.cli.terminal import printable
from promptengine.integrations.webui.form_defaults import IMG2IMG, TXT2IMG, FormDefaults
from promptengine.integrations.webui.installation import WebUIInstallation, read_webui
from promptengine.integrations.webui.saved_settings import SavedSettings
from promptengine.registry.registry import Registry
from promptengine.request.edit import apply_settings
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import Options, read_settings
from promptengine.request.request import GenerationRequest
from promptengine.request.styles import read_styles

__all__ = [
    "IMG2IMG",
    "TXT2IMG",
    "chosen_models",
    "installation_of",
    "saved_options",
    "tell_left_out",
    "with_page_defaults",
    "with_saved_settings",
]

_OWNERS: Final[Mapping[str, tuple[type, ...]]] = {
    TXT2IMG: (GenerationRequest,),
    IMG2IMG: (GenerationRequest, ImageStart, Inpainting),
}


def installation_of(options: argparse.Namespace) -> WebUIInstallation | None:
    """Read the WebUI that is named; None where none is.

    Raises:
        RequestError: It is none, or a file of it cannot be read.
    """
    return None if options.webui is None else read_webui(options.webui)


def with_page_defaults(options: argparse.Namespace, tab: str) -> argparse.Namespace:
    """Return options with what the controls of WebUI's page show in the place of what is not given.

    Args:
        options: Of the command line.
        tab: ``txt2img`` or ``img2img``.

    Raises:
        RequestError: A value that cannot be used; names the file and the key.
    """
    installation = installation_of(options)
    if installation is None:
        return options
    forms, told = installation.forms, dict[str, Any]()
    for owner in _OWNERS[tab]:
        told |= _untold(options, forms, owner, tab)
    wants_hires = bool(given_fields(options, HiresPass)) or forms.hires_is_on()
    if tab == TXT2IMG and wants_hires:
        told |= _untold(options, forms, HiresPass, tab)
    if not options.style:
        told["style"] = _styles(options, forms, tab)
    return argparse.Namespace(**{**vars(options), **told})


def _untold(
    options: argparse.Namespace, forms: FormDefaults, owner: type, tab: str
) -> dict[str, Any]:
    """Return a page's defaults of fields that are not given, by the names of their options."""
    flags = {own.name: flag.dest for own, flag in flagged_fields(owner)}
    here = {name for name, dest in flags.items() if getattr(options, dest, 0) is None}
    found = forms.of(owner, tab, {*flags} - here)
    return {flags[name]: value for name, value in found.items() if name in here}


def _styles(options: argparse.Namespace, forms: FormDefaults, tab: str) -> list[str]:
    names = forms.styles(tab)
    known = {style.name for style in read_styles(styles_of(options))} if names else set[str]()
    missing = next((name for name in names if name not in known), None)
    if missing is not None:
        raise forms.refusal(f"{tab}/Styles/value", f"there is no style {missing[:100]!r}")
    return list(names)


def with_saved_settings(
    options: argparse.Namespace, request: GenerationRequest, *, read: bool = False
) -> GenerationRequest:
    """Return a request with the options of WebUI's ``config.json``, and say which of these do nothing here.

    Args:
        options: Of the command line; the options that it gives itself are left to it.
        request: What to change.
        read: Whether the request was read off an image, which tells some options and leaves others open.

    Raises:
        RequestError: A value that cannot be used; names the file and the option.
    """
    installation = installation_of(options)
    if installation is None:
        return request
    settings, given = installation.settings, _given(options)
    tell_left_out(settings, given)
    return apply_settings(request, settings.untold(given) if read else settings.known(given))


def saved_options(options: argparse.Namespace) -> Options:
    """Return the settings of ``--option``, over those of the WebUI that is named.

    Raises:
        RequestError: An option that is unknown, or a value that cannot be used.
    """
    installation = installation_of(options)
    saved = {} if installation is None else installation.settings.known(_given(options))
    request = apply_settings(GenerationRequest(prompt=""), saved)
    return Options.from_webui(read_settings(assignments(options.option)), request.options)


def _given(options: argparse.Namespace) -> set[str]:
    """Return the names of WebUI's options that a command line says itself."""
    given = set(assignments(options.option))
    others = {"clip_skip": "CLIP_stop_at_last_layers", "noise_source": "randn_source"}
    return given | {theirs for own, theirs in others.items() if getattr(options, own, None)}


def tell_left_out(
    settings: SavedSettings, given: Collection[str] = (), known: Collection[str] = ()
) -> None:
    """Say in a line on standard error which options of ``config.json`` do nothing here.

    Args:
        settings: Those.
        given: Names of options that the command line says itself.
        known: Names of options that the caller understands besides.
    """
    differing = [f"{name}={v}" for name, v in settings.differing.items() if name not in given]
    unknown = settings.left_out(known)
    parts: list[str] = []
    if differing:
        parts.append(f"cannot be had: {names_in_short(differing)}")
    if unknown:
        parts.append(f"not known here ({len(unknown)}): {names_in_short(unknown)}")
    if parts:
        print(printable(f"note: {settings.path}: {'; '.join(parts)}"), file=sys.stderr)


def chosen_models(
    options: argparse.Namespace, registry: Registry
) -> tuple[str | Path | None, str | Path, bool]:
    """Return the checkpoint and the VAE that are given or that WebUI has chosen.

    Returns:
        The checkpoint, or None for the first there is; the VAE in the words of ``sd_vae``; and whether this goes
        before what a checkpoint prefers.

    Raises:
        ModelNotFoundError: WebUI's choice is not here.
        RequestError: A setting that cannot be used.
    """
    installation = installation_of(options)
    if installation is None:
        return options.checkpoint, "Automatic" if options.vae is None else options.vae, True
    from promptengine.integrations.webui.models import chosen_checkpoint, chosen_vae

    settings = installation.settings
    checkpoint, vae = options.checkpoint, options.vae
    if checkpoint is None:
        checkpoint = chosen_checkpoint(settings, registry)
    if vae is None:
        return checkpoint, chosen_vae(settings, registry), settings.vae_overrides
    return checkpoint, vae, True
