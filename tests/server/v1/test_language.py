"""The routes of the language service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.conftest import Live

ROUTES = "/promptengine/v1/language"


@pytest.fixture
def listed(live: Live) -> Live:
    assert not isinstance(live.config.models, dict)
    folder = live.config.models.parent / "tags"  # type: ignore[union-attr]
    folder.mkdir(exist_ok=True)
    (folder / "list.csv").write_text('long_hair,0,10,"tresses"\nlong_(word),4,3,\n', "utf-8")
    return live


def ask(live: Live, route: str, **form: object) -> Any:
    answer = live.http.post(f"{ROUTES}/{route}", json=form)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_can_stand_at_a_caret(listed: Live) -> None:
    told = ask(listed, "complete", text="<hypernet:hn-re", offset=15)
    assert told["items"][0]["text"] == "<hypernet:hn-relu:1>"
    assert told["items"][0]["select"] == [18, 19]
    assert told["items"][0]["group"] == "hypernet"
    told = ask(listed, "complete", text="a, tres", offset=7, limit=1)
    assert [(one["text"], one["alias"]) for one in told["items"]] == [("long hair, ", "tresses")]
    assert not told["complete"]


def test_diagnostics_with_codes_and_mends(live: Live) -> None:
    (found,) = ask(live, "diagnose", text="<hypernet:hn-rel:1>")
    assert found["code"] == "unknown-network"
    assert found["remedy"]["text"] == "<hypernet:hn-relu:1>" or "hn-" in found["remedy"]["text"]
    assert ask(live, "diagnose", text="(a", ignored_diagnostics=["unclosed-bracket"]) == []
    assert ask(live, "diagnose", text="a {b|c}", dynamic=True) == []


def test_hovering_coloring_formatting_and_weighing(live: Live) -> None:
    told = ask(live, "hover", text="a <hypernet:hn-relu:0.5>", offset=5)
    assert told["lines"][0] == "hypernetwork 'hn-relu', multiplier 0.5"
    assert str(live.config.models) not in str(told)
    assert ask(live, "hover", text="a cat", offset=3) is None
    told = ask(live, "tokens", text="(cat:1.3)")
    assert [(one["kind"], one["weight"]) for one in told][1] == ("words", 1.3)
    assert ask(live, "format", text="a  cat ,b") == {"text": "a cat, b"}
    told = ask(live, "weight", text="🐱 a cat", start=4, end=7, up=True)
    assert told == {"start": 4, "end": 7, "text": "(cat:1.1)", "select": [5, 8]}
    assert ask(live, "weight", text=", ", start=1, end=1, up=False) is None
    assert ask(live, "weight", text="1.2::a::", start=5, end=5, up=True, dialect="novelai")[
        "text"
    ] == ("1.3::a::")


def test_a_reading_is_the_same_at_both_places(live: Live) -> None:
    form = {"prompt": "a (cat:1.3) [b|c]"}
    assert ask(live, "read", **form) == live.http.post("/promptengine/v1/parse", json=form).json()


@pytest.mark.parametrize(
    ("route", "form", "field"),
    [
        ("complete", {"text": "a", "offset": 2}, "offset"),
        ("complete", {"text": "a", "offset": -1}, "offset"),
        ("complete", {"text": "a", "offset": 0, "limit": 1000}, "limit"),
        ("hover", {"text": "a", "offset": 9}, "offset"),
        ("weight", {"text": "a", "start": 0, "end": 9, "up": True}, "end"),
        ("weight", {"text": "a", "start": 0, "end": 0, "up": True, "step": 0}, "step"),
        ("diagnose", {"text": "a", "dialect": "klingon"}, "dialect"),
        ("diagnose", {"text": "a", "ignored_diagnostics": ["nothing"]}, "ignored_diagnostics"),
        ("tokens", {"text": "a", "other": 1}, "other"),
        ("format", {"text": 5}, "text"),
        ("tokens", {"text": "a" * 2_000_000}, "text"),
    ],
)
def test_wrong_questions_are_refused(
    live: Live, route: str, form: dict[str, object], field: str
) -> None:
    answer = live.http.post(f"{ROUTES}/{route}", json=form)
    assert answer.status_code in (413, 422)
    assert field in answer.text


@pytest.mark.parametrize("route", ["diagnose", "tokens", "format"])
@pytest.mark.parametrize(
    "text", ["(" * 20_000, "[a|" * 3000, "\ud800\x00 <", "{" * 5000, "(a:9e9)" * 9]
)
def test_hostile_texts_are_answered(live: Live, route: str, text: str) -> None:
    for dynamic in (False, True):
        body = {"text": text.replace("\ud800", "\\ud800"), "dynamic": dynamic}
        assert isinstance(ask(live, route, **body), list | dict)
