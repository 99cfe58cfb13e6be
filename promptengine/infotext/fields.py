"""What WebUI's labels in infotexts are called in its settings and in the requests of its API."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from promptengine.request.dynamic import TEMPLATE_LABELS
from promptengine.request.fields import ApiField, Entry, fields_of
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import Inpainting
from promptengine.request.options import Options
from promptengine.request.request import GenerationRequest
from promptengine.request.values import parse_bool, parse_float, parse_int

__all__ = ["DIRECT", "FIELDS", "INIT_IMAGE_FIELDS", "OPTIONS", "RECORDS", "InfotextField"]


class InfotextField(NamedTuple):
    """Where a value goes.

    Attributes:
        name: Of the setting or the field of a request.
        read: Makes the value of the text, or raises ValueError or KeyError.
    """

    name: str
    read: Callable[[str], object]


_READERS: Final[Mapping[type, Callable[[str], object]]] = {
    bool: parse_bool,
    int: parse_int,
    float: parse_float,
    str: str,
}


def _noise_source(text: str) -> str:
    # What NVIDIA's hardware draws can be drawn anywhere.
    return {"GPU": "NV", "NV": "NV", "CPU": "CPU"}[text.upper()]


OPTIONS: Final[Mapping[str, InfotextField]] = {
    **{
        setting.label: InfotextField(setting.webui, _READERS[setting.kind])
        for setting in (own.metadata["setting"] for own in dataclasses.fields(Options))
        if setting.label
    },
    "Beta scheduler alpha": InfotextField("beta_dist_alpha", parse_float),
    "Beta scheduler beta": InfotextField("beta_dist_beta", parse_float),
    "Cache FP16 weight for LoRA": InfotextField("cache_fp16_weight", parse_bool),
    "FP8 weight": InfotextField("fp8_storage", str),
    "Face restoration": InfotextField("face_restoration_model", str),
    "RNG": InfotextField("randn_source", _noise_source),
    "Tiling": InfotextField("tiling", parse_bool),
    "VAE Decoder": InfotextField("sd_vae_decode_method", str),
    "VAE Encoder": InfotextField("sd_vae_encode_method", str),
}
"""Labels of settings. Of the shape of Beta's schedule WebUI writes the one pair and reads the other."""


def _named_by_api(*owners: type) -> Mapping[str, InfotextField]:
    """Return the entries of fields, by what WebUI's API calls these."""
    return {
        own.spec.entry.label: InfotextField(next(iter(own.spec.api.defaults)), own.spec.entry.read)
        for owner in owners
        for own in fields_of(owner)
        if isinstance(own.spec.entry, Entry) and own.spec.entry.read is not None
        if isinstance(own.spec.api, ApiField)
    }


DIRECT: Final[Mapping[str, InfotextField]] = {
    own.spec.entry.label: InfotextField(own.name, own.spec.entry.read)
    for own in fields_of(GenerationRequest)
    if isinstance(own.spec.entry, Entry) and own.spec.entry.read is not None
}
"""Labels of a request's own fields, by the names of these."""

FIELDS: Final[Mapping[str, InfotextField]] = _named_by_api(HiresPass)
"""Labels of what else a request for an image holds."""

INIT_IMAGE_FIELDS: Final[Mapping[str, InfotextField]] = {
    **_named_by_api(Inpainting),
    "Image CFG scale": InfotextField("image_cfg_scale", parse_float),
}
"""Labels of what a request for a change of an image holds."""

RECORDS: Final = frozenset(
    {
        "Batch pos",
        "Batch size",
        "Civitai metadata",
        "Civitai resources",
        "Hashes",
        "Init image hash",
        "Plugins",
        "Prompt syntax",
        "User",
        "Version",
        *TEMPLATE_LABELS,
    }
)
"""Labels that say something about an image without asking for anything; those of networks are their kinds'."""
