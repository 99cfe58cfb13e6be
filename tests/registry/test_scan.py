"""Model files: what a scan lists, how links are followed, aliases, and what lies beside a file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from promptengine.kinds import model_kinds
from promptengine.registry import scan as modelfiles
from promptengine.registry.registry import (
    Kind,
    Registry,
    RegistryEntry,
    description,
    metadata,
    preview,
)
from tests.model_folders import OLD_NS, hypernets, names_of, path_of, touch, write_safetensors


class TestScan:
    """What is listed."""

    def test_root_has_webuis_folders(self, tmp_path: Path) -> None:
        models = tmp_path / "models"
        touch(
            models / "hypernetworks" / "h.pt",
            models / "Lora" / "l.safetensors",
            models / "LyCORIS" / "y.safetensors",
            models / "Stable-diffusion" / "c.ckpt",
            models / "VAE" / "v.pt",
            models / "embeddings" / "inner.pt",
            models / "ESRGAN" / "e.pth",
            models / "RealESRGAN" / "r.pth",
            models / "SwinIR" / "s.pt",
            models / "upscaler" / "u.safetensors",
            tmp_path / "embeddings" / "outer.pt",
        )
        registry = Registry.open(str(models))
        assert {kind: names_of(registry, kind) for kind in model_kinds()} == {
            "hypernet": ["h"],
            "lora": ["l", "y"],
            "checkpoint": ["c"],
            "vae": ["v"],
            "embedding": ["inner", "outer"],
            "upscaler": ["e", "r", "s", "u"],
        }

    def test_a_mapping_takes_one_folder_or_several(self, tmp_path: Path) -> None:
        touch(tmp_path / "a" / "x.pt", tmp_path / "b" / "y.pt", tmp_path / "c" / "z.pt")
        registry = Registry.open(
            {"hypernet": [tmp_path / "b", str(tmp_path / "a")], "vae": tmp_path / "c"}
        )
        assert names_of(registry) == ["y", "x"]
        assert names_of(registry, "vae") == ["z"]
        assert registry.entries("lora") == ()

    def test_an_unknown_kind_in_a_mapping_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"\['lyco'\].*hypernet, lora"):
            Registry.open({"lyco": tmp_path})  # type: ignore[dict-item]

    def test_missing_folders_are_fine(self, tmp_path: Path) -> None:
        registry = Registry.open(tmp_path / "nowhere")
        assert all(registry.entries(kind) == () for kind in model_kinds())
        assert registry.find("lora", "x") is None

    def test_a_file_in_place_of_a_folder_is_fine(self, tmp_path: Path) -> None:
        touch(tmp_path / "hypernetworks")
        assert Registry.open(tmp_path).entries("hypernet") == ()

    @pytest.mark.parametrize(
        ("kind", "folder", "stems"),
        [
            ("hypernet", "hypernetworks", "bin ckpt pt PT2 safetensors"),
            ("lora", "Lora", "ckpt pt PT2 safetensors"),
            ("checkpoint", "Stable-diffusion", "ckpt safetensors"),
            ("vae", "VAE", "ckpt pt PT2 safetensors"),
            ("embedding", "embeddings", "bin png pt PT2 safetensors"),
        ],
    )
    def test_suffixes_of_each_kind_in_any_case(
        self, tmp_path: Path, kind: Kind, folder: str, stems: str
    ) -> None:
        for suffix in ("pt", "safetensors", "ckpt", "bin", "txt", "optim", "onnx", "png", "json"):
            touch(tmp_path / folder / f"{suffix}.{suffix}")
        touch(tmp_path / folder / "PT2.PT", tmp_path / folder / "pt")
        assert names_of(Registry.open(tmp_path), kind) == stems.split()

    def test_images_beside_an_embedding_are_previews(self, tmp_path: Path) -> None:
        folder = tmp_path / "embeddings"
        touch(*(folder / name for name in ("ink.pt", "ink.png", "INK.png", "a.preview.webp")))
        touch(folder / "b.webp", folder / "b.jpg", folder / "sub" / "ink.png")
        registry = Registry.open(tmp_path)
        assert names_of(registry, "embedding") == ["b", "INK", "ink", "sub/ink"]
        assert preview(registry.entries("embedding")[2]) == folder / "ink.png"

    def test_a_image_takes_no_word_from_a_file(self, tmp_path: Path) -> None:
        touch(tmp_path / "embeddings" / "ink.png", tmp_path / "embeddings" / "sub" / "ink.pt")
        registry = Registry.open(tmp_path)
        path = tmp_path / "embeddings" / "sub" / "ink.pt"
        assert path_of(registry, "ink", "embedding") == path
        assert registry.clashes == ()

    def test_entry_says_what_was_found(self, tmp_path: Path) -> None:
        path = tmp_path / "hypernetworks" / "style" / "deep" / "ink.v2.pt"
        touch(path)
        os.utime(path, ns=(OLD_NS, OLD_NS))
        entry = Registry.open(tmp_path).find("hypernet", "ink.v2")
        assert entry == RegistryEntry("hypernet", "ink.v2", "style/deep/ink.v2", path, OLD_NS, 1)
        assert entry is not None and entry.path.is_absolute() and entry.aliases == ()
        with pytest.raises(dataclasses.FrozenInstanceError):
            entry.name = "other"  # type: ignore[misc]

    def test_paths_are_absolute_without_dots(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models = tmp_path / "models"
        touch(models / "hypernetworks" / "a.pt", tmp_path / "embeddings" / "e.pt")
        (models / "here").mkdir()
        monkeypatch.chdir(models / "here")
        registry = Registry.open("..")
        assert path_of(registry, "a") == models / "hypernetworks" / "a.pt"
        assert path_of(registry, "e", "embedding") == tmp_path / "embeddings" / "e.pt"

    def test_dot_files_none_and_optimizer_states_are_left_out(self, tmp_path: Path) -> None:
        registry = hypernets(
            tmp_path, "a.pt", ".b.pt", ".c/d.pt", "None.pt", "s/None.bin", "none.pt",
            "a.pt.optim", "e.optim", "f.optim.safetensors", ".pt",
        )  # fmt: skip
        assert names_of(registry) == ["a", "none"]

    def test_none_is_a_name_for_other_kinds(self, tmp_path: Path) -> None:
        touch(tmp_path / "VAE" / "None.pt")
        assert names_of(Registry.open(tmp_path), "vae") == ["None"]

    def test_a_vae_beside_a_checkpoint_is_no_checkpoint(self, tmp_path: Path) -> None:
        folder = tmp_path / "Stable-diffusion"
        for name in ("a.ckpt", "a.vae.pt", "a.vae.ckpt", "a.VAE.safetensors", "vae.ckpt"):
            touch(folder / name)
        assert names_of(Registry.open(tmp_path), "checkpoint") == ["a", "vae"]

    def test_a_diffusers_folder_is_one_checkpoint(self, tmp_path: Path) -> None:
        folder = tmp_path / "Stable-diffusion" / "sub" / "sd-v1.5"
        inner = [folder / "model_index.json", folder / "unet" / "weights.safetensors"]
        touch(*inner, tmp_path / "Stable-diffusion" / "other.ckpt")
        os.utime(inner[0], ns=(OLD_NS, OLD_NS))
        os.utime(inner[1], ns=(OLD_NS + 7, OLD_NS + 7))
        registry = Registry.open(tmp_path)
        assert names_of(registry, "checkpoint") == ["other", "sd-v1.5"]
        entry = RegistryEntry("checkpoint", "sd-v1.5", "sub/sd-v1.5", folder, OLD_NS + 7, 2)
        assert registry.find("checkpoint", "sub/sd-v1.5") == entry
        touch(folder / "unet" / "more.safetensors")
        changed = registry.find("checkpoint", "sd-v1.5")
        assert changed is not None and changed.size == 3

    def test_the_folder_itself_may_be_the_diffusers_model(self, tmp_path: Path) -> None:
        folder = tmp_path / "sd"
        touch(folder / "model_index.json", folder / "unet" / "w.safetensors")
        registry = Registry.open({"checkpoint": folder})
        assert names_of(registry, "checkpoint") == ["sd"]
        assert path_of(registry, "sd", "checkpoint") == folder

    def test_sorted_by_path_without_regard_to_case(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "b.pt", "C/x.pt", "a/z.pt", "D.pt", "A/y.pt")
        assert names_of(registry) == ["y", "z", "b", "x", "D"]


class TestLinks:
    """Symbolic links."""

    def test_linked_folders_and_files_are_followed(self, tmp_path: Path) -> None:
        touch(tmp_path / "disk" / "far.pt", tmp_path / "disk2" / "one.pt")
        folder = tmp_path / "m" / "hypernetworks"
        folder.mkdir(parents=True)
        (folder / "linked").symlink_to(tmp_path / "disk")
        (folder / "near.pt").symlink_to(tmp_path / "disk2" / "one.pt")
        assert names_of(Registry.open(tmp_path / "m")) == ["far", "near"]

    def test_loops_end(self, tmp_path: Path) -> None:
        folder = tmp_path / "hypernetworks" / "a"
        touch(folder / "ink.pt")
        (folder / "up").symlink_to(tmp_path / "hypernetworks")
        (folder / "self").symlink_to(folder)
        (folder / "never.pt").symlink_to(folder / "never.pt")
        registry = Registry.open(tmp_path)
        assert [entry.relative for entry in registry.entries("hypernet")] == ["a/ink"]
        assert registry.clashes == ()

    def test_a_folder_is_known_by_its_own_path_before_a_links(self, tmp_path: Path) -> None:
        touch(tmp_path / "hypernetworks" / "z" / "deep" / "ink.pt")
        (tmp_path / "hypernetworks" / "a").symlink_to(tmp_path / "hypernetworks" / "z" / "deep")
        entry = Registry.open(tmp_path).find("hypernet", "ink")
        assert entry is not None and entry.relative == "z/deep/ink"

    def test_broken_links_are_left_out(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "a.pt")
        (tmp_path / "hypernetworks" / "b.pt").symlink_to(tmp_path / "nowhere")
        registry.refresh()
        assert names_of(registry) == ["a"]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
    def test_only_regular_files_count(self, tmp_path: Path) -> None:
        registry = hypernets(tmp_path, "a.pt")
        os.mkfifo(tmp_path / "hypernetworks" / "pipe.pt")
        registry.refresh()
        assert names_of(registry) == ["a"]


class TestAliases:
    """Names inside LoRA files."""

    def test_an_alias_finds_its_file(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "Lora" / "a.safetensors", {"ss_output_name": "Pretty Ink"})
        registry = Registry.open(tmp_path)
        entry = registry.find("lora", "Pretty Ink")
        assert entry is not None and (entry.name, entry.aliases) == ("a", ("Pretty Ink",))
        assert registry.find("lora", "pretty ink") is None
        assert registry.near("lora", "pretty ink") == ("Pretty Ink",)

    @pytest.mark.parametrize("alias", ["none", "None", "NONE"])
    def test_none_is_forbidden(self, tmp_path: Path, alias: str) -> None:
        write_safetensors(tmp_path / "Lora" / "a.safetensors", {"ss_output_name": alias})
        assert Registry.open(tmp_path).find("lora", alias) is None

    def test_a_shared_alias_is_forbidden(self, tmp_path: Path) -> None:
        for stem in ("a", "b"):
            write_safetensors(tmp_path / "Lora" / f"{stem}.safetensors", {"ss_output_name": "ink"})
        registry = Registry.open(tmp_path)
        assert registry.find("lora", "ink") is None
        (tmp_path / "Lora" / "b.safetensors").unlink()
        assert path_of(registry, "ink", "lora") == tmp_path / "Lora" / "a.safetensors"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x05",
            b"\xff" * 8 + b"{}",
            (1 << 40).to_bytes(8, "little") + b"{}",
            (2).to_bytes(8, "little") + b"[]",
            (4).to_bytes(8, "little") + b"\xff\xfe{}",
            (90_000).to_bytes(8, "little") + b"[" * 90_000,
            (19).to_bytes(8, "little") + b'{"__metadata__": 3}',
            (40).to_bytes(8, "little") + b'{"__metadata__": {"ss_output_name": 3}} ',
        ],
    )
    def test_damaged_headers_have_no_alias(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "Lora" / "a.safetensors"
        touch(path)
        path.write_bytes(content)
        registry = Registry.open(tmp_path)
        assert registry.entries("lora")[0].aliases == ()
        assert registry.find("lora", "a") is not None
        assert registry.find("lora", "b") is None

    def test_headers_are_read_on_demand_and_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads: list[str] = []
        original = modelfiles.read_header

        def counting(path: Path) -> modelfiles.Header:
            reads.append(path.name)
            return original(path)

        monkeypatch.setattr("promptengine.networks.lora.kind.read_header", counting)
        folder = tmp_path / "Lora"
        write_safetensors(folder / "a.safetensors", {"ss_output_name": "ink"})
        registry = Registry.open(tmp_path)
        registry.find("lora", "a")
        assert reads == []
        registry.find("lora", "ink")
        registry.refresh()
        registry.find("lora", "ink")
        assert reads == ["a.safetensors"]
        write_safetensors(folder / "b.safetensors", {"ss_output_name": "new"})
        assert path_of(registry, "new", "lora") == folder / "b.safetensors"
        assert reads == ["a.safetensors", "b.safetensors"]


class TestSidecars:
    """What lies beside a file."""

    def _entry(self, tmp_path: Path, **files: str) -> RegistryEntry:
        registry = hypernets(tmp_path, "ink.v1.pt")
        for end, content in files.items():
            name = f"ink.v1.{end.replace('_', '.')}"
            (tmp_path / "hypernetworks" / name).write_text(content, encoding="utf-8")
        return registry.entries("hypernet")[0]

    @pytest.mark.parametrize(
        ("ends", "expected"),
        [
            ([], None),
            (["gif", "webp", "jpeg", "jpg", "png"], "png"),
            (["gif", "webp", "jpeg", "jpg"], "jpg"),
            (["gif", "preview_png"], "gif"),
            (["preview_gif", "preview_webp"], "preview.webp"),
            (["preview_png", "preview_jpg"], "preview.png"),
        ],
    )
    def test_preview(self, tmp_path: Path, ends: list[str], expected: str | None) -> None:
        found = preview(self._entry(tmp_path, **dict.fromkeys(ends, "")))
        assert (found and found.name) == (expected and f"ink.v1.{expected}")

    def test_preview_of_a_diffusers_folder_is_beside_it(self, tmp_path: Path) -> None:
        folder = tmp_path / "Stable-diffusion"
        touch(folder / "sd-v1.5" / "model_index.json", folder / "sd-v1.5.png")
        entry = Registry.open(tmp_path).entries("checkpoint")[0]
        assert preview(entry) == folder / "sd-v1.5.png"

    @pytest.mark.parametrize(
        ("files", "expected"),
        [
            ({}, ""),
            ({"description_txt": "second"}, "second"),
            ({"txt": "first", "description_txt": "second"}, "first"),
            ({"txt": "first", "json": '{"description": "third"}'}, "third"),
            ({"txt": "first", "json": '{"description": ""}'}, ""),
            ({"txt": "first", "json": '{"description": null, "notes": "n"}'}, "first"),
            ({"txt": "\ufeffgrün"}, "grün"),
        ],
    )
    def test_description(self, tmp_path: Path, files: dict[str, str], expected: str) -> None:
        assert description(self._entry(tmp_path, **files)) == expected

    def test_description_that_is_not_utf8(self, tmp_path: Path) -> None:
        entry = self._entry(tmp_path)
        (tmp_path / "hypernetworks" / "ink.v1.txt").write_bytes(b"gr\xfcn")
        assert description(entry) == "gr\ufffdn"

    def test_metadata(self, tmp_path: Path) -> None:
        entry = self._entry(tmp_path, json='{"notes": "n", "preferred weight": 0.7}')
        assert metadata(entry) == {"notes": "n", "preferred weight": 0.7}

    @pytest.mark.parametrize(
        "content", ["", "{", "[]", "3", "[" * 100_000, '{"a": "' + "x" * (1 << 20) + '"}']
    )
    def test_metadata_that_is_none(
        self, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert metadata(self._entry(tmp_path, json=content)) == {}
        assert "ignored" in caplog.text

    def test_missing_metadata_is_not_worth_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert metadata(self._entry(tmp_path)) == {}
        assert caplog.records == []
