"""Options of WebUI's rule for weights beside dialects that have rules of their own."""

from __future__ import annotations

import pytest

from promptengine import GenerationRequest, Options
from promptengine.errors import RequestError


def test_webuis_options_of_weights_are_refused() -> None:
    for options, name in (
        (Options(emphasis="No norm"), "emphasis"),
        (Options(old_emphasis=True), "old_emphasis"),
        (Options(negative_weights="subtract"), "negative_weights"),
    ):
        told = f"^{name} is .* a rule of its own; leave it out"
        with pytest.raises(RequestError, match=told) as refused:
            GenerationRequest(prompt="a", dialect="compel", options=options)
        assert refused.value.field == name
        assert GenerationRequest(prompt="a", dialect="novelai", options=options)
