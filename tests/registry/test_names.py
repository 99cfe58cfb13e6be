"""Names of networks as properties: none leads out of its folder, and what is proposed or listed is found."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptengine.registry.registry import (
    Registry,
)
from tests.model_folders import hypernets, settle, touch

_part = st.text(st.sampled_from("abAB.é _-"), min_size=1, max_size=4).filter(
    lambda part: not part.startswith(".") and part.strip(". ") == part
)
_file_name = st.builds(
    "{}{}".format,
    st.lists(_part, min_size=1, max_size=3).map("/".join),
    st.sampled_from([".pt", ".PT", ".safetensors", ".ckpt", ".bin"]),
)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Files inside and outside of a hypernetwork folder."""
    root = tmp_path_factory.mktemp("outside")
    touch(root / "secret.pt", root / "models" / "secret.pt", root / "models" / "Lora" / "secret.pt")
    registry = hypernets(root / "models", "a.pt", "b/a.pt", "b/c.bin")
    settle(root)
    registry.refresh()
    return registry


@given(
    name=st.one_of(
        st.text(max_size=20),
        st.lists(
            st.sampled_from(["..", ".", "/", "\\", "a", "b", "c", "secret", ".pt", "Lora", "\0"]),
            max_size=8,
        ).map("".join),
    )
)
def test_no_name_leads_out_of_the_folder(fixed: Registry, name: str) -> None:
    entry = fixed.find("hypernet", name)
    if entry is not None:
        assert entry in fixed.entries("hypernet")
        assert name.replace("\\", "/") in {
            spelling
            for entry in fixed.entries("hypernet")
            for spelling in (entry.name, entry.relative, entry.relative + entry.path.suffix)
        }


@given(name=st.text(max_size=30))
def test_every_proposal_is_found(fixed: Registry, name: str) -> None:
    for proposal in fixed.near("hypernet", name):
        assert fixed.find("hypernet", proposal) is not None


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=st.sets(_file_name, max_size=12))
def test_every_entry_is_found_by_its_name(
    tmp_path_factory: pytest.TempPathFactory, files: set[str]
) -> None:
    root = tmp_path_factory.mktemp("any")
    for name in files:
        try:
            touch(root / "hypernetworks" / name)
        except OSError:
            # "a.pt" cannot be a file and the folder of "a.pt/b.pt" at once.
            continue
    registry = Registry.open(root)
    entries = registry.entries("hypernet")
    assert {entry.path for entry in entries} == {
        path for path in (root / "hypernetworks").rglob("*") if path.is_file()
    }
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert registry.find("hypernet", entry.name) is entry
    stems = [entry.relative.rpartition("/")[2] for entry in entries]
    assert len(registry.clashes) == len(stems) - len(set(stems))
