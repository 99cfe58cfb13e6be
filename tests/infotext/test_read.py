"""Reading infotexts: WebUI's grammar, what other programs add, and any text at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from promptengine import Infotext, read_infotext
from promptengine.infotext.read import infotext_with_prompts, split_pairs
from promptengine.infotext.webui import webui_fields
from promptengine.infotext.write import write_infotext
from tests.infotext.builders import HOSTILE, infotexts, is_plain

LINE = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"

# The pattern of the specification, which takes quadratic time on some lines.
WEBUI_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@given(HOSTILE)
def test_pairs_are_those_of_webuis_pattern(text: str) -> None:
    line = text.replace("\n", " ")
    assert [(p.key, p.value) for p in split_pairs(line) if p.key] == WEBUI_PAIR.findall(line)


@given(HOSTILE)
def test_any_text_can_be_read(text: str) -> None:
    read = read_infotext(text)
    kept = "".join((read.prompt, read.negative_prompt, read.trailing))
    assert not set(kept) - set(text)
    if not read.entries:
        assert not read.strays and not read.trailing
    webui_fields(text)


@given(infotexts(HOSTILE.filter(is_plain)))
def test_what_was_written_is_read(infotext: Infotext) -> None:
    assert read_infotext(str(infotext)) == infotext
    assert list(read_infotext(str(infotext)).entries) == list(infotext.entries)


@given(infotexts())
def test_known_prompts_are_never_mistaken(infotext: Infotext) -> None:
    text = write_infotext(infotext.prompt, infotext.negative_prompt, infotext.entries)
    assert infotext_with_prompts(text, infotext.prompt, infotext.negative_prompt) == infotext


def test_a_text_of_other_prompts_is_read_for_itself() -> None:
    assert infotext_with_prompts(f"a<lora:b:1>\n{LINE}", "a", "").prompt == "a<lora:b:1>"


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "a",
            " ",
            "a ",
            "aa: ",
            'aa: "',
            '"',
            "\\",
            'aa:"\\",',
            "aa:,",
            ",",
            ":",
            "- ",
            "\t",
            "\n",
        ),
        *("a\n", "Negative prompt:", "\nSteps: 1,", "Steps: 1, aa: 2, bb: 3\n", "Hashes: {"),
        *('Hashes: {"a":', "Hashes:" + " " * 50 + "{", "[", '{"a":', "\x1d"),
        *("aa: [1,", 'aa: ["\\",', "aa: [[1,2],"),
    ],
)
def test_long_texts_take_no_long_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    for whole in (text, f"a\n{LINE}, {text}", f"{text}\n{LINE}", f"{LINE}, Hashes: {text}"):
        assert isinstance(read_infotext(whole), Infotext)
        assert "Prompt" in webui_fields(whole)


def test_all_parts() -> None:
    read = read_infotext(f"a cat,\n  with (hats:1.2)\nNegative prompt: bad\n worse\n{LINE}\n")
    assert read.prompt == "a cat,\n  with (hats:1.2)"
    assert read.negative_prompt == "bad\n worse"
    assert dict(read.entries) == {
        "Steps": "20",
        "Sampler": "Euler a",
        "CFG scale": "7",
        "Seed": "1",
    }
    assert (read.strays, read.trailing) == ((), "")


def test_fewer_than_three_pairs_are_words() -> None:
    assert read_infotext("ratio 3:2, Steps: 5, a: b") == Infotext("ratio 3:2, Steps: 5, a: b")
    assert read_infotext("Negative prompt: b\nSeed: 5") == Infotext("", "b\nSeed: 5")


def test_lines_after_the_parameters_are_kept() -> None:
    read = read_infotext(f"a\nNegative prompt: b\n{LINE}\nTemplate: {{x|y}}\nmore")
    assert (read.prompt, read.negative_prompt) == ("a", "b")
    assert read.entries["Sampler"] == "Euler a"
    assert read.trailing == "Template: {x|y}\nmore"
    # Where the last line itself is parameters, it counts, as in WebUI.
    last = read_infotext(f"{LINE}\naa: 1, bb: 2, cc: 3")
    assert (last.prompt, list(last.entries)) == (LINE, ["aa", "bb", "cc"])


def test_civitais_hashes_are_one_value() -> None:
    hashes = '{"model": "a, b", "hypernet:ink": "0123456789"}'
    read = read_infotext(f"a\n{LINE}, Version: v1.6.0, Hashes: {hashes}")
    assert read.entries["Hashes"] == hashes
    assert list(read.entries)[-2:] == ["Version", "Hashes"]
    assert read.strays == ()
    broken = read_infotext(f'{LINE}, Hashes: {{"model": "a", oops')
    assert broken.entries["Hashes"] == '{"model": "a"'
    assert "oops" in broken.entries


def test_documents_are_one_value_under_any_key() -> None:
    resources = '[{"type": "lora", "weight": 0.8}, {"a, b: c": [1, 2]}]'
    read = read_infotext(
        f"a\n{LINE}, Civitai resources: {resources}, Civitai metadata: {{}}, X y: 1"
    )
    assert read.entries["Civitai resources"] == resources
    assert (read.entries["Civitai metadata"], read.entries["X y"]) == ("{}", "1")
    assert read.strays == ()
    assert read_infotext(str(read)) == read
    # What is only begun as JSON reaches to the next comma, as any other value.
    assert read_infotext(f"a\n{LINE}, Xy: [1, 2] z").entries["Xy"] == "[1"


def test_nothing_of_the_parameters_is_lost() -> None:
    read = read_infotext(f"{LINE}, Kite, Seed: 2, what? no, Empty: , Odd: \"a\" b, ok, Last: ''")
    assert read.entries["Kite"] == "Kite"
    assert read.entries["Seed"] == "2"
    assert read.entries["Empty"] == ""
    assert read.entries["Odd"] == '"a" b'
    assert read.strays == ("Seed: 1", "what? no")
    assert read_infotext(f'{LINE}, Lora hashes: "a: 1, b: \\"2\\""').entries["Lora hashes"] == (
        'a: 1, b: "2"'
    )


def test_entries_cannot_be_changed_from_outside() -> None:
    entries = {"Steps": "1"}
    infotext = Infotext("a", entries=entries)
    entries["Steps"] = "2"
    assert infotext.entries["Steps"] == "1"
