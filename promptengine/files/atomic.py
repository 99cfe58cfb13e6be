"""Writes files whole or not at all, and clears away what writers that were killed left behind."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["atomic_write", "remove_parts", "write_new"]

_PART: Final = re.compile(r"\.[0-9a-f]{16}-(\d+)\.part")
"""Name of a file that is being written: random digits and the number of the process."""

_STALE_S: Final = 3600
"""Seconds without a change after which a writer that cannot be asked counts as dead."""


@contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """Write a file so that readers see the old content or the new one, never a part.

    Yields a temporary path in the same folder, of a hidden name that no scan of networks matches.
    When the block ends, its content is forced to the disk and takes the place of ``path``; when the
    block raises, it is removed and ``path`` stays as it was. A file that is replaced keeps its
    permissions, a new one gets the usual ones; a symbolic link keeps pointing where it did. What
    killed processes left in the folder an hour ago or earlier is removed first.

    Raises:
        OSError: Where the folder does not exist or cannot be written.
    """
    target = path.resolve()
    remove_parts(target.parent)
    temporary = target.with_name(f".{secrets.token_hex(8)}-{os.getpid()}.part")
    # Some writers make private files. Made here first, the file shows which mode is the usual one.
    temporary.touch(exist_ok=False)
    try:
        shutil.copymode(target if target.exists() else temporary, temporary)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: Path, data: bytes) -> bool:
    """Write a file whole under a name that nothing has yet, whoever else writes into the folder.

    Unlike :func:`atomic_write` it does not look through the folder, however many files that holds.

    Returns:
        False where the name is taken; what has it stays as it is.

    Raises:
        OSError: Where the folder does not exist or cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}-{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if not _take_name(temporary, path):
            return False
        _sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _take_name(temporary: Path, path: Path) -> bool:
    """Let a file be known by a name too, unless something is; return whether it is."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # Not every file system has hard links.
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        temporary.replace(path)
    return True


def remove_parts(folder: Path, *, older_than: float = _STALE_S) -> None:
    """Removes half-written files whose writers are dead; never raises.

    Another machine or container may write into the same folder, where the number of its process
    says nothing here. So a file counts only once nobody has written to it for a while.

    Args:
        folder: Where to look; it may be missing.
        older_than: Seconds since the last change; 0 in a folder that no other machine writes to.
    """
    try:
        with os.scandir(folder) as listing:
            found = [(entry, _PART.fullmatch(entry.name)) for entry in listing]
    except OSError:
        return
    for entry, match in found:
        if match is None or _is_alive(int(match[1])):
            continue
        try:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime >= older_than:
                Path(entry.path).unlink()
        except OSError:
            # Another process was faster, or it may not be removed.
            continue


def _is_alive(process: int) -> bool:
    """Return whether a process of this number runs here; elsewhere than on POSIX only age can tell."""
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        # It runs as another user.
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; only POSIX systems can, and only they need it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
