"""The site, and what asks it, without waiting between tries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from promptengine.civitai.site import BASE_VARIABLE, Site
from promptengine.civitai.web import TOKEN_VARIABLE, Web
from tests.civitai.site import FakeSite, running


@pytest.fixture
def fake() -> Iterator[FakeSite]:
    with running() as site:
        yield site


@pytest.fixture
def waits() -> list[float]:
    """Seconds that were waited, or rather not."""
    return []


@pytest.fixture
def site(fake: FakeSite, waits: list[float]) -> Iterator[Site]:
    with Web(fake.url, sleep=waits.append) as web:
        yield Site(web)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TOKEN_VARIABLE, BASE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
