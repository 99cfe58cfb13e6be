"""Prompts of templates: by a seed, in turn, all of them, and the ends of what is allowed."""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.prompt.templates import Wildcards, combinations, draw, parse_template

NONE = Wildcards()


def folder(tmp_path: Path, **files: str) -> Wildcards:
    place = tmp_path / "wildcards"
    place.mkdir(exist_ok=True)
    for name, text in files.items():
        (place / f"{name}.txt").write_text(text, encoding="utf-8")
    return Wildcards.open([place])


def every(text: str, wildcards: Wildcards = NONE, most: int = 1_000) -> list[str]:
    return list(islice(combinations(parse_template(text), wildcards, seed=7), most))


def drawn(text: str, wildcards: Wildcards = NONE, seeds: int = 50) -> list[str]:
    return [draw(parse_template(text), wildcards, seed=seed) for seed in range(seeds)]


def in_turn(text: str, wildcards: Wildcards = NONE, turns: int = 6) -> list[str]:
    read = parse_template(text)
    return [draw(read, wildcards, seed=0, turn=n, cyclical=True) for n in range(turns)]


def test_a_seed_means_one_prompt_whatever_was_drawn_before() -> None:
    assert drawn("{a|b|c} {2$$d|e|f}") == drawn("{a|b|c} {2$$d|e|f}")
    assert len(set(drawn("{a|b|c} {2$$d|e|f}"))) > 10


def test_weights_say_how_likely_an_option_is() -> None:
    counts = Counter(drawn("{8::a|2::b|0::c}", seeds=400))
    assert set(counts) == {"a", "b"} and 280 < counts["a"] < 360


def test_options_are_drawn_without_repeats() -> None:
    for prompt in drawn("{3$$ $$a|b|c}"):
        assert sorted(prompt.split()) == ["a", "b", "c"]


def test_all_combinations_come_in_order_and_lazily() -> None:
    assert every("A {red|blue} {square|circle}") == [
        *("A red square", "A red circle", "A blue square", "A blue circle"),
    ]
    assert len(every("{" + "|".join(map(str, range(10))) + "}" * 1 + "{a|b}" * 40, most=5)) == 5


def test_a_choice_of_another_method_takes_part_and_makes_no_more() -> None:
    assert every("{a|b}{@1|2}") == ["a1", "b2"]
    assert len(every("{a|b|c}{~1|2}")) == 3
    assert every("{@1|2|3}") == ["1"]


def test_cyclical_choices_go_by_the_number_of_the_image() -> None:
    assert in_turn("A {red|green|blue} {square|circle}", turns=4) == [
        *("A red square", "A green circle", "A blue square", "A red circle"),
    ]
    both = [draw(parse_template("{@a|b} {@1|2} {x|y}"), NONE, seed=n, turn=n) for n in range(20)]
    assert {text[:3] for text in both[::2]} == {"a 1"} and {text[:3] for text in both[1::2]} == {
        "b 2"
    }
    assert {text[-1] for text in both} == {"x", "y"}


def test_cyclical_choices_within_each_other_go_on_each_time_around() -> None:
    assert in_turn("{{a|b}|c}") == ["a", "c", "b", "c", "a", "c"]
    assert in_turn("{2$$a|b|c}") == ["a,b", "a,c", "b,a", "b,c", "c,a", "c,b"]


def test_variables_are_drawn_once_or_anew() -> None:
    for prompt in drawn("${x=!{a|b|c}}${x} ${x} ${x}"):
        assert len(set(prompt.split())) == 1
    assert any(len(set(p.split())) > 1 for p in drawn("${x={a|b|c}}${x} ${x} ${x}"))


def test_a_variable_that_is_set_already_can_be_kept() -> None:
    assert every("${x=a}${x?=b}${x}${y?=c}${y}") == ["ac"]
    assert every("${x:usual} ${x=own}${x:usual}") == ["own own"]


def test_an_earlier_variable_holds_in_a_later_one() -> None:
    assert every("${a=!x}${b=!${a}y}${b}") == ["xy"]


def test_a_wrap_goes_around_a_text() -> None:
    assert every("%{photo of ..., sharp$$a {cat|dog}}") == [
        "photo of a cat, sharp",
        "photo of a dog, sharp",
    ]
    assert every("%{before$$after}") == ["beforeafter"]


def test_comments_are_left_out() -> None:
    assert every("# what\n{a # or\n|b}") == ["\na \n", "\nb"]


def test_wildcards_give_their_values_which_are_templates(tmp_path: Path) -> None:
    files = folder(
        tmp_path, season="# of the year\nsummer\n{autumn|fall}\n\nsummer\n", own="__season__!"
    )
    assert every("__season__", files) == ["summer", "autumn", "fall"] or sorted(
        every("__season__", files)
    ) == ["autumn", "fall", "summer"]
    assert sorted(every("__own__", files)) == ["autumn!", "fall!", "summer!"]
    assert set(drawn("{2$$ $$__season__}", files)) == {
        *("summer autumn", "summer fall", "autumn summer", "fall summer"),
    }


def test_arguments_are_variables_of_the_values(tmp_path: Path) -> None:
    files = folder(tmp_path, clothes="in ${season} I wear ${what:wool}")
    assert every("__clothes(season=winter)__", files) == ["in winter I wear wool"]
    assert every("${season=fall}__clothes(what={silk|lace})__", files) == [
        *("in fall I wear silk", "in fall I wear lace"),
    ]


