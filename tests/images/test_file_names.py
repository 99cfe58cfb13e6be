"""Names of saved images: WebUI's tags, and names that stay in their folder whatever a prompt says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.images.file_names import (
    NameFacts,
    decoration,
    file_name,
    folder_names,
    safe_name,
)

FACTS = NameFacts(
    prompt="a red cat, by the sea, ink",
    prompt_without_styles="a red cat, by the sea",
    seed=7,
    steps=20,
    cfg_scale=7,
    width=512,
    height=768,
    sampler="DPM++ 2M",
    model_name="v1.5",
    model_hash="6ce0161689",
    styles=("ink",),
    when=datetime(2024, 3, 9, 14, 5, 6, tzinfo=timezone.utc),
)

HOSTILE = st.one_of(
    st.text(max_size=300),
    st.text(st.sampled_from("./\\ :*?\0\n\x7f\u202e\ud800~%[]<>|aé漢"), max_size=300),
    st.sampled_from(
        ["..", "../../etc/passwd", "/etc/passwd", "C:\\x", "CON", "nul.png", "COM1 .x"]
    ),
)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("", "7"),
        ("[seed]-[steps]-[cfg]-[width]x[height]", "7-20-7.0-512x768"),
        ("[sampler] [model_name] [model_hash]", "DPM++ 2M v1.5 6ce0161689"),
        ("[styles]", "ink"),
        ("[date]", "2024-03-09"),
        ("[datetime]", "20240309140506"),
        ("[datetime<%H-%M>]", "14-05"),
        ("[datetime<%H-%M><Asia/Tokyo>]", "23-05"),
        ("[datetime<%H-%M><No/Where>]", "14-05"),
        ("[datetime<%999999999d>]", "20240309140506"),
        ("[prompt]", "a_red_cat,_by_the_sea,_ink"),
        ("[prompt_spaces]", "a red cat, by the sea, ink"),
        ("[prompt_no_styles]", "a red cat, by the sea"),
        ("[prompt_words]", "a red cat by the sea ink"),
        ("[hasprompt<cat><Dog|hound>]", "cathound"),
        ("[hasprompt<dog>]", ""),
        ("[SEED]", "7"),
        ("[nonsense]-[seed", "[nonsense]-[seed"),
        ("x[seed]y", "x7y"),
        ("[seed]-[batch_number]", "7"),
        ("[seed]-[generation_number]-[steps]", "7-20"),
        ("[none]", ""),
    ],
)
def test_tags(pattern: str, told: str) -> None:
    assert decoration(pattern, FACTS) == told


def test_numbers_of_batches() -> None:
    facts = replace(FACTS, batch_number=2, generation_number=5, words=3)
    assert decoration("[batch_number]-[generation_number]", facts) == "2-5"
    assert decoration("[prompt_words]", facts) == "a red cat"
    assert decoration("[prompt_words]", replace(FACTS, prompt=" ,.")) == "empty"
    assert decoration("[styles]", replace(FACTS, styles=())) == "None"


def test_folders_come_of_the_pattern_alone() -> None:
    facts = replace(FACTS, prompt="a/b\\..\\c")
    assert folder_names("[date]/[prompt]", facts) == ("2024-03-09", "a_b_.._c")
    assert folder_names("", FACTS) == ("a red cat by the sea ink",)
    assert folder_names("../../[seed]//./x\\y", FACTS) == ("7", "x", "y")
    assert folder_names("[datetime<%Y/%m>]", FACTS) == ("2024_03",)


def test_names_are_whole() -> None:
    assert file_name("00001", "7", ".png") == "00001-7.png"
    assert file_name("00001", "", ".png") == "00001.png"
    long = file_name("00001", "漢" * 300, ".webp")
    assert 250 < len(long.encode()) <= 255
    assert long.endswith("漢.webp")
    assert safe_name("CON") == "_CON"
    assert safe_name("lpt1.txt") == "_lpt1.txt"
    assert safe_name("console") == "console"
    assert safe_name(".hidden") == "_hidden"
    assert safe_name(" .. ") == ""


@given(text=HOSTILE, pattern=st.sampled_from(["[prompt]", "[prompt_spaces]/[styles]", "[date]"]))
def test_any_prompt_gives_names_that_stay_in_the_folder(text: str, pattern: str) -> None:
    facts = replace(FACTS, prompt=text, prompt_without_styles=text, styles=(text,), model_name=text)
    own = decoration("[prompt] [prompt_no_styles] [model_name] [prompt_words]", facts)
    for name in (*folder_names(pattern, facts), file_name("00001", own, ".png")):
        _is_one_safe_name(name)


@given(pattern=HOSTILE)
def test_any_pattern_gives_names_that_stay_in_the_folder(pattern: str) -> None:
    for name in (
        *folder_names(pattern, FACTS),
        file_name("00001", decoration(pattern, FACTS), ".png"),
    ):
        _is_one_safe_name(name)


def _is_one_safe_name(name: str) -> None:
    assert name
    assert name not in (".", "..")
    assert not name.startswith((".", " "))
    assert not name.endswith((".", " "))
    assert len(name.encode()) <= 255
    assert PurePosixPath(name).name == name
    assert PureWindowsPath(name).name == name
    assert name.isprintable() or all(ord(one) >= 0xA0 for one in name if not one.isprintable())
    assert not PureWindowsPath(name).is_reserved()
    assert (Path("/out") / name).parent == Path("/out")
