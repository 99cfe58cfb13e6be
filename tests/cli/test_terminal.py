"""Lines and trees on a terminal, as readers with and without colors get them."""

from __future__ import annotations

import io
import sys

import pytest

from promptengine.cli.terminal import Tree, columns, show, styled


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


def shown(what: object, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", stream)
    show(what)  # type: ignore[arg-type]
    return stream.getvalue()


def test_a_tree_shows_what_hangs_where(capsys: pytest.CaptureFixture[str]) -> None:
    root = Tree(styled("prompt"))
    first = root.add(styled("a"))
    first.add(styled("b")).add(styled("c"))
    first.add(styled("d"))
    root.add(styled("e")).add(styled("f"))
    show(root)
    assert capsys.readouterr().out.splitlines() == [
        "prompt",
        "├── a",
        "│   ├── b",
        "│   │   └── c",
        "│   └── d",
        "└── e",
        "    └── f",
    ]


def test_a_deep_tree_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    root = twig = Tree(styled("0"))
    for number in range(2000):
        twig = twig.add(styled(str(number)))
    show(root)
    assert len(capsys.readouterr().out.splitlines()) == 2001


def test_long_lines_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    root = Tree(styled("prompt"))
    root.add(styled("word " * 100))
    show(root)
    assert capsys.readouterr().out.splitlines()[1] == "└── " + "word " * 100


def test_errors_go_where_errors_go(capsys: pytest.CaptureFixture[str]) -> None:
    show(styled("no"), to_stderr=True)
    assert capsys.readouterr() == ("", "no\n")


@pytest.mark.parametrize(
    ("environment", "colored"),
    [
        ({}, True),
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
)
def test_styles_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], colored: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    line = styled("a ", ("cat", "bold red"), ("", "dim"))
    expected = "a \x1b[1;31mcat\x1b[0m\n" if colored else "a cat\n"
    assert shown(line, monkeypatch, Screen()) == expected
    forced = "FORCE_COLOR" in environment and colored
    assert shown(line, monkeypatch, io.StringIO()) == (expected if forced else "a cat\n")


def test_what_the_encoding_lacks_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    root = Tree(styled("“é”"))
    root.add(styled("\udc80"))
    show(root)
    stream.flush()
    assert stream.buffer.getvalue() == b"\\u201c\\xe9\\u201d\n`-- \\udc80\n"  # type: ignore[attr-defined]


def test_wide_characters_take_two_columns() -> None:
    assert [columns(text) for text in ("cat", "猫", "é", "e\u0301")] == [3, 2, 1, 1]
