"""Options of WebUI's rule for weights beside dialects that have rules of their own."""

from __future__ import annotations

import pytest

from promptengine import GenerationRequest, Options
from promptengine.errors import RequestError


def test_webuis_options_of_weights_are_refused() -> None:
    for options, name in (
        (Options(emphasis="No norm"), "emphasis"),
        (Options(emphasis="None"), "emphasis"),
        (Options(old_emphasis=True), "old_emphasis"),
        (Options(negative_weights="subtract"), "negative_weights"),
    ):
        told = f"^{name} is .* a rule of its own; leave it out"
        with pytest.raises(RequestError, match=told) as refused:
            GenerationRequest(prompt="a", dialect="compel", options=options)
        assert refused.value.field == name
        if name != "old_emphasis":
            assert GenerationRequest(prompt="a", dialect="novelai", options=options)


def test_the_old_emphasis_is_refused_where_marks_are_not_webuis() -> None:
    options = Options(old_emphasis=True)
    with pytest.raises(RequestError, match="other marks of weights than WebUI") as refused:
        GenerationRequest(prompt="a", dialect="novelai", options=options)
    assert refused.value.field == "old_emphasis"
    for dialect in ("webui", "extended"):
        assert GenerationRequest(prompt="a", dialect=dialect, options=options)
