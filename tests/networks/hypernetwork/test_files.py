from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from promptengine.errors import NetworkFormatError
from promptengine.networks.hypernetwork.files import (
    convert_hypernetwork,
    load_hypernetwork,
    save_hypernetwork,
)
from promptengine.networks.hypernetwork.module import ACTIVATIONS, HypernetworkSettings
from tests.networks.builders import assert_same, random_network

Payload = dict[object, object]


def state(width: int = 4, hidden: int = 8, **names: str) -> dict[str, torch.Tensor]:
    first, second = names.get("first", "linear.0"), names.get("second", "linear.1")
    random = torch.Generator().manual_seed(width)
    return {
        f"{first}.weight": torch.randn(hidden, width, generator=random),
        f"{first}.bias": torch.randn(hidden, generator=random),
        f"{second}.weight": torch.randn(width, hidden, generator=random),
        f"{second}.bias": torch.randn(width, generator=random),
    }


def written(path: Path, payload: object) -> Path:
    torch.save(payload, path)
    return path


@st.composite
def any_settings(draw: st.DrawFn) -> HypernetworkSettings:
    inner = draw(st.lists(st.sampled_from([0.5, 1, 1.5, 2, 3]), max_size=3))
    probabilities = st.sampled_from([0, 0, 0.05, 0.3])
    dropout = [draw(probabilities) for _ in range(len(inner) + 1)]
    return HypernetworkSettings(
        structure=(1, *inner, 1),
        activation=draw(st.sampled_from([None, "linear", *ACTIVATIONS])),
        weight_init=draw(st.sampled_from(["Normal", "KaimingUniform"])),
        layer_norm=draw(st.booleans()),
        activate_output=draw(st.booleans()),
        use_dropout=any(dropout),
        dropout_structure=(0, *dropout),
        last_layer_dropout=draw(st.booleans()),
    )


