"""Texts for tests: any that an image can hold, and infotexts that read back as they are."""

from __future__ import annotations

from hypothesis import strategies as st

from promptengine.infotext.read import NEGATIVE, Infotext

ENCODABLE = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(ENCODABLE, max_size=60)
HOSTILE = st.lists(
    st.sampled_from(
        [
            *(
                "\n",
                "\r\n",
                '"',
                "\\",
                ",",
                ":",
                "{",
                "}",
                " ",
                "\t",
                "a",
                "Ab",
                "é",
                "-",
                "/",
                "0x7",
            ),
            *("Negative prompt:", "Steps: ", "Steps: 5, Sampler: x, Seed: 3", "Size: 8x8"),
            *("Hashes: {", "Hypernet: a", "Version: 1.5", "First pass size: 0x0"),
            *("\0", "\ufeff", "\x85", "\u2028"),
        ]
    )
    | TEXTS,
    max_size=12,
).map("".join)
"""Texts made of what the grammar cares about."""


def is_plain(prompt: str) -> bool:
    """Whether a prompt can be told from all else in an infotext."""
    lines = prompt.split("\n")
    return prompt == prompt.strip() and not any(x.strip().startswith(NEGATIVE) for x in lines)


KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9 /-]{0,9}[a-z]", fullmatch=True)
# A plain value with quotes around it would be read without them, as in WebUI.
VALUES = HOSTILE.filter(lambda v: v == v.strip() and v[:1] != '"')


@st.composite
def infotexts(draw: st.DrawFn, prompts: st.SearchStrategy[str] = HOSTILE) -> Infotext:
    """Infotexts with at least three entries."""
    entries = draw(st.dictionaries(KEYS.filter(lambda k: k != "Hashes"), VALUES, max_size=4))
    entries = {"Steps": "20", "Sampler": "Euler a", "Seed": "5", **entries, "Version": "x"}
    return Infotext(draw(prompts), draw(prompts), entries)
