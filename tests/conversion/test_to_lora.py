"""Hypernetworks as LoRAs: the same latents where that can be, and an error that others find as well."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptengine import (
    Engine,
    GenerationRequest,
    Hypernetwork,
    HypernetworkSettings,
    NetworkFormatError,
    RequestError,
    inject_hypernetworks,
    inspect_file,
    load_hypernetwork,
)
from promptengine.conversion.to_lora import ActivationSampling, LoraConversion, convert_to_lora
from promptengine.errors import IncompatibleNetworkError
from promptengine.files.weights import read_safetensors
from promptengine.networks.attention import attentions
from tests.checkpoints.diffusers_pipelines import noise_of, pipeline
from tests.checkpoints.original import tiny
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS
from tests.networks.builders import random_network

LINEAR = HypernetworkSettings(activation="linear", activate_output=False)
SAMPLING = ActivationSampling(prompts=("a cat", "a dog", "a red house"), steps=3, size=64)
MOVED = {"seed": 5, "steps": 4, "width": 64, "height": 64}


def unbiased(*widths: int, transform: Any = "key,value") -> Hypernetwork:
    """A network without activation and without biases."""
    settings = HypernetworkSettings(activation="linear", activate_output=False, transform=transform)
    network = random_network(widths, settings)
    with torch.no_grad():
        # As large as trained ones are; larger ones magnify the last digits.
        for name, tensor in network.state_dict().items():
            tensor.mul_(0.0 if name.endswith("bias") else 0.4)
    return network


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The tiny checkpoint, with an empty folder of LoRAs."""
    torch.set_num_threads(1)
    models = tmp_path_factory.mktemp("models")
    (models / "Lora").mkdir()
    return Engine.open(CHECKPOINT, models=models, config=CONFIG, device="cpu")


def latents(engine: Engine, prompt: str, *networks: tuple[Hypernetwork, float]) -> Tensor:
    request = GenerationRequest(prompt=prompt, networks=networks, policy="strict", **MOVED)
    return engine.generate(request).latents


def converted(engine: Engine, network: Hypernetwork, **more: Any) -> LoraConversion:
    target = engine.registry.folders("lora")[0] / "ink.safetensors"
    target.unlink(missing_ok=True)
    return convert_to_lora(network, target, engine, sampling=SAMPLING, **more)


@pytest.mark.parametrize("multiplier", [1.0, 0.6, -0.5])
@pytest.mark.parametrize("transform", ["key,value", "key,query"])
@pytest.mark.parametrize("layout", ["lora", "lora-diff"])
def test_a_linear_network_gives_the_same_latents(
    engine: Engine, layout: str, transform: str, multiplier: float
) -> None:
    network = unbiased(48, 32, 64, 128, transform=transform)
    made = converted(engine, network, layout=layout)
    assert made.exact and made.error == 0 and not made.errors
    plain = latents(engine, "a cat")
    wanted = latents(engine, "a cat", (network, multiplier))
    assert (plain - wanted).abs().max() > 0.5
    found = latents(engine, f"a cat <lora:ink:{multiplier}>")
    assert (found - wanted).abs().max() < 1e-3


def test_biases_are_carried_where_they_can_be(engine: Engine) -> None:
    network = load_hypernetwork(NETWORKS / "hn-linear.pt")
    wanted = latents(engine, "a cat", (network, 1.0))
    whole = converted(engine, network, layout="lora-diff")
    assert whole.exact and whole.biased
    assert (latents(engine, "a cat <lora:ink:1>") - wanted).abs().max() < 1e-3
    factors = converted(engine, network)
    assert not factors.exact and 0 < factors.error < 0.02


def test_webuis_arithmetic_gives_the_same_latents(engine: Engine, tmp_path: Path) -> None:
    """``W + up @ down``, without an alpha at scale 1, laid into the checkpoint by its own names."""
    network = unbiased(48, 32, 64, 128)
    made = converted(engine, network)
    weights, lora = load_file(CHECKPOINT), load_file(made.path)
    places = {
        name.replace(".", "_"): name
        for name in weights
        if name.startswith("model.diffusion_model.")
    }
    modules = {name.partition(".")[0] for name in lora}
    for module in modules:
        place = places[f"model_diffusion_model_{module.removeprefix('lora_unet_')}_weight"]
        up, down = lora[f"{module}.lora_up.weight"], lora[f"{module}.lora_down.weight"]
        weights[place] = weights[place].float() + up @ down
    save_file(weights, tmp_path / "merged.safetensors")
    shutil.copy(CHECKPOINT.with_suffix(".yaml"), tmp_path / "merged.yaml")
    merged = Engine.open(
        tmp_path / "merged.safetensors", models=tmp_path, config=CONFIG, device="cpu"
    )
    wanted = latents(engine, "a cat", (network, 1.0))
    assert (latents(merged, "a cat") - wanted).abs().max() < 1e-3