simple = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=any_settings(),
    widths=st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True),
    name=st.text(min_size=1),
    extra=st.dictionaries(
        st.text(), simple | st.lists(simple) | st.dictionaries(st.text(), simple)
    ),
)
def test_every_network_survives_both_formats(
    tmp_path_factory: pytest.TempPathFactory,
    shape: HypernetworkSettings,
    widths: list[int],
    name: str,
    extra: dict[str, object],
) -> None:
    known = {
        *("step", "name", "sd_checkpoint", "sd_checkpoint_name", "layer_structure"),
        *("activation_func", "is_layer_norm", "weight_initialization", "activate_output"),
        *("use_dropout", "dropout_structure", "last_layer_dropout"),
    }
    extra = {k: v for k, v in extra.items() if k not in known and v is not None}
    extra = {"optional_info": "rate 1e-5", **extra}
    folder = tmp_path_factory.mktemp("formats")
    network = random_network(widths, shape, name=name, extra=extra)
    save_hypernetwork(network, folder / "a.pt")
    convert_hypernetwork(folder / "a.pt", folder / "b.safetensors")
    convert_hypernetwork(folder / "b.safetensors", folder / "c.pt")
    for file in ("a.pt", "b.safetensors", "c.pt"):
        assert_same(load_hypernetwork(folder / file), network)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keep_the_dtype_and_the_bits_of_the_file(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    network = random_network([4]).to(dtype)
    next(network.parameters()).data[0, 0] = float("nan")
    for suffix in (".safetensors", ".pt"):
        save_hypernetwork(network, tmp_path / f"a{suffix}")
        loaded = load_hypernetwork(tmp_path / f"a{suffix}").state_dict()
        for name, tensor in network.state_dict().items():
            assert loaded[name].dtype == dtype
            assert torch.equal(loaded[name].view(torch.int8), tensor.view(torch.int8))


def test_a_written_pickle_holds_only_the_members_and_types_that_webui_accepts(
    tmp_path: Path,
) -> None:
    save_hypernetwork(random_network([4, 8]), tmp_path / "ink.pt")
    with zipfile.ZipFile(tmp_path / "ink.pt") as archive:
        members = archive.infolist()
        pickled = archive.read("archive/data.pkl")
        assert archive.read("archive/version") == b"3\n"
    tensors = [f"archive/data/{index}" for index in range(len(members) - 2)]
    assert {member.filename for member in members} == {
        "archive/data.pkl",
        "archive/version",
        *tensors,
    }
    assert all(member.compress_type == zipfile.ZIP_STORED for member in members)
    content = torch.load(tmp_path / "ink.pt", weights_only=True, mmap=True)
    assert [key for key in content if isinstance(key, int)] == [4, 8]
    assert {type(value) for key, value in content.items() if isinstance(key, int)} == {tuple}
    assert isinstance(content["layer_structure"], list)
    assert all(part.data_ptr() % 64 == 0 for net in content[4] for part in net.values())
    assert b"torch.nn" not in pickled
    assert not any(part.requires_grad for net in content[4] for part in net.values())


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    network = random_network([4])
    for suffix in (".pt", ".safetensors"):
        files = [tmp_path / f"{stem}{suffix}" for stem in "ab"]
        for file in files:
            save_hypernetwork(network, file)
        assert files[0].read_bytes() == files[1].read_bytes()
    text = (tmp_path / "a.safetensors").read_bytes()
    names = list(json.loads(text[8 : 8 + int.from_bytes(text[:8], "little")])["__metadata__"])
    assert names == sorted(names)
    assert "4.key.linear.0.weight" in load_file(tmp_path / "a.safetensors")


def test_a_loaded_network_is_ready_for_inference_and_owns_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_hypernetwork(random_network([4]), path)
    network = load_hypernetwork(path)
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path.write_bytes(bytes(path.stat().st_size))
    path.unlink()
    assert not network.training
    assert not any(tensor.requires_grad for tensor in network.parameters())
    assert all(torch.equal(kept[name], tensor) for name, tensor in network.state_dict().items())


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    network = random_network([4])
    save_hypernetwork(network, tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "a.pt")
    assert_same(load_hypernetwork(tmp_path / "a.pt"), network)


def test_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkFormatError, match=r"unknown suffix '.zip'; use .pt"):
        save_hypernetwork(random_network([4]), tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


def test_a_bare_file_of_2022_gets_the_defaults_of_its_time(tmp_path: Path) -> None:
    old = {"first": "linear1", "second": "linear2"}
    first = state(**old)
    network = load_hypernetwork(written(tmp_path / "vintage.pt", {4: (first, state(**old))}))
    assert (network.name, network.step, network.settings) == ("vintage", 0, HypernetworkSettings())
    pair = network.pair(4)
    assert pair is not None
    assert torch.equal(pair.key.linear[1].weight, first["linear2.weight"])


def test_dropout_that_says_not_where_is_found_by_the_numbers(tmp_path: Path) -> None:
    shape = HypernetworkSettings((1, 2, 2, 1), "relu", dropout_structure=(0, 0.3, 0, 0))
    network = random_network([4], shape)
    save_hypernetwork(network, tmp_path / "a.pt")
    payload = torch.load(tmp_path / "a.pt", weights_only=True)
    del payload["dropout_structure"]
    loaded = load_hypernetwork(written(tmp_path / "b.pt", payload | {"use_dropout": True}))
    assert loaded.settings.dropout_structure == (0, 0.3, 0, 0)


def test_metadata_that_is_not_simple_is_left_behind(tmp_path: Path) -> None:
    within = [[1]]
    payload = {4: (state(), state()), "a": within, "b": torch.zeros(2), "c": [1, "x"], "d": (1, 2)}
    loaded = load_hypernetwork(written(tmp_path / "a.pt", payload))
    assert loaded.extra == {"c": [1, "x"]}


def broken(change: Callable[[Payload], object]) -> Payload:
    payload: Payload = {4: (state(), state()), "layer_structure": [1, 2, 1]}
    change(payload)
    return payload


def set_key(key: object, value: object) -> Callable[[Payload], object]:
    return lambda payload: payload.__setitem__(key, value)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ([1, 2], "holds a list, not a hypernetwork"),
        ({}, "holds no hypernetwork"),
        ({"step": 1}, "holds no hypernetwork"),
        ({"optimizer_state_dict": {}}, "without .optim"),
        ({"string_to_param": {"*": torch.zeros(1, 4)}}, "kind embedding"),
        ({"model.diffusion_model.x": torch.zeros(1)}, "kind checkpoint"),
        (broken(set_key(4, state())), "width 4 holds no pair"),
        (broken(set_key(4, (state(),))), "width 4 holds no pair"),
        (broken(set_key(4, (state(), [1]))), "width 4 holds a list in place of a network"),
        (broken(set_key(4, ({}, state()))), "width 4, key network: 'linear.0.bias' is missing"),
        (broken(set_key(4, (state(5), state(5)))), r"'linear.0.weight' is \[8, 5\].*\[8, 4\]"),
        (broken(set_key(4, (state(), state(hidden=6)))), "width 4, value network"),
        (broken(set_key(4, (state(second="linear.2"), state()))), "linear.1.bias' is missing"),
        (broken(set_key(4, ({**state(), "x": torch.zeros(1)}, state()))), "'x' is no part"),
        (broken(set_key(4, ({**state(), "x": 1}, state()))), "'x' is no plain tensor"),
        (broken(set_key(4, ({**state(), 1: torch.zeros(1)}, state()))), "1 is no plain tensor"),
        (
            broken(set_key(4, ({n: t.int() for n, t in state().items()}, state()))),
            "torch.int32, not weights",
        ),
        (
            broken(set_key(4, ({n: t.to_sparse() for n, t in state().items()}, state()))),
            "_rebuild_sparse_tensor",
        ),
        (broken(set_key(-4, (state(), state()))), "width -4"),
        (broken(set_key(10**20, (state(), state()))), "width 10000"),
        (broken(set_key("layer_structure", "1,2,1")), "structure is no list of numbers"),
        (broken(set_key("layer_structure", [1, True, 1])), "structure is no list of numbers"),
        (broken(set_key("layer_structure", [1, 2])), "begin and end with 1"),
        (broken(set_key("layer_structure", [1] * 500)), "500 stages"),
        (broken(set_key("layer_structure", [1, 1e5, 1])), r"is \[8, 4\], but"),
        (broken(set_key("activation_func", "swich")), "did you mean swish"),
        (broken(set_key("activation_func", 3)), "'activation' is a int, not text"),
        (broken(set_key("activation_func", "relu")), "linear.2.bias' is missing"),
        (broken(set_key("is_layer_norm", "no")), "neither true nor false"),
        (broken(set_key("step", "many")), "step 'many'"),
        (broken(set_key("step", -1)), "step -1"),
        (broken(set_key("name", 5)), "'name' is a int, not text"),
        (broken(set_key("dropout_structure", [0, 2, 0])), "outside 0 <= p < 1"),
    ],
)
def test_what_is_no_usable_network_is_refused_in_one_line(
    tmp_path: Path, payload: object, said: str
) -> None:
    path = written(tmp_path / "bad.pt", payload)
    with pytest.raises(NetworkFormatError, match=said) as caught:
        load_hypernetwork(path)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 450


