from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import TrainingError
from promptengine.training.captions import (
    TEMPLATES,
    caption_of,
    fill_template,
    template_lines,
    vary_tags,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("name", "pattern", "join", "caption"),
    [
        ("a cat.png", "", " ", "a cat"),
        ("0012-a cat.png", "", " ", "a cat"),
        ("12-3--a 2nd cat.png", "", " ", "a 2nd cat"),
        ("cat.of.snow.png", "", " ", "cat.of.snow"),
        ("12.png", "", " ", ""),
        ("01-red_cat_snow.png", "[a-z]+", ", ", "red, cat, snow"),
        ("a[red] b[cat].png", r"\[(\w+)\]", " ", "red cat"),
    ],
)
def test_a_name_is_a_caption(
    tmp_path: Path, name: str, pattern: str, join: str, caption: str
) -> None:
    assert caption_of(tmp_path / name, word_pattern=pattern, word_join=join) == caption


def test_a_text_beside_the_image_comes_first(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff a dog, Hütte\n".encode())
    assert caption_of(tmp_path / "a.png", word_pattern="[a-z]") == "a dog, Hütte"
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match=r"a\.txt: not UTF-8"):
        caption_of(tmp_path / "a.png")


def test_templates_are_built_in_or_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["hypernetwork", "none", "style", "style_filewords", "subject", "subject_filewords"]
    assert list(TEMPLATES) == names
    for name in names:
        assert template_lines(name) == template_lines(f"{name}.txt") == TEMPLATES[name]
        assert any("[filewords]" in line for line in TEMPLATES[name]) == (
            "filewords" in name or name == "hypernetwork"
        )
    (tmp_path / "style.txt").write_text("\n a [name] \n\n[filewords]\n")
    assert template_lines("style.txt") == ("a [name]", "[filewords]")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(TrainingError, match="holds no prompt"):
        template_lines("empty.txt")
    with pytest.raises(TrainingError, match="'nope' is no file and none of hypernetwork, none"):
        template_lines("nope")


def test_placeholders_are_filled_once() -> None:
    line = "[filewords], [name]; [name] [other]"
    assert fill_template(line, name="ink", caption="a [name]") == "a [name], ink; ink [other]"


tags = st.lists(st.text(alphabet="abc ", min_size=1).map(str.strip).filter(bool), max_size=8)


@given(tags=tags, seed=st.integers(0, 99), dropout=st.sampled_from([0.0, 0.5, 0.99]))
def test_tags_are_permuted_and_thinned_out(tags: list[str], seed: int, dropout: float) -> None:
    caption = ",".join(tags)
    kept = vary_tags(caption, shuffle=False, dropout=dropout, generator=seeded(seed))
    mixed = vary_tags(caption, shuffle=True, dropout=dropout, generator=seeded(seed))
    assert sorted(kept.split(", ")) == sorted(mixed.split(", "))
    rest = iter(tags)
    assert not kept or all(tag in rest for tag in kept.split(", ")), "order is kept"
    if dropout == 0:
        assert kept == ", ".join(tags)


def test_dropout_drops_about_as_often_as_asked() -> None:
    caption = ", ".join("tag" for _ in range(2000))
    left = vary_tags(caption, shuffle=True, dropout=0.25, generator=seeded()).count("tag")
    assert 1400 < left < 1600
