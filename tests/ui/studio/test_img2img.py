"""Images made from images on the page: the source, the mask that is drawn over it, and what is sent of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from promptengine.request.request import GenerationRequest
from tests.ui.studio.conftest import Studio, StudioPage

WIDTH, HEIGHT = 320, 240
EDITOR = ".mask-editor"
SURFACE = ".mask-surface"


class Starting:
    """The view of img2img, with what tests do there."""

    def __init__(self, page: StudioPage, studio: Studio) -> None:
        self.page, self.studio = page, studio

    def open(self, **shown: str | bool) -> None:
        self.page.load(**shown)
        self.view("img2img")

    def reload(self) -> None:
        self.page.driver.refresh()
        self.page.one(SURFACE)

    def view(self, name: str) -> None:
        self.page.one(f"nav a[href='#/{name}']").click()

    def hand_in(self, path: Path, slot: str = "img2img") -> None:
        box = f"[data-slot='{slot}']"
        self.page.driver.find_element(By.CSS_SELECTOR, f"{box} > input").send_keys(str(path))
        self.page.one(f"{box}[data-filled=true]")

    def choose(self, name: str, value: str) -> None:
        """Choose one of a few, all of which are seen."""
        radio = self.page.driver.find_element(
            By.CSS_SELECTOR, f"input[name='{name}'][value='{value}']"
        )
        self.page.driver.execute_script("arguments[0].closest('label').click()", radio)

    def tool(self, name: str) -> None:
        self.page.one(f"{EDITOR} button[aria-label='{name}']").click()

    def brush(self, pixels: int) -> None:
        script = (
            "const slider = document.querySelector(\"[aria-label='Brush size']\");"
            "slider.value = arguments[0]; slider.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        self.page.driver.execute_script(script, pixels)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the image is seen, from the surface's center."""
        script = (
            "const image = document.querySelector('.mask-content').getBoundingClientRect();"
            "const box = document.querySelector('.mask-surface').getBoundingClientRect();"
            "return [image.left - box.left - box.width / 2, image.top - box.top - box.height / 2,"
            " image.width / arguments[0]]"
        )
        left, top, scale = self.page.driver.execute_script(script, WIDTH)
        return left + x * scale, top + y * scale

    def draw(self, *points: tuple[int, int]) -> None:
        surface = self.page.one(SURFACE)
        seen = [self.at(*point) for point in points]
        actions = ActionChains(self.page.driver, duration=20)
        actions.move_to_element_with_offset(surface, *map(round, seen[0])).click_and_hold()
        for point in seen[1:]:
            actions.move_to_element_with_offset(surface, *map(round, point))
        actions.release().perform()

    def generate(self) -> GenerationRequest:
        self.studio.made.requests.clear()
        self.page.one(".generate").click()
        self.page.until(lambda: self.studio.made.requests, 15)
        self.page.until(lambda: not self.page.all(".queue li"))
        return self.studio.made.requests[-1]

    def mask(self) -> Image.Image:
        """The mask that arrives at the server."""
        start = self.generate().start
        assert start is not None
        assert start.inpainting is not None
        self.page.one("[data-tab=source]").click()
        return start.inpainting.mask.convert("L")

    def drawn(self) -> list[list[int]]:
        """How opaque the mask is, row by row, as the page shows it."""
        script = (
            "const canvas = document.querySelector('.mask-layer canvas');"
            "const { width, height } = canvas;"
            "const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);"
            "const row = (y) => Array.from({ length: width }, (_, x) => data[4 * (y * width + x) + 3]);"
            "return Array.from({ length: height }, (_, y) => row(y))"
        )
        return self.page.driver.execute_script(script)

    def kept(self) -> None:
        self.page.one(f"{EDITOR}[data-kept=true]")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((WIDTH, HEIGHT)).convert("RGB").save(path)
    return path


@pytest.fixture
def start(page: StudioPage, studio: Studio, photo: Path) -> Starting:
    starting = Starting(page, studio)
    starting.open(prompt="a cat", **{"img2img.mode": "inpaint"})
    starting.hand_in(photo)
    return starting


def painted(mask: Image.Image) -> int:
    return sum(mask.histogram()[128:])


