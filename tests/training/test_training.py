"""Whole trainings of the tiny checkpoint."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from promptengine import (
    Engine,
    GenerationRequest,
    RequestError,
    TrainingError,
    TrainingProgress,
    inspect_file,
    load_hypernetwork,
)
from promptengine.networks.hypernetwork.init import INITIALISATIONS
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from promptengine.training.loop import _checkpointing
from promptengine.training.snapshots import newest_snapshot
from promptengine.training.step import TrainStep
from tests.conftest import CHECKPOINT, CONFIG
from tests.ctrl_c import modules_of, state_of
from tests.networks.builders import tiny_unet
from tests.training.builders import config, files, train

ROOT = Path(__file__).parent.parent.parent
PREVIEW = GenerationRequest(prompt="a fox", seed=3, steps=2, width=64, height=64, batch_size=2)


def digest_of_model(engine: Engine) -> str:
    parts = engine.checkpoint
    digest = hashlib.sha256()
    for module in (parts.unet, parts.vae, parts.text_encoder):
        for name, tensor in module.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        assert not any(tensor.requires_grad for tensor in module.parameters())
        assert not any(len(part._forward_pre_hooks) for part in module.modules())
    return digest.hexdigest()


def snapshots(root: Path, name: str = "ink") -> list[str]:
    return sorted(path.name for path in (root / name / "snapshots").iterdir())


def stop_at(step: int) -> dict[str, Any]:
    """Options that cancel a training once it has done so many steps."""
    cancel = threading.Event()

    def on_step(progress: TrainingProgress) -> None:
        if progress.step == step:
            cancel.set()

    return {"cancel": cancel, "on_step": on_step}


def test_a_training_leaves_the_base_alone_and_everything_in_its_place(
    tiny_engine: Engine, tmp_path: Path
) -> None:
    before = digest_of_model(tiny_engine)
    told: list[TrainingProgress] = []
    written: list[Path] = []
    places = files(tmp_path, preview=PREVIEW, preview_every=3, keep=2)
    result = train(tiny_engine, tmp_path, files=places, on_step=told.append, on_file=written.append)
    assert digest_of_model(tiny_engine) == before
    assert (result.path, result.step, result.finished) == (places.output, 6, True)
    assert [progress.step for progress in told] == [1, 2, 3, 4, 5, 6]
    assert [progress.epoch for progress in told] == [0, 0, 0, 1, 1, 1]
    assert told[-1].seconds_left == 0 < told[0].seconds_left
    assert told[0].learning_rate == 1e-3
    assert (
        told[-1].smoothed_loss
        == result.smoothed_loss
        == pytest.approx(sum(progress.loss for progress in told) / 6)
    )
    with (tmp_path / "ink" / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [progress.loss for progress in told]
    assert list(rows[0]) == ["step", "epoch", "loss", "smoothed loss", "learning rate"]
    names = [path.name for path in written]
    assert names == ["ink-2.pt", "ink-3.png", "ink-4.pt", "ink-6.png", "ink-6.pt", "ink.pt"]
    with Image.open(tmp_path / "ink" / "loss.png") as plot:
        assert plot.size == (960, 540)
    for path in (tmp_path / "ink.training.json", tmp_path / "ink" / "settings.json"):
        content = json.loads(path.read_text())
        assert content["settings"]["seed"] == 1
        assert content["settings"]["learning_rate"] == "1e-3"
    assert tmp_path.is_dir() and not list(tmp_path.rglob(".*.part"))


def test_files_are_what_webui_takes(tiny_engine: Engine, tmp_path: Path) -> None:
    train(tiny_engine, tmp_path)
    for path, step in ((tmp_path / "ink.pt", 6), (tmp_path / "ink/snapshots/ink-4.pt", 4)):
        content = torch.load(path, weights_only=True)
        assert (content["name"], content["step"]) == (path.stem, step)
        assert content["layer_structure"] == [1, 2, 1]
        assert content["activation_func"] == "relu"
        assert content["weight_initialization"] == "Normal"
        assert content["dropout_structure"] == [0, 0.1, 0]
        assert content["use_dropout"] is True
        assert content["sd_checkpoint_name"] == "tiny-sd1"
        assert [key for key in content if isinstance(key, int)] == [48, 32, 64, 128]
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2] for name in archive.namelist()}
        assert members == {"data.pkl", "version", *(f"data/{i}" for i in range(32))}
    report = inspect_file(tmp_path / "ink/snapshots/ink-4.optim.safetensors")
    assert report.kind == "optimizer state"


def test_the_loss_falls_and_the_network_changes_images(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = files(tmp_path, save_every=0, preview=PREVIEW, preview_every=0)
    asked = config(tmp_path, steps=24, batch_size=2, learning_rate="3e-3")
    lessons: list[TrainStep] = []
    probes: list[float] = []
    probe = TrainStep.probe

    def watched(lesson: TrainStep) -> float:
        lessons.append(lesson)
        probes.append(probe(lesson))
        return probes[-1]

    monkeypatch.setattr(TrainStep, "probe", watched)
    train(tiny_engine, tmp_path, config=asked, files=places)
    assert probe(lessons[0]) < 0.95 * probes[0], "at the same noise, before and after"
    with Image.open(tmp_path / "ink" / "previews" / "ink-24.png") as grid:
        width, height = grid.size
        rows = [grid.crop((0, y, width, y + 64)) for y in (48, 48 + 64 + 24)]
    assert rows[0].tobytes() != rows[1].tobytes()
    assert (width, height) >= (2 * 64 + 24, 2 * 64 + 64)


def test_the_same_seed_gives_the_same_file(tiny_engine: Engine, tmp_path: Path) -> None:
    asked = config(
        tmp_path,
        steps=3,
        batch_size=2,
        shuffle_tags=True,
        tag_dropout=0.2,
        latent_sampling="random",
    )
    for name in ("one", "two"):
        torch.manual_seed(len(name) * 7 + ord(name[0]))
        output = tmp_path / name / "ink.pt"
        train(tiny_engine, tmp_path, config=asked, files=files(tmp_path, name, output=output))
    first, second = (tmp_path / name / "ink.pt" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    for snapshot in snapshots(tmp_path, "one"):
        left, right = (tmp_path / name / "snapshots" / snapshot for name in ("one", "two"))
        assert left.read_bytes() == right.read_bytes()
    train(tiny_engine, tmp_path, "three", config=replace(asked, seed=2))
    assert (tmp_path / "three.pt").read_bytes() != first.read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.slow
def test_a_killed_run_ends_as_one_without_a_stop(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.training.killed_run",
            str(tmp_path),
            "2",
            "3",
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    reached = [int(step) for step in done.stdout.split()]
    assert len(reached) == 3 and max(reached) > 0, "killed on the way"
    same_files(tmp_path, "whole", "killed")


def same_files(root: Path, one: str, other: str) -> None:
    """Networks, snapshots, states and losses of two runs are byte for byte the same."""
    first, second = (
        {
            path.relative_to(root / name).as_posix(): path.read_bytes()
            for path in (root / name).rglob("*")
            if path.is_file() and path.suffix in (".pt", ".safetensors", ".csv")
        }
        for name in (one, other)
    )
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    same_weights(root, one, other)


def same_weights(root: Path, one: str, other: str) -> None:
    outputs = [load_hypernetwork(root / f"{name}.pt").state_dict() for name in (one, other)]
    assert all(torch.equal(tensor, outputs[1][key]) for key, tensor in outputs[0].items())


def test_a_cancelled_run_goes_on(tiny_engine: Engine, tmp_path: Path) -> None:
    steady = files(tmp_path, "whole", save_every=0, output=tmp_path / "a" / "ink.pt")
    train(tiny_engine, tmp_path, files=steady)
    broken = replace(steady, folder=tmp_path / "broken", output=tmp_path / "b" / "ink.pt")
    for step in (1, 4):
        result = train(tiny_engine, tmp_path, files=broken, **stop_at(step))
        assert (result.step, result.finished) == (step, False)
        assert result.path == tmp_path / "broken" / "snapshots" / f"ink-{step}.pt"
        assert not broken.output.exists()
    # A step that a kill left without its state does not count.
    (tmp_path / "broken" / "snapshots" / "ink-5.pt").write_bytes(b"half")
    half = tmp_path / "broken" / "snapshots" / f".{'0' * 16}-{2**30}.part"
    half.write_bytes(b"half")
    with (tmp_path / "broken" / "loss.csv").open("a") as file:
        file.write("5,2,0.1,0.1,0.001\n6,2,0.")
    told: list[int] = []
    result = train(tiny_engine, tmp_path, files=broken, on_step=lambda p: told.append(p.step))
    assert told == [5, 6]
    assert result.finished
    assert broken.output.read_bytes() == steady.output.read_bytes()
    tables = [(tmp_path / name / "loss.csv").read_bytes() for name in ("whole", "broken")]
    assert tables[0] == tables[1]
    assert not half.exists()
    again = train(tiny_engine, tmp_path, files=broken, cancel=threading.Event())
    assert again == result
    longer = train(tiny_engine, tmp_path, files=broken, config=config(tmp_path, steps=8))
    assert longer.step == 8


def test_cancelled_before_the_first_step(tiny_engine: Engine, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    result = train(tiny_engine, tmp_path, cancel=cancel)
    assert (result.path, result.step, result.finished) == (None, 0, False)
    assert not (tmp_path / "ink.pt").exists()


def test_a_damaged_state_is_passed_over(tiny_engine: Engine, tmp_path: Path) -> None:
    train(tiny_engine, tmp_path)
    folder = tmp_path / "ink" / "snapshots"
    (folder / "ink-6.optim.safetensors").write_bytes(b"damaged")
    (folder / "ink-4.pt").write_bytes((folder / "ink-2.pt").read_bytes())
    found = newest_snapshot(folder, "ink", ".pt")
    assert found is not None and found.state.step == 2
    places = files(tmp_path, keep=1)
    train(tiny_engine, tmp_path, files=places, **stop_at(3))
    found = newest_snapshot(folder, "ink", ".pt")
    assert found is not None and found.state.step == 3, "the damaged ones do not displace it"


def test_the_best_and_the_newest_snapshots_stay(tiny_engine: Engine, tmp_path: Path) -> None:
    losses: dict[int, float] = {}
    places = files(tmp_path, save_every=1, keep=2)
    asked = config(tmp_path, steps=9)
    train(
        tiny_engine,
        tmp_path,
        config=asked,
        files=places,
        on_step=lambda progress: losses.update({progress.step: progress.smoothed_loss}),
    )
    best = min(losses, key=losses.__getitem__)
    kept = {best, 8, 9}
    assert snapshots(tmp_path) == sorted(
        f"ink-{step}{suffix}" for step in kept for suffix in (".pt", ".optim.safetensors")
    )
    found = newest_snapshot(tmp_path / "ink" / "snapshots", "ink", ".pt")
    assert found is not None
    assert (found.state.best_step, found.state.best_loss) == (best, losses[best])


OTHER: dict[str, tuple[object, str]] = {
    "batch_size": (2, "batch_size was 1"),
    "seed": (5, "seed was 1"),
    "learning_rate": ("1e-4", 'learning_rate was "1e-3" (rates may change, but only after step 1)'),
    "network": (HypernetworkSettings(activation="tanh"), "network was {"),
    "clipping": ("norm", 'clip_at was null; clipping was "none"'),
    "template": ("style", "template was "),
    "widths": ((48,), "widths was "),
    "word_pattern": ("[a-z]+", "images was "),
}


def test_other_settings_are_refused_by_name(tiny_engine: Engine, tmp_path: Path) -> None:
    train(tiny_engine, tmp_path, config=config(tmp_path, steps=1))
    for name, (value, said) in OTHER.items():
        with pytest.raises(TrainingError) as caught:
            train(tiny_engine, tmp_path, config=config(tmp_path, **{name: value}))
        assert said in str(caught.value)
        assert "now at step 1" in str(caught.value)


def test_what_changes_nothing_of_the_past_may_change(tiny_engine: Engine, tmp_path: Path) -> None:
    train(tiny_engine, tmp_path, "ink", config=config(tmp_path, steps=2))
    changes = {"learning_rate": "1e-3:2, 1e-4", "gradient_checkpointing": True, "seed": -1}
    train(tiny_engine, tmp_path, "ink", config=config(tmp_path, **changes))
    train(tiny_engine, tmp_path, "other", config=config(tmp_path, learning_rate="1e-3:2, 1e-4"))
    same_weights(tmp_path, "ink", "other")


def test_a_changed_image_is_refused_and_restart_begins_anew(
    tiny_engine: Engine, tmp_path: Path
) -> None:
    one = config(tmp_path, steps=1)
    train(tiny_engine, tmp_path, config=one)
    Image.new("RGB", (64, 64)).save(tmp_path / "data" / "04-new.png")
    with pytest.raises(TrainingError, match="images was"):
        train(tiny_engine, tmp_path, config=one)
    told: list[int] = []
    train(tiny_engine, tmp_path, restart=True, on_step=lambda p: told.append(p.step))
    assert told == [1, 2, 3, 4, 5, 6]
    assert "ink-1.pt" not in snapshots(tmp_path)
    assert len((tmp_path / "ink" / "loss.csv").read_text().splitlines()) == 7


def test_a_foreign_network_is_not_replaced(tiny_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "ink.pt").write_bytes(b"precious")
    with pytest.raises(TrainingError, match=r"ink\.pt exists, and no run .* restart replaces it"):
        train(tiny_engine, tmp_path)
    assert (tmp_path / "ink.pt").read_bytes() == b"precious"
    train(tiny_engine, tmp_path, config=config(tmp_path, steps=1), restart=True)
    assert load_hypernetwork(tmp_path / "ink.pt").step == 1


@pytest.mark.parametrize(
    ("rate", "said"),
    [("1e30", "the loss became nan"), ("1", "the smoothed loss rose from 0.")],
)
def test_an_exploding_rate_stops_with_a_usable_file(
    tiny_engine: Engine, tmp_path: Path, rate: str, said: str
) -> None:
    asked = config(tmp_path, steps=40, learning_rate=f"1e-3:3, {rate}")
    with pytest.raises(TrainingError, match=said) as caught:
        train(tiny_engine, tmp_path, config=asked, files=files(tmp_path, save_every=20))
    error = caught.value
    assert len(str(error).splitlines()) == 1
    assert "lower the learning rate" in str(error)
    assert error.path == tmp_path / "ink.pt"
    network = load_hypernetwork(tmp_path / "ink.pt")
    assert network.step == error.step <= 4
    assert all(bool(tensor.isfinite().all()) for tensor in network.parameters())
    assert max(float(tensor.abs().max()) for tensor in network.parameters()) < 1
    assert (tmp_path / "ink" / "loss.png").exists()


@pytest.mark.parametrize("broken", ["loss", "gradients", "weights"])
def test_numbers_that_are_none_restore_the_weights_before(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    steady = files(tmp_path, "sound", save_every=1)
    train(tiny_engine, tmp_path, files=steady, config=config(tmp_path, steps=3))
    differentiate, update = TrainStep.differentiate, TrainStep.update
    passes: list[int] = []

    def failing(lesson: TrainStep, batches: Any) -> tuple[float, float]:
        loss, norm = differentiate(lesson, batches)
        passes.append(1)
        values = {"loss": (math.nan, norm), "gradients": (loss, math.inf)}
        return values.get(broken, (loss, norm)) if len(passes) == 4 else (loss, norm)

    def ruining(lesson: TrainStep, step: int) -> None:
        update(lesson, step)
        if broken == "weights" and step == 4:
            next(lesson.network.parameters()).data.fill_(math.inf)

    monkeypatch.setattr(TrainStep, "differentiate", failing)
    monkeypatch.setattr(TrainStep, "update", ruining)
    with pytest.raises(TrainingError, match="stopped at step 4") as caught:
        train(tiny_engine, tmp_path)
    restored = load_hypernetwork(tmp_path / "ink.pt")
    # The loss of step 4 is the first that says anything of the weights after step 3.
    good = 3 if broken == "weights" else 2
    assert caught.value.step == restored.step == good
    sound = load_hypernetwork(tmp_path / "sound" / "snapshots" / f"ink-{good}.pt").state_dict()
    assert all(torch.equal(tensor, sound[key]) for key, tensor in restored.state_dict().items())


@pytest.mark.parametrize("clipping", ["value", "norm"])
def test_gradients_are_clipped(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clipping: str
) -> None:
    norms: list[float] = []
    largest: list[float] = []
    step = torch.optim.AdamW.step

    def watched(optimizer: torch.optim.AdamW, *rest: Any) -> Any:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        largest.append(max(float(gradient.abs().max()) for gradient in gradients))
        return step(optimizer, *rest)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    asked = config(tmp_path, steps=2, clipping=clipping, clip_at="1e-4:1, 1e-6")
    train(tiny_engine, tmp_path, config=asked)
    measured = largest if clipping == "value" else norms
    assert measured == pytest.approx([1e-4, 1e-6], rel=1e-3)


def test_accumulated_batches_make_one_step(tiny_engine: Engine, tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    asked = config(tmp_path, steps=4, batch_size=1, accumulation=3)
    train(tiny_engine, tmp_path, config=asked, on_step=told.append)
    assert [progress.epoch for progress in told] == [0, 1, 2, 3]
    found = newest_snapshot(tmp_path / "ink" / "snapshots", "ink", ".pt")
    assert found is not None and found.state.batches == 12


def test_sizes_that_the_unet_resizes_inside_train_as_well(
    tiny_engine: Engine, tmp_path: Path
) -> None:
    from tests.training.builders import make_images

    make_images(tmp_path / "data", (72, 104))
    asked = config(tmp_path, steps=2, resize=False, alpha_weights=True, width=None, height=None)
    assert train(tiny_engine, tmp_path, config=asked).finished


@pytest.mark.parametrize("name", list(INITIALISATIONS))
def test_networks_begin_as_asked(tiny_engine: Engine, tmp_path: Path, name: str) -> None:
    settings = HypernetworkSettings(
        structure=(1, 1.5, 1), activation="mish", weight_init=name, layer_norm=True
    )
    asked = config(tmp_path, steps=1, learning_rate="1e-12", network=settings, widths=(48, 128))
    train(tiny_engine, tmp_path, config=asked)
    network = load_hypernetwork(tmp_path / "ink.pt")
    assert network.widths == (48, 128)
    pair = network.pair(128)
    assert pair is not None
    first, norm = pair.key.linear[0], pair.key.linear[2]
    fan_in, fan_out = 128, 192
    deviation = {
        "Normal": 0.01,
        "KaimingUniform": (2 / fan_in) ** 0.5,
        "KaimingNormal": (2 / fan_in) ** 0.5,
        "XavierUniform": (2 / (fan_in + fan_out)) ** 0.5,
        "XavierNormal": (2 / (fan_in + fan_out)) ** 0.5,
    }[name]
    assert float(first.weight.std()) == pytest.approx(deviation, rel=0.05)
    assert float(first.bias.abs().max()) < 1e-9
    assert float((norm.weight - 1).abs().max()) < 1e-6
    assert not torch.equal(first.weight, pair.value.linear[0].weight)


def test_gradient_checkpointing_ends_as_it_was() -> None:
    unet: Any = tiny_unet()
    for begins in (False, True):
        if begins:
            unet.enable_gradient_checkpointing()
        before = state_of(modules_of(unet))
        with pytest.raises(KeyboardInterrupt), _checkpointing(unet, enabled=True):
            assert unet.is_gradient_checkpointing
            raise KeyboardInterrupt
        assert state_of(modules_of(unet)) == before
        assert unet.is_gradient_checkpointing is begins


def test_what_does_not_fit_the_model_is_refused(tiny_engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"width 768 is none .* reads 48, 32, 64, 128"):
        train(tiny_engine, tmp_path, config=config(tmp_path, widths=(48, 768)))
    thin = HypernetworkSettings(structure=(1, 0.001, 1))
    with pytest.raises(RequestError, match="no network can be built"):
        train(tiny_engine, tmp_path, config=config(tmp_path, network=thin))
    half = Engine.open(CHECKPOINT, tmp_path, CONFIG, device="cpu", dtype=torch.float16)
    with pytest.raises(TrainingError, match="bfloat16 or float32"):
        train(half, tmp_path)
    assert not (tmp_path / "ink").exists()


def test_a_bfloat16_model_trains_a_float32_network(tmp_path: Path) -> None:
    engine = Engine.open(CHECKPOINT, tmp_path, CONFIG, device="cpu", dtype="bfloat16")
    # The other widths' attention sees a single token at this size, so that keys have no gradient.
    asked = config(tmp_path, steps=2, widths=(48, 32))
    train(engine, tmp_path, config=asked, files=files(tmp_path, preview=PREVIEW))
    train(engine, tmp_path, "slow", config=replace(asked, learning_rate="1e-12"))
    fast, slow = (load_hypernetwork(tmp_path / f"{name}.pt") for name in ("ink", "slow"))
    for name, tensor in fast.state_dict().items():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, slow.state_dict()[name]), f"{name} has not learnt"
