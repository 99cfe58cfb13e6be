"""WebUI's files of settings, each one object of JSON, read with no more trust than a stranger's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

from promptengine.errors import RequestError
from promptengine.files.size_limits import read_small

__all__ = ["read_object"]

_MOST_BYTES: Final = 4 << 20
"""A WebUI with many extensions writes some hundred KB of defaults."""

_KINDS: Final[dict[type, str]] = {list: "a list", str: "a text", type(None): "null"}


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a file holds; an empty one where there is no such file.

    Args:
        path: Such as of ``config.json``.

    Raises:
        RequestError: It cannot be read, is too large, or is no such file; the message says where.
    """
    try:
        if not path.exists():
            return {}
        # A pipe would keep the reader waiting.
        if not path.is_file():
            raise RequestError(f"{path} is no file; it must be a file of JSON", field="webui")
        content = read_small(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{path} cannot be read: {reason}", field="webui") from None
    document = _parsed(path, content)
    if not isinstance(document, dict):
        kind = _KINDS.get(type(document), "a value")
        raise RequestError(f"{path} holds {kind}; it must hold a JSON object", field="webui")
    return cast("dict[str, Any]", document)


def _parsed(path: Path, content: bytes) -> object:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        problem = f"{path} is no text in UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        problem = f"{path}, line {error.lineno}, column {error.colno}: no JSON ({error.msg})"
    except RecursionError:
        problem = f"{path} nests too deep"
    except ValueError as error:
        problem = f"{path} cannot be read: {error}"
    raise RequestError(f"{problem}; mend it", field="webui")