def test_tensors_that_would_outgrow_the_file_are_refused(tmp_path: Path) -> None:
    huge = {
        "linear.0.weight": torch.zeros(1).expand(2 * 90_000, 90_000),
        "linear.0.bias": torch.zeros(1).expand(2 * 90_000),
        "linear.1.weight": torch.zeros(1).expand(90_000, 2 * 90_000),
        "linear.1.bias": torch.zeros(1).expand(90_000),
    }
    path = written(tmp_path / "bomb.pt", {90_000: (huge, huge)})
    with pytest.raises(NetworkFormatError, match="more numbers than the file holds"):
        load_hypernetwork(path)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, "holds no hypernetwork"),
        ({"format": "pt"}, "holds no hypernetwork"),
        ({"version": "2"}, "a newer version of this package"),
        ({"widths": "[4, 8]"}, "is missing"),
        ({"widths": "[8]"}, "belongs to none of its widths"),
        ({"widths": "[true]"}, "no list of whole numbers"),
        ({"widths": "[]"}, "no list of whole numbers"),
        ({"widths": "[" * 100_000}, "'widths' is missing or damaged"),
        ({"widths": "[4"}, "delimiter"),
        ({"widths": "4"}, "'widths' is missing or damaged"),
        ({"settings": "[]"}, "'settings' is missing or damaged"),
        ({"settings": '{"activation": "nope"}'}, "unknown activation"),
        ({"step": "ten"}, "step 'ten'"),
    ],
)
def test_damaged_metadata_is_refused(
    tmp_path: Path, metadata: dict[str, str] | None, said: str
) -> None:
    save_hypernetwork(random_network([4]), tmp_path / "a.safetensors")
    text = (tmp_path / "a.safetensors").read_bytes()
    good = json.loads(text[8 : 8 + int.from_bytes(text[:8], "little")])["__metadata__"]
    tensors = {
        name: tensor.clone() for name, tensor in load_file(tmp_path / "a.safetensors").items()
    }
    changed = None if metadata is None else good | metadata
    save_file(tensors, tmp_path / "b.safetensors", metadata=changed)
    with pytest.raises(NetworkFormatError, match=said):
        load_hypernetwork(tmp_path / "b.safetensors")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch pwned",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_asks_to_run_something_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    torch.save({4: (Evil(), {})}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(NetworkFormatError, match=r"it asks to run '\w+\.system'; refused"):
        load_hypernetwork(path)
    assert [file.name for file in tmp_path.iterdir()] == ["evil.pt"]


def contents() -> list[bytes]:
    found = [io.BytesIO(), io.BytesIO()]
    payload = {4: (state(), state()), "name": "ink", "step": 3}
    torch.save(payload, found[0])
    torch.save(payload, found[1], _use_new_zipfile_serialization=False)
    return [*(each.getvalue() for each in found), pickle.dumps({4: 5}, 4), b"PK\x03\x04"]


@settings(max_examples=150, deadline=None)
@given(
    content=st.sampled_from(contents()),
    at=st.integers(0, 10**6),
    byte=st.integers(0, 255),
    cut=st.booleans(),
)
def test_damage_anywhere_gives_a_network_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int, byte: int, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("damage") / "a.pt"
    at %= len(content)
    path.write_bytes(content[:at] if cut else content[:at] + bytes([byte]) + content[at + 1 :])
    try:
        assert load_hypernetwork(path).widths
    except NetworkFormatError as failure:
        assert "\n" not in str(failure)
