"""Digests: right, remembered as long as a file is unchanged, and never dependent on the cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from promptengine.files import hashing as digests
from promptengine.files.hashing import Digests, default_cache_file, files_below, is_settling, sha256

_OLD_NS = 1_600_000_000_000_000_000


def _file(path: Path, content: bytes, mtime_ns: int = _OLD_NS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files whose bytes were read, in order."""
    seen: list[Path] = []

    def counting(path: Path, *, start: int = 0) -> str:
        seen.append(path)
        return sha256(path, start=start)

    monkeypatch.setattr(digests, "sha256", counting)
    yield seen


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (5 << 19) + 7])
def test_digest_is_that_of_the_bytes(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    path = _file(tmp_path / "a.pt", content[:size])
    assert sha256(path) == Digests().of(path) == hashlib.sha256(content[:size]).hexdigest()


def test_unchanged_file_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    path = _file(tmp_path / "a.pt", b"one")
    known = Digests()
    assert known.of(path) == known.of(path)
    assert reads == [path]


@pytest.mark.parametrize(("content", "later"), [(b"two", 1), (b"longer", 0)])
def test_changed_time_or_size_is_read_again(tmp_path: Path, content: bytes, later: int) -> None:
    path = _file(tmp_path / "a.pt", b"one")
    known = Digests()
    known.of(path)
    _file(path, content, _OLD_NS + later)
    assert known.of(path) == hashlib.sha256(content).hexdigest()


def test_the_beginning_of_a_file_may_be_left_out(tmp_path: Path, reads: list[Path]) -> None:
    path = _file(tmp_path / "a.pt", b"one two")
    known = Digests(tmp_path / "digests.json")
    for _ in range(2):
        assert known.of(path) == hashlib.sha256(b"one two").hexdigest()
        assert known.of(path, start=4) == hashlib.sha256(b"two").hexdigest()
    assert len(reads) == 2


def test_file_of_this_moment_is_not_remembered(tmp_path: Path) -> None:
    # Two writes within one step of the clock leave equal stamps.
    path = tmp_path / "a.pt"
    known = Digests()
    for content in (b"one", b"two", b"six"):
        path.write_bytes(content)
        assert known.of(path) == hashlib.sha256(content).hexdigest()


def test_only_the_recent_past_settles() -> None:
    assert not is_settling(_OLD_NS)
    assert not is_settling(1 << 62)


def test_cache_outlives_the_instance(tmp_path: Path, reads: list[Path]) -> None:
    path = _file(tmp_path / "a.pt", b"one")
    cache = tmp_path / "made" / "for it" / "digests.json"
    first = Digests(cache).of(path)
    assert Digests(cache).of(path) == first
    assert reads == [path]
    assert [child.name for child in cache.parent.iterdir()] == ["digests.json"]


def test_a_quick_second_digest_is_saved_on_request(tmp_path: Path, reads: list[Path]) -> None:
    paths = [_file(tmp_path / name, name.encode()) for name in ("a.pt", "b.pt", "c.pt")]
    cache = tmp_path / "digests.json"
    known = Digests(cache)
    expected = [known.of(path) for path in paths]
    known.save()
    again = Digests(cache)
    assert [again.of(path) for path in paths] == expected
    assert reads == paths


def test_two_instances_keep_each_others_digests(tmp_path: Path, reads: list[Path]) -> None:
    one, two = (_file(tmp_path / name, b"x") for name in ("a.pt", "b.pt"))
    cache = tmp_path / "digests.json"
    first, second = Digests(cache), Digests(cache)
    first.of(one)
    second.of(two)
    third = Digests(cache)
    third.of(one)
    third.of(two)
    assert reads == [one, two]


_GOOD = "0" * 64


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"files": 3}',
        b'{"files": {"PATH": 3}}',
        b'{"files": {"PATH": ["1600000000000000000", 3, "' + _GOOD.encode() + b'"]}}',
        b'{"files": {"PATH": [1600000000000000000, 3, "short"]}}',
        b'{"files": {"PATH": [1600000000000000000, 3, "' + b"Z" * 64 + b'"]}}',
        b'{"files": {"PATH": [1600000000000000000, 3, null]}}',
    ],
)
def test_damaged_cache_is_ignored_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = _file(tmp_path / "a.pt", b"one")
    cache = tmp_path / "digests.json"
    cache.write_bytes(content.replace(b"PATH", str(path).encode()))
    expected = hashlib.sha256(b"one").hexdigest()
    assert Digests(cache).of(path) == expected
    assert json.loads(cache.read_bytes())["files"] == {str(path): [_OLD_NS, 3, expected]}


