"""Property tests draw the same examples on every run, unless another profile is asked for."""

from __future__ import annotations

import pytest
from hypothesis import settings


def test_property_tests_are_the_same_on_every_run(pytestconfig: pytest.Config) -> None:
    asked = pytestconfig.getoption("--hypothesis-profile")
    assert settings().derandomize == (asked in (None, "fixed"))
