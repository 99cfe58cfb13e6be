"""Trainings of a few steps need no sure measure of where they began."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptengine.training.step._PROBES", 2)
