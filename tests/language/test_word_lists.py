"""Lists of words: found by the beginning of a part or an alias, and read whatever is in the files."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from pathlib import Path

import pytest

from promptengine.language.word_lists import Word, WordIndex, WordLists, read_list

LIST = b"""name,category,count,alias
1girl,0,6008644,"1girls,sole_female"
long_hair,0,4350743,"/lh,longhair"
hair_ornament,0,1000,
hatsune_miku_(vocaloid),4,104223,"miku,\xe5\x88\x9d\xe9\x9f\xb3\xe3\x83\x9f\xe3\x82\xaf"
^_^,0,50000,
plain
"""


def names(index: WordIndex, prefix: str, limit: int = 20) -> list[str]:
    return [found.word.name for found in index.search(prefix, limit)]


def test_words_are_found_by_how_a_part_begins_the_most_used_first() -> None:
    index = WordIndex(read_list(LIST))
    assert names(index, "hair") == ["long_hair", "hair_ornament"]
    assert names(index, "LONG h") == names(index, "long_h") == ["long_hair"]
    assert names(index, "vocal") == ["hatsune_miku_(vocaloid)"]
    assert names(index, "air") == names(index, "") == names(index, "  ") == []
    assert names(index, "h", 1) == ["long_hair"]
    assert names(index, "pl") == ["plain"]
    assert len(index) == 6


def test_an_alias_leads_to_its_word() -> None:
    index = WordIndex(read_list(LIST))
    (found,) = index.search("sole", 5)
    assert (found.word.name, found.alias) == ("1girl", "sole_female")
    (found,) = index.search("1g", 5)
    assert (found.word.name, found.alias) == ("1girl", "")
    (found,) = index.search("初音", 5)
    assert found.word.category == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("long_hair", "long hair"),
        ("hatsune_miku_(vocaloid)", "hatsune miku \\(vocaloid\\)"),
        ("^_^", "^_^"),
        (":d", ":d"),
    ],
)
def test_a_word_is_written_as_prompts_spell_it(name: str, text: str) -> None:
    assert Word(name).text == text


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"", []),
        (b"\xef\xbb\xbfcat,0,5\r\n", ["cat"]),
        (b"\xff\xfe\x00cat,0,5\n", []),
        (b"cat,0,many\ndog,x,5\nfox,0,-3\nbee,0,5\n", ["bee"]),
        (b"cat,0," + b"9" * 5000 + b"\nbee\n", ["bee"]),
        (b'"two\nlines",0,5\nbee,0,1\n', ["bee"]),
        (b"x" * 200 + b",0,5\nbee\n", ["bee"]),
        (b",,,\n\n ,0,1\nbee,,,\n", ["bee"]),
        (b'bee,0,1,"' + b"a," * 100 + b'"\n', ["bee"]),
        (b"<img src=x>,0,1\n", ["<img src=x>"]),
    ],
)
def test_lines_of_no_use_are_left_out(data: bytes, kept: list[str]) -> None:
    assert [word.name for word in read_list(data)] == kept


@pytest.mark.parametrize(
    "data", [b"cat\n" * 200_001, b'"' + b"x" * 200_000 + b'",0,1\n'], ids=["long", "wide"]
)
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="line"):
        read_list(data)


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    lists = WordLists((tmp_path / "tags",))
    assert names(lists.index(), "c") == []
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags" / "a.csv").write_bytes(b"cat,0,5\n")
    assert names(lists.index(), "c") == ["cat"]
    assert lists.index() is lists.index()
    (tmp_path / "tags" / "b.CSV").write_bytes(b"cow,0,9\ncat,0,50\n")
    assert names(lists.index(), "c") == ["cow", "cat"]
    (tmp_path / "tags" / "a.csv").unlink()
    assert names(lists.index(), "c") == ["cat", "cow"]


def test_hostile_files_cost_only_themselves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "large.csv").write_bytes(b"")
    os.truncate(tmp_path / "large.csv", (20 << 20) + 1)
    (tmp_path / "wide.csv").write_bytes(b'"' + b"x" * 200_000)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "other.txt").write_bytes(b"cow,0,1")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "good.csv").write_bytes(b"cat,0,5\n")
    with caplog.at_level(logging.WARNING):
        index = WordLists((tmp_path,)).index()
    assert names(index, "c") == ["cat"]
    assert len(index) == 1
    told = " ".join(caplog.messages)
    assert "large.csv" in told
    assert "wide.csv" in told
    assert str(tmp_path) not in told


def test_a_hundred_thousand_words_answer_at_once() -> None:
    rng = random.Random(1)
    parts = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(3000)]
    words = [
        Word(f"{rng.choice(parts)}_{rng.choice(parts)}", 0, number, (rng.choice(parts),))
        for number in range(100_000)
    ]
    index = WordIndex(words)
    start = time.perf_counter()
    for prefix in ("a", "ab", "abc", "zz", parts[0]):
        found = index.search(prefix, 20)
        assert [one.word.count for one in found] == sorted(
            (one.word.count for one in found), reverse=True
        )
    assert time.perf_counter() - start < 1


def test_what_a_search_finds_is_what_a_look_at_every_word_finds() -> None:
    rng = random.Random(2)
    words = [
        Word(
            "_".join("".join(rng.choices("abc", k=2)) for _ in range(rng.randint(1, 3))),
            0,
            number,
            tuple("".join(rng.choices("abc", k=3)) for _ in range(rng.randint(0, 3))),
        )
        for number in range(300)
    ]
    index, first = WordIndex(words), dict[str, Word]()
    for word in words:
        first.setdefault(word.name, word)
    for prefix in ("a", "ab", "abc", "b", "cc", "a_b", "ab a"):
        wanted = prefix.replace("_", " ")
        slow = [
            word.name
            for word in sorted(first.values(), key=lambda word: -word.count)
            if any(
                f" {spelling.replace('_', ' ')}".find(f" {wanted}") >= 0
                for spelling in (word.name, *word.aliases)
            )
        ]
        for limit in (1, 3, 500):
            assert names(index, prefix, limit) == slow[:limit]


def test_threads_share_the_lists(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"".join(b"cat%d,0,%d\n" % (i, i) for i in range(5000)))
    lists, found = WordLists((tmp_path,)), list[WordIndex]()
    threads = [threading.Thread(target=lambda: found.append(lists.index())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(index) for index in found}) == 1
