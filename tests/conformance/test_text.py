"""Tokens, chunks and conditioning against WebUI's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from promptengine import Engine
from promptengine.prompt import Segment, attention, parse, schedule
from promptengine.request.options import Emphasis
from promptengine.text.chunks import Chunk, chunk_fragments, count_tokens, read_segment
from promptengine.text.conditioning import (
    Conditioning,
    clip_text_model,
    encode_chunks,
    encode_schedule,
)
from promptengine.text.textual_inversion.files import load_embedding
from promptengine.text.textual_inversion.table import EmbeddingTable
from promptengine.text.tokenizer import tokenize
from tests.conformance.golden import DATA, difference, rows, tensors

TOLERANCE = 1e-4
MODES: tuple[Emphasis, ...] = get_args(Emphasis)


@pytest.fixture(scope="module")
def words(conformance_dir: Path) -> EmbeddingTable:
    own = conformance_dir / "webui" / "embeddings"
    folder = own if own.is_dir() else DATA / "webui" / "embeddings"
    found = [load_embedding(path) for path in sorted(folder.iterdir())]
    return EmbeddingTable(tuple(word for word in found if word is not None))


def test_tokenizer_is_exact(goldens: Path) -> None:
    cases = rows(goldens / "tokenizer.jsonl")
    assert tokenize([case["text"] for case in cases]) == [case["ids"] for case in cases]


def chunks_of(case: dict[str, Any], emphasis: Emphasis, words: EmbeddingTable) -> list[Chunk]:
    segment = Segment(1, case["prompt"], attention(case["prompt"]))
    return chunk_fragments(read_segment(segment, emphasis), embeddings=words)


@pytest.mark.parametrize("emphasis", MODES)
def test_chunks_are_exact(goldens: Path, words: EmbeddingTable, emphasis: Emphasis) -> None:
    for case in rows(goldens / "cond_text.jsonl"):
        chunks = chunks_of(case, emphasis, words)
        golden = case["tokenize"]
        if emphasis == "None" and case["tokenize_emphasis_none"] != "same":
            golden = case["tokenize_emphasis_none"]
        assert [list(c.tokens) for c in chunks] == [g["tokens"] for g in golden["chunks"]]
        assert [list(c.weights) for c in chunks] == [
            pytest.approx(g["multipliers"], rel=1e-12) for g in golden["chunks"]
        ], case["id"]
        # The data count places from behind the start token.
        assert [[[p.position - 1, p.embedding.name] for p in c.placements] for c in chunks] == [
            g["fixes"] for g in golden["chunks"]
        ], case["id"]
        assert count_tokens(chunks) == golden["token_count"], case["id"]


@pytest.mark.parametrize("clip_skip", [1, 2])
@pytest.mark.parametrize("emphasis", MODES)
def test_text_conditioning(
    goldens: Path, engine: Engine, words: EmbeddingTable, emphasis: Emphasis, clip_skip: int
) -> None:
    golden = tensors(goldens / "cond_text.safetensors")
    model = clip_text_model(engine.checkpoint.text_encoder, clip_skip=clip_skip)
    for case in rows(goldens / "cond_text.jsonl"):
        states, pooled = encode_chunks([chunks_of(case, emphasis, words)], model, emphasis=emphasis)
        assert pooled is None
        name = f"{case['id']}/{emphasis}/{clip_skip}"
        if name in golden:
            assert difference(states[0], golden[name]) <= TOLERANCE, name
        else:
            assert difference(states[0][::11], golden[f"{name}/rows"]) <= TOLERANCE, name
        measured = case["variants"][f"{emphasis}/{clip_skip}"]
        assert list(states[0].shape) == measured["shape"], name
        assert float(states.mean()) == pytest.approx(measured["mean"], abs=TOLERANCE), name
        assert float(states.std()) == pytest.approx(measured["std"], abs=TOLERANCE), name
        assert float(states.norm()) == pytest.approx(measured["l2"], rel=TOLERANCE), name


def test_scheduled_conditioning(goldens: Path, engine: Engine, words: EmbeddingTable) -> None:
    golden = tensors(goldens / "cond_schedule.safetensors")
    model = clip_text_model(engine.checkpoint.text_encoder)
    for case in rows(goldens / "cond_schedule.jsonl"):
        schedules = [schedule(part, case["steps"]) for part in parse(case["prompt"]).parts]
        conditionings = [encode_schedule(each, model, embeddings=words) for each in schedules]
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
