from __future__ import annotations

import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from promptengine.errors import CheckpointError, NetworkFormatError
from promptengine.files.weights import (
    Placeholder,
    StoredParameters,
    detect_kind,
    file_format,
    read_pickled,
    read_safetensors,
    unsafe_reason,
)


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, promptengine.files.weights, promptengine.inspection; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    weights = {"a": torch.zeros(2)}
    save_file(weights, tmp_path / "a.pt")
    torch.save(weights, tmp_path / "b.safetensors")
    torch.save(weights, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    names = [file_format(tmp_path / name) for name in ("a.pt", "b.safetensors", "c.pt")]
    assert names == ["safetensors", "zip pickle", "legacy pickle"]


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_come_back_equal(tmp_path: Path, legacy: bool) -> None:
    payload = {"state_dict": OrderedDict(a=torch.randn(3, 4), b=torch.zeros(2).half()), "epoch": 3}
    torch.save(payload, tmp_path / "a.ckpt", _use_new_zipfile_serialization=not legacy)
    content = read_pickled(tmp_path / "a.ckpt")
    assert isinstance(content, dict)
    assert content["epoch"] == 3
    assert torch.equal(content["state_dict"]["a"], payload["state_dict"]["a"])
    assert content["state_dict"]["b"].dtype == torch.float16
    content["state_dict"]["a"].zero_()
    again = read_pickled(tmp_path / "a.ckpt")
    assert isinstance(again, dict)
    assert torch.equal(again["state_dict"]["a"], payload["state_dict"]["a"])


def test_a_dictionary_of_parameters_comes_back_as_a_plain_one(tmp_path: Path) -> None:
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.randn(2, 3))})
    torch.save({"string_to_param": parameters}, tmp_path / "a.pt")
    assert unsafe_reason(tmp_path / "a.pt") is None
    content = read_pickled(tmp_path / "a.pt")
    assert isinstance(content, dict)
    found = content["string_to_param"]
    assert isinstance(found, StoredParameters) and list(found) == ["*"]
    assert torch.equal(found["*"], parameters["*"])


def test_a_dictionary_of_parameters_with_another_state_is_empty() -> None:
    for state in ({}, {"_parameters": [1]}, {"_parameters": None}):
        stored = StoredParameters()
        stored.__setstate__(state)
        assert stored == {}


def test_safetensors_come_back_equal_with_metadata(tmp_path: Path) -> None:
    save_file({"a": torch.arange(6.0)}, tmp_path / "a.safetensors", metadata={"made by": "me"})
    tensors, metadata = read_safetensors(tmp_path / "a.safetensors")
    assert metadata == {"made by": "me"}
    tensors["a"].zero_()
    assert torch.equal(read_safetensors(tmp_path / "a.safetensors")[0]["a"], torch.arange(6.0))


def header(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + body


def tensor_header(shape: list[int], end: int) -> bytes:
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}
    return json.dumps({"a": entry}).encode()


SAFETENSORS = {
    "longer than the file": struct.pack("<Q", 99_000_000) + b"{}",
    "absurdly long": struct.pack("<Q", 1 << 60) + b"{}",
    "no JSON": header(b"{bad"),
    "data missing": header(tensor_header([10], 40)),
    "shape overflows": header(tensor_header([1 << 40, 1 << 40], 4), b"0000"),
    "metadata not text": header(b'{"__metadata__":{"a":1}}'),
}


@pytest.mark.parametrize("damage", SAFETENSORS)
def test_damaged_safetensors_give_one_clear_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(SAFETENSORS[damage])
    with pytest.raises(
        NetworkFormatError, match=r"damaged safetensors file .*copy it again"
    ) as found:
        read_safetensors(path)
    assert "\n" not in str(found.value)


