"""WebUI's script "Soft Inpainting", and the masks that are returned with images."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from promptengine import read_infotext
from tests.server.conftest import Live
from tests.server.sdapi.test_rules import IMG2IMG, ask, in_base64, info_of

MASKED: dict[str, Any] = {
    "init_images": [in_base64()],
    "mask": in_base64(color="gray"),
    "inpaint_full_res": False,
}


def script(*arguments: object, name: str = "Soft Inpainting") -> dict[str, Any]:
    return {"alwayson_scripts": {name: {"args": list(arguments)}}}


def soft_entries(answer: Any) -> dict[str, str]:
    (text,) = info_of(answer)["infotexts"]
    entries = read_infotext(text).entries
    return {key: value for key, value in entries.items() if key.startswith("Soft inpainting")}


def test_it_is_listed(live: Live) -> None:
    listed = live.http.get("/sdapi/v1/script-info").json()
    (told,) = (one for one in listed if one["name"] == "soft inpainting")
    assert (told["name"], told["is_alwayson"], told["is_img2img"]) == (
        "soft inpainting",
        True,
        True,
    )
    assert [one["value"] for one in told["args"]] == [False, 1, 0.5, 4, 0, 0.5, 2]
    assert told["args"][4]["maximum"] == 1


@pytest.mark.parametrize("name", ["Soft Inpainting", "soft inpainting"])
def test_what_is_missing_has_its_default(live: Live, name: str) -> None:
    told = soft_entries(ask(live, IMG2IMG, **MASKED, **script(True, 2.0, name=name)))
    assert told == {
        "Soft inpainting enabled": "True",
        "Soft inpainting schedule bias": "2.0",
        "Soft inpainting preservation strength": "0.5",
        "Soft inpainting transition contrast boost": "4",
        "Soft inpainting mask influence": "0",
        "Soft inpainting difference threshold": "0.5",
        "Soft inpainting difference contrast": "2",
    }


def test_it_can_be_off_and_asked_for_by_an_infotext(live: Live) -> None:
    assert soft_entries(ask(live, IMG2IMG, **MASKED, **script(False))) == {}
    text = "a cat\nSteps: 2, Soft inpainting enabled: True, Soft inpainting schedule bias: 3"
    told = soft_entries(ask(live, IMG2IMG, **MASKED, infotext=text))
    assert told["Soft inpainting schedule bias"] == "3"
    assert soft_entries(ask(live, IMG2IMG, **MASKED, infotext=text, **script(False))) == {}


def test_without_a_mask_it_does_nothing_and_that_is_said(live: Live) -> None:
    answer = ask(live, IMG2IMG, init_images=[in_base64()], **script(True))
    assert soft_entries(answer) == {}
    assert info_of(answer)["warnings"] == ["soft inpainting does nothing without a mask"]


@pytest.mark.parametrize(
    "arguments", [(True, 1, 0.5, 4, 0, 0.5, 2, 9), (True, "x"), (True, -1), (3,), ({},)]
)
def test_wrong_arguments_are_refused(live: Live, arguments: tuple[object, ...]) -> None:
    assert ask(live, IMG2IMG, **MASKED, **script(*arguments)).status_code == 422


def test_there_is_none_of_text_to_image(live: Live) -> None:
    assert ask(live, **script(True)).status_code == 422


def test_masks_follow_their_image(live: Live) -> None:
    asked = {"return_mask": True, "return_mask_composite": True}
    answer = ask(live, IMG2IMG, **MASKED, batch_size=2, override_settings=asked)
    assert len(info_of(answer)["infotexts"]) == 2
    files = [io.BytesIO(base64.b64decode(data)) for data in answer.json()["images"]]
    assert [Image.open(file).mode for file in files] == ["RGB", "RGB", "RGBA"] * 2
