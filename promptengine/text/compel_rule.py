"""compel's rule for weights, and its ways to make one encoding of several texts.

Every weight moves a token's state from the empty prompt's, as ComfyUI's do. Words that weigh less than 1 also
draw the whole text toward its encoding without them: with them masked, so that no token attends to them, and
mixed in by ``tan((1 - weight) * pi / 2)`` beside 1 for the text itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from promptengine.prompt import Fragment, Schedule, Segment
from promptengine.prompt.ast import Mix
from promptengine.text.chunks import CHUNK_LENGTH, EMPTY_CHUNK, NO_WORDS, Chunk, Page
from promptengine.text.conditioning import Conditioning, keys_of, words_of
from promptengine.text.encoder import TextModel
from promptengine.text.textual_inversion.embedding import Embedding
from promptengine.text.textual_inversion.table import EmbeddingTable
from promptengine.text.tokenizer import clip_tokenizer, tokenize
from promptengine.text.weight_rules import encoded, moved, padded

__all__ = ["encode_compel"]

_LEAST_WEIGHT = 1e-5
_SENTENCE_ENDS = (".",)
_PHRASE_ENDS = (".", ",", ";", ":")
_WORD_END = "</w>"


def encode_compel(
    schedule: Schedule,
    model: TextModel | Sequence[TextModel],
    *,
    embeddings: EmbeddingTable = NO_WORDS,
    comma_backtrack: int = 20,
) -> Conditioning:
    """Encode all texts of a schedule as compel 2 does.

    Args:
        schedule: A part's schedule; equal texts are encoded once by a model.
        model: The text model, which must take masks, or that of each segment, where networks change it over
            the steps.
        embeddings: The textual-inversion words that texts may name.
        comma_backtrack: Not looked at: compel cuts long texts at the ends of sentences, else of phrases.

    Returns:
        Conditioning with one row per segment, on the model's device. Pooled vectors are those of the words
        without their weights.
    """
    keys = keys_of(schedule, model)
    distinct = dict(zip(keys, schedule.segments, strict=True))
    empty = {by: encoded([EMPTY_CHUNK], by)[0] for by in dict.fromkeys(by for _, by in keys)}
    texts = {
        (text, by): _mixed(segment, schedule.mix, by, embeddings, empty[by])
        for (text, by), segment in distinct.items()
    }
    length = max(len(text.states) for text in texts.values()) // (CHUNK_LENGTH + 2)
    pooled = [text.pooled for text in map(texts.__getitem__, keys) if text.pooled is not None]
    return Conditioning(
        embeddings=torch.stack(
            [padded(texts[text, by].states, empty[by], length) for text, by in keys]
        ),
        until_step=schedule.last_calls,
        pooled=torch.stack(pooled) if pooled else None,
        words=words_of([text.chunks for text in texts.values()]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    """A text that is encoded.

    Attributes:
        states: ``[77 * chunks, width]``.
        pooled: ``[width]``, for families that have it.
        chunks: What was encoded.
    """

    states: Tensor
    pooled: Tensor | None
    chunks: list[Chunk]


def _mixed(
    segment: Segment,
    mix: Mix | None,
    model: TextModel,
    embeddings: EmbeddingTable,
    empty: Tensor,
) -> _Text:
    """Encode what holds at some steps, be it one text or several that become one."""
    if mix is None:
        return _encode(segment.fragments, model, embeddings, empty)
    arms = [_encode(arm, model, embeddings, empty) for arm in segment.arms]
    chunks = [chunk for arm in arms for chunk in arm.chunks]
    if mix.kind == "concatenate":
        states = [
            arm.states if weight == 1 else base + (arm.states - base) * weight
            for arm, weight in zip(arms, mix.weights, strict=True)
            for base in [empty[0].repeat(len(arm.states) // empty.shape[1], 1)]
        ]
        return _Text(torch.cat(states), arms[0].pooled, chunks)
    length = max(len(arm.states) for arm in arms) // empty.shape[1]
    weights = torch.tensor(mix.weights, dtype=torch.float64)
    shares = weights / weights.sum() if mix.kind == "blend" else weights
    pooled = [arm.pooled for arm in arms if arm.pooled is not None]
    blended = _sum([padded(arm.states, empty, length) for arm in arms], shares)
    return _Text(blended, _sum(pooled, shares) if pooled else None, chunks)


def _sum(tensors: Sequence[Tensor], weights: Tensor) -> Tensor:
    terms = [tensor * weight for tensor, weight in zip(tensors, weights.tolist(), strict=True)]
    return torch.stack(terms).sum(dim=0)


def _encode(
    fragments: Sequence[Fragment], model: TextModel, embeddings: EmbeddingTable, empty: Tensor
) -> _Text:
    """Encode one text with its weights."""
    pages = _pages(fragments, embeddings)
    chunks = [page.chunk for page in pages]
    states, pooled = encoded(chunks, model)
    base = moved(states, empty, chunks)
    pulls = {
        index: math.tan((1 - max(_LEAST_WEIGHT, fragment.weight)) * math.pi / 2)
        for index, fragment in enumerate(fragments)
        if fragment.weight < 1
    }
    # Of the encodings without some words only the chunks differ that hold them.
    masked = [
        (index, page) for page in pages for index in dict.fromkeys(page.owners) if index in pulls
    ]
    if not masked:
        return _Text(base.flatten(0, 1), pooled, chunks)
    masks = [page.mask(index) for index, page in masked]
    without, _ = encoded([page.chunk for _, page in masked], model, masks)
    without = moved(without, empty, [page.chunk for _, page in masked])
    present = {index for index, _ in masked}
    whole = 1 + sum(pull for index, pull in pulls.items() if index in present)
    mixed = base.clone()
    for row, (index, page) in enumerate(masked):
        mixed[page.place] += (without[row] - base[page.place]) * (pulls[index] / whole)
    return _Text(mixed.flatten(0, 1), pooled, chunks)


@dataclass(frozen=True, slots=True)
class _Page:
    """A chunk that knows whose its tokens are.

    Attributes:
        place: Which chunk of the text it is.
        chunk: What is encoded.
        owners: For each of the prompt's own tokens in it, the fragment.
    """

    place: int
    chunk: Chunk
    owners: tuple[int, ...]

    def mask(self, fragment: int) -> Tensor:
        """Return ``[77]``, 0 at the tokens of a fragment."""
        found = torch.ones(CHUNK_LENGTH + 2, dtype=torch.long)
        for place, owner in enumerate(self.owners):
            if owner == fragment:
                found[place + 1] = 0
        return found


@dataclass(frozen=True, slots=True)
class _Unit:
    """A token of a fragment, or a textual-inversion word, which is not torn."""

    token: int
    weight: float
    owner: int
    embedding: Embedding | None = None

    @property
    def count(self) -> int:
        """How many places it takes."""
        return 1 if self.embedding is None else self.embedding.count


def _pages(fragments: Sequence[Fragment], embeddings: EmbeddingTable) -> list[_Page]:
    units = _units(fragments, embeddings)
    pages: list[_Page] = []
    start = 0
    while start < len(units) or not pages:
        some = units[start : start + CHUNK_LENGTH + 1]
        some = some[: _cut(some)]
        page = Page()
        for unit in some:
            if unit.embedding is None:
                page.add([unit.token], unit.weight)
            else:
                page.place(unit.embedding, unit.weight)
        owners = tuple(unit.owner for unit in some for _ in range(unit.count))
        pages.append(_Page(len(pages), page.closed(len(page.tokens)), owners))
        start += len(some)
    return pages


def _units(fragments: Sequence[Fragment], embeddings: EmbeddingTable) -> list[_Unit]:
    units: list[_Unit] = []
    texts = tokenize([fragment.text for fragment in fragments])
    for owner, (fragment, ids) in enumerate(zip(fragments, texts, strict=True)):
        position = 0
        while position < len(ids):
            match = embeddings.at(ids, position)
            found = None if match is None else match.embedding
            units.append(_Unit(ids[position], fragment.weight, owner, found))
            position += 1 if match is None else match.tokens
    return units


def _cut(units: Sequence[_Unit]) -> int:
    """Return how many units the next chunk takes: up to the end of a sentence, else a phrase, else a word."""
    room, fitting = CHUNK_LENGTH, 0
    for unit in units:
        if unit.count > room:
            break
        room -= unit.count
        fitting += 1
    if fitting == len(units):
        return fitting
    fitting = max(fitting, 1)
    words = clip_tokenizer().convert_ids_to_tokens([unit.token for unit in units[:fitting]])
    for ends in (_SENTENCE_ENDS, _PHRASE_ENDS, _WORD_END):
        for place in range(fitting, 0, -1):
            word = words[place - 1]
            if units[place - 1].embedding is not None or not word.endswith(_WORD_END):
                continue
            if ends is _WORD_END or word.removesuffix(_WORD_END) in ends:
                return place
    return fitting
