"""Prompts written in another dialect, and what is said of what that has no words for."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.plugins import isolated_plugins
from promptengine.prompt import DIALECTS, Dialect, parse
from promptengine.prompt.dialects import find_dialect, register_dialect
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.prompt.translate import says_the_same, translate, unparse
from tests.cli.test_main import run
from tests.prompt.test_other_dialects import MARKS

NAMES = st.sampled_from(list(DIALECTS.builtins))
WORDS = st.sampled_from(["cat", "a red house", "1girl", "10:30", "é", "hot-dog", "BREAKER", "x_y"])
NUMBERS = st.sampled_from(["1.3", "0.5", "2", "0.85"])


def _grown(*wholes: str) -> st.SearchStrategy[str]:
    """Prompts of a dialect's own constructs: {} is words or a construct, and # a number."""

    def wrap(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        def fill(whole: str) -> st.SearchStrategy[str]:
            pieces = whole.split("§")
            parts = [st.just(pieces[0])]
            for piece in pieces[1:]:
                parts += [inner, st.just(piece)]
            text = st.tuples(*parts).map("".join)
            return st.tuples(text, NUMBERS).map(lambda found: found[0].replace("¤", found[1]))

        return st.sampled_from(wholes).flatmap(fill)

    return st.recursive(WORDS, wrap, max_leaves=8)


OWN = {
    "webui": _grown("(§)", "[§]", "(§:¤)", "[§:§:0.5]", "[§|§]", "§, §", "§ BREAK §", r"\(§\)"),
    "compel": _grown("(§)¤", "(§)++", "(§)-", "§, §", r"\(§\)", '"§"+'),
    "novelai": _grown("{§}", "[§]", "¤::§ ::", "§, §", "(§)"),
    "comfyui": _grown("(§)", "(§:¤)", "§, §", r"\(§\)", "[§]"),
    "swarmui": _grown("(§:¤)", "<alternate:§||§>", "<fromto[0.5]:§||§>", "§ <break> §", "§, §"),
}
PROMPTS = st.sampled_from(list(OWN)).flatmap(
    lambda name: st.tuples(st.just(name), OWN[name].filter(lambda text: '"' not in text[1:-2]))
)


@given(PROMPTS)
def test_what_is_written_anew_says_the_same(one: tuple[str, str]) -> None:
    name, text = one
    prompt = parse(text, dialect=name)
    found = unparse(prompt)
    assert not found.problems, found
    again = parse(found.text, dialect=name)
    assert says_the_same(prompt, again)
    # From then on it is written the same way.
    assert says_the_same(again, parse(unparse(again).text, dialect=name))


@given(PROMPTS, NAMES)
def test_a_translation_says_the_same_or_tells(one: tuple[str, str], target: str) -> None:
    name, text = one
    found = translate(text, name, target)
    told = [problem for problem in found.problems if problem.severity == "warning"]
    assert told or says_the_same(parse(text, dialect=name), parse(found.text, dialect=target))


@given(MARKS, NAMES, NAMES, st.booleans())
def test_every_text_is_translated_or_its_loss_told(
    text: str, source: str, target: str, negative: bool
) -> None:
    found = translate(text, source, target, negative=negative)
    prompt = parse(text, dialect=source, negative=negative)
    again = parse(found.text, dialect=target, negative=negative)
    told = any(problem.severity == "warning" for problem in found.problems)
    assert source == target or told or says_the_same(prompt, again)
    for problem in found.problems:
        assert problem.span is None or 0 <= problem.span.start <= problem.span.end <= len(text)


@pytest.mark.parametrize(
    ("source", "text", "target", "expected"),
    [
        ("webui", "a (cat:1.3) [x]", "compel", "a (cat)1.3 (x)0.909091"),
        ("webui", "a (cat:1.3) [x]", "novelai", "a 1.3::cat:: 0.909091::x::"),
        (
            "webui",
            "((a)) [b:c:0.5] [d|e]",
            "swarmui",
            "(a:1.21) <fromto[0.5]:b||c> <alternate:d||e>",
        ),
        ("webui", r"a \(b\) <lora:x:0.5>", "compel", r"a \(b\) withLora(x, 0.5)"),
        ("compel", 'a "big dog"++', "webui", "a (big dog:1.21)"),
        ("compel", '("a", "b").and()', "webui", "a BREAK b"),
        ("compel", '("a", "b").and()', "swarmui", "a <break> b"),
        ("novelai", "{{a}} 1.5::b, c ::", "webui", "(a:1.1025) (b, c:1.5) "),
        ("comfyui", "(a:1.2) embedding:ink [b]", "webui", r"(a:1.2) ink \[b\]"),
        ("swarmui", "<alt:a|b> <lora:x:0.5:0.2>", "webui", "[a|b] <lora:x:0.2:0.5>"),
        ("webui", "BREAK (AND) a\\|b", "webui", "BREAK (AND) a\\|b"),
    ],
)
def test_marks_are_those_of_the_other_dialect(
    source: str, text: str, target: str, expected: str
) -> None:
    assert translate(text, source, target).text.rstrip() == expected.rstrip()


@pytest.mark.parametrize(
    ("source", "text", "target", "said", "column"),
    [
        ("webui", "a [b:c:0.5]", "comfyui", "nothing changes over the steps in ComfyUI", 3),
        ("webui", "a <lora:x:1>", "novelai", "cannot be asked for in NovelAI", 3),
        ("webui", "a AND b", "comfyui", "several prompts cannot become one in ComfyUI", 1),
        ("webui", "a BREAK b", "compel", "no break between chunks", 3),
        ("webui", "a (b:-1)", "compel", "no weights below 0", 4),
        ("webui", "a {b}", "novelai", "{ } cannot be words in NovelAI", 1),
        ("compel", "#a++ b", "webui", "# begins a comment", 1),
        ("compel", '("a", "b").blend(1, 2)', "webui", "a blend of texts becomes AND", 1),
        ("swarmui", "<alt:a|b>", "webui", "one call of the denoiser later", 1),
        ("swarmui", "a <random:b>", "webui", "nothing is asked for by <random", 3),
        ("comfyui", "a embedding:b", "swarmui", "names embeddings by their bare words", 3),
        ("webui", "a <lora:x:1:lbw=MID>", "swarmui", "cannot be asked for in SwarmUI", 3),
        ("extended", "a <lora:x:0@0,1@1>", "compel", "cannot be asked for in compel", 3),
        ("extended", "a <lora:x:0@0,1@1>", "webui", "'0@0,1@1' changes nothing over the steps", 3),
        ("extended", "<lora:x:1:te=0:stop=5>", "webui", "'stop=5' changes nothing over the", 1),
        ("webui", "a <hypernet:x:0@0,1@1>", "extended", "changes a network over the steps", 3),
    ],
)
def test_what_cannot_be_said_is_told_with_its_place(
    source: str, text: str, target: str, said: str, column: int
) -> None:
    problems = translate(text, source, target).problems
    (found,) = [one for one in problems if said in one.message]
    assert found.span is not None and found.span.column == column


def test_other_rules_of_weights_are_told() -> None:
    (told,) = translate("(a:1.2)", "webui", "comfyui").problems
    assert (told.severity, told.span) == ("info", None)
    assert not translate("(a:1.2)", "webui", "novelai").problems


@pytest.mark.parametrize("target", ["webui", "extended", "swarmui"])
def test_a_step_that_never_comes_is_written(target: str) -> None:
    written = translate(f"[a:b:{'9' * 400}]", "webui", target).text
    segments = ScheduledPrompt(parse(written, dialect=target), 20).schedules[0].segments
    assert [one.text for one in segments] == ["a"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("webui", "(a:1.1) [(b:1.1):(c\\:1:1.1):1]"),
        ("comfyui", "(a:1.1) (b:1.1)"),
    ],
)
def test_what_looks_like_a_weight_ends_with_its_arm(target: str, expected: str) -> None:
    assert translate("(a <fromto[1]:b,c:1>)", "swarmui", target).text == expected


