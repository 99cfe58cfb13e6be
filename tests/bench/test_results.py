"""Figures from before and of now: what is told of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import __main__ as driver
from tests.bench.machine import Machine
from tests.bench.results import Result, Results, changes, read
from tests.bench.timing import Ratio, Row, compared, write_json

MACHINE = Machine("some processor", 2, 2, ("AVX2",), "2.13.0", "")


def results(
    ours: float, *, spread: float = 0.02, floor: float = 1.5, machine: Machine = MACHINE
) -> Results:
    rows = {
        "diffusers": Row(1.0, Ratio(1.0, 0.0), 10.0, Ratio(1.6, 0.01), ours=False),
        "none, ours": Row(ours, Ratio(ours, spread), 10.0, Ratio(floor, 0.05)),
    }
    return {"bench_unet": Result(machine, {"float32, 256×256": rows})}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``python -m tests.bench --compare`` where a file holds one thing and benchmarks find another."""

    def compare(before: Results, now: Results, *options: str) -> int:
        asked: list[str] = []

        def measure(names: list[str]) -> tuple[Results, list[str]]:
            asked.extend(names)
            return now, []

        monkeypatch.setattr(driver, "measure", measure)
        path = tmp_path / "before.json"
        write_json(path, before)
        status = driver.main(["--compare", str(path), *options])
        assert asked == ["bench_unet"]
        return status

    return compare


def test_nothing_is_slower_within_spread_and_threshold(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results(0.80), results(0.87)) == 0
    assert "0 of 2 ratios slower" in capsys.readouterr().out


def test_a_ratio_beyond_spread_and_threshold_is_slower(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results(0.80), results(0.90)) == 1
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.endswith("slower"))
    assert line.startswith("bench_unet: float32, 256×256: none, ours, ratio")
    assert "0.800 ± 0.020" in line
    assert "0.900 ± 0.020" in line
    assert "+12.5%" in line
    assert "1 of 2 ratios slower" in said


def test_what_is_wider_spread_or_allowed_is_not_slower(run: Callable[..., int]) -> None:
    assert run(results(0.80), results(0.90, spread=0.05)) == 0
    assert run(results(0.80), results(0.90), "--threshold", "10") == 0


def test_what_is_further_from_the_floor_is_slower(run: Callable[..., int]) -> None:
    assert run(results(0.80), results(0.80, floor=1.8)) == 1


def test_what_is_quicker_is_not_slower(run: Callable[..., int]) -> None:
    assert run(results(0.80), results(0.40, floor=0.9)) == 0


def test_what_is_not_ours_is_not_compared() -> None:
    places = {(change.place, change.figure) for change in changes(results(0.8), results(0.8))}
    place = "bench_unet: float32, 256×256: none, ours"
    assert places == {(place, "ratio"), (place, "× floor")}


def test_another_machine_is_told(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(MACHINE, threads=4, instructions=("AVX2", "AVX-512"))
    assert run(results(0.8), results(0.8, machine=other)) == 0
    said = capsys.readouterr().out
    assert "another one (threads: 2, now 4)" in said
    assert "another one (instructions: AVX2, now AVX2 AVX-512)" in said


def test_the_same_machine_is_not_told(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run(results(0.8), results(0.8))
    assert "another one" not in capsys.readouterr().out


def test_rows_that_are_gone_are_told_and_none_is_no_success(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    empty = {"bench_unet": Result(MACHINE, {"float32, 256×256": {}})}
    assert run(results(0.8), empty) == 1
    said = capsys.readouterr().out
    assert "none, ours: not measured any more" in said
    assert "diffusers: not measured" not in said


def test_figures_come_back_from_their_file(tmp_path: Path) -> None:
    found = results(0.8)
    write_json(tmp_path / "figures.json", found)
    assert read(tmp_path / "figures.json") == found


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\x00",
        b"[" * 100_000,
        b'{"bench_unet": {"seconds": 1}}',
        b'{"bench_unet": {"machine": {"processor": "x"}, "tables": {}}}',
    ],
)
def test_a_file_of_something_else_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        driver.main(["--compare", str(path)])
    assert stopped.value.code == 2
    assert f"{path} is no file of figures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "{}/none.json"], "cannot be read"),
        (["--compare", "{}"], "cannot be read"),
        (["--json", "{}/none/figures.json"], "--json must name a file in a folder that exists"),
        (["--json", "{}"], "--json must name a file in a folder that exists"),
        (["--threshold", "-1"], "must be 0 or more (got -1)"),
        (["--threshold", "nan"], "must be 0 or more (got nan)"),
    ],
)
def test_options_that_cannot_be_honored_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        driver.main([option.format(tmp_path) for option in options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_figures_of_no_benchmark_that_is_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "before.json"
    write_json(path, {"bench_other": Result(MACHINE, {})})
    with pytest.raises(SystemExit):
        driver.main(["--compare", str(path)])
    assert "before.json has no figures of bench_parse, bench_unet" in capsys.readouterr().err


def test_a_benchmark_that_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "measure", lambda _: ({}, ["bench_run"]))
    assert driver.main([]) == 1
    assert "failed: bench_run" in capsys.readouterr().out


SECONDS: Mapping[str, list[float]] = {
    "floor": [0.1, 0.2, 0.1],
    "diffusers": [2.0, 4.0, 2.0],
    "ours": [1.0, 2.0, 1.0],
}


def test_ratios_are_those_of_a_round() -> None:
    """A machine that is half as quick for a round changes none."""
    work = {"floor": 1_000_000_000, "diffusers": 10_000_000_000, "ours": 8_000_000_000}
    rows = compared(SECONDS, "diffusers", work=work, theirs=("diffusers",))
    assert rows["ours"].ratio == Ratio(0.5, 0.0)
    assert rows["ours"].floor == Ratio(1.25, 0.0)
    assert rows["ours"].rate == 8.0
    assert [row.ours for row in rows.values()] == [False, False, True]


def test_what_is_not_counted_stands_beside_no_floor() -> None:
    work = {"floor": 1_000_000_000, "diffusers": 10_000_000_000, "ours": 0}
    rows = compared(SECONDS, "diffusers", work=work)
    assert rows["ours"].floor is None
    assert rows["ours"].rate is None