def zipped(payload: object, method: int = zipfile.ZIP_STORED) -> bytes:
    saved, packed = io.BytesIO(), io.BytesIO()
    torch.save(payload, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(packed, "w", method) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return packed.getvalue()


WEIGHTS = zipped({"a": torch.zeros(1000)})
PICKLES = {
    "empty": (b"", "the file is empty; download or copy it again"),
    "text": (b"<!DOCTYPE html>", "neither a safetensors file nor one that torch.save wrote"),
    "cut short": (WEIGHTS[: len(WEIGHTS) // 2], "damaged or cut short; download or copy it again"),
    "only a start": (b"\x80\x02", "damaged or cut short"),
    "bare pickle": (pickle.dumps({"a": 1}, 2), "a bare pickle, which torch.save did not write"),
    "new protocol": (pickle.dumps({"a": 1}, 4), "pickle protocol 4.*save it again"),
    "compressed": (
        zipped({"a": torch.zeros(1000)}, zipfile.ZIP_DEFLATED),
        "its members are compressed",
    ),
    "another zip": (b"PK\x03\x04" + bytes(100), "damaged or cut short"),
    "keys missing": (b"\x80\x02h\x05.", "damaged or cut short"),
}


@pytest.mark.parametrize("damage", PICKLES)
@pytest.mark.parametrize("error", [NetworkFormatError, CheckpointError])
def test_damaged_pickles_give_one_clear_line(
    tmp_path: Path, damage: str, error: type[NetworkFormatError] | type[CheckpointError]
) -> None:
    content, said = PICKLES[damage]
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    with pytest.raises(error, match=said) as found:
        read_pickled(path, error=error)
    assert found.value.path == path
    assert "\n" not in str(found.value)
    assert "weights_only" not in str(found.value)


@pytest.mark.parametrize("read", [read_pickled, read_safetensors, unsafe_reason, file_format])
def test_missing_files_and_folders_are_named(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(NetworkFormatError, match="no such file"):
        read(tmp_path / "missing.pt")
    with pytest.raises(NetworkFormatError, match="a folder, not a file"):
        read(tmp_path)


def test_each_reader_says_that_the_file_is_of_the_other_format(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a")
    torch.save({"a": torch.zeros(1)}, tmp_path / "b")
    with pytest.raises(NetworkFormatError, match="a safetensors file where a pickle was expected"):
        read_pickled(tmp_path / "a")
    with pytest.raises(NetworkFormatError, match="a pickle where a safetensors file was expected"):
        read_safetensors(tmp_path / "b")


def test_a_program_is_not_taken_for_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), tmp_path / "a.pt")
    with pytest.raises(NetworkFormatError, match="a TorchScript program, not weights"):
        read_pickled(tmp_path / "a.pt")


def pickled_call(name: str, *, legacy: bool) -> bytes:
    """A file of torch.save whose weights are the result of calling ``module name``."""
    call = f"\x80\x02c{name}\n(X\x05\x00\x00\x00pwnedtR.".encode("latin1")
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=not legacy)
    if legacy:
        return buffer.getvalue().replace(b"\x80\x02}q\x00.", call)
    packed = io.BytesIO()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.namelist():
            data = call if member.endswith("data.pkl") else source.read(member)
            target.writestr(member, data)
    return packed.getvalue()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["posix\nsystem", "os\nmkdir", "builtins\neval", "nowhere\nto.be"])
def test_what_a_pickle_asks_to_run_is_named_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.ckpt"
    path.write_bytes(pickled_call(name, legacy=legacy))
    shown = name.replace("\n", ".").removeprefix("builtins.")
    # Protocol 2 knows the built-in functions by their module's name of old; torch releases differ.
    place = r"(builtins\.|__builtin__\.)?"
    with pytest.raises(
        CheckpointError, match=f"asks to run '{place}{shown}'; refused.*safetensors"
    ):
        read_pickled(path, error=CheckpointError)
    refusal = unsafe_reason(path)
    assert refusal is not None
    (named,) = refusal.names
    assert re.fullmatch(place + re.escape(shown), named)
    assert [file.name for file in tmp_path.iterdir()] == ["evil.ckpt"]


def original_checkpoint() -> bytes:
    """A checkpoint like those of 2022: callbacks by class, a best score as a numpy scalar."""
    scalar = (
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tR"
        b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"c_codecs\nencode\n(X\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00X\x06\x00\x00\x00latin1tRtR"
    )
    callbacks = (
        b"}(cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\nK\x01"
        b"cpytorch_lightning.callbacks.early_stopping\nEarlyStopping\nK\x02u"
    )
    program = b"\x80\x02}(X\x09\x00\x00\x00callbacks" + callbacks
    program += b"X\x04\x00\x00\x00best" + scalar + b"X\x05\x00\x00\x00epochK\x03u."
    buffer, packed = io.BytesIO(), io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.namelist():
            target.writestr(member, program if "data.pkl" in member else source.read(member))
    return packed.getvalue()


def test_trainer_state_of_old_checkpoints_is_read_as_inert_placeholders(tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    path.write_bytes(original_checkpoint())
    allowed, modules = torch.serialization.get_safe_globals(), set(sys.modules)
    content = read_pickled(path)
    assert isinstance(content, dict)
    assert content["epoch"] == 3
    assert isinstance(content["best"], Placeholder)
    assert not vars(content["best"])
    assert list(content["callbacks"].values()) == [1, 2]
    assert all(issubclass(key, Placeholder) for key in content["callbacks"])
    assert unsafe_reason(path) is None
    assert set(torch.serialization.get_safe_globals()) == set(allowed)
    assert not {name for name in set(sys.modules) - modules if "lightning" in name}


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ([768, "name"], "hypernetwork"),
        ([True, "name"], "unknown"),
        (["optimizer_name", "hash", "optimizer_state_dict"], "optimizer state"),
        (["string_to_token", "string_to_param"], "embedding"),
        (["emb_params"], "embedding"),
        (["clip_l", "clip_g"], "embedding"),
        (["state_dict", "model.diffusion_model.out.0.weight"], "checkpoint"),
        (["lora_unet_x.lora_down.weight", "bundle_emb.a.emb_params"], "lora"),
        (["unet.down_blocks.0.attn1.to_q.lora_A.weight"], "lora"),
        (["lora_unet_x.hada_w1_a"], "lora"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], "vae"),
        (["first_stage_model.encoder.conv_in.weight"], "vae"),
        (["weight"], "unknown"),
        ([], "unknown"),
    ],
)
def test_kinds_are_told_by_keys(keys: list[object], kind: str) -> None:
    assert detect_kind(keys) == kind


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_named_safetensors_is_read_by_content(tmp_path: Path, legacy: bool) -> None:
    from promptengine.checkpoints.build import read_weights
    from promptengine.inspection import inspect_file, size_of_checkpoint
    from promptengine.networks.lora.files import load_lora
    from promptengine.registry.scan import read_header
    from promptengine.text.textual_inversion.files import load_embedding

    def saved(name: str, content: object) -> Path:
        path = tmp_path / f"{name}.safetensors"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        assert inspect_file(path).format == ("legacy pickle" if legacy else "zip pickle")
        assert read_header(path).shapes == {}
        return path

    lora = {f"lora_unet_a.lora_{way}.weight": torch.ones(2, 2) for way in ("up", "down")}
    assert list(load_lora(saved("lora", lora)).modules) == ["diffusion_model_a"]
    embedding = load_embedding(saved("word", {"emb_params": torch.ones(2, 8)}))
    assert embedding is not None and embedding.count == 2
    model = saved("model", {"state_dict": {"model.diffusion_model.a": torch.ones(1)}})
    assert list(read_weights(model)[0]) == ["model.diffusion_model.a"]
    assert size_of_checkpoint(model) == 512