def test_deep_nesting_is_written() -> None:
    text = "[a|" * 2000 + "b" + "]" * 2000
    assert translate(text, "webui", "swarmui").text.count("<alternate:") == 2000


def test_many_notes_and_pieces_take_time_in_proportion() -> None:
    def seconds(size: int) -> float:
        text = "".join(f"<lora:x:1> (a{number}:0.9) " for number in range(size))
        start = time.process_time()
        for target in ("compel", "novelai"):
            translate(text, "webui", target)
        return time.process_time() - start

    seconds(10)
    assert seconds(4000) < 8 * seconds(1000) + 0.1


def test_a_dialect_that_cannot_be_written_is_refused() -> None:
    with isolated_plugins():
        register_dialect(Dialect("odd", find_dialect("webui").read))
        with pytest.raises(RequestError, match="'odd' can be read and not written"):
            translate("a", "webui", "odd")
    with pytest.raises(RequestError, match="dialect is 'klingon'"):
        translate("a", "webui", "klingon")


def test_the_command_line_translates(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("translate", "a (b:1.2) [c|d]", "--to", "compel") == 0
    printed = capsys.readouterr()
    assert printed.out == "a (b)1.2 c\n"
    assert "column 11" in printed.err and "nothing changes" in printed.err
    assert run("translate", "{a}", "--from", "novelai", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"prompt": "(a:1.05)", "problems": []}


def test_the_command_line_leaves_codes_out(capsys: pytest.CaptureFixture[str]) -> None:
    command = "translate", "a (b:1.2) [c|d]", "--to", "comfyui"
    assert run(*command, "--ignore", "left-out-there,other-weight-rule") == 0
    assert capsys.readouterr().err == ""
    assert run(*command, "--json", "--ignore", "left-out-there") == 0
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["code"] == "other-weight-rule"
    assert run(*command, "--ignore", "left-out-ther") == 2
    assert "--ignore is 'left-out-ther'; did you mean 'left-out-there'" in capsys.readouterr().err


def test_a_network_that_a_dialect_cannot_name_is_refused() -> None:
    from promptengine.kinds import HYPERNETWORK
    from promptengine.request.edit import append_network

    made = append_network("a", HYPERNETWORK, "ink", "1", field="x", dialect="swarmui")
    assert made == "a<hypernet:ink:1>"
    with pytest.raises(RequestError, match="'novelai' cannot name hypernetwork 'ink'"):
        append_network("a", HYPERNETWORK, "ink", "1", field="x", dialect="novelai")
