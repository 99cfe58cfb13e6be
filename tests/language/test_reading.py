"""Texts are read once for all that is asked about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from promptengine import RequestError
from promptengine.kinds import HYPERNETWORK
from promptengine.kinds.table import register_network_kind
from promptengine.kinds.tag import plain_tag
from promptengine.language import PromptSyntax, Vocabulary, complete, diagnose, semantic_tokens
from promptengine.language.reading import read
from promptengine.language.word_lists import WordLists
from promptengine.plugins import isolated_plugins


def test_a_text_is_read_once() -> None:
    text, syntax = "a (cat:1.2)", PromptSyntax()
    assert read(text, syntax) is read(text, PromptSyntax())
    assert read(text, PromptSyntax("novelai")) is not read(text, syntax)
    assert read(text, PromptSyntax(negative=True)) is not read(text, syntax)


def test_long_texts_are_not_kept() -> None:
    text = "a, " * 5_000
    assert read(text, PromptSyntax()) is not read(text, PromptSyntax())


def test_few_readings_are_kept() -> None:
    first = read("a", PromptSyntax())
    for number in range(10):
        read(f"b {number}", PromptSyntax())
    assert read("a", PromptSyntax()) is not first


def test_a_new_kind_of_tags_is_read_anew() -> None:
    text = "a <other:b:1>"
    assert "no known kind" in str(diagnose(text))
    with isolated_plugins():
        tag = plain_tag("other", noun="other network")
        register_network_kind(replace(HYPERNETWORK, name="other", tag=tag))
        assert "no known kind" not in str(diagnose(text))
    assert "no known kind" in str(diagnose(text))


def test_only_text_is_read() -> None:
    with pytest.raises(RequestError, match="text is 3; it must be text"):
        semantic_tokens(3)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="syntax is 'webui'"):
        diagnose("a", "webui")  # type: ignore[arg-type]


def test_a_service_reads_lists_while_it_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags" / "list.csv").write_text("long_hair,0,9,", "utf-8")
    words = Vocabulary.open(tmp_path / "models")
    words.warm_up()

    def never(*_: object) -> None:
        raise AssertionError("the lists are read again")

    monkeypatch.setattr(WordLists, "_read", never)
    assert [one.label for one in complete("long", 4, words).items] == ["long_hair"]
    # One without folders has nothing to read.
    Vocabulary().warm_up()
