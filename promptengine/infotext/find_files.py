"""Finds the file that an infotext means: by its hash first, and then by its name.

A name says little: people rename files. The file of that name is looked at first all the same, since
its hash then spares reading all others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from promptengine.errors import PromptEngineError
from promptengine.kinds import EMBEDDING, NetworkKind, find_kind, kind_of_word
from promptengine.prompt import Diagnostic, parse
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.dialects import WEBUI
from promptengine.registry.registry import Kind, Registry, RegistryEntry

__all__ = ["FileFinder", "FileQuery", "hash_list"]

_HASH: Final = re.compile(r"[0-9a-f]{8,64}")
_OLD_HASH_START: Final = 0x100000
_OLD_HASH_BYTES: Final = 0x10000
_OLD_HASH_DIGITS: Final = 8
_SHOWN_CHARACTERS: Final = 80
_NOT_LISTED: Final = {ord(mark): None for mark in ",:\r\n"}


@dataclass(frozen=True, slots=True)
class FileQuery:
    """What an infotext says of a file.

    Attributes:
        kind: What it is.
        name: As written; empty where only a hash is known.
        digest: The first digits of a hash, lower-case hex, or empty where none is known.
    """

    kind: Kind
    name: str
    digest: str = ""

    def __str__(self) -> str:
        name = self.name[:_SHOWN_CHARACTERS] + "…" * (len(self.name) > _SHOWN_CHARACTERS)
        return f"{find_kind(self.kind).noun} {name!r}" + (
            f" [{self.digest}]" if self.digest else ""
        )


class FileFinder:
    """Finds files, and reads none of them twice to learn its hash.

    Args:
        registry: Where the files are.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._written: dict[Path, tuple[str, ...]] = {}

    def find(self, sought: FileQuery) -> tuple[RegistryEntry | None, tuple[Diagnostic, ...]]:
        """Find a file by its hash, or else by its name.

        Reads no more than it must: the file of that name, and all of that kind only where this one
        differs or is missing. An embedding with a name in place of its hash is none of the folder's: the
        LoRA of that name brought the word, and its tag does so again.

        Returns:
            The file, or None; and a remark where it has another name, other content, or is missing.
        """
        if sought.kind == EMBEDDING.name and sought.digest and not _HASH.fullmatch(sought.digest):
            return None, ()
        named = self.registry.find(sought.kind, sought.name) if sought.name else None
        if not _HASH.fullmatch(sought.digest):
            sought = replace(sought, digest="")
        if named is not None and (not sought.digest or self._matches(named, sought.digest)):
            return named, ()
        if sought.digest:
            for entry in self.registry.entries(sought.kind):
                if entry != named and self._matches(entry, sought.digest):
                    message = f"{sought} is found here as {entry.name!r}, by its hash"
                    return entry, (kinds.RENAMED_FILE(message),)
        if named is None:
            return None, (self._missing(sought),)
        message = f"{sought} is missing here; the file of that name differs and is used instead"
        hint = f"the hash of {named.path} is {self._shown_digest(named)}"
        return named, (kinds.OTHER_FILE(message, None, hint),)

    def rename_tags(
        self, prompt: str, hashes: Mapping[Kind, Mapping[str, str]], dialect: str = WEBUI
    ) -> tuple[str, tuple[Diagnostic, ...]]:
        """Let the tags of a prompt name the files with the hashes that an infotext lists.

        Args:
            prompt: With tags of the kinds in ``hashes``; a tag whose name is not listed stays.
            hashes: By kind, names as infotexts list them (without ``:`` and ``,``) and hashes.
            dialect: That the prompt is written in.

        Returns:
            The prompt, and a remark for every file that has another name or is not the same.
        """
        found: dict[tuple[Kind, str], str] = {}
        remarks: dict[Diagnostic, None] = {}
        pieces: list[str] = []
        done = 0
        for tag in parse(prompt, dialect=dialect).tags:
            known, name = kind_of_word(tag.kind), tag.arguments[0]
            kind = "" if known is None else known.name
            digest = hashes.get(kind, {}).get(name.translate(_NOT_LISTED))
            if digest is None:
                continue
            if (kind, name) not in found:
                found[kind, name], said = self._name_here(FileQuery(kind, name, digest))
                remarks |= dict.fromkeys(said)
            start = tag.span.start + len(f"<{tag.kind}:")
            if prompt.startswith(name, start):
                pieces += [prompt[done:start], found[kind, name]]
                done = start + len(name)
            elif name != found[kind, name]:
                message = f"the tag of {name!r} has a comment in it and is left as it is"
                remarks[kinds.UNNAMEABLE_FILE(message)] = None
        return "".join((*pieces, prompt[done:])), tuple(remarks)

    def _name_here(self, sought: FileQuery) -> tuple[str, tuple[Diagnostic, ...]]:
        """Return the name by which a tag finds a file; as it was where it finds it already."""
        entry, remarks = self.find(sought)
        if entry is None or self.registry.find(sought.kind, sought.name) == entry:
            return sought.name, remarks
        if set(entry.name) & set(":>"):
            message = f"no tag can hold the name {entry.name!r}; rename the file"
            return sought.name, (*remarks, kinds.UNNAMEABLE_FILE(message))
        return entry.name, remarks

    def _missing(self, sought: FileQuery) -> Diagnostic:
        near = self.registry.near(sought.kind, sought.name) if sought.name else ()
        hint = f"names like it: {', '.join(map(repr, near))}" if near else ""
        return kinds.MISSING_FILE(f"{sought} is not in the models folder", None, hint)

    def _shown_digest(self, entry: RegistryEntry) -> str:
        """Return what an infotext would give as a file's hash."""
        try:
            return next(d for d in self._digests(entry) if len(d) > _OLD_HASH_DIGITS)[:12]
        except (PromptEngineError, OSError):
            return "not known, since it cannot be read"

    def _matches(self, entry: RegistryEntry, digest: str) -> bool:
        try:
            return any(found.startswith(digest) for found in self._digests(entry))
        except (PromptEngineError, OSError):
            return False

    def _digests(self, entry: RegistryEntry) -> Iterator[str]:
        """Yield every hash that programs have written for a file, those that cost least first."""
        if entry.path.is_file():
            yield _old_digest(entry.path)
            if entry.path not in self._written:
                kind = find_kind(entry.kind)
                digests = kind.file_digests(entry.path) if isinstance(kind, NetworkKind) else ()
                self._written[entry.path] = tuple(digests)
            yield from self._written[entry.path]
        yield self.registry.digest(entry)


def hash_list(value: str) -> dict[str, str]:
    """Read a list such as ``ink: 0123456789, wash: abcdef0123``; what is no pair is left out."""
    items = (item.rpartition(":") for item in value.split(","))
    return {name.strip(): digest.strip().lower() for name, colon, digest in items if colon}


def _old_digest(path: Path) -> str:
    """Return the hash of 2022: of 64 KiB in the second MiB. A shorter file has none."""
    with path.open("rb") as file:
        file.seek(_OLD_HASH_START)
        part = file.read(_OLD_HASH_BYTES)
    return hashlib.sha256(part).hexdigest()[:_OLD_HASH_DIGITS] if part else ""
