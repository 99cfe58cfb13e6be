"""Networks of keys and queries: what they reach, and which files can hold them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from promptengine import (
    Engine,
    NetworkFormatError,
    convert_hypernetwork,
    inject_hypernetworks,
    inspect_file,
    load_hypernetwork,
    save_hypernetwork,
)
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from tests.networks.builders import RELU, assert_same, projections_reached, random_network
from tests.training.builders import NETWORK, config, files, train

QUERY = replace(RELU, transform="key,query")


def test_only_key_and_query_projections_of_its_widths_are_reached(tiny_engine: Engine) -> None:
    unet = tiny_engine.checkpoint.unet
    reached = projections_reached(unet, [(random_network([48, 64], QUERY), 1.0)])
    assert reached == {
        name
        for name, module in unet.named_modules()
        if name.endswith((".to_k", ".to_q")) and module.in_features in (48, 64)
    }


def test_the_query_is_what_the_second_network_changes(tiny_engine: Engine) -> None:
    network = random_network([64], QUERY)
    unet = tiny_engine.checkpoint.unet
    attention = next(
        module
        for name, module in unet.named_modules()
        if name.endswith("attn2") and module.to_q.in_features == 64
    )
    image, text = torch.randn(1, 5, 64), torch.randn(1, 7, 48)
    part = network.part(64, "query")
    assert part is not None
    assert network.part(64, "value") is None
    changed = image + 0.5 * part.linear(image)
    with torch.no_grad():
        expected = attention.to_q(changed)
        plain = attention.to_k(text), attention.to_v(text)
        with inject_hypernetworks(unet, [(network, 0.5)]):
            torch.testing.assert_close(attention.to_q(image), expected)
            assert torch.equal(attention.to_k(text), plain[0]), "48 is none of its widths"
            assert torch.equal(attention.to_v(text), plain[1])


def test_safetensors_keep_the_transform_and_pickles_are_refused(tmp_path: Path) -> None:
    network = random_network([48, 64], QUERY)
    path = tmp_path / "ink.safetensors"
    save_hypernetwork(network, path)
    loaded = load_hypernetwork(path)
    assert_same(loaded, network)
    assert loaded.settings.parts == ("key", "query")
    assert inspect_file(path).metadata["transform"] == "key,query"
    assert inspect_file(path).layers[0].startswith("48: Linear 48→96")
    with pytest.raises(NetworkFormatError, match=r"key and query cannot be written as \.pt"):
        convert_hypernetwork(path, tmp_path / "ink.pt")
    assert not (tmp_path / "ink.pt").exists()
    convert_hypernetwork(path, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_no_other_transform_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'value,query' is none of key,value and key,query"):
        HypernetworkSettings(transform="value,query")  # pyright: ignore[reportArgumentType]
    path = tmp_path / "ink.safetensors"
    save_hypernetwork(random_network([4]), path)
    content = path.read_bytes()
    assert content.count(b"key,value") == 1
    path.write_bytes(content.replace(b"key,value", b"key,queri"))
    with pytest.raises(NetworkFormatError, match="'key,queri' is none of"):
        load_hypernetwork(path)
    path.write_bytes(content.replace(b"key,value", b"key,query"))
    with pytest.raises(NetworkFormatError, match="belongs to none"):
        load_hypernetwork(path)


def test_a_file_that_says_nothing_means_key_and_value(tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    save_hypernetwork(random_network([4]), path)
    content = path.read_bytes()
    field = rb", \"transform\": \"key,value\""
    assert content.count(field) == 1
    path.write_bytes(content.replace(field, b" " * len(field)))
    assert load_hypernetwork(path).settings.transform == "key,value"


def test_training_keys_and_queries(tiny_engine: Engine, tmp_path: Path) -> None:
    asked = config(tmp_path, network=replace(NETWORK, transform="key,query"))
    places = files(tmp_path, output=tmp_path / "ink.safetensors")
    train(tiny_engine, tmp_path, config=replace(asked, steps=3), files=places)
    train(tiny_engine, tmp_path, config=asked, files=places)
    whole = replace(
        places, folder=tmp_path / "whole", output=tmp_path / "whole" / "ink.safetensors"
    )
    train(tiny_engine, tmp_path, config=asked, files=whole)
    assert places.output.read_bytes() == whole.output.read_bytes()
    network = load_hypernetwork(places.output)
    assert (network.name, network.step) == ("ink", 6)
    part = network.part(64, "query")
    assert part is not None
    assert float(part.linear[0].bias.abs().max()) > 0, "it has learnt"
    with pytest.raises(NetworkFormatError, match=r"use \.safetensors"):
        train(tiny_engine, tmp_path, config=asked, files=files(tmp_path, "refused"))
    assert not (tmp_path / "refused").exists(), "before anything is done"
