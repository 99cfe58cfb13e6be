"""ComfyUI's rule for weights, and what rules of other programs share.

A weight moves a token's state from where the empty prompt has it: ``empty + weight * (state - empty)``. Nothing
restores the mean. (WebUI's rules are in ``conditioning.py``, compel's is in ``compel_rule.py``.)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor

from promptengine.prompt import Fragment, Schedule
from promptengine.prompt.weighing import BREAK_WEIGHT
from promptengine.text.chunks import CHUNK_LENGTH, EMPTY_CHUNK, NO_WORDS, Chunk, Page
from promptengine.text.conditioning import Conditioning, keys_of, words_of
from promptengine.text.encoder import TextModel
from promptengine.text.textual_inversion.table import EmbeddingTable
from promptengine.text.tokenizer import tokenize

__all__ = ["encode_from_empty", "encoded", "moved", "padded", "word_chunks"]

_WORD_TORN = 8
_AT_ONCE = 16


def encode_from_empty(
    schedule: Schedule,
    model: TextModel | Sequence[TextModel],
    *,
    embeddings: EmbeddingTable = NO_WORDS,
    comma_backtrack: int = 20,
) -> Conditioning:
    """Encode all texts of a schedule as ComfyUI does.

    Args:
        schedule: A part's schedule; equal texts are encoded once by a model.
        model: The text model, or that of each segment, where networks change it over the steps.
        embeddings: The textual-inversion words that texts may name.
        comma_backtrack: Not looked at: ComfyUI keeps words together, and not what stands between commas.

    Returns:
        Conditioning with one row per segment, on the model's device.
    """
    keys = keys_of(schedule, model)
    distinct = dict(zip(keys, schedule.segments, strict=True))
    texts = {key: word_chunks(one.fragments, embeddings) for key, one in distinct.items()}
    empty = {by: encoded([EMPTY_CHUNK], by)[0] for by in dict.fromkeys(by for _, by in keys)}
    length = max(len(chunks) for chunks in texts.values())
    rows: dict[Hashable, Tensor] = {}
    pooled: dict[Hashable, Tensor | None] = {}
    for key, chunks in texts.items():
        _, by = key
        states, pooled[key] = encoded(chunks, by)
        rows[key] = padded(moved(states, empty[by], chunks).flatten(0, 1), empty[by], length)
    sentences = [pooled[key] for key in keys]
    return Conditioning(
        embeddings=torch.stack([rows[key] for key in keys]),
        until_step=schedule.last_calls,
        pooled=_stacked(sentences),
        words=words_of(list(texts.values())),
    )


def _stacked(sentences: Iterable[Tensor | None]) -> Tensor | None:
    found = [one for one in sentences if one is not None]
    return torch.stack(found) if found else None


def encoded(
    chunks: Sequence[Chunk], model: TextModel, masks: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Encode chunks without their weights.

    Args:
        chunks: One at least.
        model: The text model.
        masks: For each chunk, ``[77]``, 0 where its token is not attended to; by default none is masked.

    Returns:
        States ``[chunks, 77, width]``, those of several encoders side by side, and the pooled vector
        ``[width]`` of the first chunk for families that have one.
    """
    states: list[Tensor] = []
    pooled: Tensor | None = None
    for start in range(0, len(chunks), _AT_ONCE):
        some = list(islice(chunks, start, start + _AT_ONCE))
        tokens = torch.tensor([chunk.tokens for chunk in some])
        placements = [chunk.placements for chunk in some]
        if masks is None:
            found = model(tokens, placements)
        else:
            mask = torch.stack(list(masks[start : start + _AT_ONCE]))
            found = model(tokens, placements, mask=mask)
        states.append(torch.cat(found.states, dim=-1))
        if start == 0 and found.pooled is not None:
            pooled = found.pooled[0]
    return torch.cat(states), pooled


def moved(states: Tensor, empty: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """Move states from the empty prompt's by the weights of their tokens.

    Args:
        states: ``[chunks, 77, width]``.
        empty: Those of the empty prompt, ``[1, 77, width]``.
        chunks: That have the weights.
    """
    weights = torch.tensor([chunk.weights for chunk in chunks]).to(states).unsqueeze(-1)
    # Where there is no weight, the state stays as it is to the last bit.
    return torch.where(weights == 1, states, empty + (states - empty) * weights)


def padded(text: Tensor, empty: Tensor, chunks: int) -> Tensor:
    """Lengthen a text ``[tokens, width]`` to a number of chunks by empty ones ``[1, 77, width]``."""
    missing = chunks - len(text) // empty.shape[1]
    return torch.cat([text, empty[0].repeat(missing, 1)])


def word_chunks(
    fragments: Iterable[Fragment], embeddings: EmbeddingTable = NO_WORDS
) -> list[Chunk]:
    """Cut fragments into chunks as ComfyUI does: between words, where these are shorter than 8 tokens.

    Args:
        fragments: Text with weights; ``BREAK`` of weight -1 begins a new chunk.
        embeddings: The words that stand for vectors; none is torn.

    Returns:
        At least one chunk.
    """
    chunks: list[Chunk] = []
    page = Page()
    for fragment in fragments:
        if fragment.text == "BREAK" and fragment.weight == BREAK_WEIGHT:
            chunks.append(page.closed(len(page.tokens)))
            page = Page()
            continue
        for ids in tokenize(fragment.text.split()):
            page = _with_word(list(ids), fragment.weight, embeddings, page, chunks)
    if page.tokens or not chunks:
        chunks.append(page.closed(len(page.tokens)))
    return chunks


def _with_word(
    ids: list[int], weight: float, embeddings: EmbeddingTable, page: Page, chunks: list[Chunk]
) -> Page:
    """Add a word to a page, and return the page that is filled then; full ones go to ``chunks``."""
    if len(ids) < _WORD_TORN and len(page.tokens) + len(ids) > CHUNK_LENGTH:
        chunks.append(page.closed(len(page.tokens)))
        page = Page()
    position = 0
    while position < len(ids):
        match = embeddings.at(ids, position)
        count = 1 if match is None else match.embedding.count
        if len(page.tokens) + count > CHUNK_LENGTH:
            chunks.append(page.closed(len(page.tokens)))
            page = Page()
        if match is None:
            page.add([ids[position]], weight)
            position += 1
        else:
            page.place(match.embedding, weight)
            position += match.tokens
    return page
