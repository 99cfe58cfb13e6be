"""What an engine remembers between requests, and what makes it look again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from promptengine import Engine, GenerationRequest, load_hypernetwork, save_hypernetwork
from promptengine.networks.hypernetwork import kind as stack
from promptengine.networks.load import NetworkCache
from promptengine.request.options import Options
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI

BASE = GenerationRequest(prompt="a cat", seed=7, steps=2, width=64, height=64, sampler="Euler")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    torch.set_num_threads(1)
    shutil.copytree(NETWORKS, tmp_path / "hypernetworks")
    shutil.copytree(WEBUI.parent / "webui-2" / "loras", tmp_path / "Lora")
    return Engine.open(CHECKPOINT, models=tmp_path, config=CONFIG, device="cpu")


@pytest.fixture
def encoder_calls(engine: Engine) -> Iterator[list[int]]:
    """How many texts each call of the text encoder was about."""
    calls: list[int] = []

    def note(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        calls.append(len(kwargs["input_ids"]))

    hook = engine.checkpoint.text_encoder.register_forward_pre_hook(note, with_kwargs=True)
    yield calls
    hook.remove()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the hypernetworks that were read from the disk."""
    names: list[str] = []

    def load(path: Path) -> Any:
        names.append(path.stem)
        return load_hypernetwork(path)

    monkeypatch.setattr(stack, "load_hypernetwork", load)
    return names


def test_a_text_is_encoded_once_whatever_networks_go_with_it(
    engine: Engine, encoder_calls: list[int]
) -> None:
    engine.generate(BASE)
    assert len(encoder_calls) == 2, "the prompt and the empty negative prompt"
    for tags in ("", " <hypernet:hn-relu:1>", " <hypernet:hn-linear:0.5>"):
        engine.generate(replace(BASE, prompt=f"a cat{tags}", seed=8))
    assert len(encoder_calls) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a dog"},
        {"prompt": "a (cat:1.2)"},
        {"prompt": "a [cat:dog:1]"},
        {"clip_skip": 2},
        {"prompt": "a cat <lora:lo-kohya:1>"},
        {"prompt": "a (cat:1.2)", "options": Options(emphasis="No norm")},
        {"negative_prompt": "a dog"},
    ],
    ids=str,
)
def test_what_counts_is_encoded_anew(
    engine: Engine, encoder_calls: list[int], changes: dict[str, Any]
) -> None:
    engine.generate(BASE)
    before = len(encoder_calls)
    first = engine.generate(replace(BASE, **changes)).latents
    assert len(encoder_calls) > before
    again = Engine(engine.checkpoint, engine.registry, engine.device)
    assert torch.equal(first, again.generate(replace(BASE, **changes)).latents)


def test_switching_back_does_not_read_the_disk(engine: Engine, reads: list[str]) -> None:
    for name in ("hn-relu", "hn-linear", "hn-relu", "hn-mish", "hn-linear"):
        engine.generate(replace(BASE, prompt=f"a cat <hypernet:{name}:1>"))
    assert reads == ["hn-relu", "hn-linear", "hn-mish"]


def test_a_changed_file_is_noticed(engine: Engine, reads: list[str], tmp_path: Path) -> None:
    request = replace(BASE, prompt="a cat <hypernet:hn-relu:1>")
    before = engine.generate(request).latents
    network = load_hypernetwork(NETWORKS / "hn-mish.pt")
    save_hypernetwork(network, tmp_path / "hypernetworks" / "hn-relu.pt")
    assert not torch.equal(engine.generate(request).latents, before)
    assert reads == ["hn-relu", "hn-relu"]


def test_networks_stay_within_their_bytes(engine: Engine, reads: list[str]) -> None:
    entries = {entry.name: entry for entry in engine.registry.entries("hypernet")}
    names = ("hn-relu", "hn-linear", "hn-swish-ln")
    networks = [load_hypernetwork(NETWORKS / f"{name}.pt") for name in names]
    whole = sum(tensor.nbytes for network in networks for tensor in network.parameters())
    checkpoint = engine.checkpoint
    cache = NetworkCache(checkpoint.unet, checkpoint.text_encoder, room=whole - 1)
    for name in ("hn-relu", "hn-linear", "hn-relu", "hn-swish-ln", "hn-relu", "hn-linear"):
        cache.load(entries[name])
    assert reads == ["hn-relu", "hn-linear", "hn-swish-ln", "hn-linear"]
