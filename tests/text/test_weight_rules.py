"""ComfyUI's weights, with a text model made up for the purpose, and rules under several text models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from promptengine import Engine
from promptengine.prompt import Fragment, Span, parse, schedule
from promptengine.text.chunks import EMPTY_CHUNK
from promptengine.text.compel_rule import encode_compel
from promptengine.text.encoder import Encoded, TextModel
from promptengine.text.textual_inversion.table import Placement
from promptengine.text.weight_rules import encode_from_empty, word_chunks
from tests.text.test_conditioning import fake_model


def rows(text: str, dialect: str = "comfyui", steps: int = 1) -> torch.Tensor:
    (part,) = parse(text, dialect=dialect).parts
    return encode_from_empty(schedule(part, steps), fake_model()).embeddings


def test_a_weight_moves_a_state_from_the_empty_prompts() -> None:
    plain, weighted, empty = rows("a cat")[0], rows("a (cat:1.5)")[0], rows("")[0]
    torch.testing.assert_close(weighted[2], empty[2] + 1.5 * (plain[2] - empty[2]))
    # Nothing restores the mean: all other states stay as they are.
    assert torch.equal(weighted[[0, 1, 3]], plain[[0, 1, 3]])


def test_without_weights_it_is_the_models_own_output() -> None:
    assert torch.equal(rows("")[0], fake_model()(torch.tensor([EMPTY_CHUNK.tokens])).states[0][0])


def test_texts_of_a_schedule_are_as_long_as_the_longest() -> None:
    found = rows(f"<fromto[1]:a,{' b' * 100}>", "swarmui", steps=2)
    assert found.shape[:2] == (2, 154)
    assert torch.equal(found[0, 77:], rows("")[0])


def test_each_segment_is_encoded_by_a_model_of_its_own() -> None:
    (part,) = parse(f"(<alternate:a,b>:1.5) <fromto[2]:x,{'c ' * 80}>", dialect="swarmui").parts
    timeline = schedule(part, 4)
    calls: list[torch.Tensor] = []
    first, second = fake_model(calls), doubled(fake_model())
    found = encode_from_empty(timeline, [first, second, second, first]).embeddings
    # The first and the last text, and the empty one.
    assert len(calls) == 3
    for row, model in enumerate((first, second, second, first)):
        assert torch.equal(found[row], encode_from_empty(timeline, model).embeddings[row])


def doubled(model: TextModel) -> TextModel:
    """A model as a network has it that doubles all states."""

    def read(
        tokens: torch.Tensor,
        placements: Sequence[Sequence[Placement]] = (),
        *,
        mask: torch.Tensor | None = None,
    ) -> Encoded:
        assert mask is None
        return Encoded(tuple(2 * states for states in model(tokens, placements).states))

    return read


def test_compel_encodes_each_segment_by_a_model_of_its_own(tiny_engine: Engine) -> None:
    whole = [tiny_engine.checkpoint.text_model(clip_skip=skip) for skip in (1, 2)]
    for text in ("a cat- dog++", '("a (fat)0.5 cat", "dog+").and(1, 2)'):
        (part,) = parse(text, dialect="compel").parts
        once = schedule(part, 4)
        (segment,) = once.segments
        parts = (replace(segment, until_step=1), replace(segment, until_step=3), segment)
        found = encode_compel(replace(once, segments=parts), [whole[0], whole[1], whole[0]])
        alone = [encode_compel(once, model).embeddings[0] for model in whole]
        assert not torch.equal(*alone)
        assert torch.equal(found.embeddings, torch.stack([alone[0], alone[1], alone[0]]))


def test_words_are_not_torn_and_breaks_begin_a_chunk() -> None:
    words = Fragment("cat " * 74 + "wolfhounds-and-wolfhounds", 1.0, Span(0, 0))
    first, second = word_chunks([words])
    assert (first.used, second.used) == (
        74,
        word_chunks([Fragment("wolfhounds-and-wolfhounds", 1, Span(0, 0))])[0].used,
    )
    (part,) = parse("a<break>b", dialect="swarmui").parts
    (segment,) = schedule(part, 1).segments
    assert [chunk.used for chunk in word_chunks(segment.fragments)] == [1, 1]
