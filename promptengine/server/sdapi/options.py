"""WebUI's settings as one server has them: defaults of requests, and the model that is chosen."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from promptengine.checkpoints.resolve import checkpoint_named
from promptengine.errors import RequestError
from promptengine.images.file_names import MOST_PATTERN
from promptengine.registry.registry import Registry
from promptengine.request.edit import apply_settings
from promptengine.request.options import REQUEST_SETTINGS, SETTINGS, Options
from promptengine.request.request import GenerationRequest
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.worker import Model
from promptengine.server.sdapi.fields import read_as
from promptengine.validation import Between

__all__ = [
    "OWN_SETTINGS",
    "ServerSettings",
    "check_own",
    "find_checkpoint",
    "known_settings",
    "read_options",
    "title_of",
]

OWN_SETTINGS: Final[Mapping[str, object]] = {
    "sd_model_checkpoint": "",
    "sd_vae": "Automatic",
    "samples_format": "png",
    "jpeg_quality": 80,
    "save_to_dirs": True,
    "directories_filename_pattern": "[date]",
    "directories_max_prompt_words": 8,
    "samples_filename_pattern": "",
}
"""Settings that are the server's and not a request's, with their defaults."""

_READ_ONLY: Final = ("sd_checkpoint_hash",)
_NAMES: Final = (
    "save_to_dirs",
    "directories_filename_pattern",
    "directories_max_prompt_words",
    "samples_filename_pattern",
)
_WORDS: Final[Mapping[type, str]] = {bool: "true or false", int: "a whole number", str: "text"}
_FORMATS: Final = ("png", "jpg", "jpeg", "webp")
_NONE: Final[Mapping[str, object]] = MappingProxyType({})


def known_settings() -> frozenset[str]:
    """Return the names of all settings that are understood."""
    return frozenset({*SETTINGS, *OWN_SETTINGS, *_READ_ONLY})


class ServerSettings:
    """The settings in force. Threads may share it: readers get a whole state, never a half one.

    Args:
        registry: Where models are found.
        model: The one to begin with.
        styles_file: WebUI's ``styles.csv``, or None.
        settings: Those to begin with, where they are not the usual ones.
        form_defaults: What fields of our own API's jobs are where they are left out, by their paths.

    Attributes:
        styles_file: As given.
        usual: The options among ``settings`` that our own API's jobs have unless they say otherwise.
        form_defaults: As given.

    Raises:
        RequestError: A setting to begin with that cannot be used.
    """

    def __init__(
        self,
        registry: Registry,
        model: Model,
        styles_file: Path | None = None,
        settings: Mapping[str, object] = _NONE,
        form_defaults: Mapping[str, object] = _NONE,
    ) -> None:
        self.styles_file = styles_file
        self.usual = {
            name: value
            for name, value in settings.items()
            if name in SETTINGS and name not in REQUEST_SETTINGS
        }
        self.form_defaults = form_defaults
        self._registry = registry
        self._lock = threading.Lock()
        self._values: Mapping[str, object] = {
            **Options().to_webui(),
            **{name: _default_of(field) for name, field in REQUEST_SETTINGS.items()},
            **OWN_SETTINGS,
            "sd_vae": Path(model.vae).name,
        }
        self._model = model
        self._values, _ = self.merged(settings)

    @property
    def model(self) -> Model:
        """The model that requests are made with unless they name another one."""
        return self._model

    def options(self) -> Options:
        """Return the settings as a request has them that changes none."""
        values = {name: value for name, value in self._values.items() if name in SETTINGS}
        return apply_settings(GenerationRequest(prompt=""), values).options

    def values(self) -> dict[str, object]:
        """Return all settings by WebUI's names."""
        path = self._model.checkpoint
        title = title_of(path, self._registry)
        digest = self._registry.digests.known(path)
        return {**self._values, "sd_model_checkpoint": title, "sd_checkpoint_hash": digest}

    def change(self, changes: Mapping[str, object]) -> int:
        """Change some settings, all of them or none. None values change nothing.

        Returns:
            How many names are not known, which do nothing.

        Raises:
            RequestError: A value that cannot be used.
            Refusal: 404, for a model that there is not.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        known = {name: value for name, value in given.items() if name in known_settings()}
        with self._lock:
            values, model = self.merged(known)
            self._values, self._model = values, model
        return len(given) - len(known)

    def merged(self, changes: Mapping[str, object]) -> tuple[dict[str, object], Model]:
        """Return the settings with some changed, and the model that they name; nothing here changes.

        Raises:
            RequestError: A value that cannot be used.
            Refusal: 404, for a model that there is not.
        """
        changes = read_options(changes)
        requests = {name: value for name, value in changes.items() if name in SETTINGS}
        apply_settings(GenerationRequest(prompt=""), requests)
        values = {**self._values, **requests}
        model = self._model
        if name := changes.get("sd_model_checkpoint"):
            model = Model(find_checkpoint(str(name), self._registry, model.checkpoint), model.vae)
        vae = changes.get("sd_vae") or values["sd_vae"]
        if vae != values["sd_vae"]:
            model = Model(model.checkpoint, _vae(str(vae), self._registry))
            values["sd_vae"] = vae
        values |= check_own(changes)
        return values, model


def read_options(changes: Mapping[str, object]) -> dict[str, object]:
    """Options as they are meant: clients send numbers as text, and whole ones as 1.0."""
    return {name: read_as(_kind(name), value) for name, value in changes.items()}


def _kind(name: str) -> type:
    setting = SETTINGS.get(name)
    return type(OWN_SETTINGS.get(name)) if setting is None else setting.kind


def _default_of(field: str) -> object:
    return getattr(GenerationRequest(prompt=""), field)


def check_own(changes: Mapping[str, object]) -> dict[str, object]:
    """Return those among changes that say in which format and under which names images are saved.

    Raises:
        RequestError: A value that cannot be used.
    """
    found: dict[str, object] = {}
    if (form := changes.get("samples_format")) is not None:
        if form not in _FORMATS:
            message = f"option samples_format is {form!r}; it must be {', '.join(_FORMATS)}"
            raise RequestError(message[:200], field="samples_format")
        found["samples_format"] = form
    if (quality := changes.get("jpeg_quality")) is not None:
        if not isinstance(quality, int) or not 1 <= quality <= 100:
            message = "option jpeg_quality must be a whole number, 1 to 100"
            raise RequestError(message, field="jpeg_quality")
        found["jpeg_quality"] = quality
    return found | _checked_names(changes)


def _checked_names(changes: Mapping[str, object]) -> dict[str, object]:
    """Return the settings among changes that say where images are saved, if they can be used."""
    found = {name: changes[name] for name in _NAMES if changes.get(name) is not None}
    for name, value in found.items():
        if type(value) is not (kind := type(OWN_SETTINGS[name])):
            message = f"option {name} must be {_WORDS[kind]} (got {str(value)[:100]!r})"
            raise RequestError(message, field=name)
        if isinstance(value, str) and len(value) > MOST_PATTERN:
            message = (
                f"option {name} has {len(value)} characters; at most {MOST_PATTERN} are allowed"
            )
            raise RequestError(message, field=name)
    if (words := found.get("directories_max_prompt_words")) is not None:
        Between(1, 100).check("directories_max_prompt_words", cast("int", words))
    return found


def title_of(path: Path, registry: Registry) -> str:
    """Return what WebUI calls a checkpoint: its file below the folder, and its hash where that is known."""
    entry = next((e for e in registry.entries("checkpoint") if e.path == path), None)
    name = path.name if entry is None else f"{entry.relative}{entry.path.suffix}"
    digest = registry.digests.known(path)
    return name if digest is None else f"{name} [{digest[:10]}]"


def find_checkpoint(name: str, registry: Registry, current: Path | None = None) -> Path:
    """Return the checkpoint that a title, a name, a file's name or a hash means; never a path of a client's.

    Args:
        name: As a client wrote it; case does not matter where nothing else differs.
        registry: Where checkpoints are found.
        current: One outside the folders that may be named too.

    Raises:
        Refusal: 404, where there is none.
    """
    path = checkpoint_named(name, registry, current)
    if path is None:
        near = registry.near("checkpoint", name, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise HTTPRefusal(f"Model not found: {name[:100]!r}{hint}", status=404)
    return path


def _vae(name: str, registry: Registry) -> str:
    if name in ("Automatic", "None"):
        return name
    entry = registry.find("vae", name)
    if entry is None:
        raise HTTPRefusal(f"VAE not found: {name[:100]!r}", status=404)
    return str(entry.path)
