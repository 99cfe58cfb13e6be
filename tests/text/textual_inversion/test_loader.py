"""Folders of embeddings to words: what fits, what does not and why, and what images make of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from promptengine import Engine, GenerationRequest
from promptengine.registry.registry import Registry
from promptengine.text.textual_inversion.loader import (
    AvailableEmbeddings,
    EmbeddingCache,
    misfit_diagnostics,
    with_bundled,
)
from tests.conftest import CHECKPOINT, CONFIG, WEBUI
from tests.text.textual_inversion.builders import as_json, vectors, write_text_image

BASE = GenerationRequest(prompt="a cat", seed=7, steps=1, width=64, height=64, sampler="Euler")


def save(path: Path, width: int = 48, count: int = 2, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": vectors(count, width, seed)}, path)


def names(words: AvailableEmbeddings) -> list[str]:
    return [embedding.name for embedding in words.table.embeddings]


def reasons(words: AvailableEmbeddings) -> dict[str, str]:
    return {misfit.name: misfit.reason for misfit in words.misfits}


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(Registry.open(tmp_path / "models"))


def test_both_folders_and_those_below_are_read(tmp_path: Path, cache: EmbeddingCache) -> None:
    save(tmp_path / "models" / "embeddings" / "one.safetensors")
    save(tmp_path / "embeddings" / "style" / "two.safetensors")
    save(tmp_path / "embeddings" / "deep" / "one.safetensors", seed=1)
    words = cache.words((48,))
    assert names(words) == ["one", "deep/one", "two"]
    assert words.misfits == ()


def test_misfits_are_listed_with_the_reason(tmp_path: Path, cache: EmbeddingCache) -> None:
    folder = tmp_path / "embeddings"
    save(folder / "ink.safetensors")
    save(folder / "wide.safetensors", width=1024)
    save_file({"clip_l": vectors(2, 768), "clip_g": vectors(2, 1280)}, folder / "xl.safetensors")
    save(folder / "many.safetensors", count=76)
    save(folder / "INK.safetensors")
    save(folder / " .safetensors")
    (folder / "broken.pt").write_bytes(b"PK\x03\x04")
    shutil.copy(WEBUI / "hypernetworks_bad" / "hn-evil-zip.pt", folder / "evil.pt")
    words = cache.words((48,))
    assert names(words) == ["INK"]
    found = reasons(words)
    assert found["wide"] == (
        "its vectors have width 1024, and the model's text encoder reads width 48"
    )
    assert "widths 768 and 1280" in found["xl"]
    assert "76 vectors" in found["many"]
    assert "damaged" in found["broken"] and "refused" in found["evil"]
    assert "'" in found["ink"] and "INK" in found["ink"]
    assert found[" "] == "its name holds nothing that a prompt can spell"
    assert set(found) == {"wide", "xl", "many", "broken", "evil", "ink", " "}
    # Without a model every width is welcome.
    assert set(reasons(cache.words())) == {"many", "broken", "evil", "ink", " "}


def test_images_without_an_embedding_are_not_worth_a_word(
    tmp_path: Path, cache: EmbeddingCache
) -> None:
    folder = tmp_path / "embeddings"
    save(folder / "style" / "ink.safetensors")
    # Neither takes the word from the file, nor does the preview beside it.
    for place in ("ink.png", "style/ink.png", "style/ink.preview.png", "other.png"):
        Image.new("RGB", (8, 8), "red").save(folder / place)
    write_text_image(folder / "conan-250.png", as_json(vectors(2, 48)))
    words = cache.words((48,))
    assert names(words) == ["conan", "ink"]
    assert words.misfits == ()


def test_files_that_come_change_and_go_are_noticed(tmp_path: Path, cache: EmbeddingCache) -> None:
    assert names(cache.words((48,))) == []
    path = tmp_path / "embeddings" / "ink.safetensors"
    save(path)
    (first,) = cache.words((48,)).table.embeddings
    (again,) = cache.words((48,)).table.embeddings
    assert again is first
    save(path, count=3)
    (changed,) = cache.words((48,)).table.embeddings
    assert (changed.count, first.count) == (3, 2)
    assert changed.digest != first.digest
    path.unlink()
    assert names(cache.words((48,))) == []


def test_texts_that_name_a_misfit_are_warned_of(tmp_path: Path, cache: EmbeddingCache) -> None:
    save(tmp_path / "embeddings" / "wide.safetensors", width=1024)
    save(tmp_path / "embeddings" / "ink.safetensors")
    save(tmp_path / "embeddings" / "Ink.safetensors")
    words = cache.words((48,))
    (found,) = misfit_diagnostics(words, ["an ink cat", "Wide, ink"])
    assert "'wide' is not applied: its vectors have width 1024" in found.message
    assert found.hint == "the word is read as text"
    assert misfit_diagnostics(words, ["an ink cat"]) == ()


def test_words_that_a_lora_brings_go_behind_those_of_files(
    tmp_path: Path, cache: EmbeddingCache
) -> None:
    save(tmp_path / "embeddings" / "ink.safetensors")
    words = cache.words((48,))
    assert with_bundled(words, {}, (48,)) is words
    brought = {
        "bundled": vectors(2, 48).half(),
        "Ink": vectors(5, 48),
        "wide": vectors(2, 64),
        "many": vectors(76, 48),
    }
    bundled = {word: ({"emb_params": tensor}, "sea") for word, tensor in brought.items()}
    found = with_bundled(words, bundled, (48,))
    assert names(found) == ["ink", "bundled"]
    assert set(reasons(found)) == {"Ink", "wide", "many"}
    assert str(tmp_path / "embeddings" / "ink.safetensors") in reasons(found)["Ink"]
    match = found.table.find("BUNDLED")
    assert match is not None and match.vectors.dtype == torch.float32 and match.digest is None
    assert match.brought_by == "sea"
    assert names(words) == ["ink"]


def test_the_last_of_words_that_are_spelled_alike_holds(cache: EmbeddingCache) -> None:
    first, last = vectors(2, 48), vectors(3, 48)
    bundled = {"ink": ({"emb_params": first}, "one"), "Ink": ({"emb_params": last}, "two")}
    match = with_bundled(cache.words((48,)), bundled, (48,)).table.find("ink")
    assert match is not None and (match.count, match.brought_by) == (3, "two")


def test_a_lora_brings_words_for_both_encoders_of_sdxl(cache: EmbeddingCache) -> None:
    both = {"clip_l": vectors(2, 48), "clip_g": vectors(2, 64)}
    widths = (48, 64)
    match = with_bundled(cache.words(widths), {"ink": (both, "sea")}, widths).table.find("ink")
    assert match is not None and match.widths == widths


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    models = tmp_path_factory.mktemp("models")
    save(models / "embeddings" / "ink.safetensors")
    save(models / "embeddings" / "toy.safetensors", seed=1)
    save(models / "embeddings" / "wide.safetensors", width=768)
    torch.set_num_threads(1)
    yield Engine.open(CHECKPOINT, models=models, config=CONFIG, device="cpu")


def hashes(infotext: str) -> list[str]:
    """The names in an infotext's TI hashes."""
    _, _, rest = infotext.partition("TI hashes: ")
    return [
        pair.split(":")[0] for pair in rest.partition(", Version")[0].strip('"').split(", ") if pair
    ]


def test_a_word_changes_the_image_and_the_text_says_so(engine: Engine) -> None:
    plain = engine.generate(BASE)
    inked = engine.generate(replace(BASE, prompt="a ink"))
    again = engine.generate(BASE)
    assert not torch.allclose(inked.latents, plain.latents, atol=1e-3)
    assert torch.equal(again.latents, plain.latents)
    assert (hashes(plain.infotexts[0]), hashes(inked.infotexts[0])) == ([], ["ink"])


def test_words_in_the_negative_prompt_count_too(engine: Engine) -> None:
    plain = engine.generate(BASE)
    found = engine.generate(replace(BASE, negative_prompt="toy", prompt="ink AND cat"))
    assert hashes(found.infotexts[0]) == ["ink", "toy"]
    alone = engine.generate(replace(BASE, negative_prompt="toy"))
    assert not torch.allclose(alone.latents, plain.latents, atol=1e-3)


def test_a_misfit_stays_text_and_is_reported(engine: Engine) -> None:
    found = engine.generate(replace(BASE, prompt="a wide cat"))
    assert ["'wide'" in diagnostic.message for diagnostic in found.diagnostics] == [True]
    assert hashes(found.infotexts[0]) == []