def test_a_wildcards_name_can_be_drawn(tmp_path: Path) -> None:
    files = folder(tmp_path, a="1", b="2")
    assert set(drawn("__{a|b}__", files)) == {"1", "2"}
    assert every("${x=b}__${x}__", files) == ["2"]


def test_tags_in_files_stay_as_they_are(tmp_path: Path) -> None:
    files = folder(tmp_path, a="<lora:{x|y}:1> {p|q}")
    assert every("__a__", files) == ["<lora:{x|y}:1> p", "<lora:{x|y}:1> q"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{" * 1_000 + "}" * 1_000, "nests 999 deep; it must be at most 50"),
        ("__a__", "wildcards name each other: __b__ in __a__ in __b__"),
        pytest.param("__e30__", "too much work", marks=pytest.mark.slow),
        ("${x=${x}}${x}", "variable x stands for itself"),
        ("${x=${y}}${y=${x}}${x}", "variable x stands for itself"),
        ("${nobody}", "variable nobody is not set"),
        ("__nobody__", "unknown wildcard 'nobody'"),
        ("__lon__", "did you mean 'long'"),
        ("__long__" * 3, "more than 100,000 characters"),
    ],
)
@pytest.mark.parametrize("method", [drawn, in_turn, every])
def test_hostile_templates_are_refused_in_words(
    tmp_path: Path, text: str, message: str, method: object
) -> None:
    doubled = {f"e{n}": f"__e{n - 1}____e{n - 1}__" for n in range(1, 31)}
    files = folder(
        tmp_path, a="__b__", b="x __a__", e0="${nothing: }", long="y" * 40_000, **doubled
    )
    assert callable(method)
    begin = time.process_time()
    with pytest.raises(RequestError) as caught:
        method(text, files)
    assert message in str(caught.value)
    assert caught.value.field == "prompt"
    assert time.process_time() - begin < 15


def test_no_weight_at_all_is_refused() -> None:
    with pytest.raises(RequestError, match="weight above 0"):
        drawn("{0::a|0::b}")


def test_a_trillion_combinations_are_no_trouble_as_long_as_few_are_asked_for() -> None:
    ten = "{" + "|".join("abcdefghij") + "}"
    assert every(ten * 12, most=3) == ["a" * 12, "a" * 11 + "b", "a" * 11 + "c"]
    assert len(every("{" + "|".join(map(str, range(10_000))) + "}", most=20)) == 20
    assert every("{9$$" + "|".join(map(str, range(10_000))) + "}", most=1)[0] == "0,1,2,3,4,5,6,7,8"


def test_selections_that_are_all_alike_end_in_words() -> None:
    alike = "|".join("{a" + "|a" * n + "}" for n in range(25))
    with pytest.raises(RequestError, match="too much work"):
        every("{20$$" + alike + "}")


PIECES = st.sampled_from(
    [
        *(
            "{a|b",
            "|c",
            "}",
            "{2$$x|y",
            "{~",
            "{@",
            "{!",
            "${a=q}",
            "${a:z}",
            "${b=!{m|n}}",
            "${b:}",
        ),
        *(
            "%{i ... j$$k}",
            " ",
            "w",
            "#\n",
            "{0.5::u|2::v}",
            "<t:{|}>",
            "$",
            "_",
            "{1-2$$ $$g|h|i}",
        ),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=7).map("".join), st.integers(0, 2**64 - 1))
def test_any_template_gives_a_prompt_or_says_why_not(text: str, seed: int) -> None:
    read = parse_template(text)
    try:
        one = draw(read, NONE, seed=seed)
    except RequestError as error:
        assert str(error).startswith(("a wildcard has no name", "unknown wildcard"))
        return
    assert one == draw(read, NONE, seed=seed)
    assert isinstance(draw(read, NONE, seed=seed, turn=3, cyclical=True), str)
    some = list(islice(combinations(read, NONE, seed=seed), 30))
    assert some
    if not {"~", "@", "#"} & set(text) and len(some) < 30 and "${b" not in text and "u" not in text:
        assert one in some


@given(st.text(alphabet="ab ,()[]:.<>", max_size=30))
def test_a_text_without_marks_is_its_own_prompt(text: str) -> None:
    assert every(text) == [text]
    assert drawn(text, seeds=1) == [text]


def test_large_files_are_drawn_from_and_bound_what_is_taken(tmp_path: Path) -> None:
    files = folder(tmp_path, big="\n".join(f"value {number}" for number in range(200_000)))
    begin = time.process_time()
    assert len(set(drawn("__big__", files, seeds=3))) == 3
    assert len(set(drawn("__big__ " * 100, files, seeds=1)[0].split("value"))) > 90
    with pytest.raises(RequestError, match="too much work"):
        drawn("{5000$$__big__}", files)
    assert time.process_time() - begin < 15


def test_weights_of_files_are_bounded_together(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(
        '{"w": [' + ",".join(f'"999::{n}"' for n in range(3_000)) + "]}"
    )
    with pytest.raises(RequestError, match="weights come to more than 2,000,000"):
        drawn("__w__", Wildcards.open([tmp_path]))
