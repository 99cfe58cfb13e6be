"""What else the route that reads prompts tells: how long they are for CLIP, and what mends them."""

from __future__ import annotations

from typing import Any

import pytest

from promptengine.prompt import Part, Schedule, parse, schedule, scheduled
from promptengine.request.options import Options
from promptengine.text.chunks import chunk_fragments, count_tokens
from promptengine.text.textual_inversion.table import EmbeddingTable
from tests.server.conftest import Live
from tests.server.live import SMALL

PROMPTS = (
    "",
    "a cat",
    "a cat BREAK a dog",
    "BREAK BREAK",
    "(a cat BREAK b:1.2)",
    "a [cat:very big shaggy dog:0.5] asleep, [red|dark blue]",
    "a cat AND a much longer dog :0.5",
    "a sketchy cat, sketchy",
    "sketchy " * 60,
    "word, " * 40 + "sketchy " * 10,
    "one two three four five six, seven " * 30,
    "<hypernet:hn-relu:0.8> a cat",
    "a # note\ncat",
    "🦊 and “curly” &amp; <|endoftext|>",
)


def read(live: Live, prompt: str, **more: object) -> Any:
    answer = live.http.post("/promptengine/v1/parse", json={"prompt": prompt, **more})
    assert answer.status_code == 200
    return answer.json()


def words_of(live: Live) -> EmbeddingTable:
    """What the engine's own conditioning takes as vectors."""
    with live.service.devices[0].reserved() as engine_with:
        parts = engine_with(live.service.settings.merged({})[1])._parts
    return parts.embeddings.words((48,)).table


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_tokens_are_those_of_the_chunks_that_are_encoded(
    live: Live, prompt: str, negative: bool
) -> None:
    told = read(live, prompt, negative=negative)["tokens"]
    table, every = words_of(live), list[tuple[int, int, list[int]]]()
    for part in parse(prompt, negative=negative).parts:
        for segment in schedule(part, 20).segments:
            chunks = chunk_fragments(
                segment.fragments, comma_backtrack=Options().comma_backtrack, embeddings=table
            )
            used = [sum(token != 49407 for token in chunk.tokens[1:]) for chunk in chunks]
            every.append((len(chunks), count_tokens(chunks), used))
    chunks, count, used = max(every, key=lambda one: one[:2])
    assert (told["count"], told["limit"]) == (count, chunks * 75)
    if "endoftext" not in prompt:
        assert told["chunks"] == used


def test_an_embedding_counts_its_vectors(live: Live) -> None:
    assert read(live, "sketchy")["tokens"] == {"count": 2, "limit": 75, "chunks": [2]}


def test_tokens_are_left_out_with_a_schedule_that_is_too_long(live: Live) -> None:
    assert read(live, "a [x|y] " + "word " * 3000, steps=1000)["tokens"] is None


def test_a_request_works_each_schedule_out_once(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_out: list[tuple[str, int | None]] = []

    def noted(part: Part, steps: int, *, hires_steps: int | None, old: bool) -> Schedule:
        worked_out.append((part.text, hires_steps))
        return schedule(part, steps, hires_steps=hires_steps, old=old)

    monkeypatch.setattr(scheduled, "schedule", noted)
    prompt = "<hypernet:hn-relu:0.8>a (cat:1.2) AND [b|c]"
    read(live, prompt, dialect="extended")
    parts = [part.text for part in parse(prompt).parts]
    assert worked_out == [(text, None) for text in (*parts, "")]
    worked_out.clear()
    read(live, prompt, hires_steps=5)
    assert len(set(worked_out)) == len(worked_out) == 5


def test_a_near_name_is_proposed_as_a_mend(live: Live) -> None:
    prompt = "a 🦊 <hypernet:hn-reul:0.8> (b"
    told = read(live, prompt)["diagnostics"]
    labels = {one["remedy"]["label"]: one["remedy"] for one in told}
    assert set(labels) == {"use 'hn-relu'", "close it with )"}
    for remedy in labels.values():
        after = prompt[: remedy["start"]] + remedy["text"] + prompt[remedy["end"] :]
        assert len(read(live, after)["diagnostics"]) == 1


def test_a_negative_weight_names_the_option_that_subtracts(live: Live) -> None:
    (told,) = read(live, "a 🦊 (cat:-1.2)")["diagnostics"]
    assert (told["severity"], told["column"]) == ("info", 6)
    assert "negative_weights" in told["hint"]


def test_diagnostics_have_codes_and_are_left_out_by_them(live: Live) -> None:
    prompt = "a (cat:1,2)"
    (told,) = read(live, prompt)["diagnostics"]
    assert told["code"] == "not-a-weight"
    (related,) = told["related"]
    assert prompt[related["start"] : related["end"]] == "("
    assert read(live, prompt, ignored_diagnostics=["not-a-weight"])["diagnostics"] == []


@pytest.mark.parametrize("path", ["parse", "jobs"])
def test_an_unknown_code_of_diagnostics_is_refused(live: Live, path: str) -> None:
    body = {**({} if path == "parse" else SMALL), "prompt": "a", "ignored_diagnostics": ["zzz"]}
    answer = live.http.post(f"/promptengine/v1/{path}", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "ignored_diagnostics")
    assert "must be one of unclosed-bracket" in answer.json()["detail"]


def test_an_ignored_diagnostic_does_not_hide_what_refuses_a_job(live: Live) -> None:
    body = {**SMALL, "prompt": "a <hypernet:none:1>", "ignored_diagnostics": ["unknown-network"]}
    assert live.http.post("/promptengine/v1/jobs", json=body).status_code == 404


@pytest.mark.parametrize(
    ("fields", "field", "status"),
    [
        ({"prompt": "a <hypernet:hn-reul:1>"}, "prompt", 404),
        ({"prompt": "a <hypernet:hn-relu:x>"}, "prompt", 422),
        ({"hires": {"prompt": "a <lora:none:1>"}}, "hires.prompt", 404),
        ({"options": {"sd_hypernetwork": "none-such"}}, "options", 404),
        ({"prompt": "<lora:x:1>", "options": {"sd_hypernetwork": "none-such"}}, "prompt", 404),
    ],
)
def test_a_refusal_says_which_prompt_names_what_is_not_here(
    live: Live, fields: dict[str, Any], field: str, status: int
) -> None:
    answer = live.http.post("/promptengine/v1/jobs", json={**SMALL, **fields})
    assert (answer.status_code, answer.json()["field"]) == (status, field)


def test_weights_by_block_are_told(live: Live) -> None:
    numbers = ",".join(["0.5", *"1" * 16])
    told = read(live, f"<hypernet:hn-relu:1:lbw={numbers}><hypernet:hn-relu:1>")["networks"]
    assert told[0]["block_weights"]["BASE"] == 0.5
    assert len(told[0]["block_weights"]) == 17
    assert "block_weights" not in told[1]
    said = read(live, "<hypernet:hn-relu:1:lbw=1,2>")["diagnostics"]
    assert any("lbw has 2 numbers" in diagnostic["message"] for diagnostic in said)
