"""The prompt boxes: marked as the server reads them, completed, and weighed by keys."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.ui.studio.conftest import StudioPage


def test_typing_is_read_and_marked(page: StudioPage) -> None:
    page.write("a (cat:1.3) [dog] [day:night:0.5] [red|blue] <hypernet:ink:0.5> AND b BREAK c ")
    page.read()
    assert page.marked(".pe-weight") == ["cat", "dog"]
    assert page.marked(".pe-tag") == ["<hypernet:ink:0.5>"]
    assert page.marked(".pe-schedule") == ["[day:night:0.5]"]
    assert page.marked(".pe-alternation") == ["[red|blue]"]
    assert page.marked(".pe-and") == ["AND"]
    assert page.marked(".pe-break") == ["BREAK"]
    up, down = (
        page.box().find_element(By.CSS_SELECTOR, css)
        for css in ("[class*=pe-up]", "[class*=pe-down]")
    )
    assert (up.get_attribute("title"), down.text) == ("weight 1.3", "dog")


def test_what_looks_odd_is_underlined_with_its_remedy(page: StudioPage) -> None:
    page.write("(open <hypernet:inc:1> ")
    page.read()
    assert page.marked(".cm-lintRange-warning") == ["(", "<hypernet:inc:1>"]
    notes = page.text(".notes")
    assert "is never closed" in notes
    assert "did you mean 'ink'?" in notes
    page.write("fine")
    page.read()
    assert page.marked(".cm-lintRange-warning") == []
    assert "never" not in page.text(".notes")


def test_characters_of_two_units_move_no_mark(page: StudioPage) -> None:
    page.load(prompt="🎨🎨 (cat:1.3)\n(🐈:0.8)")
    assert page.marked(".pe-weight") == ["cat", "🐈"]


def test_kinds_are_completed(page: StudioPage) -> None:
    page.write("a <hyp")
    page.until(lambda: "hypernet:" in page.marked(".cm-tooltip-autocomplete li"))


def test_networks_are_completed(page: StudioPage) -> None:
    page.write("a <in")
    options = page.until(
        lambda: page.box().find_elements(By.CSS_SELECTOR, ".cm-tooltip-autocomplete li")
    )
    assert [one.text for one in options] == ["inkhypernet"]
    options[0].click()
    assert page.prompt_text == "a <hypernet:ink:1>"
    # The multiplier is selected, to be written over.
    page.keys("0.6")
    assert page.prompt_text == "a <hypernet:ink:0.6>"


@pytest.mark.parametrize(
    ("before", "keys", "after"),
    [
        ("a cat", "", "a (cat:1.1)"),
        ("(cat:1.3)", Keys.LEFT, "(cat:1.4)"),
        ("(cat:0.9)", Keys.LEFT, "cat"),
        ("((cat))", Keys.LEFT * 2, "(cat:1.3)"),
        ("[day:night:0.5]", Keys.LEFT, "[day:night:0.6]"),
        ("[day:night:5]", Keys.LEFT, "[day:night:6]"),
        ("[day:night:5]", Keys.LEFT * 3, "[day:(night:1.1):5]"),
        ("a [red|blue]", Keys.LEFT, "a [red|(blue:1.1)]"),
        ("<hypernet:ink:0.5> ", Keys.LEFT * 2, "<hypernet:ink:0.55> "),
    ],
)
def test_ctrl_up_weighs_what_is_around_the_caret(
    page: StudioPage, before: str, keys: str, after: str
) -> None:
    page.write(before)
    page.keys(Keys.ESCAPE + keys)
    page.press(Keys.CONTROL, Keys.ARROW_UP)
    page.until(lambda: page.prompt_text == after)
    page.press(Keys.CONTROL, "z")
    assert page.prompt_text == before


def test_ctrl_down_weakens_a_selection(page: StudioPage) -> None:
    page.write("a big cat")
    page.press(Keys.CONTROL, "a")
    for _ in range(2):
        page.press(Keys.CONTROL, Keys.ARROW_DOWN)
    page.until(lambda: page.prompt_text == "(a big cat:0.8)")
