"""Textual-inversion files in every layout, and files that only look like some."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file
from torch import Tensor, nn

from promptengine.errors import NetworkFormatError
from promptengine.files.hashing import sha256
from promptengine.text.textual_inversion.embedding import Embedding, embedding_from
from promptengine.text.textual_inversion.files import load_embedding
from tests.text.textual_inversion.builders import (
    as_json,
    vectors,
    word,
    write_pixel_image,
    write_text_image,
)


def loaded(path: Path) -> Embedding:
    found = load_embedding(path)
    assert found is not None
    return found


ROWS = vectors(3, 8)
ONE = ROWS[0]
WEBUI = {"string_to_token": {"*": 265}, "string_to_param": {"*": ROWS}, "name": "other", "step": 9}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (WEBUI, ROWS),
        ({"string_to_param": nn.ParameterDict({"*": nn.Parameter(ROWS)})}, ROWS),
        ({"string_to_param": {"*": ONE}}, ONE[None]),
        ({"<cat-toy>": ONE}, ONE[None]),
        ({"<cat-toy>": ROWS}, ROWS),
        ({"emb_params": ROWS.half()}, ROWS.half().float()),
    ],
)
def test_pickles_of_every_layout(tmp_path: Path, content: object, expected: Tensor) -> None:
    path = tmp_path / "ink.pt"
    torch.save(content, path)
    found = loaded(path)
    assert (found.name, found.path, found.digest) == ("ink", path, sha256(path))
    assert torch.equal(found.vectors, expected)
    assert found.vectors.dtype == torch.float32 and not found.vectors.requires_grad
    assert (found.count, found.widths, found.second) == (len(expected), (8,), None)


def test_what_webui_writes_beside_the_vectors(tmp_path: Path) -> None:
    torch.save({**WEBUI, "sd_checkpoint": "0123", "sd_checkpoint_name": "m"}, tmp_path / "a.bin")
    found = loaded(tmp_path / "a.bin")
    assert (found.step, found.sd_checkpoint, found.sd_checkpoint_name) == (9, "0123", "m")


def test_safetensors_of_one_and_of_two_encoders(tmp_path: Path) -> None:
    save_file({"emb_params": ROWS}, tmp_path / "a.safetensors")
    assert torch.equal(loaded(tmp_path / "a.safetensors").vectors, ROWS)
    second = vectors(3, 12)
    save_file({"clip_l": ROWS, "clip_g": second}, tmp_path / "b.safetensors")
    found = loaded(tmp_path / "b.safetensors")
    assert found.widths == (8, 12)
    assert [torch.equal(*pair) for pair in zip(found.parts, (ROWS, second), strict=True)] == [
        True,
        True,
    ]


def test_the_vectors_are_copies_and_cannot_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"emb_params": ROWS}, path)
    found = loaded(path)
    save_file({"emb_params": torch.zeros(3, 8)}, path)
    assert torch.equal(found.vectors, ROWS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([ROWS], "holds a list, not an embedding"),
        ({}, "holds no embedding, or more than one"),
        ({"a": ROWS, "b": ROWS}, "holds no embedding, or more than one"),
        ({"a": "text"}, "holds a str where vectors should be"),
        ({"string_to_param": {}}, "not exactly one word"),
        ({"string_to_param": {"a": ROWS, "b": ROWS}}, "not exactly one word"),
        ({"string_to_param": ROWS}, "not exactly one word"),
        ({"string_to_param": {"*": [1.0]}}, "holds a list where vectors should be"),
        ({"a": torch.zeros(2, 3, 8)}, "2 × 3 × 8 numbers of torch.float32 are no vectors"),
        ({"a": torch.zeros(())}, "no vectors of a word"),
        ({"a": torch.zeros(0, 8)}, "0 vectors; a chunk of text holds 1 to 75"),
        ({"a": torch.zeros(2, 0)}, "2 × 0 numbers"),
        ({"a": torch.zeros(76, 8)}, "76 vectors; a chunk of text holds 1 to 75"),
        ({"a": torch.zeros(2, 8, dtype=torch.int64)}, "no vectors of a word"),
        ({"a": torch.zeros(1).expand(2, 10**12)}, "claim more numbers than the file holds"),
        ({"a": ROWS.to_sparse()}, "_rebuild_sparse_tensor"),
        ({"clip_l": ROWS, "clip_g": vectors(2, 12)}, "3 and 2 vectors for the two text encoders"),
        ({"lora_te_x.lora_down.weight": ROWS}, "of the kind lora, not an embedding"),
        ({768: (ROWS, ROWS)}, "of the kind hypernetwork, not an embedding"),
    ],
)
def test_misfits_give_their_reason(tmp_path: Path, content: object, reason: str) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(NetworkFormatError) as found:
        load_embedding(path)
    assert reason in str(found.value)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)


def test_what_runs_code_or_is_damaged_is_refused(tmp_path: Path, evil: Path) -> None:
    with pytest.raises(NetworkFormatError, match="refused"):
        load_embedding(evil)
    assert not (tmp_path / "pwned_marker_file").exists()
    for name, content in (("a", b""), ("b", b"text"), ("c", b"PK\x03\x04"), ("d", b"\x80\x02.")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NetworkFormatError):
            load_embedding(tmp_path / name)
    with pytest.raises(NetworkFormatError, match="no such file"):
        load_embedding(tmp_path / "nowhere.pt")


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from tests.conftest import WEBUI as DATA

    monkeypatch.chdir(tmp_path)
    return DATA / "hypernetworks_bad" / "hn-evil-zip.pt"


def test_a_file_with_the_wrong_suffix_is_read_by_its_content(tmp_path: Path) -> None:
    save_file({"emb_params": ROWS}, tmp_path / "a.pt")
    write_text_image(tmp_path / "b.pt", as_json(ROWS))
    assert torch.equal(loaded(tmp_path / "a.pt").vectors, ROWS)
    assert torch.equal(loaded(tmp_path / "b.pt").vectors, ROWS)


def in_text(path: Path, document: bytes) -> None:
    write_text_image(path, document)


def in_pixels(path: Path, document: bytes) -> None:
    write_pixel_image(path, document)


def in_framed_pixels(path: Path, document: bytes) -> None:
    write_pixel_image(path, document, border=5)


@pytest.mark.parametrize("write", [in_text, in_pixels, in_framed_pixels])
def test_images_carry_embeddings(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    path = tmp_path / "conan-250.png"
    write(path, as_json(ROWS))
    found = loaded(path)
    # The name inside goes first in an image, as in WebUI.
    assert (found.name, found.step, found.digest) == ("conan", 250, sha256(path))
    assert torch.equal(found.vectors, ROWS)


def test_a_lossless_webp_carries_one_in_its_pixels(tmp_path: Path) -> None:
    write_pixel_image(tmp_path / "a.webp", as_json(vectors(10, 64)), height=50)
    assert torch.equal(loaded(tmp_path / "a.webp").vectors, vectors(10, 64))


def test_a_image_without_a_name_has_its_files(tmp_path: Path) -> None:
    write_text_image(tmp_path / "ink.png", as_json(ROWS, name=""))
    assert loaded(tmp_path / "ink.png").name == "ink"
    found = load_embedding(tmp_path / "ink.png", name="style/ink", digest="00")
    assert found is not None and (found.name, found.digest) == ("style/ink", "00")


@pytest.mark.parametrize("color", ["red", "black", "#101010", "#efefef"])
def test_plain_images_hold_none(tmp_path: Path, color: str) -> None:
    Image.new("RGB", (40, 30), color).save(tmp_path / "a.png")
    assert load_embedding(tmp_path / "a.png") is None


def test_a_image_between_black_bars_holds_none(tmp_path: Path) -> None:
    write_pixel_image(tmp_path / "a.png", bytes(range(256)) * 4, compressed=False)
    assert load_embedding(tmp_path / "a.png") is None


BAD_DOCUMENTS = {
    "not JSON": b"nonsense",
    "no object": b"[1]",
    "nested": b"[" * 200_000,
    "no vectors": b'{"string_to_param": {"*": {"TORCHTENSOR": "x"}}}',
    "ragged": b'{"string_to_param": {"*": {"TORCHTENSOR": [[1, 2], [3]]}}}',
    "huge": b'{"string_to_param": {"*": {"TORCHTENSOR": [[1' + b"0" * 400 + b"]]}}}",
    "plain": b'{"string_to_param": {"*": 3}}',
    "two": json.dumps({"string_to_param": {"a": 1, "b": 2}}).encode(),
}


@pytest.mark.parametrize("write", [in_text, in_pixels])
@pytest.mark.parametrize("document", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_bad_embeddings_in_images_are_misfits(
    tmp_path: Path, document: bytes, write: Callable[[Path, bytes], None]
) -> None:
    write(tmp_path / "a.png", document)
    with pytest.raises(NetworkFormatError) as found:
        load_embedding(tmp_path / "a.png")
    assert "\n" not in str(found.value)


def test_data_that_grow_beyond_any_embedding_are_a_misfit(tmp_path: Path) -> None:
    write_pixel_image(tmp_path / "a.png", b" " * (17 << 20), height=64)
    with pytest.raises(NetworkFormatError, match="larger than any embedding"):
        load_embedding(tmp_path / "a.png")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_damaged_images_raise_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / "whole.png"
    if not whole.exists():
        write_text_image(whole, as_json(ROWS))
    content = bytearray(whole.read_bytes())
    for place in data.draw(st.lists(st.integers(8, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.png"
    path.write_bytes(content[: data.draw(st.integers(9, len(content)))])
    try:
        found = load_embedding(path)
    except NetworkFormatError as error:
        assert "\n" not in str(error)
    else:
        assert found is None or found.count >= 1


def test_what_a_lora_brings_is_read_the_same_way() -> None:
    found = embedding_from("bundled", {"emb_params": ROWS})
    assert (found.name, found.digest, found.path) == ("bundled", None, None)
    assert torch.equal(found.vectors, ROWS)


def test_an_embedding_checks_its_own_vectors() -> None:
    assert word("a", 75).count == 75
    for bad in (torch.zeros(8), torch.zeros(0, 8), torch.zeros(2, 8).int(), torch.zeros(76, 8)):
        with pytest.raises(ValueError, match="vectors"):
            Embedding("a", bad)


@pytest.mark.parametrize("text", ["", "!", "abc", "é"])
def test_text_that_is_no_embedding_is_a_misfit(tmp_path: Path, text: str) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("sd-ti-embedding", text)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=chunks)
    with pytest.raises(NetworkFormatError, match=r"the embedding in it.* is damaged"):
        load_embedding(tmp_path / "a.png")