def test_a_good_entry_beside_bad_ones_is_used(tmp_path: Path, reads: list[Path]) -> None:
    path = _file(tmp_path / "a.pt", b"one")
    cache = tmp_path / "digests.json"
    cache.write_text(json.dumps({"files": {"x": None, str(path): [_OLD_NS, 3, _GOOD]}}))
    assert Digests(cache).of(path) == _GOOD
    assert reads == []


@pytest.mark.parametrize("place", ["folder", "below a file"])
def test_unwritable_cache_is_ignored(tmp_path: Path, place: str) -> None:
    path = _file(tmp_path / "a.pt", b"one")
    cache = tmp_path / "cache"
    cache.mkdir() if place == "folder" else cache.write_bytes(b"")
    target = cache if place == "folder" else cache / "digests.json"
    known = Digests(target)
    assert known.of(path) == known.of(path) == hashlib.sha256(b"one").hexdigest()
    known.save()
    assert sorted(child.name for child in tmp_path.iterdir()) == ["a.pt", "cache"]


def test_threads_never_leave_half_a_cache(tmp_path: Path) -> None:
    paths = [_file(tmp_path / "m" / f"{n}.pt", str(n).encode()) for n in range(40)]
    cache = tmp_path / "digests.json"
    everyone = [Digests(cache) for _ in range(4)]

    def work(known: Digests) -> None:
        for path in paths:
            known.of(path)
            known.save()
            json.loads(cache.read_bytes())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, everyone))
    saved = json.loads(cache.read_bytes())["files"]
    assert (
        saved
        and saved.items()
        <= {str(path): [_OLD_NS, path.stat().st_size, sha256(path)] for path in paths}.items()
    )
    assert [child.name for child in tmp_path.iterdir() if child.suffix == ".tmp"] == []


def test_folder_digest_follows_names_and_contents_not_the_place(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> str:
        for stem, content in files.items():
            _file(tmp_path / name / "unet" / f"{stem}.bin", content.encode())
        return Digests().of(tmp_path / name)

    first = folder("a", x="1", y="2")
    assert len(first) == 64
    assert folder("b", x="1", y="2") == first
    assert (
        len({first, folder("c", x="1", z="2"), folder("d", x="1", y="3"), folder("e", x="1")}) == 4
    )
    _file(tmp_path / "a" / ".cache" / "note", b"dot-files are none of the model")
    assert Digests().of(tmp_path / "a") == first


def test_files_below_are_sorted_with_slashes(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a/.hidden", ".git/x"):
        _file(tmp_path / name, b"")
    assert [name for name, _ in files_below(tmp_path)] == ["a/z", "b"]


def test_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Digests().of(tmp_path / "gone.pt")


@pytest.mark.parametrize(
    ("platform", "variable", "below_home"),
    [
        ("linux", "XDG_CACHE_HOME", ".cache"),
        ("darwin", "", "Library/Caches"),
        ("win32", "LOCALAPPDATA", "AppData/Local"),
    ],
)
def test_default_cache_follows_the_system(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    variable: str,
    below_home: str,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert default_cache_file() == tmp_path / below_home / "promptengine" / "digests.json"
    if variable:
        monkeypatch.setenv(variable, "relative/is/ignored")
        assert default_cache_file() == tmp_path / below_home / "promptengine" / "digests.json"
        monkeypatch.setenv(variable, str(tmp_path / "set"))
        assert default_cache_file() == tmp_path / "set" / "promptengine" / "digests.json"


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_cache_file() is None


def test_importing_the_registry_loads_no_torch() -> None:
    code = "import sys, promptengine.registry.registry; print('torch' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "False"
