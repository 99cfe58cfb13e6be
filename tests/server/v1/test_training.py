"""Trainings over HTTP: started, told, stopped and resumed, one at a time, whatever names and images say."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine.errors import TrainingError
from promptengine.server import training as module
from promptengine.server.app import create_app
from promptengine.server.config import Limits, ServerConfig
from promptengine.server.training import Trainer
from promptengine.training.loop import TrainingProgress, TrainingResult
from promptengine.training.options import TrainingOptions
from tests.server.conftest import Live
from tests.server.live import Painter, client_of, until
from tests.server.sdapi.test_rules import in_base64
from tests.server.v1.test_routes import JOBS, SMALL, waited
from tests.training.builders import make_images

TRAINING = "/promptengine/v1/training"
QUICK: dict[str, Any] = {
    **{"steps": 6, "learning_rate": "1e-3", "width": 64, "height": 64, "seed": 1},
    **{"save_every": 2, "preview_every": 3, "preview_steps": 1, "preview_count": 1},
}


@pytest.fixture(autouse=True)
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of a few steps need no sure measure of where they began."""
    monkeypatch.setattr("promptengine.training.step._PROBES", 2)


class Lesson:
    """Stands for a training: takes a step whenever it may, until it is stopped or finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = threading.Semaphore(0)
        self.begun: list[dict[str, Any]] = []
        self.fault: Exception | None = None

    def __call__(self, _engine: None, config: Any, files: Any, **options: Any) -> TrainingResult:
        self.begun.append({"config": config, "files": files, **options})
        if self.fault is not None:
            raise self.fault
        step = 0
        while step < config.steps and not options["cancel"].is_set():
            if self.gate.acquire(timeout=0.005):
                step += 1
                options["on_step"](TrainingProgress(step, config.steps, 1, 0.2, 0.25, 1e-5, 9.0))
        return TrainingResult(None, step, 0.25, finished=step == config.steps)


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lesson:
    lesson = Lesson(tmp_path)
    monkeypatch.setattr(Trainer, "_engine", lambda _self, _model: None)
    monkeypatch.setattr(module, "train_hypernetwork", lesson)
    return lesson


@pytest.fixture
def http(empty_models: Path, tmp_path: Path, painter: Painter) -> Iterator[httpx.Client]:
    """A client of a server whose images cost nothing."""
    painter.gate.set()
    config = ServerConfig(
        models=empty_models,
        output=tmp_path / "outputs",
        training=tmp_path / "training",
        limits=Limits(training_images=3),
    )
    with client_of(create_app(config, [painter])) as client:
        yield client


def images(count: int = 2) -> list[dict[str, str]]:
    return [
        {"image": in_base64((80, 64)), "caption": f"a cat, number {number}"}
        for number in range(count)
    ]


def told(http: httpx.Client) -> dict[str, Any]:
    return http.get(TRAINING).json()


def over(http: httpx.Client) -> dict[str, Any]:
    until(lambda: told(http)["state"] not in ("preparing", "training", "stopping"), 60)
    return told(http)


def started(http: httpx.Client, **form: Any) -> dict[str, Any]:
    answer = http.post(TRAINING, json={**QUICK, **form})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_options_are_told_as_they_are_declared(http: httpx.Client) -> None:
    schema = http.get(f"{TRAINING}/fields").json()
    own = schema["properties"]
    assert own["steps"]["title"] == "Max steps"
    assert (own["steps"]["minimum"], own["steps"]["default"]) == (1, 100_000)
    assert own["transform"]["enum"] == ["key,value", "key,query"]
    assert "mish" in own["activation"]["x-choices"]
    assert "style_filewords" in own["template"]["x-choices"]
    assert own["activation"]["x-group"] == "The network"
    assert not {"word_pattern", "word_join"} & set(own)
    # What is told can be sent.
    defaults = {name: one.get("default") for name, one in own.items()}
    assert http.post(TRAINING, json={**defaults, "name": "ink"}).json()["field"] == "images"


def test_a_training_from_images_to_a_network_that_prompts_name(live: Live) -> None:
    begun = started(live.http, name="page-ink", images=images(), preview_prompt="a cat")
    assert (begun["state"], begun["name"], begun["of"]) == ("preparing", "page-ink", 6)
    ended = over(live.http)
    assert (ended["state"], ended["step"], ended["error"]) == ("finished", 6, None)
    assert [point["step"] for point in ended["points"]] == [1, 2, 3, 4, 5, 6]
    assert ended["previews"] == [3, 6]
    preview = live.http.get(f"{TRAINING}/previews/6")
    assert preview.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(preview.content)) as opened:
        assert opened.width > 64
    assert live.http.get(f"{TRAINING}/previews/5").status_code == 404
    kept = live.config.training / "runs" / "page-ink" / "images"
    assert sorted(path.name for path in kept.iterdir()) == [
        *("0001.png", "0001.txt", "0002.png", "0002.txt"),
    ]
    assert (kept / "0002.txt").read_text() == "a cat, number 1"
    form = {**SMALL, "prompt": "a cat <hypernet:page-ink:1>"}
    job = live.http.post(JOBS, json=form).json()["id"]
    waited(live.http, job)
    (use,) = live.http.get(f"{JOBS}/{job}/result").json()["networks"]
    assert use["applied"]
    # Nothing replaces it unasked; more steps let it go on.
    taken = live.http.post(TRAINING, json={**QUICK, "name": "page-ink", "images": images()})
    assert (taken.status_code, taken.json()["field"]) == (409, "name")
    assert "resume it, or overwrite it" in taken.json()["detail"]
    started(live.http, name="page-ink", resume=True, steps=8, preview_prompt="a cat")
    ended = over(live.http)
    assert (ended["state"], ended["step"]) == ("finished", 8)
    assert [point["step"] for point in ended["points"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    started(live.http, name="page-ink", overwrite=True, images=images(1), steps=2)
    assert over(live.http)["step"] == 2
    assert len(list(kept.iterdir())) == 2


def test_a_stopped_training_goes_on_as_if_it_had_never_stopped(live: Live) -> None:
    make_images(live.config.training / "data" / "three")
    assert {"name": "three", "images": 3} in live.http.get(f"{TRAINING}/data").json()
    form = {"folder": "three", "steps": 400, "save_every": 0, "preview_count": 0}
    started(live.http, name="page-long", **form)
    until(lambda: told(live.http)["step"] >= 2)
    live.http.post(f"{TRAINING}/stop")
    stopped = over(live.http)
    assert stopped["state"] == "stopped"
    assert 2 <= stopped["step"] < 400
    again = {**form, "steps": stopped["step"] + 1}
    changed = {**again, "batch_size": 2, "resume": True}
    started(live.http, name="page-long", **changed)
    failed = over(live.http)
    assert failed["state"] == "failed"
    assert "batch_size was 1" in failed["error"]
    started(live.http, name="page-long", **again, resume=True)
    assert (over(live.http)["state"], told(live.http)["step"]) == ("finished", again["steps"])


def test_one_at_a_time_and_told_to_whoever_looks(http: httpx.Client, lesson: Lesson) -> None:
    assert told(http)["state"] == "none"
    started(http, name="ink", images=images())
    until(lambda: lesson.begun)
    other = http.post(TRAINING, json={**QUICK, "name": "neon", "images": images()})
    assert other.status_code == 409
    assert "'ink' is being trained" in other.json()["detail"]
    lesson.gate.release(3)
    until(lambda: told(http)["step"] == 3)
    # Images are made meanwhile.
    job = http.post(JOBS, json=SMALL).json()["id"]
    assert waited(http, job)["state"] == "done"
    assert told(http)["state"] == "training"
    assert told(http)["points"][-1] == {"step": 3, "loss": 0.2, "smoothed_loss": 0.25}
    lesson.gate.release(3)
    assert over(http)["state"] == "finished"
    assert http.post(f"{TRAINING}/stop").json()["state"] == "finished"
    started(http, name="neon", images=images())
    until(lambda: len(lesson.begun) == 2)
    http.post(f"{TRAINING}/stop")
    assert over(http)["state"] == "stopped"


def test_events_tell_until_the_end(http: httpx.Client, lesson: Lesson) -> None:
    started(http, name="ink", images=images())
    lesson.gate.release(6)
    names: list[str] = []
    with http.stream("GET", f"{TRAINING}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))
    assert names[-1] == "ended"
    assert set(names[:-1]) <= {"progress"}
    assert (last["state"], last["step"]) == ("finished", 6)
    # Where nothing goes on, the stream says so and ends.
    with http.stream("GET", f"{TRAINING}/events") as stream:
        assert "event: ended" in stream.read().decode()


def test_many_points_are_thinned(http: httpx.Client, lesson: Lesson) -> None:
    started(http, name="ink", images=images(), steps=3000)
    lesson.gate.release(3000)
    points = over(http)["points"]
    assert 100 < len(points) <= 400
    assert points[-1]["step"] == 3000
    assert [point["step"] for point in points] == sorted({point["step"] for point in points})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (TrainingError("no images <here>"), "no images <here>"),
        (RuntimeError("secret words of the machine"), "inside the server"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_a_fault_is_told_and_the_next_one_can_begin(
    http: httpx.Client, lesson: Lesson, fault: Exception, words: str
) -> None:
    lesson.fault = fault
    started(http, name="ink", images=images())
    ended = over(http)
    assert ended["state"] == "failed"
    assert words in ended["error"]
    assert "secret" not in ended["error"]
    lesson.fault = None
    started(http, name="ink", images=images())
    lesson.gate.release(6)
    assert over(http)["state"] == "finished"


NAMES = [
    *("", ".", "..", "../ink", "a/b", "/etc/ink", "a\\b", " ink", "ink.", "None", "a\0b", "a\nb"),
    *("<b>", "a:b", "x" * 101, "\ud800"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_none_lead_nowhere(
    http: httpx.Client, lesson: Lesson, tmp_path: Path, name: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    text = json.dumps({**QUICK, "name": name, "images": images(1)})
    answer = http.post(TRAINING, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == "name"
    assert lesson.begun == []
    assert told(http)["state"] == "none"
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_of_data_are_those_of_the_list(
    http: httpx.Client, lesson: Lesson, tmp_path: Path
) -> None:
    data = tmp_path / "training" / "data"
    make_images(data / "three")
    make_images(tmp_path / "secret")
    make_images(data / ".hidden")
    (data / "out").symlink_to(tmp_path / "secret")
    (data / "file.png").write_bytes(b"")
    assert http.get(f"{TRAINING}/data").json() == [{"name": "three", "images": 3}]
    for folder in ("../secret", "out", ".hidden", "", ".", "three/../three", str(data), "file.png"):
        answer = http.post(TRAINING, json={**QUICK, "name": "ink", "folder": folder})
        assert (answer.status_code, answer.json()["field"]) == (422, "folder"), folder
    assert lesson.begun == []
    started(http, name="ink", folder="three")
    until(lambda: lesson.begun)
    assert lesson.begun[0]["config"].data == data / "three"
    lesson.gate.release(6)
    over(http)


def test_a_link_in_place_of_a_run_is_refused(
    http: httpx.Client, lesson: Lesson, tmp_path: Path
) -> None:
    (tmp_path / "training" / "runs").mkdir(parents=True)
    make_images(tmp_path / "secret" / "images")
    (tmp_path / "training" / "runs" / "ink").symlink_to(tmp_path / "secret")
    answer = http.post(TRAINING, json={**QUICK, "name": "ink", "images": images()})
    assert (answer.status_code, answer.json()["field"]) == (422, "name")
    assert len(list((tmp_path / "secret" / "images").iterdir())) == 4


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"images": []}, "images", "send some"),
        ({"images": [{"image": "no image"}]}, "images", "image 1: Invalid encoded image"),
        ({"images": [{"image": "http://here/a.png"}]}, "images", "Requests not allowed"),
        ({"images": images(4)}, "images", "3 are the most"),
        ({"folder": "three", "images": images()}, "folder", "leave one out"),
        ({"resume": True}, "resume", "no training of 'ink' can go on"),
        ({"resume": True, "overwrite": True}, "overwrite", "both true"),
        ({"resume": True, "images": images()}, "images", "has its images"),
        ({"steps": 0}, "steps", "it must be 1 to"),
        ({"width": 63}, "width", "it must be 64 to 2048"),
        ({"learning_rate": "fast"}, "learning_rate", "is no number"),
        ({"learning_rate": "1," * 10**6}, "learning_rate", "1000 are the most"),
        ({"learning_rate": "1e-5:2"}, "learning_rate", "ends at step 2"),
        ({"template": "/etc/passwd"}, "template", "none of those"),
        ({"layer_structure": "1, 1000000, 1"}, "layer_structure", "32 are the most"),
        ({"layer_structure": "1, nan, 1"}, "layer_structure", ""),
        ({"layer_structure": "1, inf, 1"}, "layer_structure", ""),
        ({"layer_structure": "1" + ", 0.1" * 200 + ", 1"}, "layer_structure", ""),
        ({"activation": "rlu"}, "layer_structure", "did you mean relu"),
        ({"dropout_structure": "0, 2, 0"}, "layer_structure", "outside"),
        ({"batch_size": 1000}, "batch_size", "16 are the most"),
        ({"batch_size": 16, "width": 2048, "height": 2048}, "batch_size", "1 are the most"),
        ({"preview_count": 17}, "preview_count", "16 are the most"),
        ({"preview_steps": 1000}, "preview_steps", "150 are the most"),
        ({"preview_prompt": "x" * 30_000}, "preview_prompt", "20000"),
        ({"tag_dropout": 1}, "tag_dropout", "below 1"),
        ({"checkpoint": "no such"}, "checkpoint", "no such"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    http: httpx.Client, lesson: Lesson, form: dict[str, Any], field: str, words: str
) -> None:
    begun = time.monotonic()
    asked = {**QUICK, "name": "ink", "images": images(1), **form}
    if form.get("resume") and "images" not in form:
        asked["images"] = []
    answer = http.post(TRAINING, json=asked)
    assert answer.status_code in (404, 422), answer.text
    assert answer.json()["field"] == field
    assert words in answer.json()["detail"]
    assert time.monotonic() - begun < 10
    assert lesson.begun == []
    assert told(http)["state"] == "none"


@pytest.mark.parametrize(
    "form",
    [
        {"word_pattern": "(a+)+$"},
        {"output": "/etc/ink.pt"},
        {"data": "/etc"},
        {"steps": "many"},
        {"images": [{"image": "", "name": "../x.png"}]},
        {"name": None},
    ],
)
def test_forms_of_another_shape_are_refused(http: httpx.Client, form: dict[str, Any]) -> None:
    assert http.post(TRAINING, json={"name": "ink", **form}).status_code == 422
    assert told(http)["state"] == "none"


def test_a_network_of_another_training_is_not_replaced(
    http: httpx.Client, lesson: Lesson, empty_models: Path
) -> None:
    folder = empty_models / "hypernetworks"
    folder.mkdir(exist_ok=True)
    for name in ("taken.pt", "below/deeper.pt", "other.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    http.post("/promptengine/v1/networks/refresh")
    for name in ("taken", "deeper", "other"):
        answer = http.post(TRAINING, json={**QUICK, "name": name, "images": images(1)})
        assert (answer.status_code, answer.json()["field"]) == (409, "name")
    # A file elsewhere, or of another kind, would still be there beside the new one.
    for name in ("deeper", "other"):
        form = {**QUICK, "name": name, "images": images(1), "overwrite": True}
        assert http.post(TRAINING, json=form).status_code == 409
    started(http, name="taken", images=images(1), overwrite=True)
    until(lambda: lesson.begun)
    assert lesson.begun[0]["restart"] is True
    lesson.gate.release(6)
    over(http)


def test_jpeg_and_webp_keep_their_kind(http: httpx.Client, lesson: Lesson, tmp_path: Path) -> None:
    sent: list[dict[str, str]] = []
    for form in ("JPEG", "WEBP"):
        file = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(file, form)
        sent.append({"image": base64.b64encode(file.getvalue()).decode()})
    gif = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(gif, "GIF")
    odd = [{"image": base64.b64encode(gif.getvalue()).decode()}]
    refused = http.post(TRAINING, json={**QUICK, "name": "ink", "images": odd})
    assert refused.json()["field"] == "images"
    assert "none of PNG, JPEG" in refused.json()["detail"]
    started(http, name="ink", images=sent)
    kept = sorted(path.name for path in (tmp_path / "training/runs/ink/images").iterdir())
    assert kept == ["0001.jpg", "0001.txt", "0002.txt", "0002.webp"]
    lesson.gate.release(6)
    over(http)


def test_a_server_that_stops_saves_its_training(
    empty_models: Path, tmp_path: Path, lesson: Lesson
) -> None:
    config = ServerConfig(models=empty_models, output=tmp_path, training=tmp_path / "training")
    app = create_app(config, [Painter()])
    with client_of(app) as http:
        started(http, name="ink", images=images())
        until(lambda: lesson.begun)
        app.state.service.close(10)
        assert told(http)["state"] == "stopped"
        again = http.post(TRAINING, json={**QUICK, "name": "neon", "images": images()})
        assert again.status_code == 503


def test_options_stand_once() -> None:
    options = TrainingOptions(layer_structure="1, 1.5, 1", dropout_structure="0, 0.1, 0")
    config = options.config(Path("data"))
    assert config.network.structure == (1, 1.5, 1)
    assert config.network.use_dropout
    assert config.steps == options.steps
    assert options.files(Path("ink.pt"), Path("run"), "ink").preview_every == options.preview_every