def test_an_image_is_where_it_starts(page: StudioPage, studio: Studio, photo: Path) -> None:
    start = Starting(page, studio)
    start.open(prompt="a cat", hires=True)
    assert "Hires. fix" not in page.text(".rail h2")
    page.one(".generate").click()
    assert "no image to start from" in page.one("[data-slot=img2img] .fault").text
    assert studio.made.requests == []
    start.hand_in(photo)
    assert not page.all("[data-slot=img2img] .fault")
    page.type_into("start.denoising_strength", "0.4")
    page.control("start.resize_mode").send_keys("Crop and resize")
    request = start.generate()
    assert request.start is not None
    assert request.start.denoising_strength == 0.4
    assert request.start.resize_mode == "crop"
    assert request.start.inpainting is None
    assert request.start.images[0].size == (WIDTH, HEIGHT)
    assert (request.width, request.height, request.hires) == (None, None, None)
    # The prompt and the settings are one form; txt2img sends no image and has its second pass.
    start.view("txt2img")
    request = start.generate()
    assert (request.start, request.width, request.prompt) == (None, 64, "a cat")
    assert request.hires is not None


def test_sizes_are_the_images_own_or_typed_or_by_a_factor(start: Starting) -> None:
    page = start.page
    start.choose("img2img-mode", "img2img")
    told = "[data-size]"
    assert page.one(told).text == "320 × 240 → 320 × 240"
    start.choose("img2img-sizing", "by")
    page.type_into("img2img.scale", "0.52")
    assert page.one(told).text == "320 × 240 → 160 × 120"
    request = start.generate()
    assert (request.width, request.height) == (160, 120)
    start.choose("img2img-sizing", "to")
    request = start.generate()
    assert (request.width, request.height) == (64, 64)
    page.one(".size-choice button").click()
    request = start.generate()
    assert (request.width, request.height) == (WIDTH, HEIGHT)


def test_the_mask_that_is_drawn_is_the_mask_that_arrives(start: Starting) -> None:
    start.brush(20)
    start.draw((60, 60), (160, 60))
    mask = start.mask()
    assert mask.size == (WIDTH, HEIGHT)
    assert [mask.getpixel(at) for at in ((60, 60), (110, 60), (110, 66), (158, 60))] == [255] * 4
    assert [mask.getpixel(at) for at in ((60, 80), (110, 74), (200, 60), (30, 60))] == [0] * 4
    assert painted(mask) == pytest.approx(100 * 20 + 314, rel=0.06)
    assert sum(mask.histogram()[1:255]) > 0, "edges are drawn by degrees"


def test_what_is_made_has_the_images_size(start: Starting) -> None:
    start.draw((60, 60), (160, 60))
    request = start.generate()
    assert (request.width, request.height) == (None, None)
    page = start.page
    shown = page.one(".canvas .open img")
    page.until(lambda: shown.get_property("naturalWidth") == WIDTH)
    assert shown.get_property("naturalHeight") == HEIGHT


def test_the_eraser_takes_away_and_steps_are_undone(start: Starting) -> None:
    page = start.page
    start.brush(20)
    start.draw((60, 60), (160, 60))
    whole = start.drawn()
    start.tool("Eraser")
    start.draw((110, 60), (112, 60))
    erased = start.drawn()
    assert (whole[60][110], erased[60][110], erased[60][70]) == (255, 0, 255)
    page.one(SURFACE).send_keys(Keys.CONTROL, "z")
    assert start.drawn() == whole
    page.one(SURFACE).send_keys(Keys.CONTROL, "y")
    assert start.drawn() == erased
    start.tool("Invert mask")
    rows = zip(start.drawn(), erased, strict=True)
    assert all(abs(a + b - 255) <= 1 for row in rows for a, b in zip(*row, strict=True))
    start.tool("Undo")
    start.tool("Undo")
    assert start.drawn() == whole
    start.tool("Fill mask")
    assert start.mask().getextrema() == (255, 255)
    start.tool("Clear mask")
    page.one(".generate").click()
    assert "no mask" in page.one(f"{EDITOR} .fault").text


def test_of_a_long_history_the_beginning_stays(start: Starting) -> None:
    page = start.page
    start.brush(20)
    start.draw((60, 60), (160, 60))
    times = "for (let i = 0; i < arguments[1]; i += 1) document.querySelector(arguments[0]).click()"
    page.driver.execute_script(times, "[aria-label='Invert mask']", 101)
    page.driver.execute_script(times, "[aria-label='Undo']", 150)
    page.until(lambda: not page.one("[aria-label=Undo]").is_enabled())
    # A hundred steps are taken back; the stroke and the first inversion are settled.
    drawn = start.drawn()
    assert (drawn[60][110], drawn[120][110]) == (0, 255)
    page.driver.execute_script(times, "[aria-label='Redo']", 100)
    drawn = start.drawn()
    assert (drawn[60][110], drawn[120][110]) == (0, 255)


