"""What a client may set: how its texts are read, and where the models are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, cast

from promptengine.errors import RequestError
from promptengine.language.syntax import PromptSyntax
from promptengine.language.vocabulary import Vocabulary
from promptengine.registry.registry import Kind
from promptengine.validation import shown

__all__ = ["SECTION", "ServerOptions"]

SECTION: Final = "promptengine"
"""What settings of a client stand under."""

_FIELDS: Final = tuple(field.name for field in fields(PromptSyntax))
_MODELS: Final = "models"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How texts are read, and what they can name.

    Attributes:
        syntax: Of every text.
        vocabulary: What the models folders hold.
    """

    syntax: PromptSyntax
    vocabulary: Vocabulary

    @classmethod
    def open(
        cls, models: Path | Mapping[Kind, Sequence[Path]], syntax: PromptSyntax
    ) -> ServerOptions:
        """Open a models folder, or the folders of each kind, which need not exist, and read what questions are about."""
        vocabulary = Vocabulary.open(models)
        vocabulary.warm_up()
        return cls(syntax, vocabulary)

    def changed(self, given: object) -> ServerOptions:
        """Return them with what a client gives: the fields of :class:`PromptSyntax`, and ``models``.

        Args:
            given: Of JSON's types; None for nothing, and under :data:`SECTION` what editors send for all programs.

        Raises:
            RequestError: There is no such option, or it has no such value.
        """
        if given is None:
            return self
        if not isinstance(given, Mapping):
            raise RequestError(
                f"options are {shown(given)}; they must be an object", field="options"
            )
        options = dict(cast("Mapping[str, Any]", given))
        if set(options) == {SECTION}:
            return self.changed(options[SECTION])
        unknown = next((name for name in options if name not in (*_FIELDS, _MODELS)), None)
        if unknown is not None:
            message = (
                f"option {shown(unknown)} is unknown; there are {', '.join((*_FIELDS, _MODELS))}"
            )
            raise RequestError(message, field="options")
        models = options.pop(_MODELS, None)
        syntax = replace(self.syntax, **options)
        if models is None:
            return replace(self, syntax=syntax)
        if not isinstance(models, str):
            raise RequestError(f"models is {shown(models)}; it must be a path", field=_MODELS)
        return ServerOptions.open(Path(models).expanduser(), syntax)
