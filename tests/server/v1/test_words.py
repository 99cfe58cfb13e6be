"""The route that completes words of prompts."""

from __future__ import annotations

import pytest

from tests.server.conftest import Live

WORDS = "/promptengine/v1/words"


@pytest.fixture
def listed(live: Live) -> Live:
    assert not isinstance(live.config.models, dict)
    folder = live.config.models.parent / "tags"  # type: ignore[union-attr]
    folder.mkdir(exist_ok=True)
    (folder / "list.csv").write_text('long_hair,0,10,"tresses"\nlong_(word),4,3,\n', "utf-8")
    return live


def test_words_of_the_lists_beside_the_models_are_found(listed: Live) -> None:
    told = listed.http.get(WORDS, params={"prefix": "long"}).json()
    assert told["known"] == 2
    assert [word["text"] for word in told["words"]] == ["long hair", "long \\(word\\)"]
    (word,) = listed.http.get(WORDS, params={"prefix": "tres", "limit": 1}).json()["words"]
    assert word == {
        **{"name": "long_hair", "text": "long hair", "category": 0, "count": 10},
        "alias": "tresses",
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"prefix": "x" * 101}, 422),
        ({"prefix": "a", "limit": 0}, 422),
        ({"prefix": "a", "limit": 101}, 422),
        ({"prefix": "../../etc"}, 200),
        ({"prefix": "\x00%_"}, 200),
        ({}, 200),
    ],
)
def test_hostile_questions_find_nothing(listed: Live, query: dict[str, str], status: int) -> None:
    answer = listed.http.get(WORDS, params=query)
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["words"] == []
