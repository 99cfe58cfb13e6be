"""The registry: which file a name means, when it scans again, and what is proposed instead."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from promptengine.errors import CheckpointError, NetworkFormatError
from promptengine.registry import registry as registry_module
from promptengine.registry import scan as modelfiles
from promptengine.registry.registry import (
    Kind,
    Registry,
)
from tests.model_folders import (
    OLD_NS,
    hypernets,
    names_of,
    path_of,
    settle,
    touch,
    write_safetensors,
)


class TestClashes:
    """Several files of one stem."""

    def _check(self, registry: Registry, expected: Mapping[str, Path]) -> None:
        assert sorted(names_of(registry)) == sorted(expected)
        assert {name: path_of(registry, name) for name in expected} == expected

    def test_the_first_keeps_the_stem_and_both_have_a_path(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "b/ink.pt", "A/ink.pt")
        folder = tmp_path / "hypernetworks"
        self._check(registry, {"ink": folder / "A" / "ink.pt", "b/ink": folder / "b" / "ink.pt"})
        assert path_of(registry, "A/ink") == folder / "A" / "ink.pt"
        (clash,) = registry.clashes
        assert (clash.kind, clash.winner.name, clash.loser.name) == ("hypernet", "ink", "b/ink")

    def test_of_two_models_folders_the_first_keeps_the_stem(self, tmp_path: Path) -> None:
        files = [tmp_path / name / "hypernetworks" / "ink.pt" for name in "ab"]
        touch(*files)
        registry = Registry.open([tmp_path / "b", str(tmp_path / "a")])
        assert path_of(registry, "ink") == files[1]
        assert path_of(registry, "hypernetworks/ink") == files[0]
        assert registry.word_lists == (tmp_path / "tags",)

    def test_a_file_in_the_folder_itself_goes_first(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.pt", "art/ink.pt")
        folder = tmp_path / "hypernetworks"
        self._check(registry, {"ink": folder / "ink.pt", "art/ink": folder / "art" / "ink.pt"})

    def test_two_suffixes_in_one_folder(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "s/ink.safetensors", "s/ink.pt", "ink.bin", "ink.ckpt")
        folder = tmp_path / "hypernetworks"
        self._check(
            registry,
            {
                "ink": folder / "ink.bin",
                "ink.ckpt": folder / "ink.ckpt",
                "s/ink": folder / "s" / "ink.pt",
                "s/ink.safetensors": folder / "s" / "ink.safetensors",
            },
        )
        assert len(registry.clashes) == 3

    def test_one_path_below_two_folders(self, tmp_path: Path) -> None:
        places = [tmp_path / "m" / "Lora" / "ink.pt", tmp_path / "m" / "LyCORIS" / "ink.pt"]
        touch(*places)
        registry = Registry.open(tmp_path / "m")
        assert names_of(registry, "lora") == ["ink", "LyCORIS/ink"]
        assert [path_of(registry, name, "lora") for name in ("ink", "LyCORIS/ink")] == places

    def test_one_path_below_two_folders_of_one_name(self, tmp_path: Path) -> None:
        places = [tmp_path / "m" / "embeddings" / "e.pt", tmp_path / "embeddings" / "e.pt"]
        touch(*places)
        registry = Registry.open(tmp_path / "m")
        names = names_of(registry, "embedding")
        assert names == ["e", "embeddings/e"]
        assert [path_of(registry, name, "embedding") for name in names] == places

    def test_a_stem_that_looks_like_a_file_name(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.bin", "ink.pt", "ink.pt.safetensors")
        folder = tmp_path / "hypernetworks"
        assert path_of(registry, "ink.pt") == folder / "ink.pt.safetensors"
        assert {path_of(registry, name) for name in names_of(registry)} == set(folder.iterdir())

    def test_kinds_do_not_clash(self, tmp_path: Path) -> None:
        touch(tmp_path / "Lora" / "ink.pt")
        assert hypernets(tmp_path, "ink.pt").clashes == ()

    def test_each_clash_warns_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            registry = hypernets(tmp_path, "a/ink.pt", "b/ink.pt")
            registry.refresh()
        (record,) = caplog.records
        shown = record.getMessage()
        assert "hypernetwork 'ink'" in shown and "reached as 'b/ink'" in shown and "\n" not in shown

    def test_the_loser_takes_over(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "a/ink.pt", "b/ink.pt")
        (tmp_path / "hypernetworks" / "a" / "ink.pt").unlink()
        assert path_of(registry, "ink") == tmp_path / "hypernetworks" / "b" / "ink.pt"
        assert registry.clashes == ()


class TestFind:
    """Which file a name means."""

    @pytest.mark.parametrize("name", ["ink", "style/ink", "style\\ink"])
    def test_spellings(self, tmp_path: Path, name: str) -> None:
        registry = hypernets(tmp_path, "style/ink.pt")
        assert path_of(registry, name) == tmp_path / "hypernetworks" / "style" / "ink.pt"

    @pytest.mark.parametrize(
        "name",
        ["Ink", "INK", " ink", "ink ", "", " ", ".", "..", "/", "in", "style", "style/", "/ink",
         "./ink", "style//ink", "style/Ink", "style/../style/ink", "hypernetworks/style/ink",
         "../hypernetworks/style/ink.pt", "../../etc/passwd", "/etc/passwd", "ink\0", "ink\n",
         "ink.PT", "C:\\ink", "\ud800", "x" * 100_000, "../" * 30_000 + "etc/passwd"],
    )  # fmt: skip
    def test_everything_else_is_not_found(self, tmp_path: Path, name: str) -> None:
        assert hypernets(tmp_path, "style/ink.pt").find("hypernet", name) is None

    def test_absolute_path_is_not_found(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.pt")
        assert registry.find("hypernet", str(tmp_path / "hypernetworks" / "ink.pt")) is None

    def test_kinds_are_apart(self, tmp_path: Path) -> None:
        assert hypernets(tmp_path, "ink.pt").find("lora", "ink") is None

    @pytest.mark.parametrize("name", ["ink.pt", "style/ink.pt", "style\\ink.pt"])
    def test_a_tag_with_a_suffix_finds_nothing(self, tmp_path: Path, name: str) -> None:
        assert hypernets(tmp_path, "style/ink.pt").find("hypernet", name) is None

    def test_a_checkpoint_may_be_named_with_its_suffix(self, tmp_path: Path) -> None:
        path = tmp_path / "Stable-diffusion" / "sub" / "base.safetensors"
        touch(path)
        registry = Registry.open(tmp_path)
        assert path_of(registry, "sub/base.safetensors", "checkpoint") == path

    def test_stem_goes_before_path_before_alias(self, tmp_path: Path) -> None:
        folder = tmp_path / "Lora"
        write_safetensors(folder / "a.safetensors", {"ss_output_name": "ink"})
        write_safetensors(folder / "b.safetensors", {"ss_output_name": "sub/ink"})
        write_safetensors(folder / "c.safetensors", {"ss_output_name": "other"})
        touch(folder / "sub" / "ink.pt", folder / "ink.ckpt", folder / "ink.pt")
        registry = Registry.open(tmp_path)
        assert path_of(registry, "ink", "lora") == folder / "ink.ckpt"
        assert path_of(registry, "sub/ink", "lora") == folder / "sub" / "ink.pt"
        assert path_of(registry, "other", "lora") == folder / "c.safetensors"

    def test_a_backslash_in_a_file_name_is_found(self, tmp_path: Path) -> None:
        try:
            registry = hypernets(tmp_path, "a\\b.pt")
        except OSError:
            pytest.skip("not a file name on this system")
        assert registry.find("hypernet", names_of(registry)[0]) is not None


class TestRescan:
    """Files that come, change and go after the scan."""

    @pytest.mark.parametrize("where", ["new.pt", "style/new.pt", "made/later/new.pt"])
    @pytest.mark.parametrize("settled", [False, True])
    def test_a_file_copied_in_is_found_at_once(
        self, tmp_path: Path, where: str, settled: bool
    ) -> None:
        registry = hypernets(tmp_path, "ink.pt", "style/old.pt")
        if settled:
            settle(tmp_path)
            registry.refresh()
        assert registry.find("hypernet", "new") is None
        touch(tmp_path / "hypernetworks" / where)
        assert path_of(registry, "new") == tmp_path / "hypernetworks" / where

    def test_a_folder_that_was_missing_is_found(self, tmp_path: Path) -> None:
        registry = Registry.open(tmp_path / "models")
        assert registry.find("hypernet", "ink") is None
        touch(tmp_path / "models" / "hypernetworks" / "ink.pt")
        assert registry.find("hypernet", "ink") is not None

    def test_an_equal_folder_time_hides_nothing(self, tmp_path: Path) -> None:
        # What a coarse clock does: the folder changes, its stamp does not.
        registry = hypernets(tmp_path, "ink.pt")
        folder = tmp_path / "hypernetworks"
        before = folder.stat().st_mtime_ns
        touch(folder / "new.pt")
        os.utime(folder, ns=(before, before))
        assert path_of(registry, "new") == folder / "new.pt"

    def test_a_burst_of_misses_does_not_rescan(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = hypernets(tmp_path, "ink.pt")
        scans: list[Kind] = []
        original = registry_module._fill

        def counting(kind: Kind, *rest: object) -> object:
            scans.append(kind)
            return original(kind, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(registry_module, "_fill", counting)
        for number in range(200):
            assert registry.find("hypernet", f"unknown {number}") is None
        assert scans == []
        settle(tmp_path)
        for number in range(200):
            assert registry.find("hypernet", f"unknown {number}") is None
        assert scans == ["hypernet"]

    def test_a_folder_whose_time_has_settled_is_scanned_once_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = hypernets(tmp_path, "ink.pt")
        (state,) = registry._shelves["hypernet"].folders.values()
        assert state.names == {"ink.pt"}
        monkeypatch.setattr(modelfiles, "is_settling", lambda mtime_ns: False)  # type: ignore[misc]
        assert registry.find("hypernet", "x") is None
        (state,) = registry._shelves["hypernet"].folders.values()
        assert state.names is None

    def test_a_replaced_file_has_its_new_time_and_size(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.pt")
        path = tmp_path / "hypernetworks" / "ink.pt"
        path.write_bytes(b"longer")
        os.utime(path, ns=(OLD_NS, OLD_NS))
        entry = registry.find("hypernet", "ink")
        assert entry is not None and (entry.mtime_ns, entry.size) == (OLD_NS, 6)

    def test_a_removed_file_is_not_found(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.pt")
        (tmp_path / "hypernetworks" / "ink.pt").unlink()
        assert registry.find("hypernet", "ink") is None
        assert registry.entries("hypernet") == ()

    def test_current_entries_are_those_of_now(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.pt", "old.pt")
        folder = tmp_path / "hypernetworks"
        assert registry.current_entries("hypernet") is registry.entries("hypernet")
        touch(folder / "new.pt")
        (folder / "old.pt").unlink()
        (folder / "ink.pt").write_bytes(b"longer")
        found = registry.current_entries("hypernet")
        assert [(entry.name, entry.size) for entry in found] == [("ink", 6), ("new", 1)]
        assert registry.entries("hypernet") is found
        assert registry.current_entries("lora") == ()

    def test_named_entries_have_the_names_of_now(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.pt", "old.pt")
        folder = tmp_path / "hypernetworks"
        before = registry.named_entries("hypernet")
        (folder / "ink.pt").write_bytes(b"longer")
        assert registry.named_entries("hypernet") is before
        touch(folder / "new.pt")
        (folder / "old.pt").unlink()
        found = registry.named_entries("hypernet")
        assert [(entry.name, entry.size) for entry in found] == [("ink", 6), ("new", 1)]

    def test_refresh_keeps_what_is_unchanged(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.pt")
        before = registry.entries("hypernet")
        touch(tmp_path / "hypernetworks" / "new.pt")
        registry.refresh()
        assert registry.entries("hypernet")[0] is before[0]
        assert names_of(registry) == ["ink", "new"]

    def test_readers_are_never_in_between(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, *(f"{n}.pt" for n in range(30)))
        done = threading.Event()
        wrong: list[int] = []

        def read() -> None:
            while not done.is_set():
                if (
                    len(registry.entries("hypernet")) != 30
                    or registry.find("hypernet", "7") is None
                ):
                    wrong.append(1)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for _ in range(30):
            registry.refresh()
        done.set()
        for reader in readers:
            reader.join()
        assert wrong == []

    def test_two_registries_do_not_know_each_other(self, tmp_path: Path) -> None:
        one, two = hypernets(tmp_path / "1", "a.pt"), hypernets(tmp_path / "2", "b.pt")
        assert (names_of(one), names_of(two)) == (["a"], ["b"])


class TestNear:
    """Did you mean."""

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("inkk", "ink"),
            ("INK", "ink"),
            (" ink ", "ink"),
            ("ikn", "ink"),
            ("ink.pt", "ink"),
            ("watercolr", "watercolour"),
            ("water", "watercolour"),
            ("Style/Brushes", "Style/brush"),
            ("style\\brush", "Style/brush"),
        ],
    )
    def test_the_most_alike_comes_first(self, tmp_path: Path, name: str, expected: str) -> None:
        registry = hypernets(tmp_path, "ink.pt", "watercolour.pt", "Style/brush.pt", "zzz.pt")
        assert registry.near("hypernet", name)[0] == expected

    def test_nothing_alike(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "ink.pt")
        for name in ("", "q", "portrait", "x" * 100_000, "\ud800", "i" * 100_000):
            assert registry.near("hypernet", name) == ()
        assert Registry.open(tmp_path / "nowhere").near("hypernet", "ink") == ()

    def test_two_files_of_one_path_are_told_apart(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "s/ink.pt", "s/ink.safetensors", "ink.bin")
        assert registry.near("hypernet", "S/Ink") == ("s/ink", "s/ink.safetensors", "ink")

    def test_limit_and_one_spelling_for_each_file(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, *(f"s/ink{n}.pt" for n in range(9)))
        assert registry.near("hypernet", "ink") == ("ink0", "ink1", "ink2")
        assert registry.near("hypernet", "s/ink", 2) == ("s/ink0", "s/ink1")
        assert registry.near("hypernet", "ink", 0) == ()

    def test_equal_but_for_case_before_beginning_before_alike(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "inx.pt", "ink-500.pt", "Ink.pt")
        assert registry.near("hypernet", "ink") == ("Ink", "ink-500", "inx")


class TestUnknown:
    """The error for a name that was not found."""

    def test_one_proposal(self, tmp_path: Path) -> None:
        error = hypernets(tmp_path, "ink.pt").unknown("hypernet", "inkk")
        assert str(error) == "unknown hypernetwork 'inkk'; did you mean 'ink'?"
        assert (error.kind, error.name, error.near) == ("hypernet", "inkk", ("ink",))

    def test_several_proposals(self, tmp_path: Path) -> None:
        error = hypernets(tmp_path, "ink1.pt", "ink2.pt", "ink3.pt").unknown("hypernet", "ink")
        assert str(error).endswith("did you mean 'ink1', 'ink2' or 'ink3'?")

    def test_empty_folders(self, tmp_path: Path) -> None:
        registry = Registry.open(tmp_path / "models")
        assert str(registry.unknown("hypernet", "inkk")) == (
            "unknown hypernetwork 'inkk'; models/hypernetworks holds no networks"
        )
        assert str(registry.unknown("lora", "x")).endswith(
            "models/Lora and models/LyCORIS hold no networks"
        )
        assert str(registry.unknown("vae", "x")) == "unknown VAE 'x'; models/VAE holds no VAEs"

    def test_nothing_alike_and_no_folder(self, tmp_path: Path) -> None:
        registry = Registry.open({"hypernet": tmp_path / "hyper"})
        touch(tmp_path / "hyper" / "ink.pt")
        registry.refresh()
        assert str(registry.unknown("hypernet", "zzz")).endswith("/hyper is like it")
        assert "no folder is set" in str(registry.unknown("lora", "zzz"))

    @pytest.mark.parametrize("name", ["a\nb", "a\r\x1b[31m", "y" * 100_000, "\ud800"])
    def test_always_one_short_printable_line(self, tmp_path: Path, name: str) -> None:
        error = hypernets(tmp_path, "ink.pt").unknown("hypernet", name)
        assert str(error).isprintable() and len(str(error)) < 300
        assert error.name == name


class TestDigest:
    """Digests of entries; the rest is in test_digests."""

    def test_digest_is_kept_between_runs(self, tmp_path: Path) -> None:
        path = tmp_path / "hypernetworks" / "ink.pt"
        touch(path)
        os.utime(path, ns=(OLD_NS, OLD_NS))
        cache = tmp_path / "cache.json"
        registry = Registry.open(tmp_path, cache_file=cache)
        digest = registry.digest(registry.entries("hypernet")[0])
        assert digest == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        assert json.loads(cache.read_bytes())["files"][str(path)][2] == digest

    @pytest.mark.parametrize(
        ("kind", "folder", "expected"),
        [
            ("hypernet", "hypernetworks", NetworkFormatError),
            ("lora", "Lora", NetworkFormatError),
            ("embedding", "embeddings", NetworkFormatError),
            ("checkpoint", "Stable-diffusion", CheckpointError),
            ("vae", "VAE", CheckpointError),
        ],
    )
    def test_a_vanished_file_is_named(
        self,
        tmp_path: Path,
        kind: Kind,
        folder: str,
        expected: type[NetworkFormatError] | type[CheckpointError],
    ) -> None:
        path = tmp_path / folder / "a.safetensors"
        touch(path)
        registry = Registry.open(tmp_path)
        path.unlink()
        with pytest.raises(expected, match=r"cannot be read \(.*\); was it moved") as caught:
            registry.digest(registry.entries(kind)[0])
        assert caught.value.path == path and "\n" not in str(caught.value)

    def test_a_loras_hash_is_of_what_follows_the_header(self, tmp_path: Path) -> None:
        folder = tmp_path / "Lora"
        for name, metadata in (("a", {"x": "1"}), ("b", {"x": "longer"})):
            write_safetensors(folder / f"{name}.safetensors", metadata)
            with (folder / f"{name}.safetensors").open("ab") as file:
                file.write(b"tensors")
        write_safetensors(folder / "c.safetensors", {"sshs_model_hash": "AB" * 32})
        write_safetensors(folder / "d.safetensors", {"sshs_model_hash": 'no "hash'})
        touch(folder / "e.pt")
        registry = Registry.open(tmp_path)
        hashes = {e.name: registry.short_hash(e) for e in registry.entries("lora")}
        body, nothing, whole = (sha256(x).hexdigest()[:12] for x in (b"tensors", b"", b"x"))
        assert hashes == {"a": body, "b": body, "c": "AB" * 6, "d": nothing, "e": whole}
