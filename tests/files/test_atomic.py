from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from promptengine.files.atomic import atomic_write, remove_parts


def test_replacing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with atomic_write(path) as temporary:
        assert temporary.parent == tmp_path and temporary.name.startswith(".")
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "one"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links are POSIX's here")
def test_replacing_keeps_permissions_and_links(tmp_path: Path) -> None:
    plain, private, link = tmp_path / "plain", tmp_path / "private", tmp_path / "link"
    plain.touch()
    private.touch(mode=0o600)
    link.symlink_to(private)
    for path in (tmp_path / "new", link):
        with atomic_write(path) as temporary:
            # This writer makes files that only their owner can read.
            save_file({"a": torch.zeros(1)}, temporary)
    assert (tmp_path / "new").stat().st_mode == plain.stat().st_mode
    assert link.is_symlink()
    assert private.stat().st_size > 0
    assert private.stat().st_mode & 0o777 == 0o600


def test_replacing_needs_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "no" / "a.pt"):
        pytest.fail("the block must not begin")


def killed_writer() -> int:
    """The number of a process that ran and runs no more."""
    code = "import os; print(os.getpid())"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def part(folder: Path, process: int, *, hours: float) -> Path:
    path = folder / f".{process:016x}-{process}.part"
    path.write_bytes(b"half")
    changed = time.time() - hours * 3600
    os.utime(path, (changed, changed))
    return path


@pytest.mark.skipif(os.name != "posix", reason="processes can be asked for on POSIX only")
def test_what_a_killed_writer_left_is_swept_by_the_next_write(tmp_path: Path) -> None:
    dead = killed_writer()
    stale = part(tmp_path, dead, hours=2)
    alive = part(tmp_path, os.getppid(), hours=2)
    others = tmp_path / ".something.part"
    others.touch()
    with atomic_write(tmp_path / "a") as temporary:
        assert not stale.exists()
        # A second writer in the folder leaves alone what the first one is writing.
        with atomic_write(tmp_path / "b") as second:
            assert temporary.exists() and second != temporary
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [others.name, alive.name, "a", "b"]
    )


@pytest.mark.skipif(os.name != "posix", reason="processes can be asked for on POSIX only")
def test_what_another_machine_may_be_writing_stays(tmp_path: Path) -> None:
    recent = part(tmp_path, killed_writer(), hours=0.5)
    remove_parts(tmp_path)
    assert recent.exists()
    remove_parts(tmp_path, older_than=0)
    assert not recent.exists()
    remove_parts(tmp_path / "missing")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_writer_that_is_killed_leaves_nothing_for_good(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from promptengine.files.atomic import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