def test_keys_and_wheels_change_brush_and_view(start: Starting) -> None:
    page = start.page
    surface = page.one(SURFACE)
    start.brush(40)
    size = ".mask-tools output"
    surface.send_keys("]]")
    assert page.one(size).text == "48 px"
    surface.send_keys("[")
    assert page.one(size).text == "43 px"
    place = "return document.querySelector('.mask-content').getBoundingClientRect().width"
    fitted = page.driver.execute_script(place)
    surface.send_keys("+")
    assert page.driver.execute_script(place) == pytest.approx(fitted * 1.25, rel=0.01)
    surface.send_keys("0")
    assert page.driver.execute_script(place) == pytest.approx(fitted)
    wheel = (
        "const event = new WheelEvent('wheel', { deltaY: -100, ctrlKey: arguments[1], bubbles: true,"
        " cancelable: true, clientX: 600, clientY: 600 });"
        "return arguments[0].dispatchEvent(event)"
    )
    # The page does not scroll under it.
    assert page.driver.execute_script(wheel, surface, False) is False
    assert page.driver.execute_script(place) > fitted
    assert page.driver.execute_script(wheel, surface, True) is False
    page.until(lambda: page.one(size).text == "47 px")
    surface.send_keys("0e")
    assert page.one("[aria-label=Eraser]").get_attribute("aria-pressed") == "true"
    page.reload()
    start.view("img2img")
    assert page.one("[aria-label=Eraser]").get_attribute("aria-pressed") == "true"


def test_modes_switch_and_reloads_come_and_the_mask_stays(start: Starting) -> None:
    page = start.page
    start.brush(30)
    start.draw((60, 60), (160, 60))
    before = start.mask()
    for mode in ("img2img", "upload", "inpaint"):
        start.choose("img2img-mode", mode)
        page.one(f".source[data-mode={mode}]")
    start.view("txt2img")
    start.view("img2img")
    assert start.mask().tobytes() == before.tobytes()
    start.kept()
    start.reload()
    after = start.mask()
    assert after.tobytes() == before.tobytes()
    request = start.studio.made.requests[-1]
    assert request.start is not None
    assert request.start.images[0].size == (WIDTH, HEIGHT)


def test_an_image_is_turned_as_its_camera_noted(start: Starting, tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH), "green").save(path, exif=exif)
    start.hand_in(path)
    page = start.page
    page.until(lambda: "320 × 240" in page.text("[data-slot=img2img] .count"))
    start.brush(20)
    start.draw((300, 20), (310, 20))
    mask = start.mask()
    request = start.studio.made.requests[-1]
    assert request.start is not None
    assert mask.size == request.start.images[0].size == (WIDTH, HEIGHT)
    assert mask.getpixel((304, 20)) == 255


def test_masks_come_from_files_too(start: Starting, tmp_path: Path) -> None:
    page, path = start.page, tmp_path / "mask.png"
    mask = Image.new("L", (WIDTH, HEIGHT))
    mask.paste(255, (100, 50, 200, 150))
    mask.putpixel((5, 5), 77)
    mask.save(path)
    page.driver.find_element(By.CSS_SELECTOR, ".mask-tools input[type=file]").send_keys(str(path))
    page.until(lambda: page.one("[aria-label=Undo]").is_enabled())
    assert start.mask().tobytes() == mask.tobytes()
    start.choose("img2img-mode", "upload")
    page.one(".generate").click()
    assert "no mask" in page.one("[data-slot=mask-file] .fault").text
    mask.resize((32, 24)).save(path)
    start.hand_in(path, "mask-file")
    assert start.mask().size == (32, 24)


def test_every_setting_of_inpainting_arrives(start: Starting) -> None:
    page = start.page
    start.draw((60, 60), (160, 60))
    padding = page.control("start.inpainting.padding")
    assert not padding.is_enabled()
    start.choose("field-start.inpainting.only_masked", "true")
    page.type_into("start.inpainting.padding", "16")
    page.type_into("start.inpainting.blur", "7")
    start.choose("field-start.inpainting.inverted", "true")
    page.control("start.inpainting.content").send_keys("latent nothing")
    page.driver.execute_script(
        "document.querySelector(\"[data-group='start.inpainting.soft']\").open = true"
    )
    page.control("start.inpainting.soft").click()
    page.type_into("start.inpainting.soft_bias", "2")
    page.type_into("start.inpainting.soft_influence", "0.25")
    request = start.generate()
    assert request.start is not None
    told = request.start.inpainting
    assert told is not None
    assert (told.only_masked, told.padding, told.blur) == (True, 16, (7, 7))
    assert (told.inverted, told.content) == (True, "latent nothing")
    assert (told.soft, told.soft_bias, told.soft_influence) == (True, 2, 0.25)
    words = page.text(".rail")
    for label in ("Mask blur", "Mask mode", "Masked content", "Inpaint area", "Soft inpainting"):
        assert label in words
    assert "Inpaint not masked" in words
    assert "Whole picture" in words


