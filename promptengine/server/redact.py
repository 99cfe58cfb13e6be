"""Paths: of the server's routes, and how much of its folders its answers show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Scope

from promptengine.server.config import ServerConfig

__all__ = ["PathRedactor", "below_root"]


def below_root(scope: Scope) -> str:
    """Return the path of a request, without what the server or a part of it is mounted at."""
    root: str = scope.get("root_path", "")
    return scope["path"].removeprefix(root)


@dataclass(frozen=True, slots=True)
class PathRedactor:
    """Paths and texts as clients may see them.

    Attributes:
        roots: Folders whose own place is not told, the longest first; none where paths are shown.
    """

    roots: tuple[str, ...]

    @classmethod
    def by(cls, config: ServerConfig) -> PathRedactor:
        """Return what a server's settings allow."""
        if not config.hide_paths:
            return cls(())
        models = config.models
        several = models.values() if isinstance(models, Mapping) else [[models]]
        folders = [folder for some in several for folder in some]
        folders += [folder.parent for folder in folders] + [config.output, config.training]
        folders += [Path.cwd(), Path.home()]
        if config.checkpoint is not None:
            folders.append(Path(config.checkpoint).parent)
        roots = {str(folder.absolute()) for folder in folders} | {
            str(folder.resolve()) for folder in folders
        }
        return cls(tuple(sorted(roots - {"/", ""}, key=len, reverse=True)))

    def path(self, path: Path) -> str:
        """Return a path, below the folders only where these are hidden; its name where it is outside."""
        if not self.roots:
            return str(path)
        text = self.text(str(path))
        return path.name if Path(text).is_absolute() else text

    def text(self, text: str) -> str:
        """Return a text with paths in it."""
        for root in self.roots:
            text = text.replace(f"{root}/", "").replace(root, "…")
        return text
