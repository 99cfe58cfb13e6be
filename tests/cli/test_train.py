"""``promptengine train hypernetwork`` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from promptengine import Engine, TrainingProgress, load_hypernetwork
from promptengine.cli import main as cli
from promptengine.cli import train
from promptengine.cli.main import main
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.training.loop import TrainingResult
from tests.conftest import CHECKPOINT, CONFIG
from tests.training.builders import make_images

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parent.parent.parent
MODEL = ["--checkpoint", str(CHECKPOINT), "--config", str(CONFIG), "--device", "cpu"]
QUICK = [
    *("--steps", "4", "--save-every", "2", "--preview-every", "2", "--preview-steps", "1"),
    *("--width", "64", "--height", "64", "--learning-rate", "1e-3", "--seed", "1"),
]


def run(*arguments: str) -> int:
    try:
        return main(["train", "hypernetwork", *arguments])
    except SystemExit as stop:  # argparse leaves this way
        return int(stop.code or 0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images; models and outputs go below it."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("promptengine.training.step._PROBES", 2)
    return make_images(tmp_path / "images")


def test_unreadable_images_are_told_or_refused(elsewhere: Path, capsys: Capture) -> None:
    (elsewhere / "bad.png").write_bytes(b"no image")
    few = ["--steps", "1", "--save-every", "0", "--preview-count", "0", "--width", "64"]
    train = ["ink", "--data", "images", *MODEL, *few, "--height", "64"]
    assert run(*train, "--strict-data") == 2
    (refused,) = capsys.readouterr().err.splitlines()
    assert "1 of 4 images cannot be used: bad.png: not a readable image" in refused
    assert run(*train) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("warning: images: 1 of 4 images cannot be read and are left out: bad")


@pytest.mark.slow
def test_a_training_from_end_to_end(tmp_path: Path, capsys: Capture) -> None:
    assert run("ink", "--data", "images", *MODEL, *QUICK) == 0
    output = capsys.readouterr()
    folder = Path("outputs", "training", "ink")
    assert output.out.splitlines() == [
        str(folder / "previews" / "ink-2.png"),
        str(folder / "snapshots" / "ink-2.pt"),
        str(folder / "previews" / "ink-4.png"),
        str(folder / "snapshots" / "ink-4.pt"),
        str(Path("models", "hypernetworks", "ink.pt")),
        output.out.splitlines()[-1],
    ]
    assert output.out.splitlines()[-1].startswith("trained for 4 steps, smoothed loss 0.")
    assert not output.err.strip(), "no bar where there is no terminal"
    network = load_hypernetwork(tmp_path / "models" / "hypernetworks" / "ink.pt")
    assert (network.name, network.step, network.settings.activation) == ("ink", 4, "linear")
    settings = json.loads((tmp_path / folder / "settings.json").read_text())["settings"]
    assert settings["network"]["structure"] == [1, 2, 1]

    used = ["txt2img", "a cat <hypernet:ink:1>", *MODEL, "--steps", "1"]
    assert main([*used, "--width", "64", "--height", "64"]) == 0
    assert "applied hypernet ink × 1" in capsys.readouterr().out

    assert run("ink", "--data", "images", *MODEL, *QUICK, "--batch-size", "2") == 2
    error = capsys.readouterr().err
    assert "has other settings: batch_size was 1; give it the same ones" in error
    # Old releases of rich end a bar that is not shown with an empty line.
    assert len(error.strip().splitlines()) == 1


def test_every_option_arrives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def open_engine(*arguments: Any, **options: Any) -> None:
        asked.append((arguments, options))

    def training(_engine: None, *arguments: Any, **options: Any) -> TrainingResult:
        asked.extend([*arguments, options["restart"]])
        return TrainingResult(None, 9, 0.5, finished=True)

    monkeypatch.setattr(Engine, "open", open_engine)
    monkeypatch.setattr(train, "train_hypernetwork", training)
    text = """my-ink --data images --widths 48,128 --activation mish --activate-output --layer-norm
        --init XavierNormal --transform key,query --width 128 --height 192 --no-resize
        --template subject --word-pattern [a-z]+ --word-join + --shuffle-tags --tag-dropout 0.25
        --latent-sampling random --alpha-weights --clip-skip 2 --steps 9 --learning-rate 1e-4:5,1e-5
        --clipping norm --clip-at 2:5,1 --batch-size 3 --accumulation 4 --gradient-checkpointing
        --seed 7 --output my.safetensors --log-dir logs --save-every 11 --keep 12 --preview-every 13
        --preview-prompt fox --preview-steps 14 --preview-count 5 --restart --checkpoint some.ckpt
        --config configs --models folder --device cpu --dtype bfloat16"""
    lists = ["--layer-structure", "1, 1.5, 2, 1", "--dropout-structure", "0, 0.1, 0.2, 0"]
    assert run(*text.split(), *lists) == 0
    (arguments, options), config, files, restart = asked
    assert arguments[0] == "some.ckpt"
    assert options == {
        "config": Path("configs"),
        "device": "cpu",
        "dtype": "bfloat16",
        "vae": "Automatic",
        "vae_overrides": True,
        "compile": False,
        "offload": "none",
    }
    assert restart is True
    assert config == TrainingConfig(
        data=Path("images"),
        network=HypernetworkSettings(
            structure=(1, 1.5, 2, 1),
            activation="mish",
            weight_init="XavierNormal",
            layer_norm=True,
            activate_output=True,
            use_dropout=True,
            dropout_structure=(0, 0.1, 0.2, 0),
            transform="key,query",
        ),
        widths=(48, 128),
        steps=9,
        learning_rate="1e-4:5,1e-5",
        clipping="norm",
        clip_at="2:5,1",
        batch_size=3,
        accumulation=4,
        width=128,
        height=192,
        resize=False,
        template="subject",
        word_pattern="[a-z]+",
        word_join="+",
        shuffle_tags=True,
        tag_dropout=0.25,
        latent_sampling="random",
        alpha_weights=True,
        clip_skip=2,
        seed=7,
        gradient_checkpointing=True,
    )
    preview = files.preview
    assert (preview.prompt, preview.seed, preview.steps) == ("fox", 7, 14)
    assert (preview.width, preview.height, preview.batch_size) == (128, 192, 5)
    assert files == TrainingFiles(
        output=Path("my.safetensors"),
        folder=Path("logs"),
        name="my-ink",
        save_every=11,
        keep=12,
        preview=preview,
        preview_every=13,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--learning-rate", "1e-5:x"], "learning rate '1e-5:x', column 1: 'x' is no step"),
        (["--layer-structure", "1, x"], "layer_structure '1, x' is no list of numbers"),
        (["--layer-structure", "2, 1"], "[2, 1] does not begin and end with 1"),
        (["--activation", "rlu"], "unknown activation 'rlu'; did you mean relu"),
        (["--init", "Zero"], "weight_init 'Zero' is none of Normal"),
        (["--dropout-structure", "0, 0.1"], "the dropout structure has 2 stages"),
        (["--widths", "48,48"], "widths '48,48' is no list of different whole numbers"),
        (["--steps", "0"], "steps is 0; it must be 1 to"),
        (["--preview-steps", "0"], "steps is 0; it must be 1 to 1000"),
        (["--output", "ink.bin"], "output suffix '.bin' is none of .pt, .safetensors"),
        (["--checkpoint", "nowhere.ckpt"], "nowhere.ckpt: no such file"),
        (["--hypernetwork-dir", "a:b/c", "--checkpoint", "no.ckpt"], "no.ckpt: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: list[str], said: str, capsys: Capture, tmp_path: Path
) -> None:
    assert run("ink", "--data", "images", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "images"}


def test_names_that_no_tag_can_have_are_refused(capsys: Capture) -> None:
    assert run("../ink", "--data", "images") == 2
    assert "'../ink' is no name for a network" in capsys.readouterr().err


def test_a_folder_without_images_and_a_late_transform(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert run("ink", "--data", "empty", *MODEL, *QUICK) == 2
    assert "empty: holds no images" in capsys.readouterr().err
    asked = ["--transform", "key,query", "--output", "ink.pt"]
    assert run("ink", "--data", "images", *MODEL, *QUICK, *asked) == 2
    assert "use .safetensors" in capsys.readouterr().err


def test_an_interrupt_saves_the_state_and_exits_130(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shown = train._shown  # pyright: ignore[reportPrivateUsage]
    steps: list[int] = []

    def interrupting(total: int) -> Any:
        context = shown(total)
        on_step, on_file = context.__enter__()

        def pressed(progress: TrainingProgress) -> None:
            on_step(progress)
            steps.append(progress.step)
            if progress.step == 1:
                signal.raise_signal(signal.SIGINT)

        class Watched:
            def __enter__(self) -> Any:
                return pressed, on_file

            def __exit__(self, *error: Any) -> None:
                context.__exit__(*error)

        return Watched()

    monkeypatch.setattr(train, "_shown", interrupting)
    before = signal.getsignal(signal.SIGINT)
    assert run("ink", "--data", "images", *MODEL, *QUICK, "--preview-count", "0") == 130
    assert signal.getsignal(signal.SIGINT) is before
    error = capsys.readouterr().err
    saved = Path("outputs", "training", "ink", "snapshots", "ink-1.pt")
    assert f"interrupted at step 1, saved as {saved}; the same command goes on from there" in error
    assert run("ink", "--data", "images", *MODEL, *QUICK, "--preview-count", "0") == 0
    assert steps == [1, 2, 3, 4]


def test_asking_for_help_loads_no_torch() -> None:
    code = (
        "import sys; from promptengine.cli.main import main\n"
        "try: main(['train', 'hypernetwork', '--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert b"--layer-structure" in done.stdout
    assert cli.__name__ == "promptengine.cli.main"
