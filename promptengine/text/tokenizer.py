"""CLIP's byte-pair tokenizer, from the vocabulary that ships with this package.

Nothing is looked up on a hub: the merges of Radford et al., "Learning Transferable Visual Models From
Natural Language Supervision" (arXiv:2103.00020) lie beside this file and feed transformers'
``CLIPTokenizer``.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

__all__ = [
    "COMMA_TOKEN",
    "END_TOKEN",
    "START_TOKEN",
    "bracket_factors",
    "encodable",
    "tokenize",
    "untokenize",
]

START_TOKEN = 49406
END_TOKEN = 49407
COMMA_TOKEN = 267
_MERGES = 49152 - 256 - 2
_BUILDING = threading.Lock()


def tokenize(texts: Sequence[str]) -> list[list[int]]:
    """Turn texts into CLIP token ids, without start and end tokens and of any length.

    Text goes through ``ftfy.fix_text`` first, as CLIP's own tokenizer does: curly quotes, HTML
    entities, ligatures and full-width forms become what the vocabulary knows. Then white space is
    collapsed and letters are lowered. Lone surrogates, which UTF-8 cannot hold, become U+FFFD.

    Args:
        texts: Any strings.

    Returns:
        One list of ids, each 0 to 49407, per text.
    """
    if not texts:
        return []
    cleaned = [_fixed(text) for text in texts]
    return clip_tokenizer()(cleaned, add_special_tokens=False, truncation=False)["input_ids"]


def untokenize(ids: Sequence[int]) -> str:
    """Turn token ids back into text, in small letters."""
    return str(clip_tokenizer().decode(list(ids))).strip()


@cache
def bracket_factors() -> Mapping[int, float]:
    """Return what each token with brackets in it did to weights in the first versions of WebUI, by its id.

    A token whose brackets cancel out each other is none.
    """
    factors = {"(": 1.1, "[": 1 / 1.1, ")": 1 / 1.1, "]": 1.1}
    found: dict[int, float] = {}
    for token, index in clip_tokenizer().get_vocab().items():
        factor = prod(factors.get(letter, 1.0) for letter in token)
        if any(letter in factors for letter in token) and factor != 1:
            found[index] = factor
    return found


def _fixed(text: str) -> str:
    # There is nothing to mend in it but HTML's entities, and ftfy's tables take a while to load.
    if text.isascii() and text.isprintable() and "&" not in text:
        return text
    import ftfy

    return ftfy.fix_text(encodable(text))


def encodable(text: str) -> str:
    """Return a text without what UTF-8 cannot hold: lone surrogates become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clip_tokenizer() -> CLIPTokenizer:
    """Build the tokenizer once per process; about a tenth of a second. Threads may ask for it at once."""
    with _BUILDING:
        return _built_tokenizer()


@cache
def _built_tokenizer() -> CLIPTokenizer:
    # Two threads that import this for the first time get in each other's way.
    from transformers import CLIPTokenizer

    merges = _read_merges()
    characters = list(_byte_characters())
    words = [*characters, *(c + "</w>" for c in characters), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    # transformers' annotation has merges as text; it takes pairs too, and they need no parsing.
    # Prompts of any length are cut into chunks later: the tokenizer's own limit would only warn.
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=10**9)


def _read_merges() -> list[Any]:
    source = resources.files("promptengine.text").joinpath("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(source.read_bytes()).decode("utf-8").split("\n")
    return [(left, right) for left, right in (line.split() for line in lines[1 : _MERGES + 1])]


def _byte_characters() -> Sequence[str]:
    """CLIP's 256 base symbols: a printable character for every byte, printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = len([byte for byte in range(256) if byte not in printable])
    return [chr(code) for code in (*printable, *range(256, 256 + others))]
