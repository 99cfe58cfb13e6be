"""``promptengine search``, ``download`` and ``info --online``."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.civitai.site import FakeSite, running
from tests.civitai.test_keep import CONTENT, EVIL
from tests.cli.test_main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    with running() as site:
        monkeypatch.delenv("CIVITAI_API_TOKEN", raising=False)
        monkeypatch.setenv("PROMPTENGINE_CIVITAI_URL", site.url)
        yield site


def test_search_shows_what_is_found(fake: FakeSite, capsys: Capture) -> None:
    fake.add(1, CONTENT)
    fake.add(2, CONTENT, type_="LORA", model={"name": "Ink \x1b[31m", "type": "LORA"})
    assert run("search", "ink", "--type", "hypernetwork") == 0
    said = capsys.readouterr().out
    assert "Ink" in said and "Hypernetwork" in said and "LORA" not in said
    assert run("search", "ink", "--type", "LoRA", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["id"] == 20 and found["name"] == "Ink \x1b[31m"
    assert run("search", "ink") == 0
    assert "\x1b" not in capsys.readouterr().out
    assert run("search", "nothing like it") == 0
    assert capsys.readouterr().out == "nothing found\n"


def test_download_says_what_it_wrote(fake: FakeSite, tmp_path: Path, capsys: Capture) -> None:
    fake.add(1, CONTENT)
    assert run("download", "10", "--models", str(tmp_path)) == 0
    said = capsys.readouterr().out.splitlines()
    target = tmp_path / "hypernetworks" / "ink.pt"
    assert said[0] == "Ink – v1.0 (Hypernetwork, SD 1.5): ink.pt, 0.0 MiB"
    assert said[1] == f"wrote {target}"
    assert said[-1] == "trained words: ink wash, sumi"
    assert target.read_bytes() == CONTENT
    assert run("download", "10", "--models", str(tmp_path)) == 0
    assert f"{target} is there already" in capsys.readouterr().out


def test_another_folder_of_hypernetworks_gets_them(fake: FakeSite, tmp_path: Path) -> None:
    fake.add(1, CONTENT)
    arguments = ["--hypernetwork-dir", str(tmp_path), "--no-preview"]
    assert run("download", "10", *arguments) == 0
    found = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert found == {"ink.pt", "ink.json", "ink.civitai.info"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["download", "10"], "ink.pt is not kept: it asks to run code"),
        (["download", "77"], "the site has no model 77"),
        (["download", "what?"], "'what?' is neither the id of a model"),
        (["search", "a", "--type", "pose"], "type is 'pose'; it must be one of hypernetwork, lora"),
        (["search", "a", "--limit", "0"], "limit is 0; it must be 1 to 100"),
        (["search", "a", "--base-url", "http://civitai.com"], "it must begin with https://"),
    ],
)
def test_mistakes_and_refusals_are_one_line(
    fake: FakeSite, tmp_path: Path, capsys: Capture, arguments: list[str], said: str
) -> None:
    where = ["--models", str(tmp_path)] if arguments[0] == "download" else []
    fake.add(1, EVIL["zip"])
    assert run(*arguments, *where) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".pt"]


def test_info_names_what_hashes_are(fake: FakeSite, tmp_path: Path, capsys: Capture) -> None:
    fake.add(1, CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()[:10]
    text = tmp_path / "a.txt"
    settings = f'Model: m, Model hash: 0123456789, Hypernet hashes: "ink: {digest}", Seed: 1'
    text.write_text(f"a cat <hypernet:ink:1>\nSteps: 2, {settings}, Size: 64x64")
    assert run("info", str(text)) == 0
    assert not fake.seen, "nothing is asked unless a user asks for it"
    capsys.readouterr()
    assert run("info", str(text), "--online") == 0
    said = capsys.readouterr().out
    assert "online: checkpoint m 0123456789: not known there" in said
    page = f"{fake.url}/models/10?modelVersionId=1"
    assert f"online: hypernet ink {digest}: Ink – v1.0 (Hypernetwork, SD 1.5) {page}" in said
    assert run("info", str(text), str(text), "--online", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["online"] == second["online"]
    assert [one["model"] for one in first["online"]] == [None, "Ink"]
    assert len(fake.seen) == 4, "the same is asked once"


def test_hashes_of_civitais_programs_are_read(
    fake: FakeSite, tmp_path: Path, capsys: Capture
) -> None:
    fake.add(1, CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()[:10]
    hashes = json.dumps({"model": "0123456789", "hypernet:ink": digest, "lora:x": "../../etc"})
    text = tmp_path / "a.txt"
    text.write_text(f"a cat\nSteps: 2, Seed: 1, Size: 64x64, Hashes: {hashes}")
    assert run("info", str(text), "--online", "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert [(one["kind"], one["model"]) for one in answer["online"]] == [
        ("checkpoint", None),
        ("hypernet", "Ink"),
    ]


def test_nothing_of_it_is_imported_unasked() -> None:
    code = (
        "import sys, promptengine.cli.main as m; m._parser(); "
        "sys.exit(any(n == 'httpx' or n.startswith('promptengine.civitai.') for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
