"""WebUI's ``config.json``: the options that its users have saved, as far as they mean something here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promptengine.errors import RequestError
from promptengine.request.options import SETTINGS, UNTOLD_SETTINGS
from promptengine.request.setting import Setting
from promptengine.validation import shown

__all__ = ["MODEL_SETTINGS", "SavedSettings"]

_CHECKPOINT: Final = "sd_model_checkpoint"
_VAE: Final = "sd_vae"
_VAE_OVERRIDES: Final = "sd_vae_overrides_per_model_preferences"
_VAE_DEFAULT: Final = "sd_vae_as_default"

MODEL_SETTINGS: Final = (_CHECKPOINT, "sd_checkpoint_hash", _VAE, _VAE_OVERRIDES, _VAE_DEFAULT)
"""Options that say which model is opened."""


@dataclass(frozen=True, slots=True)
class SavedSettings:
    """What stands in ``config.json``; values are checked when they are asked for.

    Attributes:
        path: The file, which need not be there.
        values: By WebUI's names, as they stand there.
    """

    path: Path
    values: Mapping[str, Any]

    def known(self, given: Collection[str] = ()) -> dict[str, object]:
        """Return the options of requests that are understood, for :func:`promptengine.apply_settings`.

        Args:
            given: Names of options that others say; what stands in the file about them is not looked at.

        Raises:
            RequestError: A value that cannot be used; names the file and the option.
        """
        found: dict[str, object] = {}
        for name, setting in SETTINGS.items():
            value = self.values.get(name)
            if value is None or name in given or setting.only is not None:
                continue
            found[name] = value = _meant(setting, value)
            try:
                setting.ours(value)
            except RequestError as error:
                raise self._refusal(name, str(error)) from None
        return found

    def untold(self, given: Collection[str] = ()) -> dict[str, object]:
        """Return those of :meth:`known` that no infotext tells, so that one which is read leaves them open.

        Raises:
            RequestError: As :meth:`known`.
        """
        return self.known({*given, *(SETTINGS.keys() - UNTOLD_SETTINGS)})

    def left_out(self, known: Collection[str] = ()) -> tuple[str, ...]:
        """Return the names of options that do nothing here, sorted.

        Args:
            known: Names that the caller understands besides.
        """
        names = {*SETTINGS, *MODEL_SETTINGS, *known}
        return tuple(sorted(name for name in self.values if name not in names))

    @property
    def differing(self) -> Mapping[str, object]:
        """Options that this engine has one answer to, where the file asks for another one."""
        fixed = {
            name: setting.only for name, setting in SETTINGS.items() if setting.only is not None
        }
        return {
            name: self.values[name]
            for name, only in fixed.items()
            if self.values.get(name) is not None and self.values[name] != only
        }

    @property
    def checkpoint(self) -> str | None:
        """What WebUI calls the checkpoint that is chosen, with its hash or without; None for the first there is.

        Raises:
            RequestError: It is no text.
        """
        return self._text(_CHECKPOINT) or None

    @property
    def vae(self) -> str:
        """The VAE that is chosen: ``Automatic``, ``None``, or the name of a file.

        Raises:
            RequestError: It is no text.
        """
        return self._text(_VAE) or "Automatic"

    @property
    def vae_overrides(self) -> bool:
        """Whether that goes before what belongs to a checkpoint by its side-car or by name.

        Raises:
            RequestError: It is neither true nor false.
        """
        asked, older = self._flag(_VAE_OVERRIDES), self._flag(_VAE_DEFAULT)
        if asked is not None:
            return asked
        # What WebUI before 1.3 called it; it reads it in this way since.
        return True if older is None else not older

    def _text(self, name: str) -> str:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self._refusal(name, f"option {name} is {shown(value)}; it must be text")
        return value or ""

    def _flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._refusal(name, f"option {name} is {shown(value)}; it must be true or false")
        return value

    def _refusal(self, name: str, problem: str) -> RequestError:
        remedy = "mend it there, or give the option yourself"
        return RequestError(f"{self.path}: {problem}; {remedy}", field=name)


def _meant(setting: Setting, value: object) -> object:
    """Return a value as its slider meant it, which may have saved a whole number as 1.0."""
    whole = setting.kind is int and isinstance(value, float) and value.is_integer()
    return int(value) if whole and isinstance(value, float) else value
