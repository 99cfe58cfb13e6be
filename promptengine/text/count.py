"""How long a prompt is to CLIP, as WebUI's counter shows it; needs no model and no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from promptengine.prompt import Fragment, Schedule, parse
from promptengine.prompt.dialects import WEBUI
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.request.options import Options
from promptengine.text.chunks import CHUNK_LENGTH, NO_WORDS, chunk_fragments, read_segment
from promptengine.text.chunks import count_tokens as count_in_chunks
from promptengine.text.textual_inversion.table import EmbeddingTable
from promptengine.validation import Between, check_type

__all__ = ["TokenCount", "count_scheduled", "count_tokens"]

_STEPS = Between(1, 1000)


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The length of a prompt: of its longest text, where it holds ``AND`` or changes over the steps.

    Attributes:
        tokens: As WebUI counts them; a chunk that ``BREAK`` or a comma ends early counts as full.
        chunks: How many windows of 75 tokens that text takes, 1 at least.
        used: Of each of these windows, how many of its 75 places the text takes.
    """

    tokens: int
    chunks: int
    used: tuple[int, ...] = ()

    @property
    def limit(self) -> int:
        """Tokens that fit into these chunks: the second number of WebUI's counter."""
        return self.chunks * CHUNK_LENGTH


def count_tokens(
    prompt: str,
    *,
    steps: int = 20,
    options: Options | None = None,
    embeddings: EmbeddingTable = NO_WORDS,
    dialect: str = WEBUI,
) -> TokenCount:
    """Count the tokens of a prompt, or of a negative prompt.

    Args:
        prompt: WebUI's syntax; tags take no tokens.
        steps: What prompt schedules are computed for.
        options: Emphasis, comments and backtracking to commas count; defaults if None.
        embeddings: Words that stand for learned vectors, each of which takes a token's place; by
            default none, and :meth:`promptengine.Engine.count_tokens` has those of its folders.
        dialect: That the prompt is written in.

    Raises:
        RequestError: An argument of another type, steps out of range, or no such dialect.
    """
    check_type("prompt", prompt, str)
    check_type("steps", steps, int)
    _STEPS.check("steps", steps)
    own = options or Options()
    check_type("options", own, Options)
    read = parse(prompt, comments=own.comments, dialect=dialect)
    scheduled = ScheduledPrompt(read, steps, old=own.old_timelines)
    return count_scheduled(scheduled.schedules, own, embeddings)


def count_scheduled(
    schedules: Iterable[Schedule], options: Options, embeddings: EmbeddingTable
) -> TokenCount:
    """Count the tokens of a prompt that is read already; one read as negative has its tags as words.

    Args:
        schedules: Of its parts.
        options: Emphasis and backtracking to commas count.
        embeddings: Words that stand for learned vectors.
    """
    segments = (segment for timeline in schedules for segment in timeline.segments)
    # An alternation comes back to the same texts again and again.
    texts = {segment.text: read_segment(segment, options.emphasis) for segment in segments}
    counts = (_counted(text, options, embeddings) for text in texts.values())
    return max(counts, key=lambda one: (one.chunks, one.tokens))


def _counted(
    fragments: Sequence[Fragment], options: Options, embeddings: EmbeddingTable
) -> TokenCount:
    chunks = chunk_fragments(
        fragments, comma_backtrack=options.comma_backtrack, embeddings=embeddings
    )
    used = tuple(chunk.used for chunk in chunks)
    return TokenCount(count_in_chunks(chunks), len(chunks), used)
