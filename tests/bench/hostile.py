"""Texts that a careless reader of prompts takes long for: a mark repeated very often, closed or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hostile:
    """A text of any length.

    Attributes:
        repeated: What is written time and again.
        closer: What is written as often behind it.
        head: What is written once before it.
        tail: And behind.
    """

    repeated: str
    closer: str = ""
    head: str = ""
    tail: str = ""

    def text(self, size: int) -> str:
        """Write it some times."""
        return self.head + self.repeated * size + self.closer * size + self.tail

    def __str__(self) -> str:
        pieces = [
            repr(self.head) if self.head else "",
            f"{self.repeated!r}*n",
            f"{self.closer!r}*n" if self.closer else "",
            repr(self.tail) if self.tail else "",
        ]
        return "+".join(filter(None, pieces))


def _repeated(*marks: str) -> tuple[Hostile, ...]:
    return tuple(map(Hostile, marks))


PROMPTS = (
    *_repeated("(", "[", "[a:", "[a|", "(a:1.1),", "([a", "<a:", "(a"),
    *_repeated(")", ": ", ":1", " ", "1", "|", "\\", "#", "AND ", ":1 AND ", "BREAK "),
    *_repeated("<a", "<a:b>", "<>", "[a:b:0.5]", "((a)]", "[<a:b>", "a #b\n", "a, ", "(a:-1)"),
    *_repeated("<lora:a:1>", "<lora:a:1:1>", "<lora:a@1>", "[<lora:a:1>:1]", "(BREAK:-2)"),
    *_repeated("ADDCOL ", "a ADDCOL ", "a ADDROW b ", "ADDCOMM ", "a ADDBASE ", "A"),
    # As many closers as openers: balanced, to the depth given.
    Hostile("(", ")"),
    Hostile("[a:", ":3]"),
    Hostile("[a|", "]"),
    Hostile("([a", ")]"),
    Hostile("(a ", ":1.2)"),
    Hostile(" ", head=":"),
    Hostile(" ", head="(a:"),
    Hostile("1", head="(a:"),
    Hostile("1", head="[a:b:"),
    Hostile("<a:", tail=">"),
)
"""Of WebUI's language, and the extended one."""

OTHER_PROGRAMS = (
    *_repeated("]", "{", "}", '"', ":", "::", ",", ".", "-", "+", "a ", "<", ">", "é", ")5"),
    *_repeated("(a ", "(a)", "((a)", "(a:1.2)", "(a:", "a++ ", "a+(b", "(a)+ ", '"a"+ '),
    *_repeated('"(a ', "a- ", "1.5::a", "1.5::a:: ", "{a}", "{[a}", "embedding:", "(a= "),
    *_repeated("<alternate:a,", "<alternate:a|b>", "<fromto[1]:", "<break>", ".blend("),
    *_repeated('("a").and()', ".swap(", "a.swap(b) ", "a.attend(1", "withLora(", "withLora(a) "),
    *_repeated("{a|", "__a__", "--ar", "（a", "：1", "AND_A", "((a))", "a:1.2,", "Steps: 1, A"),
    Hostile("{", "}"),
    Hostile("1.5::", "::"),
    Hostile("<alternate:a,", ">"),
    Hostile('"(', ')"'),
)
"""Of the languages of other programs, which all dialects look for."""

TEMPLATES = (
    *_repeated("{", "}", "|", "$$", "__", "__a", "(", "#", "${a", "${a=", "%{", "{1", "{1$$"),
    *_repeated("<a:", "<a:b>", "{a|b}", "__a(b=c)__", "{1-2$$ and $$a|b}", "{0.5::a|b}", "# a\n"),
    Hostile("{a|", "}"),
    Hostile("__{", "}__"),
    Hostile("${a=", "}"),
    Hostile("${a:", "}"),
    Hostile("%{a$$", "}"),
)
"""Of templates."""

ALL: Mapping[str, Hostile] = {str(one): one for one in (*PROMPTS, *OTHER_PROGRAMS, *TEMPLATES)}
"""Each once, by what it is."""
