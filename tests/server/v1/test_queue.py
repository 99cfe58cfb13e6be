"""The list of jobs, their order, and what is left of them after a restart of the server."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from promptengine.server import job_records, job_store
from promptengine.server.job_store import ASIDE, JOBS, JobRecord, JobStore
from tests.server.live import SMALL as SDAPI_SMALL
from tests.server.live import until
from tests.server.v1.serving import BEN, EVENTS, USERS, server
from tests.server.v1.test_routes import JOBS as PATH


def names(output: Path) -> list[str]:
    """The seeds that images were saved under, in order."""
    return [path.stem.partition("-")[2] for path in sorted(output.rglob("*.png"))]


def test_all_jobs_are_listed_in_the_order_of_their_fate(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as own:
        own.submit("one")
        own.submit("two", save=False)
        own.idle()
        own.painter.gate.clear()
        own.submit("a" * 300)
        own.runs("a" * 199 + "…")
        own.submit("next")
        cancelled = own.submit("not at all")
        own.http.delete(f"{PATH}/{cancelled}")
        until(lambda: own.listed()[2]["state"] == "cancelled")
        own.submit("last")
        until(lambda: len(own.prompts("cancelled", "done")) == 3)
        told = own.listed()
        assert [one["state"] for one in told] == [
            *("running", "waiting", "waiting", "cancelled", "done", "done")
        ]
        assert [one["prompt"] for one in told][1:] == ["next", "last", "not at all", "two", "one"]
        assert [one["position"] for one in told] == [None, 0, 1, None, None, None]
        assert told[5]["saved"] == [next(tmp_path.rglob("*.png")).relative_to(tmp_path).as_posix()]
        assert told[4]["saved"] == [None]
        stamps = [told[n]["created"] for n in (5, 4, 0, 1, 3, 2)]
        assert stamps == sorted(stamps)
        assert len(own.listed(limit=1)) == 4
        assert own.http.get(PATH, params={"limit": 9999}).status_code == 422


def test_waiting_jobs_are_moved(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as own:
        first = own.submit("begin", checkpoint="none")
        own.runs("begin")
        ids = {text: own.submit(text, sampler="DDIM", steps=n + 1) for n, text in enumerate("abcd")}
        move = f"{PATH}/{{}}/move"
        for text, position, order in (("d", 0, "dabc"), ("d", 2, "abdc"), ("a", 9, "bdca")):
            told = own.http.post(move.format(ids[text]), json={"position": position}).json()
            assert "".join(own.prompts("waiting")) == order
            assert told["position"] == order.index(text)
        for id_, form, status in (
            *((first, {"position": 0}, 409), ("nobody", {"position": 0}, 404)),
            *((ids["a"], {"position": -1}, 422), (ids["a"], {"position": 0, "x": 1}, 422)),
        ):
            assert own.http.post(move.format(id_), json=form).status_code == status
        own.kill()
    with server(empty_models, tmp_path) as again:
        again.idle()
        assert [batch[0] for batch in again.painter.batches] == ["begin", "b", "d", "c", "a"]


def test_what_waits_when_the_server_is_killed_is_made_by_the_next(
    empty_models: Path, tmp_path: Path
) -> None:
    with server(empty_models, tmp_path) as own:
        own.painter.gate.set()
        done = own.submit("done", seed=1)
        until(lambda: own.listed()[0]["saved"])
        own.painter.gate.clear()
        own.submit("running", seed=2)
        own.runs("running")
        waiting = own.submit("waiting", seed=-1, options={"CLIP_stop_at_last_layers": 2})
        seed = own.app.state.service.queue.find(waiting).work.requests[0].seed
        kept = own.listed()
        own.kill()
    with server(empty_models, tmp_path) as again:
        again.runs("running")
        told = again.listed()
        assert [one["id"] for one in told] == [one["id"] for one in kept]
        assert [one["created"] for one in told] == [one["created"] for one in kept]
        assert told[2] == kept[2]
        again.idle()
        assert again.painter.batches == [["running"], ["waiting"]]
        assert names(tmp_path) == ["1", "2", str(seed)]
        queued = again.app.state.service.queue.find(waiting)
        assert queued.work.requests[0].clip_skip == 2
        # The one that ended before is known by its saved image.
        assert again.http.get(f"{PATH}/{done}").json() == kept[2]
        gone = again.http.get(f"{PATH}/{done}/result")
        assert gone.status_code == 410
        assert kept[2]["saved"][0] in gone.json()["detail"]
        (image,) = again.http.get(f"{PATH}/{done}/images").json()
        assert image["id"] == kept[2]["saved"][0]
        assert image["infotext"].startswith("done\nSteps: 2")
        again.http.delete(f"/promptengine/v1/images/{image['id']}")
        assert again.http.get(f"{PATH}/{done}/images").json() == []
        for method, path in (("DELETE", ""), ("POST", "/interrupt"), ("POST", "/skip")):
            assert again.http.request(method, f"{PATH}/{done}{path}").json()["state"] == "done"
        assert "event: ended" in again.http.get(f"{PATH}/{done}/events").text


def test_a_job_that_the_server_dies_with_twice_is_not_tried_again(
    empty_models: Path, tmp_path: Path
) -> None:
    for tries in range(2):
        with server(empty_models, tmp_path) as own:
            if tries == 0:
                poison = own.submit("poison")
                own.runs("poison")
                own.submit("good")
            own.runs("poison")
            # Once it has killed a server, nothing joins it.
            assert own.painter.batches == [["poison"]]
            own.kill()
    with server(empty_models, tmp_path) as own:
        own.idle()
        assert own.painter.batches == [["good"]]
        told = own.http.get(f"{PATH}/{poison}").json()
        assert told["state"] == "failed"
        assert told["error"].startswith("the server ended 2 times while it made this job")
        assert own.http.get(f"{PATH}/{poison}/result").status_code == 410
    with server(empty_models, tmp_path) as own:
        assert own.prompts() == ["good", "poison"]


def test_a_job_whose_files_are_gone_fails_with_its_message(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for kind, name in (
        ("Stable-diffusion", "a"),
        ("Stable-diffusion", "b"),
        ("hypernetworks", "ink"),
    ):
        (models / kind).mkdir(parents=True, exist_ok=True)
        suffix = "pt" if kind == "hypernetworks" else "safetensors"
        (models / kind / f"{name}.{suffix}").write_bytes(b"")
    output = tmp_path / "out"
    with server(models, output, checkpoint="a") as own:
        own.submit("begin")
        own.runs("begin")
        own.submit("x", checkpoint="b")
        own.submit("a <hypernet:ink:1>")
        own.submit("fine")
        own.kill()
    (models / "Stable-diffusion" / "b.safetensors").unlink()
    (models / "hypernetworks" / "ink.pt").unlink()
    with server(models, output, checkpoint="a") as again:
        again.idle()
        told = {one["prompt"]: one for one in again.listed()}
        assert told["begin"]["state"] == told["fine"]["state"] == "done"
        assert "Model not found: 'b.safetensors'" in told["x"]["error"]
        assert "ink" in told["a <hypernet:ink:1>"]["error"]
        assert again.painter.batches == [["begin"], ["fine"]]


def test_a_job_keeps_the_checkpoint_that_it_was_meant_for(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.safetensors").write_bytes(b"")
    with server(tmp_path / "models", tmp_path, checkpoint="a") as own:
        job = own.submit("x")
        own.runs("x")
        own.kill()
    with server(tmp_path / "models", tmp_path, checkpoint="b") as again:
        again.runs("x")
        found = again.app.state.service.queue.find(job)
        assert found.work.model.checkpoint.stem == "a"


def test_an_orderly_stop_keeps_what_it_cuts_off(empty_models: Path, tmp_path: Path) -> None:
    answers: list[httpx.Response] = []
    with server(empty_models, tmp_path) as own:
        cut = own.submit("cut off", seed=1, batch_count=2)
        own.runs("cut off")
        own.submit("waiting", seed=9)

        def ask() -> None:
            answers.append(own.http.post("/sdapi/v1/txt2img", json=SDAPI_SMALL))

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: len(own.prompts("waiting")) == 2)
        own.app.state.service.close(0.1)
        asking.join(30)
        assert [one.status_code for one in answers] == [503]
        assert own.http.get(EVENTS).status_code == 503
        told = own.http.get(f"{PATH}/{cut}").json()
        assert (told["state"], told["error"]) == ("cancelled", "the server is stopping")
    assert names(tmp_path) == []
    for _ in range(3):
        # However often that happens, it is no fault of the job's.
        with server(empty_models, tmp_path) as again:
            again.runs("cut off")
            assert again.prompts("waiting") == ["waiting"]
            again.app.state.service.close(0.1)
    with server(empty_models, tmp_path) as again:
        again.idle()
        assert names(tmp_path) == ["1", "2", "9"]


@pytest.mark.parametrize("damage", ["text", "foreign", "other version", "half", "no table"])
def test_a_file_that_cannot_be_used_is_moved_aside(
    empty_models: Path, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / JOBS
    with server(empty_models, tmp_path) as own:
        own.submit("x")
        own.runs("x")
        own.kill()
    if damage == "text":
        path.write_text("not a database, " * 1000)
    elif damage == "half":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        if damage == "foreign":
            path.unlink()
        with closing(sqlite3.connect(path)) as db:
            orders = {"foreign": "CREATE TABLE mine (x)", "no table": "DROP TABLE jobs"}
            db.execute(orders.get(damage, "PRAGMA user_version = 77"))
            db.commit()
    before = path.read_bytes()
    with server(empty_models, tmp_path) as own:
        assert own.prompts() == []
        assert path.with_name(JOBS + ASIDE).read_bytes() == before
        own.submit("new")
        own.runs("new")
        own.kill()
    with server(empty_models, tmp_path) as own:
        own.runs("new")


def test_rows_that_no_server_wrote_are_left_out(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    for name in "abcd":
        assert store.add(JobRecord(name, "", name, 1.0, 1), "{}")
    store.close()
    with closing(sqlite3.connect(tmp_path / JOBS)) as db:
        db.execute("UPDATE jobs SET state = 'sleeping' WHERE id = 'a'")
        db.execute("UPDATE jobs SET batches = 'many' WHERE id = 'b'")
        db.execute("UPDATE jobs SET saved = '[[1]]' WHERE id = 'c'")
        db.commit()
    assert [(one.id, one.saved) for one in JobStore(tmp_path).load()] == [("c", ()), ("d", ())]


@pytest.mark.parametrize("form", [None, "", "{", "[1]", '{"sed": 1}', '{"prompt": 1}', "\0"])
def test_a_form_that_cannot_be_read_fails_its_job_alone(
    empty_models: Path, tmp_path: Path, form: str | None
) -> None:
    store = JobStore(tmp_path)
    store.add(JobRecord("bad", "", "bad", 1.0, 1), "{}")
    store.close()
    with closing(sqlite3.connect(tmp_path / JOBS)) as db:
        db.execute("UPDATE jobs SET form = ?", (form,))
        db.commit()
    with server(empty_models, tmp_path) as own:
        (told,) = own.listed()
        assert told["state"] == "failed"
        assert "kept by another version" in told["error"]
        own.painter.gate.set()
        own.submit("good")
        own.idle()


def test_two_servers_do_not_make_each_others_jobs(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as one:
        one.submit("first")
        one.runs("first")
        one.submit("second")
        with server(empty_models, tmp_path) as other:
            assert other.prompts() == []
            other.painter.gate.set()
            other.submit("own")
            other.idle()
            assert other.painter.batches == [["own"]]
        assert one.prompts() == ["first", "second"]


def test_where_nothing_can_be_kept_jobs_are_made_all_the_same(
    empty_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    with server(empty_models, tmp_path / "out") as own:
        own.submit("x")
        own.idle()
        assert own.prompts("done") == ["x"]


def test_without_saving_nothing_is_written(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path / "out", save=False) as own:
        own.submit("x")
        own.idle()
        assert own.prompts("done") == ["x"]
    with server(empty_models, tmp_path / "out") as own:
        own.submit("secret", save=False)
        own.idle()
    assert not (tmp_path / "out").exists()


def test_the_file_keeps_no_more_than_the_last_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_store, "MOST_ENDED", 3)
    monkeypatch.setattr(job_records, "MOST_ENDED", 3)
    records = job_records.JobRecords(JobStore(tmp_path))
    records.add(JobRecord("waits", "", "", 1.0, 1), "x" * 100_000)
    for number in range(6):
        records.add(JobRecord(str(number), "", "", 1.0, 1), "x" * 1_000_000)
        records.fail(str(number), "no")
    assert [one.id for one in records.ended] == ["5", "4", "3"]
    records.close()
    again = job_records.JobRecords(JobStore(tmp_path))
    assert [one.id for one in again.ended] == ["5", "4", "3"]
    assert [one.id for one in again.unfinished] == ["waits"]
    again.close()
    assert (tmp_path / JOBS).stat().st_size < 1_000_000


def test_users_see_their_own_jobs(empty_models: Path, tmp_path: Path) -> None:
    ben = {"authorization": BEN}
    with server(empty_models, tmp_path, users=USERS) as own:
        mine = own.submit("mine")
        own.runs("mine")
        own.submit("mine too")
        assert own.http.get(PATH, headers=ben).json() == []
        for method, path in (
            *(("GET", ""), ("DELETE", ""), ("POST", "/skip"), ("POST", "/interrupt")),
            *(("GET", "/result"), ("GET", "/events")),
        ):
            answer = own.http.request(method, f"{PATH}/{mine}{path}", headers=ben)
            assert answer.status_code == 404
        moved = own.http.post(f"{PATH}/{mine}/move", json={"position": 0}, headers=ben)
        assert moved.status_code == 404
        own.kill()
    with server(empty_models, tmp_path, users=USERS) as again:
        assert again.http.get(PATH, headers=ben).json() == []
        again.idle()
        assert again.http.get(PATH, headers=ben).json() == []
        assert again.prompts() == ["mine too", "mine"]


def test_many_jobs_from_two_clients_are_all_made_once(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as own:
        tabs = [
            threading.Thread(
                target=lambda tab=tab: [own.submit(f"{tab}{n}", seed=n) for n in range(10)]
            )
            for tab in "ab"
        ]
        for tab in tabs:
            tab.start()
        for tab in tabs:
            tab.join()
        order = own.prompts()
        assert sorted(order) == sorted(f"{tab}{n}" for tab in "ab" for n in range(10))
        own.idle()
        made = [prompt for batch in own.painter.batches for prompt in batch]
        assert made == order
        for tab in "ab":
            assert [one for one in made if one.startswith(tab)] == [f"{tab}{n}" for n in range(10)]
        assert len(names(tmp_path)) == 20


def test_an_output_folder_that_moves_takes_its_jobs_along(
    empty_models: Path, tmp_path: Path
) -> None:
    with server(empty_models, tmp_path / "one") as own:
        own.submit("x")
        own.runs("x")
        own.kill()
    shutil.move(tmp_path / "one", tmp_path / "two")
    with server(empty_models, tmp_path / "two") as own:
        own.runs("x")
