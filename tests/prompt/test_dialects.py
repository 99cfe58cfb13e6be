"""Dialects: those of this package as a table, and one that a plugin adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from promptengine import (
    Dialect,
    Engine,
    GenerationRequest,
    Part,
    Prompt,
    Registry,
    Span,
    Text,
    apply_recipe,
    count_tokens,
    parse,
    read_infotext,
    recipe_from_infotext,
    register_dialect,
)
from promptengine.errors import PluginError, RequestError
from promptengine.plugins import isolated_plugins
from promptengine.prompt import DIALECTS
from promptengine.prompt.dialects import find_dialect, written_dialect
from tests.cli.test_main import run
from tests.plugin_packages import installer

BASE = GenerationRequest(prompt="a cat", seed=7, steps=4, width=64, height=64, sampler="Euler")

BRACES = '''
from dataclasses import replace
from promptengine import Dialect, Prompt, parse

SWAPPED = str.maketrans("{}[]", "[]{}")

def read(text: str, *, comments: bool, negative: bool) -> Prompt:
    """Read WebUI's language with braces in place of square brackets, character for character."""
    swapped = text.translate(SWAPPED)
    return replace(parse(swapped, comments=comments, negative=negative), source=text)

DIALECT = Dialect("braces", read, help="schedules with {a:b:0.5} and {a|b}")
'''


@pytest.fixture
def braces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A plugin of one file, installed."""
    monkeypatch.delenv("PROMPTENGINE_PLUGINS", raising=False)
    with isolated_plugins():
        install = installer(tmp_path / "site", monkeypatch)
        install("curly", {"promptengine.dialects": {"braces": "curly:DIALECT"}}, BRACES, "1.2")
        yield


def test_names_that_are_unknown_are_refused_with_those_there_are() -> None:
    wanted = f"dialect is 'klingon'; it must be one of {', '.join(DIALECTS)}"
    for refused in (
        lambda: parse("a", dialect="klingon"),
        lambda: GenerationRequest(prompt="a", dialect="klingon"),
        lambda: count_tokens("a", dialect="klingon"),
    ):
        with pytest.raises(RequestError) as caught:
            refused()
        assert str(caught.value) == wanted
        assert caught.value.field == "dialect"


def test_infotexts_name_dialects_but_webuis() -> None:
    assert [written_dialect(text) for text in ("pe1", "webui", "extended", "")] == [
        DIALECTS["webui"],
        DIALECTS["webui"],
        DIALECTS["extended"],
        None,
    ]


@pytest.mark.usefixtures("braces")
def test_a_plugins_dialect_is_read() -> None:
    prompt = parse("a {dog:cat:0.5} [x]", dialect="braces")
    assert prompt.dialect == "braces"
    assert prompt.source == "a {dog:cat:0.5} [x]"
    assert prompt.parts[0].nodes[1] == replace(
        parse("a [dog:cat:0.5]").parts[0].nodes[1], span=Span(2, 15)
    )
    assert count_tokens("{dog|dog dog dog}", dialect="braces").tokens == 3


@pytest.mark.usefixtures("braces")
def test_it_makes_images_that_name_it_and_are_made_again(tiny_engine: Engine) -> None:
    request = replace(BASE, prompt="a {dog:cat:0.5}", negative_prompt="{a|b}", dialect="braces")
    result = tiny_engine.generate(request)
    usual = replace(request, prompt="a [dog:cat:0.5]", negative_prompt="[a|b]", dialect="webui")
    assert torch.equal(result.latents, tiny_engine.generate(usual).latents)
    text = tiny_engine.generate(replace(request, dialect="webui"))
    assert not torch.equal(result.latents, text.latents)
    infotext = read_infotext(result.infotexts[0])
    assert infotext.prompt == "a {dog:cat:0.5}"
    assert infotext.entries["Prompt syntax"] == "braces"
    assert infotext.entries["Plugins"] == "curly 1.2"
    recipe = recipe_from_infotext(infotext, tiny_engine.registry)
    assert recipe.request.dialect == "braces"
    again = tiny_engine.generate(apply_recipe(recipe)[0])
    assert torch.equal(again.latents, result.latents)
    assert again.infotexts == result.infotexts


def test_an_infotext_of_a_dialect_that_is_not_here_says_so(tmp_path: Path) -> None:
    infotext = read_infotext("a\nSteps: 2, Sampler: Euler, Seed: 1, Prompt syntax: braces")
    recipe = recipe_from_infotext(infotext, Registry.open(tmp_path))
    assert recipe.request.dialect == "webui"
    said = [one.message for one in recipe.diagnostics]
    assert "prompt syntax 'braces' is not known; webui is used" in said


@pytest.mark.usefixtures("braces")
def test_the_command_line_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("parse", "{a|b}", "--dialect", "braces") == 0
    assert "alternate" in capsys.readouterr().out
    assert run("parse", "a", "--dialect", "klingon") == 2
    assert run("plugins") == 0
    assert "braces" in capsys.readouterr().out


@pytest.mark.usefixtures("braces")
def test_the_api_takes_it(tiny_engine: Engine) -> None:
    pytest.importorskip("fastapi")
    from promptengine.server.v1.schemas import JobForm, PromptForm

    assert JobForm(prompt="a", dialect="braces").dialect == "braces"
    names = PromptForm.model_json_schema()["properties"]["dialect"]["enum"]
    assert names[:2] == ["webui", "extended"] and names[-1] == "braces"


def _two_parts(text: str, *, comments: bool, negative: bool) -> Prompt:
    span = Span(0, len(text))
    part = Part(text, 1.0, (Text(text, span),), span)
    return Prompt(text, (), (part, part), ())


@pytest.mark.parametrize(
    ("read", "negative", "problem"),
    [
        (lambda text, **_: text, False, "dialect 'odd' reads a str; it must be a Prompt"),
        (lambda text, **_: Prompt(text, (), (), ()), False, "reads 0 parts; it must be one part"),
        (_two_parts, True, "reads 2 parts; it must be exactly one part and no tags"),
    ],
)
def test_what_a_plugin_reads_wrong_is_refused(read: Any, negative: bool, problem: str) -> None:
    with isolated_plugins():
        register_dialect(Dialect("odd", read))
        with pytest.raises(PluginError, match=problem):
            parse("a", negative=negative, dialect="odd")


@pytest.mark.parametrize("name", ["webui", "pe1", "", "a, b"])
def test_a_name_that_is_taken_or_that_no_infotext_holds_is_refused(name: str) -> None:
    with isolated_plugins(), pytest.raises(PluginError):
        register_dialect(Dialect(name, find_dialect("webui").read))
