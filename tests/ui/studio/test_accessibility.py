"""What axe-core says of the page, in light and dark; it comes with the tools that build the page."""

from __future__ import annotations

from pathlib import Path

import pytest

import promptengine.ui.studio
from tests.ui.studio.conftest import Studio, StudioPage

AXE = Path(promptengine.ui.studio.__file__).parent / "node_modules/axe-core/axe.min.js"

pytestmark = pytest.mark.skipif(
    not AXE.is_file(), reason="axe-core is not installed; .ci/page installs it and runs this"
)

PROMPT = "a (cat:1.3) [dog] [day:night:0.5] <hypernet:ink:0.8> <hypernet:inc:1> AND b BREAK (open"


def violations(page: StudioPage) -> list[str]:
    page.driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = page.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then(result => done(result.violations))"
    )
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_bars_anybody(page: StudioPage, studio: Studio, theme: str, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    script = "localStorage.setItem('promptengine.studio.theme', JSON.stringify(arguments[0]))"
    page.driver.execute_script(script, theme)
    try:
        page.reload()
        assert violations(page) == []
        page.load(prompt=PROMPT, hires=True, steps="many")
        page.driver.execute_script(script, theme)
        page.reload()
        page.one(".generate").click()
        page.one("[data-field=steps] .fault")
        page.type_into("steps", "3")
        page.one(".generate").click()
        page.wait_for_images()
        studio.made.painter.gate.clear()
        page.one(".generate").click()
        page.one(".queue li[data-state=running]")
        for _ in range(2):
            page.one(".generate").click()
        page.until(lambda: page.all(".queue .moves"))
        page.one(".forever").click()
        assert violations(page) == []
        page.one(".forever").click()
    finally:
        studio.made.painter.gate.set()
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
