"""What is offered at a caret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine import RequestError
from promptengine.language import Completion, PromptSyntax, Vocabulary, complete
from promptengine.prompt import DIALECTS


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    root = tmp_path_factory.mktemp("language")
    files = {
        "models/hypernetworks/ink.pt": "",
        "models/hypernetworks/pink.pt": "",
        "models/hypernetworks/ink.json": '{"description": "Lines.", "preferred weight": 0.7}',
        "models/Lora/inkwell.safetensors": "",
        "models/Lora/a<b.safetensors": "",
        "models/embeddings/easynegative.pt": "",
        "models/embeddings/plain.png": "",
        "models/wildcards/animal/pet.txt": "cat\ndog\n",
        "tags/list.csv": 'long_hair,0,4350743,"tresses"\nlong_(word),4,3,\n',
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return Vocabulary.open(root / "models")


def offered(marked: str, words: Vocabulary, *, explicit: bool = False, **syntax: object):  # type: ignore[no-untyped-def]
    before, _, behind = marked.partition("^")
    spoken = PromptSyntax(**syntax)  # type: ignore[arg-type]
    return complete(before + behind, len(before), words, spoken, explicit=explicit).items


def written(marked: str, item: Completion) -> str:
    text = marked.replace("^", "")
    return text[: item.start] + item.text + text[item.end :]


def test_networks_come_before_kinds_and_carry_their_multiplier(words: Vocabulary) -> None:
    items = offered("a <in^", words)
    assert [one.label for one in items] == ["ink", "inkwell", "pink"]
    first = items[0]
    assert written("a <in^", first) == "a <hypernet:ink:0.7>"
    assert first.text[slice(*first.select)] == "0.7"
    assert (first.detail, first.help) == ("hypernet 0.7", "Lines.")
    assert written("a <in^> b", first) == "a <hypernet:ink:0.7> b" or first.end == 5


def test_kinds_are_offered_for_what_begins_them(words: Vocabulary) -> None:
    kinds = [one.label for one in offered("<^", words) if one.kind == "kind"]
    assert kinds == ["hypernet:", "lora:"]
    assert [one.text for one in offered("<hy^", words) if one.kind == "kind"] == ["hypernet:"]
    assert all(one.more for one in offered("<hy^", words) if one.kind == "kind")


def test_a_kind_narrows_the_names(words: Vocabulary) -> None:
    assert [one.label for one in offered("<lora:^", words)] == ["inkwell"]
    assert [one.label for one in offered("<hypernet:^", words)] == ["ink", "pink"]
    assert offered("<other:^", words) == ()


def test_a_closing_bracket_is_written_once(words: Vocabulary) -> None:
    (item,) = offered("<lora:inkw^>", words)
    assert written("<lora:inkw^>", item) == "<lora:inkwell:1>"


def test_multipliers_are_for_those_who_ask(words: Vocabulary) -> None:
    assert offered("<hypernet:ink:^", words) == ()
    found = [one.label for one in offered("<hypernet:ink:^", words, explicit=True)]
    assert found[0] == "0.7"
    assert "1" in found
    assert [one.label for one in offered("(cat:1.^", words, explicit=True)][:2] == ["1.1", "1.2"]


def test_negative_prompts_have_no_tags(words: Vocabulary) -> None:
    assert offered("<in^", words, negative=True) == ()


def test_words_complete_a_phrase_or_its_last_word(words: Vocabulary) -> None:
    (item,) = offered("a, long h^", words)
    assert written("a, long h^", item) == "a, long hair, "
    assert (item.detail, item.category) == ("4.4M", 0)
    (item,) = offered("a, her tres^ses, b", words)
    assert (item.alias, item.label) == ("tresses", "long_hair")
    assert item.text == "long hair"
    assert [one.text for one in offered("long_(^", words)] == []
    assert "long \\(word\\), " in [one.text for one in offered("long^", words)]


def test_embeddings_are_words(words: Vocabulary) -> None:
    (item,) = offered("a, easy^", words)
    assert (item.kind, item.text) == ("embedding", "easynegative")
    (item,) = offered("a, embedding:ea^", words, dialect="comfyui")
    assert written("a, embedding:ea^", item) == "a, embedding:easynegative"
    (item,) = offered("a, easy^", words, dialect="comfyui")
    assert item.text == "embedding:easynegative"


def test_keywords_are_for_capitals(words: Vocabulary) -> None:
    assert [one.text for one in offered("a BR^", words)] == ["BREAK"]
    assert offered("a br^", words) == ()
    assert [one.text for one in offered("a ADDC^", words, dialect="extended")] == [
        "ADDCOMM",
        "ADDCOL",
    ]
    assert offered("a ADDC^", words) == ()
    assert offered("a AN^", words, negative=True) == ()


def test_wildcards_are_for_templates(words: Vocabulary) -> None:
    (item,) = offered("a __pe^", words, dynamic=True)
    assert written("a __pe^", item) == "a __animal/pet__"
    (item,) = offered("a __pe^__", words, dynamic=True)
    assert written("a __pe^__", item) == "a __animal/pet__"
    assert offered("a __pe^", words) == ()


def test_compels_loras_are_called(words: Vocabulary) -> None:
    (item,) = offered("a withLora(ink^", words, dialect="compel")
    assert written("a withLora(ink^", item) == "a withLora(inkwell, 1)"


def test_nothing_is_offered_in_a_comment(words: Vocabulary) -> None:
    assert offered("a # <in^", words) == ()
    assert offered("a # <in^", words, comments=False) != ()


def test_files_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "Lora"
    folder.mkdir(parents=True)
    words = Vocabulary.open(tmp_path / "models")
    assert offered("<lora:^", words) == ()
    (folder / "new.safetensors").write_bytes(b"")
    assert [one.label for one in offered("<lora:^", words)] == ["new"]


def test_what_is_out_of_range_is_refused(words: Vocabulary) -> None:
    for offset, limit in ((-1, 5), (9, 5), (0, 0), (0, 1000)):
        with pytest.raises(RequestError):
            complete("abc", offset, words, limit=limit)


@given(st.text("<lora:ink_{}()[]#AB, .1\n🐱", max_size=30), st.data())
def test_whatever_is_offered_fits_the_text(
    words: Vocabulary, text: str, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(0, len(text)))
    spoken = PromptSyntax(
        data.draw(st.sampled_from(list(DIALECTS))), dynamic=data.draw(st.booleans())
    )
    found = complete(text, offset, words, spoken, explicit=True, limit=7)
    assert len(found.items) <= 14
    for one in found.items:
        assert 0 <= one.start <= offset <= one.end <= len(text)
        assert 0 <= one.select[0] <= one.select[1] <= len(one.text)
