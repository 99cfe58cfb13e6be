"""A prompt as HTML: weights, timelines and notes, and never the user's own markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from promptengine import parse
from promptengine.prompt.timelines import tag_timelines
from promptengine.ui.html.prompt import reading_html


def read(text: str, steps: int = 10) -> str:
    prompt = parse(text)
    return reading_html(prompt, prompt.diagnostics, steps=steps)


def test_weights_are_coloured_by_how_far_they_are_from_one() -> None:
    html = read("a (cat:1.3) [dog] sun")
    assert '<span>a </span><span class="pe-up" style="--pe:0.50" title="weight 1.3">cat' in html
    assert 'class="pe-down" style="--pe:0.15" title="weight 0.9091">dog' in html


def test_each_text_has_a_bar_over_the_steps_it_holds_for() -> None:
    html = read("a [fox:wolf:0.5] in snow")
    rows = re.findall(
        r'<span>(a \w+ in snow)</span></span><svg viewBox="0 0 10 1".*?(<rect.*?)</svg>', html
    )
    # A text that holds until step 5 serves calls 0 to 5.
    assert rows == [
        ("a fox in snow", '<rect x="0" y="0" width="6" height="1"/>'),
        ("a wolf in snow", '<rect x="6" y="0" width="4" height="1"/>'),
    ]


def test_alternating_texts_stand_there_once() -> None:
    html = read("[fox|wolf]", steps=6)
    assert html.count(">fox<") == html.count(">wolf<") == 1
    # Step 1 serves two calls, 0 and 1.
    assert html.count("<rect") == 5


def test_tags_parts_and_notes_are_shown() -> None:
    html = read("a cat AND a field:0.5 BREAK <hypernet:ink:0.8> (")
    assert '<span class="pe-tag">hypernet <b>ink × 0.8</b></span>' in html
    assert '<span class="pe-and">part 1</span>' in html
    assert "pe-note" in html
    assert "BREAK</span>" in html


def test_multipliers_that_change_are_drawn_as_high_as_they_are() -> None:
    prompt = parse("a <hypernet:ink:0@0,1@0.5>", dialect="extended")
    timelines = tag_timelines(prompt, steps=4)
    html = reading_html(prompt, (), steps=4, timelines=timelines)
    assert html.count("<rect") >= 2
    assert 'height="1"' in html


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


@given(st.text(alphabet="<>&\"'()[]:|\\ ab1.scriptBREAKAND", max_size=60))
def test_no_markup_of_the_prompt_survives(text: str) -> None:
    outline = Outline()
    outline.feed(read(f"<script>{text}<img src=x onerror=alert(1)>"))
    assert outline.names <= {"div", "span", "b", "sup", "svg", "rect"}
