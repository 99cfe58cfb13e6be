"""A kind of networks that a plugin adds: the example of the repository, from the tag to the image and back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from promptengine import (
    Engine,
    GenerationRequest,
    GenerationResult,
    HiresPass,
    NetworkKind,
    Registry,
    inspect_file,
    parse,
    plain_tag,
    read_image_info,
    read_infotext,
    recipe_from_infotext,
    register_network_kind,
)
from promptengine.errors import IncompatibleNetworkError, PluginError, PromptSyntaxError
from promptengine.kinds import NETWORK_KINDS
from promptengine.plugins import LazyFunction, PluginWarning, isolated_plugins, load_plugins
from promptengine.server.sdapi.to_request import batch_key
from tests.cli.test_main import run
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS
from tests.plugin_packages import Install, install_example, installer

BASE = GenerationRequest(prompt="a cat", seed=7, steps=2, width=64, height=64, sampler="Euler")
WIDTH = 48


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The example, installed for the length of this module."""
    with pytest.MonkeyPatch.context() as patch, isolated_plugins():
        patch.delenv("PROMPTENGINE_PLUGINS", raising=False)
        install = installer(tmp_path_factory.mktemp("plugins") / "site", patch)
        yield install_example(install, "network_kind")


def vector(seed: int, width: int = WIDTH) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def models(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("biases", "hypernetworks"):
        (folder / name).mkdir()
    shutil.copy(NETWORKS / "hn-relu.pt", folder / "hypernetworks")
    save_file({"bias": vector(1)}, folder / "biases" / "warm.safetensors")
    save_file({"bias": vector(2)}, folder / "biases" / "cold.safetensors")
    save_file({"bias": vector(3, 768)}, folder / "biases" / "wide.safetensors")
    (folder / "biases" / "note.txt").write_text("no network")
    return folder


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    torch.set_num_threads(1)
    return Engine.open(CHECKPOINT, models=models, config=CONFIG, device="cpu")


def generate(engine: Engine, tags: str, **changes: object) -> GenerationResult:
    return engine.generate(replace(BASE, prompt=f"a cat{tags}", **changes))


def test_a_tag_changes_the_image_by_its_multiplier(engine: Engine) -> None:
    plain = generate(engine, "").latents
    half, whole = (generate(engine, f"<bias:warm:{m}>").latents for m in (0.5, 1))
    assert (half - plain).abs().max() > 0.01
    assert (whole - half).abs().max() > 0.01
    assert torch.equal(generate(engine, "<bias:warm>").latents, whole)
    assert torch.equal(generate(engine, "").latents, plain)


def test_tags_add_up_in_their_order_with_other_kinds(engine: Engine) -> None:
    both = generate(engine, "<bias:warm:0.5><hypernet:hn-relu:1><bias:cold:0.5>")
    assert [(one.kind, one.name, one.applied) for one in both.networks] == [
        ("bias", "warm", True),
        ("hypernet", "hn-relu", True),
        ("bias", "cold", True),
    ]
    one = generate(engine, "<bias:warm:0.5><hypernet:hn-relu:1>")
    assert not torch.equal(both.latents, one.latents)


def test_the_result_and_the_infotext_tell_of_it(engine: Engine) -> None:
    result = generate(engine, "<bias:warm:0.5><bias:nope:1><bias:cold:0>")
    used, missing, zero = result.networks
    assert (used.kind, used.multiplier, used.applied) == ("bias", 0.5, True)
    assert used.path is not None and used.path.name == "warm.safetensors"
    assert (missing.applied, missing.reason) == (False, "not found")
    assert (zero.applied, zero.reason) == (False, "multiplier is 0")
    entries = read_infotext(result.infotexts[0]).entries
    assert used.digest is not None
    assert entries["Bias hashes"] == f"warm: {used.digest[:10]}"
    assert entries["Bias skipped"] == "nope (not found), cold (multiplier is 0)"
    assert entries["Plugins"] == "promptengine-bias 1.0"
    assert "Plugins" not in generate(engine, "").infotexts[0]
    (unknown,) = [d for d in result.diagnostics if "nope" in d.message]
    assert unknown.message.startswith("unknown bias 'nope'; no name in ")


def test_what_cannot_be_applied_is_said(engine: Engine) -> None:
    result = generate(engine, "<bias:wide:1>")
    assert [(r.applied, r.reason) for r in result.networks] == [(False, "does not fit")]
    assert "it holds 768 numbers" in result.diagnostics[0].message
    with pytest.raises(IncompatibleNetworkError):
        generate(engine, "<bias:wide:1>", policy="strict")
    with pytest.raises(PromptSyntaxError, match="multiplier 'x' of bias 'warm' is not a finite"):
        generate(engine, "<bias:warm:x>", policy="strict")
    scheduled = generate(engine, "[<bias:warm:1>:0.5]", dialect="extended")
    assert scheduled.networks[0].reason == "biases cannot change over the steps"
    (idle,) = parse("<bias:warm:1:2>").diagnostics
    assert idle.message == "'2' means nothing in a bias's tag"


def test_a_second_pass_has_its_own(engine: Engine) -> None:
    hires = HiresPass(scale=1.5, upscaler="Latent", steps=1, prompt="a cat <bias:cold:1>")
    result = generate(engine, "<bias:warm:1>", hires=hires)
    entries = read_infotext(result.infotexts[0]).entries
    assert entries["Bias hashes"].startswith("warm: ")
    assert entries["Hires bias hashes"].startswith("cold: ")


def test_jobs_that_name_different_ones_share_no_batch(engine: Engine) -> None:
    requests = [replace(BASE, prompt=f"a cat<bias:{name}:1>") for name in ("warm", "cold", "warm")]
    first, second, third = (batch_key([request]) for request in requests)
    assert first != second and first == third
    apart = [engine.generate(request).latents for request in requests]
    together = [result.latents for result in engine.generate_batch(requests)]
    assert all((one - other).abs().max() < 1e-4 for one, other in zip(apart, together, strict=True))


def test_a_file_with_another_name_is_found_by_its_hash(engine: Engine, tmp_path: Path) -> None:
    infotext = read_infotext(generate(engine, "<bias:warm:0.5>").infotexts[0])
    (tmp_path / "biases").mkdir()
    entry = engine.registry.find("bias", "warm")
    assert entry is not None
    shutil.copy(entry.path, tmp_path / "biases" / "hot.safetensors")
    recipe = recipe_from_infotext(infotext, Registry.open(tmp_path))
    assert recipe.request.prompt == "a cat<bias:hot:0.5>"
    said = [one.message for one in recipe.diagnostics if "checkpoint" not in one.message]
    digest = infotext.entries["Bias hashes"].removeprefix("warm: ")
    assert said == [f"bias 'warm' [{digest}] is found here as 'hot', by its hash"]


def test_the_command_line_lists_inspects_and_remakes(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--models", str(models)]
    assert run("networks", "--json", *folder) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(e["kind"], e["name"]) for e in listed if e["kind"] == "bias"] == [
        ("bias", "cold"),
        ("bias", "warm"),
        ("bias", "wide"),
    ]
    assert run("inspect", str(models / "biases" / "warm.safetensors")) == 0
    assert "bias" in capsys.readouterr().out
    assert inspect_file(models / "biases" / "warm.safetensors").kind == "bias"
    out = tmp_path / "out"
    opened = ["--checkpoint", str(CHECKPOINT), "--config", str(CONFIG), "--device", "cpu", *folder]
    first = ["a cat <bias:warm:0.7>", "--seed", "5", "--width", "64", "--height", "64"]
    assert run("txt2img", *first, "--steps", "2", *opened, "-o", str(out)) == 0
    assert "applied bias warm × 0.7" in capsys.readouterr().out
    (made,) = out.iterdir()
    assert run("txt2img", "--from", str(made), *opened, "-o", str(out)) == 0
    again = next(path for path in out.iterdir() if path != made)
    one, other = read_image_info(made), read_image_info(again)
    assert one.infotext == other.infotext
    assert made.read_bytes() == again.read_bytes()


def test_the_api_lists_it(models: Path) -> None:
    pytest.importorskip("fastapi")
    from promptengine.server.app import create_app
    from promptengine.server.config import ServerConfig
    from tests.server.live import client_of

    for suffix in (".safetensors", ".yaml"):
        target = models / "Stable-diffusion" / f"tiny{suffix}"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(CHECKPOINT.with_suffix(suffix), target)
    app = create_app(ServerConfig(models=models, model_config=CONFIG, devices=("cpu",)))
    with client_of(app) as http:
        listed = http.get("/promptengine/v1/networks", params={"kind": "bias"}).json()
        assert [entry["name"] for entry in listed] == ["cold", "warm", "wide"]
        told = http.get("/promptengine/v1/networks/bias/warm").json()
        assert told["kind"] == "bias" and len(told["sha256"]) == 64
        form = {"prompt": "a <bias:warm:0.5>"}
        read: Any = http.post("/promptengine/v1/parse", json=form).json()
        assert read["networks"] == [{"kind": "bias", "name": "warm", "multiplier": 0.5}]
        refused = http.get("/promptengine/v1/networks", params={"kind": "nope"})
        assert refused.status_code == 422


def test_prompts_name_it_without_torch(site: Path) -> None:
    code = (
        "import sys; from promptengine import parse; "
        "said = parse('<bias:a:1>').diagnostics; "
        "sys.exit(bool(said) or 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    quiet = environment | {"PROMPTENGINE_PLUGINS": ""}
    assert subprocess.run(command, env=quiet, check=False).returncode == 1


def kind(**changes: Any) -> NetworkKind:
    given: dict[str, Any] = {
        "name": "tint",
        "noun": "tint",
        "plural": "tints",
        "folders": ("tints",),
        "suffixes": (".pt",),
        "tag": plain_tag("tint", noun="tint"),
        "loader": LazyFunction("nowhere:Loader"),
    }
    return NetworkKind(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "hypernet"}, "promptengine already has 'hypernet'"),
        ({"tag": plain_tag("lyco", noun="tint")}, "promptengine already has 'lora'"),
        ({"name": "vae"}, "'vae' is the name of other files"),
        ({"name": "a b"}, "must be letters, digits and _"),
        ({"tag": plain_tag("a-b", noun="tint")}, "must be letters, digits and _"),
        ({"loader": None}, "must have a word that opens it and a loader"),
        ({"folders": ()}, "must name the folders and the suffixes"),
    ],
)
def test_a_kind_that_cannot_be_used_is_refused(changes: dict[str, Any], problem: str) -> None:
    with isolated_plugins(), pytest.raises(PluginError, match=problem):
        register_network_kind(kind(**changes))


