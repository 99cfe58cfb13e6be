"""The prompt boxes as a reading: chips, mends by a click, tokens, the steps, and words of the user's lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.ui.studio.axe import needs_axe, violations
from tests.ui.studio.conftest import Studio, StudioPage
from tests.ui.studio.test_accessibility import PROMPT


def find(page: StudioPage, css: str, box: str = "prompt") -> Any:
    """The first visible element of a prompt box, once there is one."""

    def visible() -> Any:
        found = page.box(box).find_elements(By.CSS_SELECTOR, css)
        return next((one for one in found if one.is_displayed()), None)

    return page.until(visible)


def turn(page: StudioPage, css: str, delta: int) -> None:
    origin = ScrollOrigin.from_element(find(page, css))
    ActionChains(page.driver).scroll_from_origin(origin, 0, delta).perform()


def undo(page: StudioPage) -> None:
    page.press(Keys.CONTROL, "z")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a <hypernet:ink:0.8> cat", "a cat"),
        ("a, <hypernet:ink:0.8>, cat", "a, cat"),
        ("a cat <hypernet:ink:0.8>", "a cat"),
        ("a cat, <hypernet:ink:0.8>", "a cat"),
        ("<hypernet:ink:0.8>, cat", "cat"),
        ("<hypernet:ink:0.8><hypernet:neon:1>", "<hypernet:neon:1>"),
    ],
)
def test_the_cross_takes_a_tag_out_with_its_blanks(
    page: StudioPage, before: str, after: str
) -> None:
    page.load(prompt=before)
    find(page, ".pe-out").click()
    assert page.prompt_text == after
    undo(page)
    assert page.prompt_text == before


def test_the_wheel_moves_a_multiplier_where_the_box_has_the_focus(page: StudioPage) -> None:
    page.load(prompt="a <hypernet:ink:0.8> cat")
    turn(page, ".pe-tag", -120)
    page.read()
    assert page.prompt_text == "a <hypernet:ink:0.8> cat"
    page.write("a <hypernet:ink:0.8> cat")
    page.read()
    turn(page, ".pe-tag", -120)
    page.until(lambda: page.prompt_text == "a <hypernet:ink:0.85> cat")
    turn(page, ".pe-tag", 120)
    page.until(lambda: page.prompt_text == "a <hypernet:ink:0.8> cat")
    undo(page)
    assert page.prompt_text == "a <hypernet:ink:0.85> cat"
    undo(page)
    assert page.prompt_text == "a <hypernet:ink:0.8> cat"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<hypernet:ink:0.8> ", "<hypernet:ink:0.75> "),
        ("<hypernet:ink> ", "<hypernet:ink:0.95> "),
        ("<lora:ink:0:0.5> ", "<lora:ink:-0.05:0.5> "),
        ("<hypernet:ink:0@0,1@1> ", "<hypernet:ink:0@0,1@1> "),
    ],
)
def test_alt_and_arrows_move_a_multiplier(page: StudioPage, before: str, after: str) -> None:
    page.write(before)
    page.read()
    page.keys(Keys.ARROW_LEFT * 3)
    page.press(Keys.ALT, Keys.ARROW_DOWN)
    assert page.prompt_text == after
    page.read()
    page.press(Keys.ALT, Keys.ARROW_UP)
    assert page.prompt_text.replace(":1>", ">") == before


def test_a_click_tells_of_a_chip_and_the_text_stays_text(page: StudioPage) -> None:
    page.load(prompt="a <hypernet:ink:0.8> cat")
    find(page, ".pe-tag").click()
    assert find(page, ".pe-popover").text.split() == [
        "hypernet",
        "ink",
        "0.8",
        "Card",
        "Take",
        "out",
    ]
    slider = find(page, ".pe-slider")
    script = (
        "arguments[0].value = 1.2; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
    )
    page.driver.execute_script(script, slider)
    assert page.prompt_text == "a <hypernet:ink:1.2> cat"
    assert find(page, ".pe-value").text == "1.2"
    undo_here = page.box().find_element(By.CSS_SELECTOR, ".cm-content")
    undo_here.send_keys(Keys.ESCAPE)
    page.until(lambda: not page.marked(".pe-popover"))
    undo(page)
    assert page.prompt_text == "a <hypernet:ink:0.8> cat"
    # The caret is in the tag, and what is typed goes there.
    find(page, ".pe-tag").click()
    page.keys(Keys.END + Keys.ARROW_LEFT * 5 + Keys.BACKSPACE + "5")
    assert page.prompt_text == "a <hypernet:ink:0.5> cat"
    page.read()
    find(page, ".pe-tag").click()
    find(page, ".pe-popover .pe-button:last-child").click()
    assert page.prompt_text == "a cat"


def test_a_chip_opens_its_card(page: StudioPage) -> None:
    page.load(prompt="a <hypernet:ink:0.8> cat")
    find(page, ".pe-tag").click()
    card = page.until(
        lambda: next(
            one for one in page.box().find_elements(By.CSS_SELECTOR, ".pe-button") if one.text
        )
    )
    card.click()
    dialog = page.one("dialog.card-editor[open]")
    assert "ink" in dialog.text
    assert not page.marked(".pe-popover")


def test_networks_are_completed_with_previews_and_the_preferred_multiplier(
    page: StudioPage, studio: Studio
) -> None:
    folder = studio.app.state.service.config.models / "hypernetworks"
    Image.new("RGB", (8, 8), "red").save(folder / "ink.preview.png")
    (folder / "ink.json").write_text('{"preferred weight": 0.65}', encoding="utf-8")
    try:
        page.load()
        page.write("a <in")
        option = page.until(lambda: offered(page)[0])
        assert option.text == "inkhypernet 0.65"
        image = option.find_element(By.CSS_SELECTOR, "img.pe-preview")
        page.until(lambda: image.get_property("naturalWidth") == 8)
        option.click()
        assert page.prompt_text == "a <hypernet:ink:0.65>"
    finally:
        (folder / "ink.preview.png").unlink()
        (folder / "ink.json").unlink()


def test_a_chip_is_told_of_by_keys_and_left_with_escape(page: StudioPage) -> None:
    page.write("<hypernet:ink:1> ")
    page.read()
    page.keys(Keys.ARROW_LEFT * 3 + Keys.F2)
    find(page, ".pe-popover")
    page.until(
        lambda: (
            page.driver.execute_script("return arguments[0].activeElement?.className", page.box())
            == "pe-slider"
        )
    )
    page.keys(Keys.ARROW_RIGHT)
    assert page.prompt_text == "<hypernet:ink:1.05> "
    page.keys(Keys.ESCAPE + "x")
    assert not page.marked(".pe-popover")
    assert "x" in page.prompt_text


def test_what_is_copied_is_the_text(page: StudioPage) -> None:
    page.write("a <hypernet:ink:0.8> cat")
    page.read()
    page.press(Keys.CONTROL, "a")
    page.press(Keys.CONTROL, "c")
    page.keys(Keys.END)
    page.press(Keys.CONTROL, "v")
    assert page.prompt_text == "a <hypernet:ink:0.8> cat" * 2


def test_a_click_mends_and_one_step_undoes_it(page: StudioPage) -> None:
    page.load(prompt="🦊 (open, <hypernet:inc:1> ")
    labels = [one.text for one in page.all(".compose .remedy")]
    assert labels == ["close it with )", "use 'ink'"]
    page.all(".compose .remedy")[1].click()
    assert page.prompt_text == "🦊 (open, <hypernet:ink:1> "
    page.read()
    page.one(".compose .remedy").click()
    assert page.prompt_text == "🦊 (open), <hypernet:ink:1> "
    page.read()
    assert not page.all(".compose .remedy")
    undo(page)
    undo(page)
    assert page.prompt_text == "🦊 (open, <hypernet:inc:1> "


def test_an_underlined_place_offers_its_mend(page: StudioPage) -> None:
    page.load(prompt="a photo of <hypernet:inc:1> and a cat")
    place = find(page, ".cm-lintRange-warning")
    ActionChains(page.driver).move_to_element(place).perform()
    action = find(page, ".cm-diagnosticAction")
    assert "use 'ink'" in action.text
    # It acts when the button of the mouse goes down.
    ActionChains(page.driver).move_to_element(action).click_and_hold().release().perform()
    page.until(lambda: page.prompt_text == "a photo of <hypernet:ink:1> and a cat")
    undo(page)
    assert page.prompt_text == "a photo of <hypernet:inc:1> and a cat"


def test_tokens_are_counted_in_both_boxes(page: StudioPage) -> None:
    page.load(prompt="a cat", negative_prompt="a dog BREAK a big dog")
    page.until(lambda: len(page.all(".compose [data-counted=true] .tokens")) == 2)
    told = page.all(".compose .tokens")
    assert [one.text.split()[-1] for one in told] == ["2/75", "78/150"]
    _, negative = page.all(".compose .tokens")
    assert negative.get_attribute("title") == "chunk 1: 2 of 75, chunk 2: 3 of 75"
    page.write("a cat " + "cat " * 40)
    page.until(lambda: page.one(".compose .tokens").text.endswith("42/75"))
    page.write("")
    page.until(lambda: page.one(".compose .tokens").text.endswith("0/75"))


def test_the_steps_tell_who_says_what(page: StudioPage) -> None:
    page.load(prompt="a [cat:fox:0.5] in snow, [red|blue] sky", steps="4", dialect="webui")
    strip = page.one(".compose .timeline[role=group]")
    stretches = strip.find_elements(By.CSS_SELECTOR, ".stretch")
    assert len(stretches) == 4
    assert stretches[0].get_attribute("title") == "steps 1: a cat in snow, red sky"
    assert stretches[3].get_attribute("title") == "steps 4: a fox in snow, blue sky"
    assert stretches[0].get_property("textContent") == "cat in snow, red"
    strip.click()
    lines = page.one(".compose .timeline-all").text.splitlines()
    assert lines[2] == "3 a fox in snow, red sky"


def test_a_schedule_changes_no_place_of_the_page(page: StudioPage) -> None:
    page.load(prompt="a cat", steps="20")
    quiet = page.one(".compose .timeline")
    assert quiet.text == "constant over all 20 steps"
    places = "return [...document.querySelectorAll('.stage, .notes')].map(one => one.getBoundingClientRect().y)"
    before = page.driver.execute_script(places)
    page.write("a [cat:fox:0.5] (open <hypernet:inc:1> ")
    page.read()
    found = [
        one.text
        for one in page.one(".compose .timeline").find_elements(By.CSS_SELECTOR, ".stretch")
    ]
    assert found == ["cat", "fox"]
    assert page.driver.execute_script(places) == before


def test_a_moving_multiplier_is_a_line(page: StudioPage) -> None:
    page.load(prompt="a <hypernet:ink:0@0,1@1.0>", steps="10", dialect="extended")
    curve = page.one(".compose .timeline .curve")
    title = curve.find_element(By.CSS_SELECTOR, "title").get_property("textContent")
    assert title.startswith("hypernet ink: multiplier from 0 to 1")
    assert (
        len(curve.find_element(By.CSS_SELECTOR, "polyline").get_attribute("points").split()) >= 10
    )


@pytest.fixture
def listed(page: StudioPage, studio: Studio) -> Iterator[StudioPage]:
    folder = studio.app.state.service.vocabulary.lists.folders[0]
    folder.mkdir(exist_ok=True)
    path = folder / "list.csv"
    path.write_text(
        'name,category,count,alias\n1girl,0,6008644,"sole_female,1girls"\nlong_hair,0,4350743,\n'
        'hair_ornament,5,1200,\nink_(artist),1,90,\n"<img src=x onerror=alert(1)>",0,1,\n',
        encoding="utf-8",
    )
    yield page
    path.unlink()


def offered(page: StudioPage) -> list[Any]:
    def options() -> list[Any]:
        return page.box().find_elements(By.CSS_SELECTOR, ".cm-tooltip-autocomplete li")

    return page.until(options)


def test_words_of_lists_are_completed(listed: StudioPage) -> None:
    listed.write("a cat, hai")
    listed.until(
        lambda: [one.text for one in offered(listed)] == ["long_hair4.4M", "hair_ornament1k"]
    )
    offered(listed)[0].click()
    assert listed.prompt_text == "a cat, long hair, "
    undo(listed)
    assert listed.prompt_text == "a cat, hai"


def test_an_alias_completes_to_its_word(listed: StudioPage) -> None:
    listed.write("sole f")
    listed.until(lambda: [one.text for one in offered(listed)] == ["sole_female → 1girl6.0M"])

    def taken() -> bool:
        listed.keys(Keys.TAB)
        return listed.prompt_text == "1girl, "

    listed.until(taken)


def test_words_get_brackets_that_weigh_nothing_and_colors(listed: StudioPage) -> None:
    listed.write("a photo of a cat by artis")
    (option,) = listed.until(lambda: [one for one in offered(listed) if "ink" in one.text])
    assert "pe-category1" in option.get_attribute("class")
    option.click()
    assert listed.prompt_text == "a photo of a cat by ink \\(artist\\), "
    listed.write("onerr")
    listed.until(lambda: "onerror" in offered(listed)[0].text)
    assert not listed.box().find_elements(By.CSS_SELECTOR, ".cm-tooltip-autocomplete img")


def test_what_is_being_composed_is_left_alone(page: StudioPage) -> None:
    page.write("(")
    compose = page.driver.execute_cdp_cmd
    for text in ("k", "か", "かn"):
        compose(
            "Input.imeSetComposition",
            {"text": text, "selectionStart": len(text), "selectionEnd": len(text)},
        )
        page.read()
    compose("Input.insertText", {"text": "漢:1.3)"})
    page.read()
    assert page.prompt_text == "(漢:1.3)"
    page.until(lambda: page.marked(".pe-weight") == ["漢"])


def test_text_from_right_to_left_is_marked_where_it_is(page: StudioPage) -> None:
    page.load(prompt="(חתול:1.3) <hypernet:ink:0.5> שלום")
    assert page.marked(".pe-weight") == ["חתול"]
    find(page, ".pe-out").click()
    assert page.prompt_text == "(חתול:1.3) שלום"
    direction = "return getComputedStyle(arguments[0]).unicodeBidi"
    assert page.driver.execute_script(direction, find(page, ".cm-line")) == "plaintext"


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_that_a_box_opens_bars_anybody(listed: StudioPage, theme: str) -> None:
    listed.load(prompt=f"{PROMPT} [red|blue]", steps="20")
    script = "localStorage.setItem('promptengine.studio.theme', JSON.stringify(arguments[0]))"
    listed.driver.execute_script(script, theme)
    listed.reload()
    find(listed, ".pe-tag").click()
    find(listed, ".pe-popover")
    assert violations(listed) == []
    listed.keys(Keys.ESCAPE)
    listed.one(".compose .timeline[role=group]").click()
    listed.one(".compose .timeline-all")
    assert violations(listed) == []
    listed.write("a cat, hai")
    offered(listed)
    assert violations(listed) == []


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_sticks_out_of_the_page(page: StudioPage, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.load(prompt=f"{PROMPT} [red|blue] " + "cat " * 900, negative_prompt="{bad} " * 9)
        inside = "return document.scrollingElement.scrollWidth <= innerWidth"
        assert page.driver.execute_script(inside)
        low = "return Math.min(...[...document.querySelectorAll('.remedy')].map(one => one.offsetHeight))"
        assert page.driver.execute_script(low) >= (40 if width < 900 else 16)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_500_characters_are_read_at_once(page: StudioPage) -> None:
    page.write("a (cat:1.2), [red|blue] sky, " * 17)
    page.read()
    script = """
        const done = arguments[0], prompt = document.querySelector('.compose .prompt');
        const box = document.querySelector('[data-prompt=prompt]').shadowRoot.querySelector('.cm-content');
        const start = performance.now();
        new MutationObserver(() => {
            if (prompt.dataset.read === 'current') done(performance.now() - start);
        }).observe(prompt, {attributes: true});
        box.focus(); document.execCommand('insertText', false, 'x');
    """
    times = sorted(page.driver.execute_async_script(script) for _ in range(5))
    # A machine that has other work may take some times as long as one that has none.
    assert times[2] < 250, json.dumps(times)
    print(times)
