"""What a search answers, read whatever it holds."""

from __future__ import annotations

from typing import Any

import pytest

from promptengine import DownloadError
from promptengine.civitai.shapes import FoundPage, read_found


def page(metadata: object = None, **model: Any) -> FoundPage:
    return read_found({"items": [{"id": 1, **model}], "metadata": metadata})


@pytest.mark.parametrize(
    ("told", "terms"),
    [
        ({}, ()),
        ({"allowNoCredit": True, "allowDerivatives": True, "allowDifferentLicense": True}, ()),
        ({"allowNoCredit": False}, ("credit its creator",)),
        ({"allowCommercialUse": ["Image", "Sell"]}, ("commercial use: Image, Sell",)),
        ({"allowCommercialUse": "Rent"}, ("commercial use: Rent",)),
        ({"allowCommercialUse": "{Image,RentCivit}"}, ("commercial use: Image, RentCivit",)),
        *(({"allowCommercialUse": no}, ("no commercial use",)) for no in ("None", [], ["None"])),
        ({"allowDerivatives": False}, ("no derivatives",)),
        ({"allowDifferentLicense": False}, ("derivatives under the same terms",)),
        ({"allowNoCredit": "no", "allowDerivatives": 0}, ()),
    ],
)
def test_terms_are_those_that_are_told(told: dict[str, Any], terms: tuple[str, ...]) -> None:
    assert page(**told).models[0].terms == terms


@pytest.mark.parametrize(
    ("metadata", "cursor"),
    [
        (None, ""),
        ({}, ""),
        ({"nextCursor": "7|abc"}, "7|abc"),
        ({"nextCursor": 12}, "12"),
        ({"nextCursor": True}, ""),
        ({"nextCursor": ["x"]}, ""),
        ({"nextCursor": "x" * 501}, ""),
        ({"nextPage": "https://evil.example/?a=b&cursor=7%7Cabc"}, "7|abc"),
        ({"nextPage": "http://["}, ""),
        ({"nextPage": "https://a.example/?page=2"}, ""),
    ],
)
def test_what_leads_on_is_text_and_no_address(metadata: object, cursor: str) -> None:
    assert page(metadata).next == cursor


def test_files_and_images_are_those_of_the_newest_version() -> None:
    file = {"name": "a.pt", "sizeKB": 2, "hashes": {"SHA256": "A" * 64}, "downloadUrl": "u"}
    versions = [{"id": 5, "files": [file], "images": [{"url": "v", "nsfwLevel": 4}]}, {"id": 4}]
    (model,) = page(modelVersions=versions).models
    assert (model.version, model.files[0].size, model.files[0].sha256) == (5, 2048, "a" * 64)
    assert [(image.url, image.safe) for image in model.images] == [("v", False)]
    (model,) = page(modelVersions=[{"files": "x", "images": [1, {}]}]).models
    assert (model.version, model.files, model.images) == (0, (), ())


@pytest.mark.parametrize("document", [None, [], {}, {"items": {}}, "items"])
def test_what_is_no_list_is_refused(document: object) -> None:
    with pytest.raises(DownloadError, match="something else than a list of models"):
        read_found(document)
