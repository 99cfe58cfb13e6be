"""A headless Chromium over a live page, and how tests look at it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Page:
    """A loaded page."""

    driver: webdriver.Chrome
    url: str

    def load(self) -> None:
        """Load it anew."""
        self.driver.get(self.url)
        self.prompt.click()

    @property
    def prompt(self) -> WebElement:
        return self.one("#pe-prompt textarea")

    @property
    def prompt_text(self) -> str:
        return self.prompt.get_property("value")

    def write(self, text: str) -> None:
        """Replace the prompt."""
        self.prompt.send_keys(Keys.CONTROL, "a")
        self.prompt.send_keys(Keys.DELETE, text)

    def select(self, part: str) -> None:
        """Select a part of the prompt."""
        script = (
            "const box = document.querySelector('#pe-prompt textarea'); box.focus();"
            "const at = box.value.indexOf(arguments[0]);"
            "box.setSelectionRange(at, at + arguments[0].length);"
        )
        self.driver.execute_script(script, part)

    def one(self, css: str, seconds: float = 90) -> WebElement:
        """The first visible element that a selector finds, once there is one."""
        return self.until(
            lambda: next((e for e in self.all(css) if e.is_displayed()), None), seconds
        )

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        return " ".join(element.text for element in self.all(css))

    def tab(self, name: str) -> None:
        """Open a tab."""
        tabs = "button[role=tab]"
        self.until(
            lambda: next((e for e in self.all(tabs) if e.text == name and e.is_displayed()), None)
        ).click()

    def until(self, condition: Callable[[], _Found], seconds: float = 90) -> _Found:
        """Wait for something, and return it."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = condition()
            except StaleElementReferenceException:
                found = None
            if found:
                return found
            assert time.monotonic() < deadline, (
                f"waited in vain; the page says {self.text('body')!r}"
            )
            time.sleep(0.05)

    def asked(self) -> list[str]:
        """The addresses that were requested since this was last asked."""
        messages = (json.loads(e["message"])["message"] for e in self.driver.get_log("performance"))
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]


@contextmanager
def opened(url: str, *more: str, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A page in a browser of its own.

    Args:
        url: Of the page.
        more: Arguments of the browser's command line.
        width: Of its window.
        height: Of its window.
    """
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("there is no Chromium with its driver here (chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        f"--window-size={width},{height}",
        *more,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.set_page_load_timeout(180)
        yield Page(driver, url)
    finally:
        driver.quit()
