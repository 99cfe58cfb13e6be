"""Where presets of block weights are looked for, and what bad files do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from promptengine import Registry, parse
from promptengine.kinds.blocks import BUILT_IN_PRESETS
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.request.plan import Plan, make_plan
from tests.model_folders import touch

ONES, ZEROS = ",".join("1" * 17), ",".join("0" * 17)
NAME = "lbwpresets.txt"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    touch(tmp_path / "models" / "Lora" / "a.pt", tmp_path / "models" / "hypernetworks" / "ink.pt")
    return tmp_path / "models"


def plan(models: Path | Registry, prompt: str) -> Plan:
    registry = models if isinstance(models, Registry) else Registry.open(models)
    return make_plan(ScheduledPrompt(parse(prompt), 4), parse("", negative=True), registry)


def numbers(models: Path | Registry, preset: str, tag: str = "lora:a") -> tuple[float, ...]:
    (use,) = plan(models, f"<{tag}:1:lbw={preset}>").networks
    assert use.blocks is not None
    return use.blocks.numbers


@pytest.mark.parametrize("place", ["Lora", "LyCORIS", "hypernetworks", "", "../scripts"])
def test_files_beside_the_models_are_read(models: Path, place: str) -> None:
    (models / place).mkdir(exist_ok=True, parents=True)
    (models / place / NAME).write_text(f"MINE:{ONES}\n", "utf-8")
    assert numbers(models, "MINE") == (1.0,) * 17
    assert numbers(models, "MINE", "hypernet:ink") == (1.0,) * 17
    assert numbers(models, "NONE") == (0.0,) * 17


def test_the_nearer_file_wins_and_built_in_presets_come_last(models: Path) -> None:
    (models / "Lora" / NAME).write_text(f"MINE:{ONES}\nALL:{ZEROS}", "utf-8")
    (models / NAME).write_text(f"MINE:{ZEROS}\nOTHER:{ONES}", "utf-8")
    assert numbers(models, "MINE") == numbers(models, "OTHER") == (1.0,) * 17
    assert numbers(models, "ALL") == (0.0,) * 17


def test_a_file_that_changes_is_read_again_and_only_then(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promptengine.registry import block_presets

    reads: list[str] = []
    original = block_presets.read_presets
    monkeypatch.setattr(
        block_presets, "read_presets", lambda text: reads.append(text) or original(text)
    )
    registry, file = Registry.open(models), models / "Lora" / NAME
    assert registry.block_presets().texts == BUILT_IN_PRESETS
    file.write_text(f"MINE:{ONES}", "utf-8")
    assert numbers(registry, "MINE") == numbers(registry, "MINE") == (1.0,) * 17
    assert len(reads) == 1
    file.write_text(f"MINE:{ZEROS}\n", "utf-8")
    assert numbers(registry, "MINE") == (0.0,) * 17
    file.unlink()
    assert not plan(registry, "<lora:a:1:lbw=MINE>").networks


def test_bad_files_are_told_and_nothing_more(models: Path) -> None:
    file = models / "Lora" / NAME
    file.write_bytes(b"\xef\xbb\xbfBOM:" + ONES.encode() + b"\r\n\xff\xfe:\x00,\x80\n")
    assert numbers(models, "BOM") == (1.0,) * 17
    file.write_bytes(b"A:" + b"1," * (1 << 20))
    found = plan(models, "<lora:a:1:lbw=A>")
    assert not found.networks
    assert "Lora/lbwpresets.txt cannot be read: more than" in found.diagnostics[0].message
    file.unlink()
    os.mkfifo(file)
    assert registry_reads_without_waiting(models)


def registry_reads_without_waiting(models: Path) -> bool:
    return Registry.open(models).block_presets().texts == BUILT_IN_PRESETS


@pytest.mark.parametrize("tag", ["lora:a", "hypernet:ink"])
def test_a_tag_whose_weights_cannot_be_used_is_skipped_and_told(models: Path, tag: str) -> None:
    for value, said in (("MIDDD", "did you mean 'MIDD'"), ("1,2", "has 2 numbers")):
        found = plan(models, f"<{tag}:1:lbw={value}>")
        assert not found.networks
        (skipped,) = found.skipped
        assert "block weights" in skipped.reason or "lbw" in skipped.reason
        assert [said in told.message for told in found.diagnostics] == [True]
        assert found.diagnostics[0].hint == "it is not applied"
