"""Values along an axis, read as WebUI's X/Y/Z plot reads them."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.scripts.xyz_values import (
    orders,
    separated,
    text_numbers,
    texts,
    whole_numbers,
    written,
)
from promptengine.xyz_plot.axes import MOST_VALUES


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("a", ("a",)),
        (' a ,"b, c" , d ', ("a", "b, c", "d")),
        ("a,,b", ("a", "", "b")),
        ("a, b\nc", ("a", "b", "c")),
        ('"say ""x"""', ('say "x"',)),
    ],
)
def test_texts_stand_between_commas(text: str, parts: tuple[str, ...]) -> None:
    assert separated(text) == parts


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"))).map(str.strip), min_size=1))
def test_written_values_are_read_back(values: list[str]) -> None:
    # One empty value alone is written as an empty pair of quotes.
    assert separated(written(values)) == tuple(values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1, 2,5", (1, 2, 5)),
        ("", ()),
        (" , 3", (3,)),
        ("1-5", (1, 2, 3, 4, 5)),
        ("1-5 (+2)", (1, 3, 5)),
        ("1-10 [4]", (1, 4, 7, 10)),
        ("1-4 [3]", (1, 2, 4)),
        ("10-1 [2]", (10, 1)),
        ("7-9 [1]", (7,)),
        ("7-9 [0]", ()),
        ("5-1", ()),
        ("5-1 (-1)", (5, 4, 3)),
        ("-2 - +2", (-2, -1, 0, 1, 2)),
        ("3, 1-2, 9", (3, 1, 2, 9)),
        ("-1", (-1,)),
    ],
)
def test_whole_numbers_and_their_ranges(text: str, values: tuple[int, ...]) -> None:
    found = whole_numbers(separated(text))
    assert found == values
    assert all(type(value) is int for value in found)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0, 0.3", (0, 0.3)),
        ("1-3", (1, 2, 3)),
        ("0-1 (+0.5)", (0, 0.5, 1)),
        ("0-1 (+0.3)", (0, 0.3, 0.6, 0.9, 1.2)),
        ("1-10 [4]", (1, 4, 7, 10)),
        ("0.1-0.5 [3]", (0.1, 0.3, 0.5)),
        ("1-0 (-0.5)", (1, 0.5, 0)),
        ("-1.5", (-1.5,)),
    ],
)
def test_numbers_and_their_ranges(text: str, values: tuple[float, ...]) -> None:
    assert text_numbers(separated(text)) == pytest.approx(values)


@given(st.integers(-999, 999), st.integers(1, 50), st.integers(1, 60))
def test_a_range_of_whole_numbers_is_the_numbers_one_by_one(
    start: int, step: int, count: int
) -> None:
    end = start + step * (count - 1)
    one_by_one = ",".join(str(start + step * number) for number in range(count))
    assert whole_numbers([f"{start}-{end} (+{step})"]) == whole_numbers(separated(one_by_one))


@given(st.floats(-9, 9).map(lambda x: round(x, 3)), st.floats(-9, 9).map(lambda x: round(x, 3)),
       st.integers(2, 40))  # fmt: skip
def test_a_counted_range_is_even_and_holds_both_ends(start: float, end: float, count: int) -> None:
    values = text_numbers([f"{start:.3f}-{end:.3f} [{count}]"])
    assert (len(values), values[0], values[-1]) == (count, start, end)
    gaps = [after - before for before, after in pairwise(values)]
    assert gaps == pytest.approx([(end - start) / (count - 1)] * (count - 1), abs=1e-9)


@pytest.mark.parametrize("text", ["two", "1.5", "1-5 (+0)", "1-5 (2)", "1-5 (+1.5)", "1e3", "nan"])
def test_what_is_no_whole_number_is_named(text: str) -> None:
    with pytest.raises(RequestError, match=r"is no whole number and no range such as 1-5") as error:
        whole_numbers([text])
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    "text", ["x", "nan", "inf", "1-5 (+0)", "1-5 (+0.0)", "9" * 400, "1-" + "9" * 400]
)
def test_what_is_no_number_is_named(text: str) -> None:
    with pytest.raises(RequestError, match="is no number and no range"):
        text_numbers([text])


@pytest.mark.parametrize(
    "text",
    [
        "0-1000000000",
        "0-" + "9" * 4000,
        "-" + "9" * 4000 + "-0",
        "1-2 [99999999999999999999]",
        "0-400, 0-400, 0-400",
    ],
)
def test_a_hostile_range_of_whole_numbers_builds_no_list(text: str) -> None:
    with pytest.raises(RequestError, match=f"{MOST_VALUES} values at most"):
        whole_numbers(separated(text))


@pytest.mark.parametrize(
    "text", ["0-1000000000", "0-1 (+0.0000000001)", "0-1 [99999999999999999999]", "0-1e9"]
)
def test_a_hostile_range_of_numbers_builds_no_list(text: str) -> None:
    with pytest.raises(RequestError):
        text_numbers(separated(text))


@given(st.text(alphabet='0123456789-+()[]., "xe\n\0', max_size=60))
def test_any_text_has_few_finite_values_or_an_error_of_ours(text: str) -> None:
    for read in (whole_numbers, text_numbers, texts, orders):
        try:
            values = read(separated(text))
        except RequestError:
            continue
        assert len(values) <= MOST_VALUES
        assert all(math.isfinite(one) for one in values if isinstance(one, (int, float)))


def test_orders_are_all_there_are_and_few() -> None:
    assert orders(["a", "b", "c"]) == tuple(permutations("abc"))
    assert len(orders(list("abcdef"))) == 720
    with pytest.raises(RequestError, match="7 texts have too many orders; 6 are the most"):
        orders(list("abcdefg"))
    with pytest.raises(RequestError, match="6 are the most"):
        orders(["x"] * 100_000)


def test_too_many_texts_are_refused() -> None:
    assert len(texts(["x"] * MOST_VALUES)) == MOST_VALUES
    with pytest.raises(RequestError, match="values at most"):
        separated("x," * MOST_VALUES + "x")
    with pytest.raises(RequestError, match="values at most"):
        separated("x\n" * 1_000_000)
