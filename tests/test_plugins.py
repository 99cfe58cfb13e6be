"""Plugins: packages that are installed by a folder on the path, as pip installs them, and scripts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from promptengine import (
    Engine,
    GenerationRequest,
    HiresPass,
    read_infotext,
    register_command,
    register_grid_axis,
    register_sampler,
    register_scheduler,
    register_upscaler,
)
from promptengine.cli.command import Command
from promptengine.cli.main import main
from promptengine.errors import PluginError, RequestError
from promptengine.images.upscalers import (
    LatentUpscaler,
    PixelUpscaler,
    find_pixel_upscaler,
    latent_upscalers,
    pixel_upscalers,
)
from promptengine.infotext.recipe import recipe_from_infotext
from promptengine.plugins import (
    LazyFunction,
    Plugin,
    PluginWarning,
    isolated_plugins,
    load_plugins,
)
from promptengine.request.samplers import SAMPLERS, SigmaSampler, find_sampler
from promptengine.request.schedulers import SCHEDULERS, Scheduler, find_scheduler
from promptengine.xyz_plot.axes import Axis, AxisKind, request_at
from tests.plugin_packages import Install, install_example, installer, lay_out

EULER = LazyFunction("promptengine.sampling.algorithms.euler:sample_euler")
SMALL = GenerationRequest(prompt="a red house", steps=3, seed=5, width=32, height=32)


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PROMPTENGINE_PLUGINS", raising=False)
    with isolated_plugins():
        yield


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    return installer(tmp_path / "site", monkeypatch)


@pytest.fixture
def example(install: Install) -> Path:
    """The example of the repository, installed."""
    return install_example(install, "plugin")


SOURCE = """
from promptengine.plugins import LazyFunction
from promptengine.request.samplers import SigmaSampler
RUN = LazyFunction("promptengine.sampling.algorithms.euler:sample_euler")
FINE = SigmaSampler("Fine", RUN)
EULER = SigmaSampler("Euler", RUN)
ALIAS = SigmaSampler("Alias", RUN, aliases=("euler_a",))
OPTIONS = SigmaSampler("Options", RUN, settings={"speed": "speed"})
STEEP = SigmaSampler("Steep", RUN, scheduler="steep")
TEXT = "Euler"
"""


def test_the_example_makes_an_image_that_names_it(example: Path, tiny_engine: Engine) -> None:
    result = tiny_engine.generate(replace(SMALL, sampler="ralston"))
    other = tiny_engine.generate(replace(SMALL, sampler="Euler"))
    assert result.images[0].tobytes() != other.images[0].tobytes()
    assert "Sampler: Ralston," in result.infotexts[0]
    infotext = read_infotext(result.infotexts[0])
    assert infotext.entries["Plugins"] == "promptengine-ralston 1.0"
    recipe = recipe_from_infotext(infotext, tiny_engine.registry)
    assert [item.message for item in recipe.diagnostics if "checkpoint" not in item.message] == []
    assert recipe.request.sampler == "Ralston"
    assert "Plugins" not in other.infotexts[0]


def test_the_example_solves_what_it_shall(example: Path) -> None:
    """For a Gaussian of spread s the ODE is solved exactly by scaling; the error falls by four."""
    spread = 0.5

    def error(steps: int) -> float:
        sigmas = torch.linspace(3, 1, steps + 1, dtype=torch.float64)
        end = find_sampler("Ralston").run(
            lambda x, sigma: x * spread**2 / (spread**2 + sigma**2),
            torch.ones(1, dtype=torch.float64),
            sigmas,
            noise=lambda *_: 0,
            on_step=lambda *_: None,
        )
        return abs(float(end) - ((1 + spread**2) / (9 + spread**2)) ** 0.5)

    assert error(20) / error(40) == pytest.approx(4, rel=0.15)


def test_names_of_plugins_are_known_without_torch(example: Path) -> None:
    code = (
        "import sys; from promptengine import GenerationRequest; "
        "GenerationRequest(prompt='', sampler='Ralston', scheduler='beta'); "
        "sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(example), *sys.path])}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


@pytest.mark.parametrize(
    ("entry", "value", "problem"),
    [
        ("Gone", "broken:GONE", "AttributeError"),
        ("Euler", "broken:EULER", "broken 1.0 calls a sampler 'Euler', and promptengine already"),
        ("Alias", "broken:ALIAS", "already has 'Euler a' of that name; rename one"),
        ("Other", "broken:FINE", "called 'Other' and its sampler 'Fine'; give both one name"),
        ("Text", "broken:TEXT", "must be a SigmaSampler or TimestepSampler (got str)"),
        ("Options", "broken:OPTIONS", "options that there are not: speed"),
        ("Steep", "broken:STEEP", "schedule type 'steep' is not one of uniform, karras"),
        ("Away", "nowhere_at_all:FINE", "ModuleNotFoundError"),
    ],
)
def test_a_plugin_that_breaks_is_named_and_skipped(
    install: Install, entry: str, value: str, problem: str
) -> None:
    entries = {"promptengine.samplers": {entry: value, "Fine": "broken:FINE"}}
    install("broken", entries, SOURCE)
    with pytest.warns(PluginWarning) as warned:
        found = {item.name: item.problem for item in load_plugins()}
    (warning,) = warned
    assert str(warning.message).startswith(f"plugin broken 1.0: sampler {entry!r} is skipped: ")
    assert problem in str(warning.message)
    assert problem in found[entry]
    assert found["Fine"] == ""
    assert find_sampler("fine").name == "Fine"


def test_of_two_plugins_with_one_name_the_message_names_both(install: Install) -> None:
    install("first", {"promptengine.samplers": {"Fine": "first:FINE"}}, SOURCE)
    install("second", {"promptengine.samplers": {"Fine": "second:FINE"}}, SOURCE, "2.1")
    with pytest.warns(PluginWarning, match=r"second 2\.1 calls .* and first 1\.0 already has"):
        assert SAMPLERS.plugin_of("Fine") == Plugin("first", "1.0")


@pytest.mark.parametrize(
    ("allowed", "loaded"),
    [("", []), ("second", ["Ours"]), ("First, second", ["Fine", "Ours"]), ("euler", [])],
)
def test_the_environment_says_what_is_loaded(
    install: Install, monkeypatch: pytest.MonkeyPatch, allowed: str, loaded: list[str]
) -> None:
    install("first", {"promptengine.samplers": {"Fine": "first:FINE"}}, SOURCE)
    ours = SOURCE.replace('"Fine"', '"Ours"')
    install("second", {"promptengine.samplers": {"Ours": "second:FINE"}}, ours)
    monkeypatch.setenv("PROMPTENGINE_PLUGINS", allowed)
    assert sorted(item.name for item in load_plugins()) == loaded
    assert ("second" in sys.modules) == ("Ours" in loaded)
    if "Fine" not in loaded:
        with pytest.raises(RequestError, match="unknown sampler 'Fine'"):
            GenerationRequest(prompt="", sampler="Fine")


def test_nothing_is_loaded_from_the_models_folder(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "hypernetworks").mkdir(parents=True)
    groups = {"promptengine.samplers": {"Fine": "hostile:FINE"}}
    lay_out(models, "hostile", groups, "raise SystemExit('run')\n", "1.0")
    shutil.copytree(
        models / "hostile-1.0.dist-info", models / "hypernetworks" / "hostile-1.0.dist-info"
    )
    command = [sys.executable, "-m", "promptengine", "networks", "--models", "models"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for arguments in (command, [*command[:3], "plugins"]):
        ran = subprocess.run(
            arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert "hostile" not in ran.stdout + ran.stderr


def test_scripts_register_what_they_have() -> None:
    register_sampler(SigmaSampler("Ours", EULER, ("k_our_own",)), origin="my script")
    assert find_sampler("our own karras").name == "Ours"
    assert SAMPLERS.plugin_of("Ours") == Plugin("my script")
    with pytest.raises(PluginError, match="script calls a sampler 'Ours', and my script already"):
        register_sampler(SigmaSampler("Ours", EULER))
    with pytest.raises(
        PluginError, match=r"must be a SigmaSampler or TimestepSampler \(got dict\)"
    ):
        register_sampler({})
    assert list(SAMPLERS)[-1] == "Ours"
    with isolated_plugins():
        assert "Ours" not in SAMPLERS


def test_a_schedule_type_of_a_script_makes_images_that_name_it(tiny_engine: Engine) -> None:
    def halved(table: Any, steps: int, lowest: float, highest: float, rho: float) -> torch.Tensor:
        return torch.cat([highest * 0.5 ** torch.arange(steps), torch.zeros(1)])

    register_scheduler(Scheduler("halved", "Halved", halved))
    assert find_scheduler("Halved") is SCHEDULERS["halved"]
    result = tiny_engine.generate(replace(SMALL, scheduler="halved"))
    assert "Schedule type: Halved," in result.infotexts[0]
    assert "Plugins: script," in result.infotexts[0]
    recipe = recipe_from_infotext(read_infotext(result.infotexts[0]), tiny_engine.registry)
    assert [item.message for item in recipe.diagnostics if "checkpoint" not in item.message] == []
    assert find_scheduler(recipe.request.scheduler) is SCHEDULERS["halved"]
    for label in ("Karras", "automatic"):
        with pytest.raises(PluginError):
            register_scheduler(Scheduler("other", label, halved))


def test_upscalers_of_a_script_enlarge_images_and_latents(tiny_engine: Engine) -> None:
    seen: list[tuple[int, ...]] = []

    def doubled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        seen.append((*image.size, *size))
        return image.resize((2 * image.width, 2 * image.height))

    def flat(latents: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        seen.append(size)
        return latents.mean((2, 3), keepdim=True).expand(-1, -1, *size)

    register_upscaler(PixelUpscaler("Doubled", doubled))
    register_upscaler(LatentUpscaler("Flat", flat))
    for name in ("Doubled", "Flat"):
        request = replace(SMALL, hires=HiresPass(scale=1.5, upscaler=name, steps=1))
        result = tiny_engine.generate(request)
        assert result.images[0].size == (48, 48)
        assert read_infotext(result.infotexts[0]).entries["Plugins"] == "script"
    assert seen == [(32, 32, 48, 48), (6, 6)]
    assert (pixel_upscalers()[-1], latent_upscalers()[-1]) == ("Doubled", "Flat")
    with pytest.raises(RequestError, match="there are None, Lanczos, Nearest, Doubled"):
        find_pixel_upscaler("Flat")


def test_a_grid_axis_of_a_script_varies_what_it_says() -> None:
    def widen(
        request: GenerationRequest, axis: Axis, value: Any, axes: Sequence[Axis]
    ) -> GenerationRequest:
        return replace(request, width=8 * value)

    register_grid_axis(AxisKind("cells", int, widen))
    axis = Axis.parse("cells=4-6")
    requests = [request_at(SMALL, [(axis, value)]) for value in axis.values]
    assert [request.width for request in requests] == [32, 40, 48]
    with pytest.raises(RequestError, match=r"did you mean 'cells'\?"):
        Axis("cell", (1,))
    for kind in (AxisKind("A=B", int, widen), AxisKind("list", list, widen)):  # type: ignore[arg-type]
        with pytest.raises(PluginError):
            register_grid_axis(kind)


def test_a_command_of_a_script_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    def add(parser: Any) -> None:
        parser.add_argument("--loud", action="store_true")
        parser.set_defaults(run=lambda options: print("MOO" if options.loud else "moo") or 0)

    register_command(Command("moo", "say moo", add))
    assert main(["moo", "--loud"]) == 0
    assert capsys.readouterr().out == "MOO\n"
    with pytest.raises(PluginError, match="promptengine already has 'convert'"):
        register_command(Command("convert", "", add))


def test_the_command_lists_plugins(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    assert capsys.readouterr().out == "no plugins\n"
    entries = {"promptengine.samplers": {"Fine": "broken:FINE", "Text": "broken:TEXT"}}
    install("broken", entries, SOURCE)
    with isolated_plugins():
        assert main(["plugins", "--json"]) == 1
    fine, text = json.loads(capsys.readouterr().out)
    assert fine == {
        "group": "promptengine.samplers",
        "name": "Fine",
        "plugin": "broken",
        "version": "1.0",
        "problem": None,
    }
    assert text["name"] == "Text"
    assert "got str" in text["problem"]
    with isolated_plugins():
        assert main(["plugins"]) == 1
    assert "broken 1.0" in capsys.readouterr().out
