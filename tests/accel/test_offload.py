"""What leaves a device with little memory: chosen by what is free, refused where it cannot be had."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import nullcontext
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from promptengine import RequestError
from promptengine.accel import offload
from promptengine.accel.memory import needs_tiles, vae_memory_bytes
from promptengine.accel.offload import (
    OFFLOADS,
    ModelSizes,
    choose_offload,
    find_offload,
    place_model,
)
from promptengine.accel.offload_names import AUTO, OffloadName
from promptengine.accel.residence import PartByPart
from promptengine.accel.visits import SideStream, Visit
from promptengine.checkpoints.load import open_checkpoint
from promptengine.undo import UndoLog
from tests.checkpoints.full_size import configured
from tests.conftest import CHECKPOINT, CONFIG

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 1 << 30
SIZES = st.builds(ModelSizes, *[st.integers(0, 40 * GIB)] * 5)


@given(SIZES, st.integers(0, 100 * GIB))
def test_the_quickest_that_fits_is_chosen(sizes: ModelSizes, free: int) -> None:
    place = OFFLOADS.index(choose_offload(free, sizes))
    assert OFFLOADS[place].needs(sizes) <= free
    assert all(quicker.needs(sizes) > free for quicker in OFFLOADS[:place])


@given(SIZES, st.integers(0, 100 * GIB), st.integers(0, 100 * GIB))
def test_more_memory_never_makes_more_leave(sizes: ModelSizes, free: int, more: int) -> None:
    less, enough = (choose_offload(count, sizes) for count in (free, free + more))
    assert OFFLOADS.index(enough) <= OFFLOADS.index(less)


@given(SIZES)
def test_what_cannot_be_told_lets_all_stay(sizes: ModelSizes) -> None:
    assert choose_offload(None, sizes).name == "none"


def test_each_needs_no_more_than_those_before() -> None:
    sizes = ModelSizes(text=2, unet=5, vae=1, unet_work=1, vae_work=4)
    assert [one.needs(sizes) for one in OFFLOADS] == [12, 6, 0]


def test_settings_name_all_there_are() -> None:
    assert get_args(OffloadName) == (AUTO, *(one.name for one in OFFLOADS))


@pytest.mark.parametrize(
    ("model", "gib", "chosen"),
    [
        ("sd15", 8, "none"),
        ("sd15", 3, "model"),
        ("sd15", 2, "layers"),
        ("sdxl", 16, "none"),
        ("sdxl", 8, "model"),
        ("sdxl", 6, "layers"),
    ],
)
def test_full_size_models_on_usual_gpus(model: str, gib: int, chosen: str) -> None:
    made = configured(model)
    for part in (*made.encoders, made.unet):
        part.half()
    side = 1024 if model == "sdxl" else 512
    sizes = ModelSizes.of(made.encoders, made.unet, made.vae, side=side)
    assert choose_offload(gib * GIB, sizes).name == chosen


@pytest.mark.parametrize("name", ["model", "layers"])
def test_a_cpu_is_not_to_be_left(name: str) -> None:
    with pytest.raises(RequestError, match=rf"offload is '{name}', but the model works on the CPU"):
        find_offload(name, CPU, compiled=False)


def test_other_names_are_refused() -> None:
    told = r"offload must be one of auto, none, model, layers \(got 'medvram'\)"
    with pytest.raises(RequestError, match=told):
        find_offload("medvram", CUDA, compiled=False)


def test_layers_of_a_compiled_unet_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="a compiled UNet cannot have offload 'layers'"):
        find_offload("layers", CUDA, compiled=True)
    monkeypatch.setattr(offload, "free_bytes", lambda _: 0)
    asked = find_offload(AUTO, CUDA, compiled=True)
    assert asked is None
    with pytest.raises(RequestError, match="a compiled UNet cannot have offload 'layers'"):
        place_model(asked, CUDA, [], ModelSizes(1, 1, 1, 1, 1), compiled=True)


def test_what_memory_decides_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(offload, "free_bytes", lambda _: 6 * GIB)
    sizes = ModelSizes(2 * GIB, 4 * GIB, GIB, GIB, GIB)
    with caplog.at_level(logging.WARNING):
        residence = place_model(None, CUDA, [nn.Linear(1, 1)], sizes, compiled=False)
    assert isinstance(residence, PartByPart)
    assert caplog.messages == [
        "offload model: text encoders, UNet and VAE are on cuda one at a time, since 6.0 GiB are free there and the "
        "whole model takes 8.0 GiB"
    ]


def test_auto_lets_all_stay_where_nothing_can_be_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cpu", "meta"):
        found = find_offload(AUTO, torch.device(device), compiled=False)
        assert found is not None
        assert found.name == "none"


def test_a_vae_that_is_away_needs_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = open_checkpoint(CHECKPOINT, config=CONFIG).vae
    weights = sum(weight.nbytes for weight in vae.parameters())
    work = vae_memory_bytes(vae, 64, 64)
    monkeypatch.setattr("promptengine.accel.memory.free_bytes", lambda _: work + weights - 1)
    assert needs_tiles(vae, CUDA, 64, 64)
    assert not needs_tiles(vae, CPU, 64, 64)


class Failing:
    """A device that is full."""

    def copies(self, tensors: Any) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def used(self) -> None: ...


def test_a_device_that_is_full_leaves_weights_at_home() -> None:
    layer = nn.Linear(2, 2)
    home = layer.weight.data_ptr()
    visit = Visit([*layer.parameters()], Failing())
    with pytest.raises(torch.OutOfMemoryError):
        visit.come()
    visit.leave()
    assert layer.weight.data_ptr() == home


class Doubled:
    """A device where all numbers are twice what they are at home."""

    def copies(self, tensors: Any) -> list[Tensor]:
        return [2 * tensor for tensor in tensors]

    def used(self) -> None: ...


def test_one_part_at_a_time_is_there_and_who_was_there_comes_back() -> None:
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    for part in (first, second):
        nn.init.ones_(part.weight)
    residence, journal = PartByPart(CPU, Doubled()), UndoLog()
    seen: list[tuple[float, float]] = []

    def look() -> None:
        seen.append((first.weight.item(), second.weight.item()))

    with residence.unet_at_work(first, journal=journal):
        look()
        with residence.at_work(second, journal=journal) as arrive:
            look()
            arrive()
            look()
        look()
    look()
    assert seen == [(2, 1), (1, 1), (1, 2), (2, 1), (1, 1)]


def test_after_an_error_all_are_at_home() -> None:
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    homes = [first.weight.item(), second.weight.item()]
    residence, journal = PartByPart(CPU, Doubled()), UndoLog()
    with (
        pytest.raises(KeyboardInterrupt),
        residence.unet_at_work(first, journal=journal),
        residence.at_work(second, journal=journal) as arrive,
    ):
        arrive()
        raise KeyboardInterrupt
    assert [first.weight.item(), second.weight.item()] == homes
    with residence.unet_at_work(first, journal=journal):
        assert first.weight.item() == 2 * homes[0]


class FakeCuda:
    """What :class:`SideStream` asks of ``torch.cuda``, noted in order."""

    def __init__(self) -> None:
        self.log: deque[str] = deque()
        self._events = 0

    def Stream(self, _device: object) -> FakeCuda:
        return self

    def stream(self, _stream: object) -> Any:
        return nullcontext()

    def current_stream(self, _device: object) -> FakeCuda:
        return self

    def wait_stream(self, _stream: object) -> None:
        self.log.append("compute waits for copies")

    def record_event(self) -> FakeEvent:
        self._events += 1
        return FakeEvent(self._events, self.log)


class FakeEvent:
    def __init__(self, number: int, log: deque[str]) -> None:
        self._number, self._log = number, log

    def synchronize(self) -> None:
        self._log.append(f"layer {self._number} is done")


class FakeTensor:
    """A weight, and its copy on a GPU."""

    def __init__(self, log: deque[str]) -> None:
        self._log = log

    def to(self, _device: object, *, non_blocking: bool) -> FakeTensor:
        assert non_blocking
        self._log.append("copy")
        return self

    def record_stream(self, _stream: object) -> None:
        self._log.append("kept until it is read")


def test_copies_beside_the_work_wait_for_the_layer_before_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda()
    monkeypatch.setattr(torch, "cuda", cuda)
    mover: Any = SideStream(CUDA)
    for _ in range(3):
        mover.copies([FakeTensor(cuda.log)])
        mover.used()
    copied = ["copy", "compute waits for copies", "kept until it is read"]
    assert [*cuda.log] == [*copied, *copied, "layer 1 is done", *copied]
