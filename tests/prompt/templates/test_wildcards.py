"""Files of wildcards: names, kinds of files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptengine.errors import RequestError
from promptengine.prompt.templates import Wildcards


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "wildcards"
    (place / "colors").mkdir(parents=True)
    return place


def texts(folder: Path, name: str) -> list[str]:
    return [value.text for value in Wildcards.open([folder]).values(name)]


def test_a_text_file_has_a_value_on_each_line(folder: Path) -> None:
    (folder / "a.txt").write_bytes("\ufeff# no\n  red \r\n\r\nblue\rred\u2028x\n".encode())
    assert texts(folder, "a") == ["blue", "red", "red\u2028x"]


def test_names_are_paths_without_suffix(folder: Path) -> None:
    (folder / "colors" / "warm.txt").write_text("red\n")
    assert texts(folder, "colors/warm") == ["red"]
    assert texts(folder, "colors\\warm") == ["red"]
    assert texts(folder, "/colors//warm/") == ["red"]


def test_a_name_is_found_in_a_folder_below(folder: Path) -> None:
    (folder / "colors" / "warm.txt").write_text("red\n")
    assert texts(folder, "warm") == ["red"]


def test_patterns_take_the_values_of_all_that_fit(folder: Path) -> None:
    (folder / "colors" / "warm.txt").write_text("red\nyellow\n")
    (folder / "colors" / "cold.txt").write_text("blue\nred\n")
    (folder / "colors-x.txt").write_text("gray\n")
    assert texts(folder, "colors/*") == ["blue", "red", "yellow"]
    assert texts(folder, "colors*") == ["blue", "gray", "red", "yellow"]
    assert texts(folder, "**") == ["blue", "gray", "red", "yellow"]


DOCUMENT = {
    "clothing": ["shirt", "2::shoes", {"text": "hat", "weight": 3}],
    "artists": {"dutch": ["Rembrandt"], "one": "alone", "number": 5, "empty": []},
}
YAML = """
clothing:
  - shirt
  - 2::shoes
  - {text: hat, weight: 3}
artists:
  dutch: [Rembrandt]
  one: alone
  number: 5
  1234: [x]
"""


@pytest.mark.parametrize(
    ("file", "text"),
    [("p.json", json.dumps(DOCUMENT)), ("p.yaml", YAML), ("p.yml", YAML)],
)
@pytest.mark.parametrize("below", ["", "colors"])
def test_structured_files_have_a_name_for_each_list(
    folder: Path, file: str, text: str, below: str
) -> None:
    (folder / below / file).write_text(text)
    prefix = f"{below}/" if below else ""
    found = Wildcards.open([folder])
    assert found.names == tuple(
        f"{prefix}{name}" for name in ("artists/dutch", "artists/one", "clothing")
    )
    weights = {one.text: one.weight for one in found.values(f"{prefix}clothing")}
    assert weights == {"shirt": 1.0, "shoes": 2.0, "hat": 3.0}
    assert found.problems == ()


def test_a_list_alone_has_the_name_of_its_file(folder: Path) -> None:
    (folder / "colors" / "all.json").write_text('["red", 5, "blue"]')
    assert texts(folder, "colors/all") == ["blue", "red"]


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    found = Wildcards.open([tmp_path / "missing", tmp_path / "one", tmp_path / "two"])
    assert [value.text for value in found.values("a")] == ["one"]


def test_names_lead_nowhere_else(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret\n")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "inside.txt").write_text("fine\n")
    (folder / "alias.txt").symlink_to(folder / "inside.txt")
    (folder / ".hidden.txt").write_text("hidden\n")
    found = Wildcards.open([folder])
    assert found.names == ("alias", "inside")
    for name in ("../secret", str(tmp_path / "secret"), "..", "**/../secret"):
        with pytest.raises(RequestError, match="unknown wildcard"):
            found.values(name)
    with pytest.raises(RequestError, match="link that leads out of wildcards"):
        found.values("link")


def test_links_to_folders_are_not_followed_and_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("secret\n")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    found = Wildcards.open([folder])
    assert found.names == ()
    with pytest.raises(RequestError, match="linked is a link to a folder; such are not followed"):
        found.values("linked/a")


def test_a_text_that_is_no_utf_8_is_refused_when_it_is_named(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(RequestError, match=r"a.txt cannot be used: it is no UTF-8 text \(byte 3\)"):
        Wildcards.open([folder]).values("a")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "a: &x [1, 2]\nb: [*x, *x]\n", "alias"),
        ("a.yaml", "[" * 2_000, "a.yaml: it"),
        ("a.yaml", "a: [" * 40 + "]" * 40, "nests deeper than 30"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "no YAML"),
        ("a.yaml", "a: [b", "no YAML"),
        ("a.json", "[" * 200_000, "nests deeper"),
        ("a.json", "{", "no JSON"),
        ("a.yaml", "a: [" + "x, " * 500_000 + "]", "larger than 1 MiB"),
    ],
)
def test_hostile_files_are_told_of_and_harm_nothing(
    folder: Path, name: str, text: str, message: str
) -> None:
    (folder / name).write_text(text)
    (folder / "good.txt").write_text("fine\n")
    found = Wildcards.open([folder])
    assert found.names == ("good",)
    assert message in found.problems[0]
    with pytest.raises(RequestError) as caught:
        found.values("a")
    assert message in str(caught.value)


def test_an_empty_file_is_refused_when_it_is_named(folder: Path) -> None:
    (folder / "a.txt").write_text("# nothing\n")
    with pytest.raises(RequestError, match="'a' has no values"):
        Wildcards.open([folder]).values("a")


def test_a_pipe_is_no_file(folder: Path) -> None:
    import os

    os.mkfifo(folder / "a.txt")
    with pytest.raises(RequestError, match="it is no file"):
        Wildcards.open([folder]).values("a")


def test_without_files_the_error_says_where_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"write its values into .*/wildcards/season.txt"):
        Wildcards.open([tmp_path / "models" / "wildcards"]).values("season")
