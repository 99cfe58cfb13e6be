"""What the kinds of networks know about tags. They are loaded by the first tag, since many prompts have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptengine.kinds import NetworkKind

__all__ = ["kind_of_word", "tag_words"]


def kind_of_word(word: str) -> NetworkKind | None:
    """Look up whose tag a word opens; None where no kind has it."""
    from promptengine.kinds.table import kind_of_word

    return kind_of_word(word)


def tag_words() -> tuple[str, ...]:
    """List the words that open tags."""
    from promptengine.kinds.table import tag_words

    return tag_words()
