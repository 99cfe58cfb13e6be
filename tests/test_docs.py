"""README and documentation work as they stand: examples, commands, links, and the site made of them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from models.starter.networks_page import IMAGES, PAGE, run_page
from promptengine.cli.main import _parser  # pyright: ignore[reportPrivateUsage]
from promptengine.networks.hypernetwork.files import save_hypernetwork
from promptengine.plugins import isolated_plugins
from tests.checkpoints.diffusers_pipelines import pipeline
from tests.checkpoints.original import tiny
from tests.conftest import CHECKPOINT, NETWORKS
from tests.networks.builders import random_network
from tests.training.builders import make_images

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples find where they run: a small checkpoint, also in a WebUI, and images to train on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("promptengine.training.step._PROBES", 2)
    (tmp_path / "my-model.safetensors").symlink_to(CHECKPOINT)
    # The native size is what the examples use: a small one is quick.
    small = CHECKPOINT.with_suffix(".yaml").read_text()
    (tmp_path / "my-model.yaml").write_text(small.replace("image_size: 64", "image_size: 8", 1))
    make_images(tmp_path / "images")
    (tmp_path / "models" / "hypernetworks").mkdir(parents=True)
    home = tmp_path / "stable-diffusion-webui" / "models" / "Stable-diffusion"
    home.mkdir(parents=True)
    for suffix in (".safetensors", ".yaml"):
        (home / f"my-model{suffix}").symlink_to(tmp_path / f"my-model{suffix}")
    return tmp_path / "models"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != PAGE and blocks(page, "python")], ids=named
)
def test_the_examples_run(
    page: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ink = models / "hypernetworks" / "ink.pt"
    names: dict[str, object] = {"pipe": pipeline(tiny("SD1"))}
    for example in blocks(page, "python"):
        if re.search(r"\bpipe\b", example):
            save_hypernetwork(random_network([64, 128]), ink)
        else:
            shutil.copy(NETWORKS / "hn-relu.pt", ink)
        with isolated_plugins():
            exec(compile(example, named(page), "exec"), names)
        said = capsys.readouterr().out
        if "print(attachment.networks)" in example:
            assert "name='ink', multiplier=0.8, applied=True" in said
        if "print([(network.name" in example:
            assert "('ink', True, '')" in said


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=named)
def test_every_command_is_understood(page: Path) -> None:
    lines = [
        line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()
    ]
    for line in lines:
        match = re.search(r"(?:^|bin/)promptengine (.*)", line)
        if match:
            assert _parser().parse_args(shlex.split(match[1], comments=True)).run, line


@pytest.mark.slow
def test_the_page_of_networks_runs_and_shows_what_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word on the starter, but for the number of steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")
    made = dict(run_page(steps=2))
    captured = capsys.readouterr()
    said = " ".join((captured.out + captured.err).split())
    assert made.keys() == {path.stem for path in IMAGES.iterdir()}
    for name, path in made.items():
        with Image.open(path) as ours, Image.open(IMAGES / f"{name}.webp") as shown:
            assert ours.size == shown.size, name
    assert set(re.findall(r"not applied \w+ \w+ × (\S+): ", said)) == {"0"}
    assert "[[], [True], [True], [True, True]]" in said
    assert "[(1, True)]" in said
    assert "[[True], [True]]" in said
    assert "'MINE' are no preset" in said


def test_the_readme_has_its_commands_and_stays_short() -> None:
    readme = ROOT / "README.md"
    commands = [line for line in blocks(readme, "sh")[2].splitlines() if "promptengine" in line]
    assert len(commands) >= 5
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 150
    # What a submission is tested by is the README's second command, word for word.
    assert blocks(readme, "sh")[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES[:3], ids=named)
def test_links_outside_of_the_site_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [urlsplit(link) for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert all((page.parent / link.path).exists() for link in links if not link.scheme)


def test_files_that_are_named_are_there() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    files = re.findall(r"(?<![\w/])(?:tests|promptengine|models/starter|grammars)/[\w./-]+\w", text)
    assert len(files) > 10
    assert [name for name in files if not (ROOT / name).exists()] == []


class Loaded(HTMLParser):
    """What a browser loads for a page, without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.addresses += [values[name] for name in ("src", "srcset", "data") if name in values]
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(values["href"])
        if values.get("style"):
            self.addresses += addresses_in(values["style"])


def addresses_in(style: str) -> list[str]:
    return re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s]+)", style)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as mkdocs builds it, where a warning is an error."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir")
    built = subprocess.run(
        [*command, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_the_pages_load_nothing_from_other_hosts(site: Path) -> None:
    found: dict[str, list[str]] = {}
    for path in (path for path in site.rglob("*") if path.suffix in (".html", ".css")):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            page = Loaded()
            page.feed(text)
            addresses = page.addresses
        else:
            addresses = addresses_in(text)
        found[str(path.relative_to(site))] = [one for one in addresses if urlsplit(one).netloc]
    assert len(found) > 10
    assert {name: addresses for name, addresses in found.items() if addresses} == {}


@pytest.mark.slow
def test_the_reference_has_what_the_package_has(site: Path) -> None:
    import promptengine

    commands = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    assert all(f"promptengine {name}" in commands for name in ("txt2img", "train hypernetwork"))
    assert "--hires-denoising" in commands
    fields = (site / "reference" / "fields" / "index.html").read_text(encoding="utf-8")
    assert "variation_strength" in fields and "eta_noise_seed_delta" in fields
    names = (site / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    assert all(f"promptengine.{name}" in names for name in promptengine.__all__ if name[0] != "_")
    assert ":class:" not in names and ":func:" not in names
    modules = (site / "explanation" / "architecture" / "index.html").read_text(encoding="utf-8")
    assert "cfg_denoiser.py" in modules and "{{" not in modules


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
@pytest.mark.browser
def test_a_browser_asks_no_other_host_for_the_pages(served: str) -> None:
    pytest.importorskip("selenium")
    from tests.ui.browser import opened

    with opened("about:blank") as page:
        for address in ("/", "/how-to/server/", "/reference/python/", "/404.html"):
            page.driver.get(f"{served}{address}")
            page.one("h1")
            asked = [one for one in page.asked() if one.startswith("http")]
            assert asked
            assert [one for one in asked if not one.startswith(f"{served}/")] == []


def test_images_of_the_pages_open() -> None:
    for name in ("grid.png", "page.png"):
        with Image.open(ROOT / "models" / "starter" / name) as image:
            image.verify()
