"""How a prompt divides the image, as the route that reads prompts tells it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptengine.prompt.dialects import DIALECTS
from tests.server.conftest import Live


def read(live: Live, prompt: str, **more: object) -> Any:
    form = {"prompt": prompt, "dialect": "extended", "tokens": False, **more}
    answer = live.http.post("/promptengine/v1/parse", json=form)
    assert answer.status_code == 200, answer.text
    return answer.json()


def boxes(told: Any) -> list[list[float]]:
    sides = ("left", "top", "right", "bottom")
    return [[round(one[side], 4) for side in sides] for one in told["regions"]["placed"]]


@pytest.mark.parametrize(
    ("prompt", "settings", "expected"),
    [
        ("a cat", {}, []),
        ("a ADDCOL b", {}, [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]),
        ("a ADDROW b", {"region_ratios": "1,3"}, [[0, 0, 1, 0.25], [0, 0.25, 1, 1]]),
        (
            "a ADDCOL b ADDROW c",
            {"region_ratios": "1,2,2;3"},
            [[0, 0, 0.5, 0.25], [0.5, 0, 1, 0.25], [0, 0.25, 1, 1]],
        ),
        (
            "a ADDCOL b ADDROW c",
            {"region_layout": "vertical"},
            [[0, 0, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]],
        ),
    ],
)
def test_each_region_has_its_place(
    live: Live, prompt: str, settings: dict[str, str], expected: list[list[float]]
) -> None:
    told = read(live, prompt, **settings)
    assert boxes(told) == expected
    assert told["regions"]["notes"] == []


def test_each_region_has_its_text_and_its_networks(live: Live) -> None:
    prompt = "q ADDCOMM all<hypernet:hn-relu:1> ADDBASE a ADDCOL b<hypernet:hn-relu:0.5>"
    told = read(live, prompt, region_base_ratios="0.3,0.6")
    placed = told["regions"]["placed"]
    assert told["regions"]["bases"] == ["q, all"]
    assert [(one["number"], one["text"], one["base_share"]) for one in placed] == [
        (1, "q, a", 0.3),
        (2, "q, b", 0.6),
    ]
    own = [[told["networks"][at]["multiplier"] for at in one["networks"]] for one in placed]
    assert own == [[], [0.5]]


@pytest.fixture
def ink(live: Live) -> Iterator[str]:
    """The name of a LoRA that the server finds, and need not read."""
    assert isinstance(live.config.models, Path)
    path = live.config.models / "Lora" / "ink.safetensors"
    path.write_bytes(b"")
    live.http.post("/promptengine/v1/networks/refresh")
    yield path.stem
    path.unlink()
    live.http.post("/promptengine/v1/networks/refresh")


def test_a_region_has_no_loras(live: Live, ink: str) -> None:
    told = read(live, f"a ADDCOL b<lora:{ink}:1>")
    assert [one["networks"] for one in told["regions"]["placed"]] == [[], []]
    messages = [one["message"] for one in told["diagnostics"]]
    assert any("a region has hypernetworks alone" in one for one in messages), messages


def test_each_operand_of_and_is_divided_by_itself(live: Live) -> None:
    told = read(live, "a ADDCOL b<hypernet:hn-relu:1> AND c")
    assert [(one["part"], one["number"]) for one in told["regions"]["placed"]] == [(0, 1), (0, 2)]
    assert told["regions"]["bases"] == [None, None]
    # With AND all networks act everywhere.
    assert all(one["networks"] == [] for one in told["regions"]["placed"])


@pytest.mark.parametrize(
    ("prompt", "settings", "expected"),
    [
        ("a ADDCOL b", {"region_ratios": "1,2,3"}, ("error", "region_ratios", "2 regions")),
        ("a ADDCOL b", {"region_ratios": "1,"}, ("error", "region_ratios", "must be")),
        ("a ADDCOL b", {"region_layout": "odd"}, ("error", "region_layout", "none of")),
        ("a", {"region_ratios": "1,2"}, ("warning", "region_ratios", "no ADDCOL")),
        ("a", {"region_base_ratios": "0.5"}, ("warning", "region_base_ratios", "no ADDBASE")),
        ("a" + " ADDCOL b" * 16, {}, ("error", "prompt", "17 regions")),
    ],
)
def test_settings_that_cannot_be_had_are_told(
    live: Live, prompt: str, settings: dict[str, str], expected: tuple[str, str, str]
) -> None:
    told = read(live, prompt, **settings)
    (note,) = told["regions"]["notes"]
    severity, field, words = expected
    assert (note["severity"], note["field"]) == (severity, field)
    assert words in note["message"]
    assert told["regions"]["placed"] == []
    # Whatever the settings are, the prompt is read.
    assert told["text"].startswith("a")


def test_a_dialect_without_regions_and_a_negative_prompt_divide_nothing(live: Live) -> None:
    assert read(live, "a ADDCOL b", dialect="webui")["regions"]["placed"] == []
    assert read(live, "a ADDCOL b", negative=True)["regions"] is None


@pytest.mark.parametrize("name", list(DIALECTS))
def test_a_dialect_says_whether_it_divides(name: str) -> None:
    dialect = DIALECTS[name]
    parts = dialect.read("a ADDCOL b", comments=True, negative=False).parts
    assert any(part.regions for part in parts) == dialect.regions


def test_regions_with_masks_are_declared(live: Live) -> None:
    told = live.http.get("/promptengine/v1/fields").json()["properties"]
    assert told["dialect"]["x-dividing"] == ["extended"]
    own = told["regions"]["items"]["properties"]
    assert [own[name]["x-control"] for name in ("mask", "prompt", "weight")] == [
        "image",
        "prompt",
        "number",
    ]
