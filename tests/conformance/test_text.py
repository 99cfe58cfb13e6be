"""Tokens, chunks and conditioning against WebUI's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from promptengine import Engine
from promptengine.syntax import attention, parse, schedule
from promptengine.text.chunks import chunk_fragments
from promptengine.text.encode import Conditioning, clip_text_model, encode_chunks, encode_schedule
from promptengine.text.tokenizer import tokenize
from tests.conformance.golden import difference, rows, tensors

TOLERANCE = 1e-4


def test_tokenizer_is_exact(goldens: Path) -> None:
    cases = rows(goldens / "tokenizer.jsonl")
    assert tokenize([case["text"] for case in cases]) == [case["ids"] for case in cases]


def plain_text_cases(goldens: Path) -> list[dict[str, Any]]:
    """Cases without textual inversion, which shows as embeddings fixed to chunk positions."""
    return [
        case
        for case in rows(goldens / "cond_text.jsonl")
        if not any(chunk["fixes"] for chunk in case["tokenize"]["chunks"])
    ]


def test_chunks_are_exact(goldens: Path) -> None:
    for case in plain_text_cases(goldens):
        chunks = chunk_fragments(attention(case["prompt"]))
        golden = case["tokenize"]["chunks"]
        assert [list(c.tokens) for c in chunks] == [g["tokens"] for g in golden], case["id"]
        assert [list(c.weights) for c in chunks] == [
            pytest.approx(g["multipliers"], rel=1e-12) for g in golden
        ], case["id"]


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_text_conditioning(goldens: Path, engine: Engine, clip_skip: int) -> None:
    golden = tensors(goldens / "cond_text.safetensors")
    model = clip_text_model(engine.checkpoint.text_encoder, clip_skip=clip_skip)
    for case in plain_text_cases(goldens):
        chunks = chunk_fragments(attention(case["prompt"]))
        ours = encode_chunks([chunks], model)[0]
        expected = golden[f"{case['id']}/Original/{clip_skip}"]
        assert difference(ours, expected) <= TOLERANCE, case["id"]


def test_scheduled_conditioning(goldens: Path, engine: Engine) -> None:
    golden = tensors(goldens / "cond_schedule.safetensors")
    model = clip_text_model(engine.checkpoint.text_encoder)
    for case in rows(goldens / "cond_schedule.jsonl"):
        parts = parse(case["prompt"]).parts
        conditionings = [encode_schedule(schedule(part, case["steps"]), model) for part in parts]
        for part, conditioning in enumerate(conditionings):
            ends = list(conditioning.until_step)
            assert ends == [end for end, _ in case["schedules"][part]], case["id"]
            for index in range(len(ends)):
                expected = golden.get(f"{case['id']}/{part}/{index}/rows")
                if expected is not None:
                    ours = conditioning.embeddings[index][::7]
                    assert difference(ours, expected) <= TOLERANCE, (case["id"], part, index)
        ours = [mean_std(conditionings, call) for call in range(case["steps"])]
        assert torch.tensor(ours) == pytest.approx(
            torch.tensor(case["per_step_mean_std"]), abs=TOLERANCE
        ), case["id"]


def mean_std(conditionings: list[Conditioning], call: int) -> list[float]:
    """Mean and standard deviation of all parts, the shorter ones lengthened by their last vector."""
    texts = [conditioning.at(call) for conditioning in conditionings]
    longest = max(len(text) for text in texts)
    padded = [torch.cat([t, t[-1:].expand(longest - len(t), -1)]) for t in texts]
    stacked = torch.stack(padded)
    return [float(stacked.mean()), float(stacked.std())]
