"""A replay of typing: every key is answered, and nothing is kept of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest

from promptengine.language import PromptSyntax
from tests.bench.bench_language import LENGTH, fill, keys, questions, replay


@pytest.fixture
def frozen() -> Iterator[None]:
    """What other tests have loaded is not looked through at each collection."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.usefixtures("frozen")
def test_nothing_is_kept_while_somebody_types(tmp_path: Path) -> None:
    words, syntax = fill(tmp_path, networks=20), PromptSyntax()
    replay(words, syntax, 40)
    before = _living()
    replay(words, syntax, 60, seed=2)
    assert _living() - before < 2000


def _living() -> int:
    gc.collect()
    return len(gc.get_objects())


def test_each_key_is_one_away_from_the_one_before() -> None:
    texts = list(islice(keys(1), 500))
    lengths = [len(text) for text, _ in texts]
    assert all(abs(one - other) == 1 for one, other in pairwise(lengths))
    assert all(abs(length - LENGTH) < 100 for length in lengths)
    assert all(0 <= caret <= len(text) for text, caret in texts)


@pytest.mark.slow
@pytest.mark.usefixtures("frozen")
def test_every_question_is_asked(tmp_path: Path) -> None:
    words = fill(tmp_path, networks=4)
    took = replay(words, PromptSyntax("extended"), 10)
    always, in_turn = questions(words, PromptSyntax())
    expected = {**dict.fromkeys(always, 10), **dict.fromkeys(in_turn, 2)}
    for seconds in (took.wall, took.cpu):
        answered = {name: sum(one > 0 for one in spent) for name, spent in seconds.items()}
        assert answered == expected
    assert len(took.memory) == 10