def test_an_image_that_is_none_is_told(start: Starting, tmp_path: Path) -> None:
    path = tmp_path / "note.png"
    path.write_text("no image")
    box = "[data-slot=img2img]"
    start.page.driver.find_element(By.CSS_SELECTOR, f"{box} > input").send_keys(str(path))
    assert "no image" in start.page.one(f"{box} > .fault").text
    # What was there stays.
    assert start.page.one(f"{box}[data-filled=true]")


def test_images_are_dropped_and_pasted(page: StudioPage, studio: Studio) -> None:
    script = """
    const [kind, side, done] = arguments;
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = side;
    canvas.getContext('2d').fillRect(0, 0, side, side);
    canvas.toBlob((blob) => {
      const data = new DataTransfer();
      data.items.add(new File([blob], 'a.png', { type: 'image/png' }));
      const more = { bubbles: true, cancelable: true };
      if (kind === 'paste') document.body.dispatchEvent(new ClipboardEvent('paste', { ...more, clipboardData: data }));
      else document.querySelector('[data-slot=img2img]').dispatchEvent(new DragEvent('drop', { ...more, dataTransfer: data }));
      done();
    });
    """
    start = Starting(page, studio)
    start.open(prompt="a cat")
    for kind, side in (("drop", 48), ("paste", 56)):
        page.driver.execute_async_script(script, kind, side)
        size = f"{side} × {side}"
        page.until(lambda size=size: size in page.text("[data-slot=img2img] .count"))


@contextmanager
def phone(page: StudioPage) -> Iterator[None]:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        yield
    finally:
        page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def touch(page: StudioPage, kind: str, *points: tuple[float, float]) -> None:
    told = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})


def test_fingers_draw_and_pinch_on_a_phone(start: Starting) -> None:
    page = start.page
    with phone(page):
        start.reload()
        surface = page.one(SURFACE)
        page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", surface)
        wide = "return document.documentElement.scrollWidth"
        assert page.driver.execute_script(wide) == 390
        small = (
            "return [...document.querySelectorAll('.source button, .mask-tools input[type=range], .segments label')]"
            ".filter(one => one.offsetParent && one.getBoundingClientRect().height < 40)"
            ".map(one => one.outerHTML)"
        )
        assert page.driver.execute_script(small) == []
        box = "const box = arguments[0].getBoundingClientRect(); return [box.left, box.top, box.width, box.height]"
        left, top, width, height = page.driver.execute_script(box, surface)
        middle = (left + width / 2, top + height / 2)
        touch(page, "touchStart", middle)
        touch(page, "touchMove", (middle[0] + 60, middle[1]))
        touch(page, "touchEnd")
        page.until(lambda: page.one("[aria-label=Undo]").is_enabled())
        place = "return document.querySelector('.mask-content').style.transform"
        before = page.driver.execute_script(place)
        touch(page, "touchStart", middle, (middle[0] + 20, middle[1]))
        touch(page, "touchMove", (middle[0] - 40, middle[1]), (middle[0] + 60, middle[1]))
        touch(page, "touchEnd")
        assert page.driver.execute_script(place) != before
        mask = start.mask()
    assert mask.getpixel((WIDTH // 2, HEIGHT // 2)) == 255
    assert 0 < painted(mask) < WIDTH * HEIGHT / 2


def test_a_large_image_does_not_freeze_the_page(start: Starting, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (4096, 4096), "gray").save(path)
    start.hand_in(path)
    page = start.page
    page.until(lambda: "4096 × 4096" in page.text("[data-slot=img2img] .count"))
    longest = """
    window.longest = 0;
    let last = performance.now();
    (function watch() {
      const now = performance.now();
      window.longest = Math.max(window.longest, now - last);
      last = now;
      window.watching = setTimeout(watch, 10);
    })();
    """
    page.driver.execute_script(longest)
    start.draw((20, 20), (200, 100), (100, 200))
    start.kept()
    page.driver.execute_script("clearTimeout(window.watching)")
    assert page.driver.execute_script("return window.longest") < 2500
