"""The Dynamic Prompts extension's always-on script, and the same in our own API."""

from __future__ import annotations

from typing import Any

import pytest

from promptengine.infotext.read import read_infotext
from tests.server.conftest import Live
from tests.server.sdapi.test_rules import ask, info_of
from tests.server.v1.test_routes import JOBS, SMALL, waited

OFF: list[Any] = [
    True,
    False,
    1,
    False,
    False,
    False,
    1.1,
    1.5,
    100,
    0.7,
    False,
    False,
    True,
    False,
    False,
]


def script(*arguments: object, name: str = "Dynamic Prompts v2.17.1") -> dict[str, Any]:
    return {"alwayson_scripts": {name: {"args": list(arguments)}}}


@pytest.mark.parametrize(
    "name", ["Dynamic Prompts v2.17.1", "dynamic prompts", "dynamic prompts v3"]
)
def test_each_image_gets_a_prompt_of_its_own(live: Live, name: str) -> None:
    answer = ask(
        live,
        prompt="a {cat|dog|fox}",
        negative_prompt="{x|y}",
        n_iter=2,
        batch_size=2,
        **script(*OFF, name=name),
    )
    info = info_of(answer)
    assert len(answer.json()["images"]) == len(info["all_prompts"]) == 4
    assert info["prompt"] == "a {cat|dog|fox}"
    assert set(info["all_prompts"]) <= {"a cat", "a dog", "a fox"}
    assert len(set(info["all_prompts"])) > 1
    assert info["all_seeds"] == [7, 8, 9, 10]
    for text, prompt in zip(info["infotexts"], info["all_prompts"], strict=True):
        read = read_infotext(text)
        assert read.prompt == prompt
        assert read.entries["Template"] == "a {cat|dog|fox}"
        assert read.entries["Negative Template"] == "{x|y}"


def test_all_combinations_set_the_number_of_images(live: Live) -> None:
    info = info_of(ask(live, prompt="{a|b} {c|d|e}", **script(True, True)))
    assert info["all_prompts"] == ["a c", "a d", "a e", "b c", "b d", "b e"]
    bounded = script(*OFF[:1], True, *OFF[2:], 4)
    assert len(info_of(ask(live, prompt="{a|b} {c|d|e}", **bounded))["all_prompts"]) == 4


@pytest.mark.parametrize("arguments", [[False], [False, True]])
def test_switched_off_it_does_nothing(live: Live, arguments: list[Any]) -> None:
    info = info_of(ask(live, prompt="a {b|c}", **script(*arguments)))
    assert info["all_prompts"] == ["a {b|c}"]
    assert "Template" not in info["infotexts"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([True, False, 1, True], "is_magic_prompt is True; it must be False here"),
        ([True, False, 3], "combinatorial_batches is 3; it must be 1 here"),
        ([*OFF[:13], True], "enable_jinja_templates is True"),
        ([*OFF[:10], True], "use_fixed_seed is True"),
        ([*OFF[:1], True, *OFF[2:], "many"], "max_generations is many"),
        ([True] * 19, "up to 18 values"),
        ([{"nonsense": 1}], "no argument 'nonsense'"),
    ],
)
def test_what_cannot_be_honored_is_refused(live: Live, arguments: list[Any], message: str) -> None:
    answer = ask(live, prompt="a {b|c}", **script(*arguments))
    assert 400 <= answer.status_code < 500
    assert message in answer.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "__nobody__"}, "unknown wildcard"),
        ({"prompt": "{" * 1_000 + "}" * 1_000}, "nests 999 deep"),
        ({"prompt": ["{a|b}", "c"]}, "one prompt"),
        ({"prompt": "a", "script_name": "prompt matrix"}, "expands no templates"),
    ],
)
def test_templates_that_cannot_be_used_are_refused_at_once(
    live: Live, fields: dict[str, Any], message: str
) -> None:
    answer = ask(live, **fields, **script(True))
    assert 400 <= answer.status_code < 500
    assert message in answer.text


def test_more_combinations_than_are_allowed_are_refused(live: Live) -> None:
    ten = "{" + "|".join("abcdefghij") + "}"
    answer = ask(live, prompt=ten * 12, **script(True, True))
    assert 400 <= answer.status_code < 500
    assert "images of the script" in answer.text


def test_it_is_listed(live: Live) -> None:
    told = live.http.get("/sdapi/v1/script-info").json()
    mine = [one for one in told if one["name"] == "dynamic prompts"]
    assert [one["is_img2img"] for one in mine] == [False, True]
    assert all(one["is_alwayson"] and len(one["args"]) == 18 for one in mine)


def test_our_own_api_has_it_as_fields(live: Live) -> None:
    form = {
        **SMALL,
        "prompt": "{a|b|c}",
        "dynamic": True,
        "dynamic_method": "cyclical",
        "batch_count": 4,
    }
    answer = live.http.post(JOBS, json=form)
    assert answer.status_code == 202, answer.text
    waited(live.http, answer.json()["id"])
    result = live.http.get(f"{JOBS}/{answer.json()['id']}/result").json()
    prompts = [read_infotext(text).prompt for text in result["infotexts"]]
    assert prompts == ["a", "b", "c", "a"]
    refused = live.http.post(JOBS, json={**SMALL, "prompt": "__nobody__", "dynamic": True})
    assert refused.status_code == 422
    assert "unknown wildcard" in refused.text