@pytest.mark.parametrize("family", ["SD1", "SDXL"])
def test_diffusers_loads_it(family: str, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    pipe = pipeline(tiny(family))
    widths = {attention.width for attention in attentions(pipe.unet)}
    network = unbiased(*sorted(widths))
    engine = Engine.from_pipeline(pipe, tmp_path)
    made = convert_to_lora(network, tmp_path / "ink.safetensors", engine)
    assert made.exact

    def image() -> Tensor:
        called = pipe("a cat", num_inference_steps=3, output_type="latent", **noise_of(pipe, 1))
        return called.images

    plain = image()
    with inject_hypernetworks(pipe.unet, [(network, 1.0)]):
        wanted = image()
    pipe.load_lora_weights(str(made.path))
    assert (plain - wanted).abs().max() > 0.01
    assert (image() - wanted).abs().max() < 1e-3


@pytest.mark.parametrize("layout", ["lora", "lora-diff"])
def test_the_error_is_what_an_independent_measurement_finds(engine: Engine, layout: str) -> None:
    network = load_hypernetwork(NETWORKS / "hn-relu.pt")
    made = converted(engine, network, layout=layout)
    assert not made.exact and 0.05 < made.error < 1
    lora, metadata = read_safetensors(made.path)
    assert float(metadata["promptengine.error"]) == pytest.approx(made.error, rel=1e-4)
    assert metadata["promptengine.exact"] == "false"
    stored = json.loads(metadata["promptengine.errors"])
    assert stored == pytest.approx(dict(made.errors), rel=1e-4)
    missed, wanted = measured(engine, network, lora)
    assert made.error == pytest.approx((sum(missed) / sum(wanted)) ** 0.5, rel=1e-3)
    each = [(m / w) ** 0.5 for m, w in zip(missed, wanted, strict=True)]
    assert sorted(made.errors.values()) == pytest.approx(sorted(each), rel=1e-3)


def measured(
    engine: Engine, network: Hypernetwork, lora: dict[str, Tensor]
) -> tuple[list[float], list[float]]:
    """Sums of squares for each projection, from the file's numbers and everything that was read."""
    unet, read = engine.checkpoint.unet, dict[str, list[Tensor]]()
    paths = {
        path: module for path, module in unet.named_modules() if path.endswith(("to_k", "to_v"))
    }
    paths = {p: m for p, m in paths.items() if str(m.in_features) in network.layers}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, x, path=path: read.setdefault(path, []).append(x[0].flatten(0, 1).clone())
        )
        for path, module in paths.items()
    ]
    for request in SAMPLING.measured:
        with_network = GenerationRequest(
            **{
                name: getattr(request, name)
                for name in ("prompt", "seed", "steps", "width", "height")
            },
            networks=((network, 1.0),),
        )
        engine.generate(with_network)
    for hook in hooks:
        hook.remove()
    missed, wanted = [], []
    deltas = [n.partition(".")[0] for n in lora if n.endswith((".lora_up.weight", ".diff"))]
    for path, name in zip(paths, by_model_order(engine, deltas), strict=True):
        x, module = torch.cat(read[path]).double(), paths[path]
        change = {"to_k": "key", "to_v": "value"}[path[-4:]]
        part = network.double().part(module.in_features, change)
        target = part.linear(x) @ module.weight.double().T
        if f"{name}.diff" in lora:
            found = x @ lora[f"{name}.diff"].double().T + lora[f"{name}.diff_b"].double()
        else:
            up, down = lora[f"{name}.lora_up.weight"], lora[f"{name}.lora_down.weight"]
            found = x @ down.double().T @ up.double().T
        missed.append(float((found - target).square().sum()))
        wanted.append(float(target.square().sum()))
    network.float()
    return missed, wanted


def by_model_order(engine: Engine, names: list[str]) -> list[str]:
    """Names in files by the order of a model's paths, told by how this package's own LoRAs find them."""
    from promptengine.networks.lora.keys import parse_name
    from promptengine.networks.lora.merge import targets

    model = targets(engine.checkpoint.unet)
    order = [path for path, _ in engine.checkpoint.unet.named_modules()]
    found = {model[parse_name(f"{n}.diff").module].path: n for n in names}  # type: ignore[union-attr]
    return [found[path] for path in sorted(found, key=order.index)]


def test_a_rank_is_kept_to_and_a_higher_one_misses_less(engine: Engine) -> None:
    network = unbiased(48, 32)
    errors: list[float] = []
    for rank in (2, 8, 24):
        made = converted(engine, network, rank=rank)
        assert set(made.ranks.values()) == {rank} and not made.exact
        errors.append(made.error)
    assert errors == sorted(errors, reverse=True) and errors[0] > errors[-1]
    assert converted(engine, network, rank=500).exact


def test_the_file_says_what_it_is(engine: Engine) -> None:
    made = converted(engine, unbiased(48))
    report = inspect_file(made.path)
    assert report.kind == "lora" and report.base_model == "sd_v1"
    assert report.metadata["promptengine.hypernetwork"] == "ink"
    before = made.path.read_bytes()
    assert converted(engine, unbiased(48)).path.read_bytes() == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"layout": "locon"}, "to is 'locon'; it must be one of lora, lora-diff"),
        ({"rank": 0}, "rank is 0; it must be at least 1"),
        ({"rank": 4, "layout": "lora-diff"}, "no rank; leave rank out"),
    ],
)
def test_what_cannot_be_done_is_refused(engine: Engine, more: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        converted(engine, unbiased(48), **more)


def test_a_network_or_file_that_does_not_fit_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleNetworkError, match="768"):
        convert_to_lora(unbiased(768), tmp_path / "a.safetensors", engine)
    with pytest.raises(NetworkFormatError, match=r"use \.safetensors"):
        convert_to_lora(unbiased(48), tmp_path / "a.pt", engine)
    with pytest.raises(RequestError, match="at least one"):
        ActivationSampling(prompts=())
    assert not list(tmp_path.iterdir())
