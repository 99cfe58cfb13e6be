"""The addresses of Civitai's API, and what users write for one of its models."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from promptengine.civitai.shapes import FoundPage, ModelVersion, read_found, read_version
from promptengine.civitai.web import TIMEOUT_S, TOKEN_VARIABLE, Web
from promptengine.errors import DownloadError, RequestError

__all__ = ["BASE_VARIABLE", "Reference", "Site", "open_web", "read_reference"]

BASE_VARIABLE: Final = "PROMPTENGINE_CIVITAI_URL"
"""Environment variable of another site that speaks the same."""

_BASE: Final = "https://civitai.com"
_MOST_FOUND: Final = 100
_HASH_DIGITS: Final = (8, 10, 12, 64)
"""Of CRC32 and AutoV1, AutoV2, AutoV3, and SHA-256 and BLAKE3."""

_MOST_ID_DIGITS: Final = 9
_PATH: Final = re.compile(
    r"^/(?:api/v1/)?(models|model-versions|api/download/models)/(\d{1,9})(?:/|$)"
)
_AIR: Final = re.compile(r"^urn:air:[^:]+:[^:]+:civitai:(\d{1,9})(?:@(\d{1,9}))?$")


def open_web(
    base: str | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    timeout_s: float = TIMEOUT_S,
) -> Web:
    """Return what asks the site, with the user's token from the environment.

    Args:
        base: The site; by default that of the environment, else Civitai's.
        sleep: Waits for some seconds between tries.
        timeout_s: Seconds without an answer after which a host counts as silent.

    Raises:
        RequestError: It is no address that is asked, or the token is none.
    """
    chosen = base or os.environ.get(BASE_VARIABLE) or _BASE
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    return Web(chosen, token, sleep=sleep, timeout_s=timeout_s)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a user wrote for a model; one of these is there.

    Attributes:
        model: Id of a model, whose newest version is meant.
        version: Id of a version.
        digest: A hash of a file, in lower case.
    """

    model: int | None = None
    version: int | None = None
    digest: str = ""


def read_reference(text: str) -> Reference:
    """Read an id of a model, an address of its page, an AIR, or a hash.

    Of an address the numbers are read and nothing else: it is never asked.

    Raises:
        RequestError: It is none of these.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_ID_DIGITS:
        return Reference(model=int(text))
    if re.fullmatch(r"[0-9a-fA-F]+", text) and len(text) in _HASH_DIGITS:
        return Reference(digest=text.lower())
    if found := _AIR.match(text):
        return Reference(version=int(found[2])) if found[2] else Reference(model=int(found[1]))
    if "://" in text:
        try:
            address = urlsplit(text)
            asked = parse_qs(address.query).get("modelVersionId", [""])[0]
        except ValueError:
            address, asked = urlsplit(""), ""
        if found := _PATH.match(address.path):
            if asked.isascii() and asked.isdecimal() and len(asked) <= _MOST_ID_DIGITS:
                return Reference(version=int(asked))
            number = int(found[2])
            return Reference(model=number) if found[1] == "models" else Reference(version=number)
    message = (
        f"{text[:100]!r} is neither the id of a model, nor the address of its page, nor a hash of "
        f"{', '.join(map(str, _HASH_DIGITS[:-1]))} or {_HASH_DIGITS[-1]} hexadecimal digits"
    )
    raise RequestError(message, field="reference")


class Site:
    """Civitai's API.

    Args:
        web: What asks.

    Attributes:
        web: As given.
    """

    def __init__(self, web: Web) -> None:
        self.web = web

    def search(
        self,
        text: str,
        types: Sequence[str] = (),
        *,
        limit: int = 20,
        nsfw: bool = False,
        cursor: str = "",
    ) -> FoundPage:
        """Return models that a text finds, as the site orders them.

        Args:
            text: What to look for; empty for anything.
            types: As the site calls them, such as ``Hypernetwork``; none for all.
            limit: The most to return, 1 to 100.
            nsfw: Whether those for adults are wanted as well.
            cursor: What the page before this one leads on with; empty for the first.

        Raises:
            RequestError: ``limit`` is out of its range.
            DownloadError: The site cannot be asked.
        """
        if not 1 <= limit <= _MOST_FOUND:
            message = f"limit is {limit}; it must be 1 to {_MOST_FOUND}"
            raise RequestError(message, field="limit")
        params = {
            **({"query": text} if text else {}),
            "limit": str(limit),
            "nsfw": str(nsfw).lower(),
            **({"types": list(types)} if types else {}),
            **({"cursor": cursor} if cursor else {}),
        }
        found = read_found(self.web.json("/api/v1/models", params))
        return replace(found, models=found.models[:limit])

    def version(self, reference: Reference) -> ModelVersion:
        """Return the version that a user means.

        Raises:
            DownloadError: The site has none, or cannot be asked.
        """
        if reference.digest:
            found = self.by_hash(reference.digest)
            if found is None:
                raise DownloadError(f"the site knows no file with the hash {reference.digest}")
            return found
        number = reference.version
        if number is None:
            document = self.web.json(f"/api/v1/models/{reference.model}")
            number = _newest(document)
            if number is None:
                raise DownloadError(f"the site has no model {reference.model}, or no version of it")
        document = self.web.json(f"/api/v1/model-versions/{number}")
        if document is None:
            raise DownloadError(f"the site has no version {number}")
        return read_version(document)

    def by_hash(self, digest: str) -> ModelVersion | None:
        """Return the version that a file with a hash belongs to; None where the site knows none.

        Raises:
            DownloadError: The site cannot be asked.
        """
        document = self.web.json(f"/api/v1/model-versions/by-hash/{digest.upper()}")
        return None if document is None else read_version(document)

    def page(self, model: int, version: int) -> str:
        """Return the address of a version's page, by the ids of both."""
        return f"{self.web.base}/models/{model}?modelVersionId={version}"


def _newest(document: Any) -> int | None:
    versions: Any = document.get("modelVersions") if isinstance(document, dict) else None
    first: Any = versions[0] if isinstance(versions, list) and versions else None
    number: Any = first.get("id") if isinstance(first, dict) else None
    return number if type(number) is int and 0 <= number < 1 << 53 else None
