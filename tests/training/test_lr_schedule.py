from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.training.lr_schedule import parse_schedule

values = st.floats(min_value=1e-12, max_value=1e6, allow_subnormal=False)
ends = st.lists(st.integers(1, 10_000), unique=True, max_size=5).map(sorted)


@given(ends=ends, rates=st.lists(values, min_size=6, max_size=6), blank=st.sampled_from(["", " "]))
def test_each_value_holds_until_its_step(ends: list[int], rates: list[float], blank: str) -> None:
    pieces = [f"{blank}{rate!r}{blank}:{end}" for rate, end in zip(rates, ends, strict=False)]
    schedule = parse_schedule(",".join([*pieces, f"{rates[5]!r}"]), field="learning_rate")
    assert schedule.last_step is None
    for step in {1, *ends, *(end + 1 for end in ends)}:
        passed = sum(end < step for end in ends)
        assert schedule.at(step) == (rates[5] if passed == len(ends) else rates[passed])


def test_the_end_may_be_open_or_named() -> None:
    assert parse_schedule("5e-5:100, 1e-5:-1", field="rate").last_step is None
    assert parse_schedule("5e-5:100, .5:200", field="rate").last_step == 200
    assert parse_schedule("0.00001", field="rate").at(10**9) == 1e-5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "column 1: '' is no number"),
        ("abc", "column 1: 'abc' is no number"),
        ("1e-5:10,", "column 9: '' is no number"),
        ("1e-5:x", "column 1: 'x' is no step"),
        ("1e-5:1.5", "'1.5' is no step"),
        ("1e-5:-2", "'-2' is no step"),
        ("1e-5, 1e-6", "column 1: only the last entry may have no step"),
        ("1e-5:-1, 1e-6", "only the last entry"),
        ("1e-5:100, 1e-6:100", "column 10: step 100 does not come after 100"),
        ("1e-5:0", "step 0 does not come after 0"),
        ("0", "0 is not greater than 0"),
        ("-1", "-1 is not greater than 0"),
        ("1e999", "1e999 is not greater than 0 and finite"),
        ("nan", "'nan' is no number"),
        ("1_0", "'1_0' is no number"),
        ("1e-5:10:20", "'10:20' is no step"),
        ("1e-5:" + "9" * 5000, "999' is no step"),
        ("1" * 5000 + "e", "111' is no number"),
    ],
)
def test_what_is_malformed_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_schedule(text, field="learning_rate")
    assert said in str(caught.value)
    assert str(caught.value).startswith("learning rate ")
    assert caught.value.field == "learning_rate"
    assert len(str(caught.value)) < 400


@given(st.text(alphabet="0123456789.e-+:, x", max_size=30))
def test_any_text_is_a_schedule_or_one_error(text: str) -> None:
    try:
        schedule = parse_schedule(text, field="rate")
    except RequestError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert schedule.at(1) > 0
