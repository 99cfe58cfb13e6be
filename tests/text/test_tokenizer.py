"""The bundled tokenizer."""

from __future__ import annotations

import subprocess
import sys

import ftfy
from hypothesis import given
from hypothesis import strategies as st

from promptengine.text.tokenizer import (
    COMMA_TOKEN,
    END_TOKEN,
    START_TOKEN,
    _fixed,  # pyright: ignore[reportPrivateUsage]
    tokenize,
)


def test_well_known_tokens() -> None:
    assert tokenize(["a photo of a cat", ","]) == [[320, 1125, 539, 320, 2368], [COMMA_TOKEN]]
    assert tokenize(["<|startoftext|><|endoftext|>"]) == [[START_TOKEN, END_TOKEN]]


def test_spellings_that_mean_the_same() -> None:
    assert len({tuple(ids) for ids in tokenize(["“Cat”", '"cat"', " CAT ".join('""')])}) == 1
    assert tokenize(["café"]) == tokenize(["cafe\u0301"])
    assert tokenize(["a\t\n b"]) == tokenize(["a b"])


def test_a_long_text_is_neither_cut_nor_slow_to_read() -> None:
    (ids,) = tokenize(["cat " * 20_000])
    assert len(ids) == 20_000


@given(st.text())
def test_every_string_has_tokens_of_the_vocabulary(text: str) -> None:
    (ids,) = tokenize([text + "\ud800"])
    assert all(0 <= token <= END_TOKEN for token in ids)


@given(st.text(st.characters(codec="ascii", categories=["L", "M", "N", "P", "S", "Zs"])))
def test_plain_text_needs_no_mending(text: str) -> None:
    assert _fixed(text) == ftfy.fix_text(text)


def test_plain_text_loads_no_tables_of_mends() -> None:
    code = (
        "import sys\n"
        "from promptengine.text.tokenizer import tokenize\n"
        "tokenize(['a (cat:1.3)'])\n"
        "assert 'ftfy' not in sys.modules\n"
        "assert tokenize(['&quot;cat&quot;']) == tokenize(['\"cat\"'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_may_begin_at_once() -> None:
    code = (
        "import threading\n"
        "from promptengine.text.tokenizer import tokenize\n"
        "found = []\n"
        "threads = [threading.Thread(target=lambda: found.append(tokenize(['a cat']))) for _ in range(6)]\n"
        "[one.start() for one in threads]\n"
        "[one.join() for one in threads]\n"
        "assert len(found) == 6, found\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
