"""Hypernetwork files and what the networks in them compute, against the golden data."""

from __future__ import annotations

import json
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from promptengine.errors import NetworkFormatError
from promptengine.files.hashing import sha256
from promptengine.files.weights import read_safetensors
from promptengine.inspection import inspect_file
from promptengine.networks.hypernetwork.files import convert_hypernetwork, load_hypernetwork
from tests.networks.builders import assert_same

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def networks_dir(conformance_dir: Path) -> Path:
    return conformance_dir / "webui" / "hypernetworks"


@pytest.fixture(scope="module")
def described(conformance_dir: Path) -> dict[str, dict[str, Any]]:
    text = (conformance_dir / "webui" / "goldens" / "hypernet_modules.json").read_text()
    found = json.loads(text)
    assert found
    return found


def test_metadata_layers_and_hash(networks_dir: Path, described: dict[str, Any]) -> None:
    for name, golden in described.items():
        path = networks_dir / golden["file"]
        network = load_hypernetwork(path)
        settings = network.settings
        found = {
            "inner_name": network.name,
            "step": network.step,
            "dims": sorted(network.widths),
            "layer_structure": list(settings.structure),
            "activation_func": settings.activation,
            "weight_init": settings.weight_init,
            "add_layer_norm": settings.layer_norm,
            "dropout_structure": list(settings.dropout_structure),
            "use_dropout": settings.use_dropout,
            "last_layer_dropout": settings.last_layer_dropout,
            "activate_output": settings.activate_output,
            "shorthash": sha256(path)[:10],
        }
        assert found == {key: golden[key] for key in found}, name
        for width in network.widths:
            pair = network.pair(width)
            assert pair is not None
            for part in pair:
                layers = [type(layer).__name__ for layer in part.linear]
                assert layers == golden["modules"][str(width)], name
                assert list(part.state_dict()) == golden["state_dict_keys"], name


def test_outputs_at_every_multiplier(conformance_dir: Path, described: dict[str, Any]) -> None:
    webui = conformance_dir / "webui"
    goldens, _ = read_safetensors(webui / "goldens" / "hypernet_modules.safetensors")
    compared = 0
    for name, golden in described.items():
        network = load_hypernetwork(webui / "hypernetworks" / golden["file"])
        for width in network.widths:
            pair = network.pair(width)
            assert pair is not None
            x = goldens[f"{name}/{width}/x"]
            assert torch.equal(pair.key(x, 0), x)
            assert torch.equal(pair.value(x, 0), x)
            for part, module in (("k", pair.key), ("v", pair.value)):
                start = f"{name}/{width}/{part}/"
                for key in [key for key in goldens if key.startswith(start)]:
                    found = module(x, float(key.removeprefix(start)))
                    assert (found - goldens[key]).abs().max() < TOLERANCE, key
                    compared += 1
    assert compared == sum(key.count("/") == 3 for key in goldens) > 0


def test_every_file_survives_conversion_there_and_back(networks_dir: Path, tmp_path: Path) -> None:
    for source in sorted(networks_dir.glob("*.pt")):
        between, back = tmp_path / f"{source.stem}.safetensors", tmp_path / source.name
        convert_hypernetwork(source, between)
        convert_hypernetwork(between, back)
        for file in (between, back):
            assert_same(load_hypernetwork(source), load_hypernetwork(file))
        assert inspect_file(between).layers == inspect_file(source).layers
        first, second = (torch.load(path, weights_only=True) for path in (source, back))
        for key, value in first.items():
            if isinstance(key, int):
                assert type(second[key]) is type(value)
            else:
                assert (second[key], type(second[key])) == (value, type(value)), (source.name, key)


def names_asked_for(archive: zipfile.ZipFile) -> set[object]:
    program = pickletools.genops(archive.read("archive/data.pkl"))
    return {argument for code, argument, _ in program if "GLOBAL" in code.name} | {
        "collections OrderedDict"
    }


def test_written_pickles_look_like_the_given_ones(networks_dir: Path, tmp_path: Path) -> None:
    for source in sorted(networks_dir.glob("*.pt")):
        convert_hypernetwork(source, tmp_path / source.name)
        with zipfile.ZipFile(source) as given, zipfile.ZipFile(tmp_path / source.name) as written:
            assert sorted(given.namelist()) == sorted(written.namelist())
            methods = {member.compress_type for member in written.infolist()}
            assert methods == {zipfile.ZIP_STORED}
            assert given.read("archive/version") == written.read("archive/version")
            # A reader that admits the names in WebUI's files admits ours.
            assert names_asked_for(written) <= names_asked_for(given)


def test_the_optimizer_state_is_no_network(networks_dir: Path) -> None:
    for path in networks_dir.glob("*.optim"):
        with pytest.raises(NetworkFormatError, match=r"name the file without \.optim"):
            load_hypernetwork(path)
        assert inspect_file(path).kind == "optimizer state"


def test_bad_files_give_one_clear_error_and_run_nothing(
    conformance_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = sorted((conformance_dir / "webui" / "hypernetworks_bad").glob("*"))
    for path in paths:
        with pytest.raises(NetworkFormatError) as found:
            load_hypernetwork(path)
        assert "\n" not in str(found.value)
        try:
            report = inspect_file(path)
        except NetworkFormatError:
            continue
        assert report.safe == (not report.unsafe_globals)
        assert report.safe == ("evil" not in path.name)
    assert not list(tmp_path.iterdir())


def test_other_files_of_tensors_are_told_apart(conformance_dir: Path) -> None:
    kinds = {
        "webui/embeddings": "embedding",
        "webui/hypernetworks": "hypernetwork",
        "webui/model": "checkpoint",
        "webui-2/loras": "lora",
    }
    for folder, kind in kinds.items():
        for path in (conformance_dir / folder).glob("*"):
            if path.suffix in (".pt", ".safetensors"):
                assert inspect_file(path).kind == kind, path.name
