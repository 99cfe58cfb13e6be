"""Regions on the page: how the prompt divides the image, and masks that are painted."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from promptengine.request.request import GenerationRequest
from tests.ui.studio.axe import needs_axe
from tests.ui.studio.conftest import Studio, StudioPage
from tests.ui.studio.test_accessibility import THEME, check

DIVIDED = "q ADDCOMM all ADDBASE a cat ADDCOL a dog <hypernet:ink:0.8>"


def open_tab(page: StudioPage, **shown: str | bool) -> None:
    page.load(**shown)
    page.one("[data-tab=regions]").click()
    page.one(".regions")


def places(page: StudioPage) -> list[list[int]]:
    """Where the regions are drawn, in percent of the image: left, top, width and height."""
    script = (
        "const image = document.querySelector('.division-image').getBoundingClientRect();"
        "return [...document.querySelectorAll('.division-box')].map(box => {"
        " const one = box.getBoundingClientRect();"
        " return [(one.left - image.left) / image.width, (one.top - image.top) / image.height,"
        "  one.width / image.width, one.height / image.height].map(part => Math.round(100 * part)); })"
    )
    return page.driver.execute_script(script)


def generate(page: StudioPage, studio: Studio) -> GenerationRequest:
    studio.made.requests.clear()
    page.one(".generate").click()
    page.until(lambda: studio.made.requests, 15)
    page.until(lambda: not page.all(".queue li"))
    return studio.made.requests[-1]


def choose_way(page: StudioPage, way: str) -> None:
    script = (
        f"document.querySelector('input[name=regions-way][value={way}]').closest('label').click()"
    )
    page.driver.execute_script(script)
    page.one(f".regions[data-way={way}]")


def add_region(page: StudioPage) -> str:
    """Add a region with a mask; return what it is called."""
    before = len(page.all(".region"))
    button = page.one("[data-action=add-region]")
    # On a phone, a bar lies over the lower edge of the window.
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    page.until(lambda: len(page.all(".region")) == before + 1)
    page.one(".mask-surface")
    return page.all(".region")[-1].get_attribute("data-region")


def write_text(page: StudioPage, region: str, text: str) -> None:
    box = page.box(f"regions.{region}.prompt")
    box.find_element("css selector", ".cm-content").click()
    page.keys(text)


def paint(page: StudioPage, across: int = 20) -> None:
    """Paint the middle of the image, with a brush of some pixels."""
    script = (
        "const slider = document.querySelector(\"[aria-label='Brush size']\");"
        "slider.value = arguments[0]; slider.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.driver.execute_script(script, across)
    surface = page.one(".mask-surface")
    ActionChains(page.driver, duration=20).move_to_element(surface).click().perform()
    page.one(".mask-tools button[aria-label=Undo]:enabled")
    page.one(".mask-editor[data-kept=true]")


def test_the_image_is_drawn_as_the_prompt_divides_it(page: StudioPage, studio: Studio) -> None:
    open_tab(page, prompt=DIVIDED, dialect="extended", width="128")
    page.until(lambda: len(page.all(".division-box")) == 2)
    image = page.one(".division-image").rect
    assert image["width"] / image["height"] == pytest.approx(2, abs=0.02)
    assert places(page) == [[0, 0, 50, 100], [50, 0, 50, 100]]
    cat, dog = (one.text for one in page.all(".division-box"))
    assert cat.splitlines() == ["1 q, a cat", "20 % base"]
    assert dog.replace("\n", " ") == "2 q, a dog ink × 0.8 20 % base"
    assert page.text(".division figcaption") == "Base: q, all"
    page.type_into("region_ratios", "1,3")
    page.until(lambda: places(page) == [[0, 0, 25, 100], [25, 0, 75, 100]])
    page.type_into("region_ratios", "1,3,4")
    note = page.one(".region-notes .note.error")
    assert "but the prompt has 2 regions" in note.text
    page.type_into("region_ratios", "1,3")
    page.until(lambda: not page.all(".region-notes .note"))
    request = generate(page, studio)
    assert (request.region_ratios, request.dialect, request.regions) == ("1,3", "extended", ())
    applied = page.one(".networks .applied").text
    assert applied.splitlines() == ["ink hypernet × 0.8, in region 2", "applied"]


def test_each_prompt_of_and_divides_the_image_by_itself(page: StudioPage) -> None:
    open_tab(page, prompt="a ADDCOL b AND c AND d ADDROW e", dialect="extended")
    page.until(lambda: len(page.all(".division")) == 2)
    titles = [one.text for one in page.all(".division figcaption")]
    assert titles == ["Prompt 1 of 3", "Prompt 3 of 3"]


def test_words_that_divide_are_put_in_at_the_caret(page: StudioPage) -> None:
    open_tab(page, prompt="a cat a dog", dialect="extended")
    content = page.box().find_element("css selector", ".cm-content")
    content.click()
    page.keys(Keys.HOME + Keys.ARROW_RIGHT * 5)
    page.one("[data-word=ADDCOL]").click()
    page.until(lambda: page.prompt_text == "a cat ADDCOL a dog")
    page.keys("red ")
    page.until(lambda: page.prompt_text == "a cat ADDCOL red a dog")
    page.until(
        lambda: [one.text for one in page.all(".division-box")] == ["1 a cat", "2 red a dog"]
    )
    page.press(Keys.CONTROL, "z")
    page.press(Keys.CONTROL, "z")
    page.until(lambda: page.prompt_text == "a cat a dog")
    page.one(".undivided")


def test_settings_that_the_dialect_cannot_honor_are_not_sent(
    page: StudioPage, studio: Studio
) -> None:
    open_tab(page, prompt="a ADDCOL b", region_ratios="1,2")
    assert not page.one("[data-word=ADDCOL]").is_enabled()
    assert "do nothing in this prompt dialect" in page.one(".region-notes .note.warning").text
    page.one(".generate").click()
    assert "Region ratios does nothing" in page.one("[data-field=region_ratios] .fault").text
    assert studio.made.requests == []
    page.one(".regions [data-action=other-dialect]").click()
    page.until(lambda: len(page.all(".division-box")) == 2)
    assert not page.all(".region-notes .note")
    request = generate(page, studio)
    assert (request.dialect, request.region_ratios) == ("extended", "1,2")


def test_a_mask_that_is_painted_is_sent_with_its_text(page: StudioPage, studio: Studio) -> None:
    open_tab(page, prompt="a meadow")
    choose_way(page, "masks")
    first = add_region(page)
    write_text(page, first, "a dog")
    page.one(".generate").click()
    fault = page.one(".mask-editor .fault")
    assert fault.text == "Region 1 has no mask: paint where its text acts, or remove it."
    assert studio.made.requests == []
    paint(page)
    assert not page.all(".regions .fault")
    second = add_region(page)
    write_text(page, second, "a cat")
    page.type_into(f"regions.{second}.weight", "0.5")
    paint(page, 8)
    # Both lasted: the one that is painted now, and the other behind it.
    assert len(page.all(".mask-layer canvas")) == 2
    page.driver.refresh()
    page.one("[data-tab=regions]").click()
    page.until(lambda: len(page.all(".region")) == 2)
    dog, cat = generate(page, studio).regions
    assert [(one.prompt, one.weight) for one in (dog, cat)] == [("a dog", 1.0), ("a cat", 0.5)]
    white = [sum(one.mask.convert("L").histogram()[128:]) for one in (dog, cat)]
    assert dog.mask.size == (64, 64)
    assert white[0] == pytest.approx(3.14 * 10**2, rel=0.1)
    assert white[1] == pytest.approx(3.14 * 4**2, rel=0.3)
    assert dog.mask.convert("L").getpixel((32, 32)) == 255
    page.one("[data-tab=regions]").click()
    page.one("[aria-label='Remove region 1']").click()
    page.until(lambda: len(page.all(".region")) == 1)
    (left,) = generate(page, studio).regions
    assert left.prompt == "a cat"
    page.one("[data-tab=regions]").click()
    choose_way(page, "prompt")
    assert generate(page, studio).regions == ()


def test_a_mask_stays_as_it_is_whatever_the_size_of_the_image(
    page: StudioPage, studio: Studio
) -> None:
    open_tab(page, prompt="a meadow")
    choose_way(page, "masks")
    add_region(page)
    paint(page)
    before = generate(page, studio).regions[0].mask
    page.one("[data-tab=regions]").click()
    page.type_into("width", "1")
    page.type_into("width", "128")
    after = generate(page, studio).regions[0].mask
    assert after.tobytes() == before.tobytes()
    page.one("[data-tab=regions]").click()
    page.until(
        lambda: page.one(".mask-content").rect["width"] > page.one(".mask-content").rect["height"]
    )
    paint(page, 4)
    assert generate(page, studio).regions[0].mask.size == (128, 64)


def test_what_the_server_has_against_masks_is_shown_with_them(page: StudioPage) -> None:
    open_tab(page, prompt="a ADDCOL b", dialect="extended")
    choose_way(page, "masks")
    add_region(page)
    paint(page)
    page.one("[data-tab=image]").click()
    page.one(".generate").click()
    fault = page.one(".regions > .fault")
    assert "do not go with a prompt that is divided" in fault.text


def test_an_image_without_masks_is_made_again_without(page: StudioPage, studio: Studio) -> None:
    open_tab(page, prompt="a\nSteps: 3, Sampler: Euler, Seed: 7, Size: 64x64")
    choose_way(page, "masks")
    add_region(page)
    paint(page)
    page.one("[data-action=read-prompt]").click()
    page.one(".regions[data-way=prompt]")
    page.until(lambda: page.prompt_text == "a")
    assert generate(page, studio).regions == ()
    # They are still there.
    page.one("[data-tab=regions]").click()
    choose_way(page, "masks")
    assert len(generate(page, studio).regions) == 1


@needs_axe
@pytest.mark.parametrize(
    ("width", "theme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
)
def test_regions_bar_nobody(page: StudioPage, width: int, theme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.driver.execute_script(THEME, theme)
    try:
        page.load(prompt=DIVIDED, dialect="webui", region_ratios="1,2")
        page.driver.execute_script(THEME, theme)
        page.reload()
        page.one("[data-tab=regions]").click()
        page.one(".generate").click()
        page.one("[data-field=region_ratios] .fault")
        check(page, width)
        page.one(".regions [data-action=other-dialect]").click()
        page.until(lambda: len(page.all(".division-box")) == 2)
        check(page, width)
        choose_way(page, "masks")
        check(page, width)
        add_region(page)
        add_region(page)
        page.one(".generate").click()
        page.until(lambda: page.all(".regions .fault"))
        check(page, width)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
