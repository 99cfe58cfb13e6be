"""Scripts on the page: chosen, told, picked for, counted, sent from their own view alone, and kept."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from promptengine.scripts.script import BOTH_TABS, Script, ScriptArgument
from promptengine.scripts.table import SCRIPTS, register_script
from promptengine.scripts.xyz_axes import plot_axes
from tests.ui.studio.axe import needs_axe, violations
from tests.ui.studio.conftest import Studio, StudioPage

MATRIX = "Prompt matrix"
PLOT = "X/Y/Z plot"


def choose(page: StudioPage, name: str) -> None:
    page.until(lambda: name in page.text("[id='field-script.name'] option") or None)
    Select(page.control("script.name")).select_by_visible_text(name)


def argument(page: StudioPage, name: str) -> str:
    return page.control(f"script.arguments.{name}").get_property("value")


def select(page: StudioPage, name: str, title: str) -> None:
    Select(page.control(f"script.arguments.{name}")).select_by_visible_text(title)


def write(page: StudioPage, name: str, text: str) -> None:
    page.type_into(f"script.arguments.{name}", text)


def button(page: StudioPage, name: str) -> None:
    (found,) = page.all(f"button[aria-label='{name}']")
    # A driver takes a button for visible whose middle lies at the edge of what scrolls.
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    found.click()


def counted(page: StudioPage, words: str) -> None:
    page.until(lambda: page.text(".script output") == words, 20)


def chip(page: StudioPage, name: str) -> None:
    next(one for one in page.all(".chip") if one.text == name).click()


def test_scripts_are_those_of_the_view_with_their_arguments(page: StudioPage) -> None:
    page.until(lambda: MATRIX in page.text(".script option"))
    names = [one.text for one in page.all("[id='field-script.name'] option")]
    assert names == ["None", MATRIX, "Prompts from file or textbox", PLOT]
    choose(page, MATRIX)
    labels = page.text(".script label")
    assert "Put variable parts at start of prompt" in labels
    assert argument(page, "joint") == "comma"
    choose(page, "None")
    assert not page.all(".script .field")


def test_an_argument_of_a_plugins_script_appears(page: StudioPage) -> None:
    glow = ScriptArgument("glow", "Glow", 0.5, 0, 9, help="how much it glows")
    with SCRIPTS.isolated():
        register_script(Script("Glowing", (glow,), BOTH_TABS, SCRIPTS[MATRIX].run))
        page.reload()
        choose(page, "Glowing")
        assert argument(page, "glow") == "0.5"
        write(page, "glow", "99")
        fault = page.one("[data-field='script.arguments.glow'] .fault")
        assert fault.text == "Glow must be a number from 0 to 9."


def test_a_matrix_shows_its_grid_and_its_images(page: StudioPage, studio: Studio) -> None:
    page.load(prompt="a cat|ink|snow")
    choose(page, MATRIX)
    counted(page, "4 images")
    page.control("script.arguments.different_seeds").click()
    page.one(".generate").click()
    page.wait_for_images(5)
    (call,) = studio.made.scripts
    assert (call.name, call.arguments["different_seeds"]) == (MATRIX, True)
    grid = page.one(".canvas img")
    assert page.until(lambda: grid.get_property("naturalWidth")) > 64
    page.all(".strip button")[4].click()
    page.until(lambda: page.one(".canvas img").get_property("naturalWidth") == 64)
    assert page.one(".infotext").text.startswith("a cat, ink, snow\n")


def test_a_plot_is_picked_counted_and_made(page: StudioPage, studio: Studio) -> None:
    choose(page, PLOT)
    select(page, "x_type", "Sampler")
    chip(page, "Euler")
    chip(page, "Heun")
    assert argument(page, "x_values") == "Euler, Heun"
    select(page, "y_type", "Steps")
    write(page, "y_values", "2-4")
    counted(page, "6 images")
    page.one(".generate").click()
    page.wait_for_images(1)
    (call,) = studio.made.scripts
    axes = plot_axes("txt2img")
    assert axes[int(str(call.arguments["x_type"]))].title == "Sampler"
    assert axes[int(str(call.arguments["y_type"]))].title == "Steps"
    assert call.arguments["y_values"] == "2-4"
    assert "Script: X/Y/Z plot, X Type: Sampler" in page.one(".infotext").text
    page.control("script.arguments.include_lone_images").click()
    page.one(".generate").click()
    page.wait_for_images(8)


def test_known_values_fill_in_and_a_chip_takes_one_out(page: StudioPage) -> None:
    choose(page, PLOT)
    select(page, "x_type", "Checkpoint name")
    button(page, "X values: fill in all")
    chips = page.all(".chip")
    assert len(chips) == 2
    assert all(one.get_attribute("aria-pressed") == "true" for one in chips)
    assert page.text(".picks .count") == "2 of 2"
    chip(page, "none")
    assert "none" not in argument(page, "x_values")
    button(page, "X values: clear")
    assert argument(page, "x_values") == ""
    # Numbers have no list to pick from.
    select(page, "x_type", "CFG Scale")
    assert not page.all(".chip")


def test_axes_swap_with_their_values(page: StudioPage) -> None:
    choose(page, PLOT)
    select(page, "x_type", "Steps")
    write(page, "x_values", "2, 3")
    select(page, "y_type", "Seed")
    write(page, "y_values", "1-3")
    next(one for one in page.all(".swaps button") if one.text == "Swap X/Y").click()
    assert (argument(page, "x_type"), argument(page, "x_values")) == ("Seed", "1-3")
    assert (argument(page, "y_type"), argument(page, "y_values")) == ("Steps", "2, 3")
    # What held nothing has no values to show.
    next(one for one in page.all(".swaps button") if one.text == "Swap Y/Z").click()
    assert argument(page, "z_values") == "2, 3"
    assert not page.all("[id='field-script.arguments.y_values']")


def test_what_is_wrong_is_told_at_the_argument(page: StudioPage, studio: Studio) -> None:
    choose(page, PLOT)
    select(page, "x_type", "Steps")
    write(page, "x_values", "many")
    page.until(lambda: "no whole number" in page.text(".script output"), 20)
    page.one(".generate").click()
    fault = page.one("[data-field='script.arguments.x_values'] .fault")
    assert "'many' is no whole number" in fault.text
    assert studio.made.requests == []
    write(page, "x_values", "2")
    page.until(lambda: not page.all(".script .fault"))
    choose(page, "Prompts from file or textbox")
    page.one(".generate").click()
    assert "nothing to make" in page.one(".script .fault").text
    write(page, "text", "a fox\n--nonsense")
    page.one(".generate").click()
    page.wait_for_images(2)
    assert "line 2" in page.text(".details .notes")


def test_scripts_are_kept_over_a_reload(page: StudioPage) -> None:
    choose(page, PLOT)
    select(page, "x_type", "Schedule type")
    chip(page, "Karras")
    write(page, "margin_size", "12")
    page.reload()
    page.until(lambda: page.all("[id='field-script.arguments.x_values']"))
    assert (argument(page, "x_type"), argument(page, "x_values")) == ("Schedule type", "Karras")
    assert argument(page, "margin_size") == "12"
    page.one(".reset").click()
    page.until(lambda: not page.all(".script .field"))


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_bars_anybody_from_scripts(page: StudioPage, theme: str, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    script = "localStorage.setItem('promptengine.studio.theme', JSON.stringify(arguments[0]))"
    page.driver.execute_script(script, theme)
    try:
        page.reload()
        choose(page, PLOT)
        select(page, "x_type", "Sampler")
        chip(page, "Euler")
        page.until(lambda: page.text(".script output"))
        if width == 390:
            wide = (
                "const page = document.documentElement; return page.scrollWidth > page.clientWidth"
            )
            assert not page.driver.execute_script(wide)
        assert violations(page) == []
        choose(page, "Prompts from file or textbox")
        page.one(".generate").click()
        page.one(".script .fault")
        assert violations(page) == []
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        assert page.driver.find_elements(By.CSS_SELECTOR, ".rail")


def test_keys_reach_every_value(page: StudioPage) -> None:
    choose(page, PLOT)
    select(page, "x_type", "RNG source")
    page.control("script.arguments.x_values").click()
    # Past "Fill", which stands before the values; "Clear" has nothing to clear yet.
    page.keys(Keys.TAB + Keys.TAB + Keys.SPACE)
    assert argument(page, "x_values") == "CPU"


def test_each_view_has_a_script_of_its_own(page: StudioPage, studio: Studio) -> None:
    choose(page, PLOT)
    select(page, "x_type", "Size")
    page.driver.execute_script("location.hash = '#/img2img'")
    page.until(lambda: "Loopback" in page.text(".script option"))
    assert page.control("script.name").get_property("value") == ""
    choose(page, "Loopback")
    assert argument(page, "loops") == "4"
    choose(page, PLOT)
    # An axis that only the other view has is none here, whatever its number would be.
    titles = [one.text for one in page.all("[id='field-script.arguments.x_type'] option")]
    assert "Cond. Image Mask Weight" in titles
    assert "Hires steps" not in titles
    assert argument(page, "x_type") == "Nothing"
    page.driver.execute_script("location.hash = '#/txt2img'")
    page.until(lambda: argument(page, "x_type") == "Size")
    choose(page, "None")
    page.one(".generate").click()
    page.wait_for_images()
    # What img2img shows is not sent from here.
    assert studio.made.scripts == []