def test_a_kind_of_a_script_is_forgotten_where_it_is_isolated(tmp_path: Path) -> None:
    with isolated_plugins():
        register_network_kind(kind(), origin="mine")
        (tmp_path / "tints").mkdir()
        (tmp_path / "tints" / "red.pt").touch()
        registry = Registry.open(tmp_path)
        assert [entry.name for entry in registry.entries("tint")] == ["red"]
        assert parse("<tint:red:1>").diagnostics == ()
        assert str(NETWORK_KINDS.plugin_of("tint")) == "mine"
    assert "tint" not in NETWORK_KINDS
    assert parse("<tint:red:1>").diagnostics[0].message.startswith("'tint' is no known kind of tag")


def test_a_plugin_that_breaks_is_named_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with isolated_plugins():
        install: Install = installer(tmp_path / "site", monkeypatch)
        groups = {
            "promptengine.network_kinds": {"broken": "broken:KIND"},
            "promptengine.dialects": {"odd": "broken:DIALECT"},
        }
        install("broken", groups, "KIND = 5\nDIALECT = 'odd'\n")
        with pytest.warns(PluginWarning) as warned:
            found = {item.name: item.problem for item in load_plugins()}
        assert "must be a NetworkKind (got int)" in found["broken"]
        assert "must be a Dialect (got str)" in found["odd"]
        assert len(warned) == 2
        assert parse("<hypernet:ink:1>").diagnostics == ()
