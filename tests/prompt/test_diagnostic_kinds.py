"""Kinds of diagnostics: each has a code of its own, which is used, and can be left out by it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import promptengine
from promptengine import RequestError
from promptengine.prompt import DIALECTS, Diagnostic, Span, diagnostic_kinds, parse
from promptengine.prompt.diagnostic_kinds import (
    DIAGNOSTIC_KINDS,
    DiagnosticKind,
    check_codes,
    read_codes,
    without_codes,
)
from promptengine.prompt.serialize import diagnostic_document
from promptengine.prompt.templates import parse_template
from promptengine.request.request import GenerationRequest

PACKAGE = Path(promptengine.__file__).parent
CONSTANTS = {
    name: one for name, one in vars(diagnostic_kinds).items() if isinstance(one, DiagnosticKind)
}
ODD = (
    "(a",
    "a)",
    "[a:b",
    "(a:1,2)",
    "{a",
    "a}",
    "a 1.2::b",
    "<alternate:a>",
    "<fromto[x]:a, b>",
    "<lora:x",
    "[<lora:x>:b:3]",
    "a | b [c:d:2]",
    "<lora:a:1:2:3:4:5>",
    '("a", "b").blend(1, -1)',
    '("a", "b").blend(x)',
    "a <wildcard:b>",
    "a ADDCOL b ADDBASE c",
    "embedding:x",
    "a <segment:face> b",
    "a # b",
    "x :2",
)


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_codes_are_words_with_hyphens_and_each_stands_once() -> None:
    assert [one.code for one in CONSTANTS.values()] == list(DIAGNOSTIC_KINDS)
    assert list(DIAGNOSTIC_KINDS.values()) == list(CONSTANTS.values())
    for code, kind in DIAGNOSTIC_KINDS.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert re.fullmatch(r"[^\n]{10,90}[^.]", kind.summary)


def test_every_kind_is_used() -> None:
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load)
    }
    # It is what a diagnostic is that names no kind, and so what a plugin's is.
    assert CONSTANTS.keys() - used == {"REMARK"}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("negative", [False, True])
def test_what_prompts_are_told_has_a_kind_and_places_in_them(dialect: str, negative: bool) -> None:
    for text in ODD:
        for found in parse(text, dialect=dialect, negative=negative).diagnostics:
            assert found.code in DIAGNOSTIC_KINDS
            assert found.code != Diagnostic("info", "").code
            for related in found.related:
                assert 0 <= related.span.start < related.span.end <= len(text)
                assert related.span != found.span


def test_what_templates_are_told_has_a_kind() -> None:
    assert [one.code for one in parse_template("a {b").diagnostics] == ["unclosed-bracket"]
    assert [one.code for one in parse_template("%{a}").diagnostics] == ["nothing-wrapped"]


@pytest.mark.parametrize(
    ("dialect", "text", "code"),
    [
        ("webui", "(a", "unclosed-bracket"),
        ("webui", "a)", "unopened-bracket"),
        ("webui", "(a:b)", "not-a-weight"),
        ("webui", "[a:b:1] | c", "stray-bar"),
        ("webui", "a <wildcard:b>", "swarmui-syntax"),
        ("webui", "a <photograph:b>", "unknown-tag"),
        ("novelai", "{a", "unclosed-bracket"),
        ("compel", "a)", "unopened-bracket"),
        ("comfyui", "(a", "unclosed-bracket"),
        ("swarmui", "<alternate:a>", "almost-tag"),
    ],
)
def test_a_code_stays_what_it_is(dialect: str, text: str, code: str) -> None:
    assert code in [one.code for one in parse(text, dialect=dialect).diagnostics]


@pytest.mark.parametrize(
    ("dialect", "text", "place"),
    [
        ("webui", "a (b:1,2)", "("),
        ("webui", "[a <lora:x> b:c:3]", "[a <lora:x> b:c:3]"),
        ("swarmui", "a <alternate:b>", "<alternate:"),
    ],
)
def test_related_places(dialect: str, text: str, place: str) -> None:
    (found,) = parse(text, dialect=dialect).diagnostics
    (related,) = found.related
    assert text[related.span.start : related.span.end] == place
    told = diagnostic_document(found)
    assert told["code"] == found.code
    assert told["related"] == [
        {"start": related.span.start, "end": related.span.end, "message": related.message}
    ]
    assert found.without_places().related == ()


def test_many_of_a_sort_have_one_code() -> None:
    found = parse("(" * 50).diagnostics
    assert {one.code for one in found} == {"unclosed-bracket"}


def test_codes_leave_out_what_they_name_and_no_error() -> None:
    found = parse("(a #b").diagnostics
    assert [one.code for one in without_codes(found, ["unclosed-bracket"])] == ["comment-in-text"]
    assert without_codes(found, []) == found
    many = parse("a" + " ADDCOL b" * 200, dialect="extended").diagnostics
    assert [one.severity for one in without_codes(many, list(DIAGNOSTIC_KINDS))] == ["error"]


def test_unknown_codes_are_refused_with_those_like_them() -> None:
    check_codes(["unclosed-bracket"])
    with pytest.raises(RequestError, match="did you mean 'unclosed-bracket'"):
        check_codes(["unclosed-brackets"])
    with pytest.raises(RequestError, match="one of unclosed-bracket, unopened-bracket"):
        check_codes(["zzz"])
    with pytest.raises(RequestError, match="ignored_diagnostics") as refused:
        GenerationRequest(prompt="", ignored_diagnostics=("negative-wait",))
    assert "did you mean 'negative-weight'" in str(refused.value)
    assert refused.value.field == "ignored_diagnostics"


def test_reads_codes_of_a_command_line() -> None:
    assert read_codes("a-b, c,,") == ("a-b", "c")


def test_a_plugin_may_have_a_code_of_its_own() -> None:
    assert Diagnostic("info", "x", Span(0, 1), code="my-plugin").code == "my-plugin"
