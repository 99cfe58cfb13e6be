"""How peft was told to scale the change of each module, for files that do not say it by tensors.

peft writes ``adapter_config.json`` beside a file, diffusers the same settings into its metadata.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from promptengine.errors import NetworkFormatError
from promptengine.files.size_limits import json_object, read_small

__all__ = ["PeftSettings"]

_CONFIG: Final = "adapter_config.json"
_METADATA: Final = "lora_adapter_metadata"
_PARTS: Final = {
    "unet.": "unet_",
    "text_encoder.": "transformer_text_",
    "text_encoder_2.": "transformer_2_",
}
_MOST_PATTERNS: Final = 4096
_LONGEST_PATTERN: Final = 1000
_MATCH_SECONDS: Final = 1.0
_PLAIN: Final = re.compile(r"[\w.-]+")

Pattern = Callable[[str], bool]
"""Whether a module's path is meant."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Settings of one model.

    Attributes:
        alpha: Of modules that no pattern means, or None.
        patterns: Which modules have another alpha; the first that means a module holds.
        rank_stabilized: Whether alpha is divided by the rank's root (arXiv:2312.03732).
    """

    alpha: float | None
    patterns: tuple[tuple[Pattern, float | None], ...]
    rank_stabilized: bool

    def scale(self, path: str, rank: int) -> float | None:
        meant = (alpha for pattern, alpha in self.patterns if pattern(path))
        alpha = next(meant, self.alpha)
        if alpha is None:
            return None
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


@dataclass(frozen=True, slots=True)
class PeftSettings:
    """Scales of a file's modules.

    Attributes:
        parts: Settings by what the modules' names begin with.
    """

    parts: Mapping[str, _Part]

    @staticmethod
    def read(path: Path, metadata: Mapping[str, str], *, peft: bool) -> PeftSettings:
        """Look beside a file of peft's, or in the metadata of one of diffusers'.

        Raises:
            NetworkFormatError: A pattern is no regular expression.
        """
        if peft:
            document = _beside(path.with_name(_CONFIG))
            return PeftSettings({"": _part(document, path)})
        document = json_object(metadata.get(_METADATA, "")) or {}
        return PeftSettings(
            {
                prefix: _part(
                    {k.removeprefix(part): v for k, v in document.items() if k.startswith(part)},
                    path,
                )
                for part, prefix in _PARTS.items()
            }
        )

    def scale(self, module: str, path: str, rank: int | None) -> float | None:
        """Return what a module's change is multiplied with, or None where nothing says it.

        Args:
            module: Its name, as :mod:`promptengine.networks.lora.keys` spells it.
            path: Its path, as peft has it.
            rank: What its tensors show: ``r`` and ``rank_pattern`` cannot say anything else.

        Raises:
            NetworkFormatError: A pattern takes too long.
        """
        for prefix, part in self.parts.items():
            if module.startswith(prefix) and rank:
                return part.scale(path, rank)
        return None


def _part(settings: Mapping[str, Any], path: Path) -> _Part:
    # Of LoHa and LoKr peft calls it alpha.
    alpha = settings.get("lora_alpha", settings.get("alpha"))
    patterns = settings.get("alpha_pattern")
    stated = cast("dict[str, object]", patterns) if isinstance(patterns, dict) else {}
    if len(stated) > _MOST_PATTERNS:
        message = f"its alpha_pattern has {len(stated)} entries; {_MOST_PATTERNS} are allowed"
        raise NetworkFormatError(message, path=path)
    clock = _Clock()
    return _Part(
        alpha=_number(alpha),
        patterns=tuple((_pattern(key, path, clock), _number(a)) for key, a in stated.items()),
        rank_stabilized=bool(settings.get("use_rslora")),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


@dataclass(slots=True)
class _Clock:
    """Seconds that are left for the regular expressions of a file."""

    left: float = _MATCH_SECONDS


def _pattern(key: str, path: Path, clock: _Clock) -> Pattern:
    """Read a pattern as peft does: a regular expression for the path or, after a dot, its end."""
    if _PLAIN.fullmatch(key):
        return lambda module: _ends_with(module, key)
    # Python's own module cannot be stopped, and an expression may take ages.
    import regex

    try:
        if len(key) > _LONGEST_PATTERN:
            raise regex.error(f"longer than {_LONGEST_PATTERN} characters")
        compiled = regex.compile(rf"(.*\.)?({key})$")
    except (regex.error, RecursionError, OverflowError) as error:
        message = f"its alpha_pattern {key[:80]!r} is no usable regular expression: {error}"
        raise NetworkFormatError(message, path=path) from None

    def means(module: str) -> bool:
        start = time.monotonic()
        try:
            return compiled.match(module, timeout=max(clock.left, 1e-6)) is not None
        except TimeoutError:
            message = f"its alpha_pattern {key[:80]!r} takes too long to match"
            raise NetworkFormatError(message, path=path) from None
        finally:
            clock.left -= time.monotonic() - start

    return means


def _ends_with(path: str, key: str) -> bool:
    """Match an expression whose only special character is the dot, without the cost of one."""
    start = len(path) - len(key)
    if start < 0 or (start > 0 and path[start - 1] != "."):
        return False
    end = path[start:]
    return end == key or all(k in (".", c) for k, c in zip(key, end, strict=True))


def _beside(path: Path) -> dict[str, Any]:
    try:
        return json_object(read_small(path)) or {}
    except (OSError, ValueError):
        return {}
