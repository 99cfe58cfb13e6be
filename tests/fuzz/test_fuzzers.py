"""The fuzzers, which no other test runs, still know the package's names and repeat themselves."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz import fuzz_programs, fuzz_prompts
from tests.fuzz.fuzz_files import _READERS
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import seeds_of

pytestmark = pytest.mark.slow


def test_every_kind_of_file_has_seeds_that_are_changed_alike(tmp_path: Path) -> None:
    seeds = seeds_of(tmp_path)
    assert set(seeds) == set(_READERS)
    for kind, files in seeds.items():
        first, again = (mutated(kind, files[0], Random(5)) for _ in range(2))
        assert first == again


def test_a_chunk_of_prompts_is_read_without_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz_prompts", "--count", "1000", "--processes", "1"])
    assert fuzz_prompts.main() == 0


def test_notes_of_other_programs_are_read_without_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert fuzz_programs.mutant(5) == fuzz_programs.mutant(5) != fuzz_programs.mutant(6)
    monkeypatch.setattr("sys.argv", ["fuzz_programs", "--count", "500"])
    assert fuzz_programs.main() == 0
