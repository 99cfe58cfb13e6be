"""WebUI's side-cars: what is read of them whatever they hold, and what is written beside no other file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from promptengine.registry import side_cars
from promptengine.registry.registry import Registry, metadata
from promptengine.registry.side_cars import (
    Card,
    Cards,
    SideCarError,
    UserMetadata,
    preview_place,
    read_user_metadata,
    write_user_metadata,
)
from tests.model_folders import OLD_NS, hypernets, touch

WEBUIS = {
    "description": "Pen & ink",
    "sd version": "SD1",
    "activation text": "ink wash",
    "preferred weight": 0.65,
    "negative text": "color",
    "notes": "from a friend",
}
"""What WebUI's editor writes."""


def card(registry: Registry, name: str = "ink") -> Card:
    entry = registry.find("hypernet", name)
    assert entry is not None
    return Cards().one(entry)


def read(folder: Path, content: str | bytes) -> UserMetadata:
    path = folder / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_user_metadata(path)


def test_webuis_own_side_car_is_read(tmp_path: Path) -> None:
    told = read(tmp_path, json.dumps(WEBUIS))
    assert told == UserMetadata("Pen & ink", "SD1", "ink wash", 0.65, "color", "from a friend")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "no JSON object"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        (b"\xff\xfe\x00", "no JSON object"),
        (b'{"notes": "' + b"x" * (1 << 20) + b'"}', "more than 1024 KiB"),
        ('{"preferred weight": ' + "9" * 5000 + "}", "no JSON object"),
        ('{"preferred weight": ' + "9" * 4000 + "}", "'preferred weight' is ignored"),
        ('{"preferred weight": NaN}', "'preferred weight' is ignored"),
        ('{"preferred weight": 1e999}', "'preferred weight' is ignored"),
        ('{"preferred weight": true}', "'preferred weight' is ignored"),
        ('{"preferred weight": "1"}', "'preferred weight' is ignored"),
        ('{"activation text": {"a": 1}}', "'activation text' is ignored: it is no text"),
        (json.dumps({"notes": "x" * 10_001}), "'notes' is ignored: it is 10001 characters"),
    ],
)
def test_what_cannot_be_used_is_ignored_with_a_note(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    told = read(tmp_path, content)
    assert problem in told.problems[0]
    assert str(tmp_path) not in told.problems[0]
    assert (told.preferred_weight, told.activation_text, told.notes) == (0, "", "")


def test_cards_tell_what_lies_beside_a_file(tmp_path: Path) -> None:
    registry = hypernets(tmp_path, "ink.pt", "style/neon.pt", "plain.pt")
    folder = tmp_path / "hypernetworks"
    (folder / "ink.json").write_text(json.dumps(WEBUIS))
    touch(folder / "ink.preview.png", folder / "style" / "neon.webp")
    (folder / "style" / "neon.txt").write_text("Bright\n")
    (folder / "plain.json").write_text("{}")
    os.utime(folder / "ink.preview.png", ns=(OLD_NS, OLD_NS))
    ink, plain, neon = Cards().of("hypernet", registry.entries("hypernet"))
    assert (ink.description, ink.user.activation_text) == ("Pen & ink", "ink wash")
    assert ink.preview == OLD_NS / 1e9
    assert (plain.preview, plain.description, plain.user) == (None, "", UserMetadata())
    assert (neon.description, neon.preview is None) == ("Bright\n", False)
    assert neon.modified == pytest.approx(neon.created, abs=5)


def test_what_did_not_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = hypernets(tmp_path, *(f"{number}.pt" for number in range(20)))
    for number in range(20):
        side = tmp_path / "hypernetworks" / f"{number}.json"
        side.write_text(json.dumps({"notes": f"about {number}"}))
        os.utime(side, ns=(OLD_NS, OLD_NS))
    cards, entries = Cards(), registry.entries("hypernet")
    before = cards.of("hypernet", entries)
    opened: list[Path] = []

    def counted(path: Path) -> UserMetadata:
        opened.append(path)
        return read_user_metadata(path)

    monkeypatch.setattr(side_cars, "read_user_metadata", counted)
    assert cards.of("hypernet", entries) == before
    assert opened == []
    changed = tmp_path / "hypernetworks" / "7.json"
    changed.write_text(json.dumps({"notes": "changed"}))
    assert {one.user.notes for one in cards.of("hypernet", entries)} >= {"changed", "about 8"}
    assert opened == [changed]


def test_a_pipe_beside_a_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    registry = hypernets(tmp_path, "ink.pt")
    for end in (".json", ".txt"):
        os.mkfifo(tmp_path / "hypernetworks" / f"ink{end}")
    assert card(registry).description == ""
    assert metadata(registry.entries("hypernet")[0]) == {}


def test_fields_are_written_and_all_else_is_kept(tmp_path: Path) -> None:
    registry = hypernets(tmp_path, "ink.pt")
    side = tmp_path / "hypernetworks" / "ink.json"
    side.write_text(json.dumps({"mine": [1, {"é": None}], **WEBUIS, "last": "\ud800"}))
    (entry,) = registry.entries("hypernet")
    folders = registry.folders("hypernet")
    write_user_metadata(entry, {"preferred_weight": 0.9, "notes": "日本"}, folders)
    told = json.loads(side.read_bytes())
    assert list(told) == ["mine", *WEBUIS, "last"]
    assert told == {
        "mine": [1, {"é": None}],
        **WEBUIS,
        "preferred weight": 0.9,
        "notes": "日本",
        "last": "\ud800",
    }
    side.unlink()
    write_user_metadata(entry, {"notes": "日本"}, folders)
    assert side.read_text(encoding="utf-8") == '{\n    "notes": "日本"\n}'


@pytest.mark.parametrize("content", ["[]", "{", "x" * (1 << 20 | 1), "[" * 5000])
def test_what_cannot_be_read_is_not_lost(tmp_path: Path, content: str) -> None:
    registry = hypernets(tmp_path, "ink.pt")
    side = tmp_path / "hypernetworks" / "ink.json"
    side.write_text(content)
    with pytest.raises(SideCarError, match=r"^ink\.json .*mend it"):
        write_user_metadata(
            registry.entries("hypernet")[0], {"notes": "a"}, registry.folders("hypernet")
        )
    assert side.read_text() == content


def test_nothing_is_written_where_a_link_leads(tmp_path: Path) -> None:
    models, away = tmp_path / "models", tmp_path / "away"
    touch(away / "neon.pt", away / "secret")
    registry = hypernets(models, "ink.pt", "dir.pt")
    folder = models / "hypernetworks"
    (folder / "ink.json").symlink_to(away / "secret")
    (folder / "ink.png").symlink_to(folder / "dir.pt")
    (folder / "dir.json").mkdir()
    (folder / "linked").symlink_to(away)
    registry.refresh()
    for name in ("ink", "dir", "neon"):
        entry = registry.find("hypernet", name)
        assert entry is not None
        with pytest.raises(SideCarError, match=f"^{name}.json"):
            write_user_metadata(entry, {"notes": "a"}, registry.folders("hypernet"))
        if name != "dir":
            with pytest.raises(SideCarError, match=f"^{name}.png"):
                preview_place(entry, registry.folders("hypernet"))
    assert (away / "secret").read_bytes() == (folder / "dir.pt").read_bytes() == b"x"
    assert not (away / "neon.json").exists()


def test_a_models_folder_that_is_a_link_can_be_written(tmp_path: Path) -> None:
    hypernets(tmp_path / "real", "ink.pt")
    (tmp_path / "models").symlink_to(tmp_path / "real")
    registry = Registry.open(tmp_path / "models")
    entry = registry.entries("hypernet")[0]
    write_user_metadata(entry, {"notes": "a"}, registry.folders("hypernet"))
    assert (tmp_path / "real" / "hypernetworks" / "ink.json").exists()


def test_an_embedding_in_an_image_keeps_its_image(tmp_path: Path) -> None:
    touch(tmp_path / "embeddings" / "ink.png", tmp_path / "embeddings" / "dot.webp")
    registry = Registry.open(tmp_path)
    for entry in registry.entries("embedding"):
        with pytest.raises(SideCarError, match="is an image itself"):
            preview_place(entry, registry.folders("embedding"))
