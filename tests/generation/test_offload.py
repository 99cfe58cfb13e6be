"""Engines whose parts, or layers, leave a device while they do not work: the same images to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from promptengine import Engine, GenerationRequest, RequestError
from promptengine.accel.residence import LayerByLayer, PartByPart, Residence
from promptengine.accel.visits import tensors_of
from promptengine.checkpoints.load import Checkpoint, open_checkpoint
from promptengine.conversion.to_lora import convert_to_lora
from promptengine.interrupt import Interrupt
from promptengine.networks.hypernetwork.files import load_hypernetwork
from promptengine.registry.registry import Registry
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.result import GenerationResult, Progress
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.training.loop import train_hypernetwork
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI
from tests.ctrl_c import State, ends_of_changes, interrupted, lines_around, modules_of, state_of

CPU = torch.device("cpu")
BASE = GenerationRequest(
    prompt="a (cat:1.2) on a [hill:lake:0.5]",
    negative_prompt="rain",
    seed=7,
    steps=2,
    width=64,
    height=64,
    sampler="Euler",
    policy="strict",
)
IMAGE = Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 20).convert("RGB")
MASK = Image.linear_gradient("L").resize((64, 64)).point(lambda level: 255 * (level > 99))


@dataclass(eq=False)
class OtherDevice:
    """A device beside the home: copies, or the true numbers of weights that are not a number at home.

    Attributes:
        true: The numbers, by the addresses of those at home.
        copied: How many weights came so far.
    """

    true: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    copied: int = 0

    def hide(self, *parts: nn.Module) -> None:
        """Let the weights at home be no numbers, so that nothing that is computed with them passes."""
        for tensor in tensors_of(*parts):
            if tensor.is_floating_point():
                self.true[tensor.data_ptr()] = tensor.data.clone()
                tensor.data.fill_(float("nan"))

    def copies(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        self.copied += len(tensors)
        return [self.true.get(tensor.data_ptr(), tensor).clone() for tensor in tensors]

    def used(self) -> None: ...


KINDS: dict[str, Callable[[OtherDevice], Residence]] = {
    "model": lambda device: PartByPart(CPU, device),
    "layers": lambda device: LayerByLayer(CPU, device, layer_mover=device),
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(NETWORKS, folder / "hypernetworks")
    shutil.copytree(WEBUI.parent / "webui-2" / "loras", folder / "Lora")
    return Registry.open(folder)


def opened(registry: Registry, residence: Residence | None = None) -> Engine:
    torch.set_num_threads(1)
    parts = own_copy(open_checkpoint(CHECKPOINT, config=CONFIG))
    engine = Engine(parts, registry, CPU, residence=residence)
    # Convolutions in oneDNN's order have other last digits, and weights that come and go are in none.
    engine._packed = {}
    return engine


def own_copy(checkpoint: Checkpoint) -> Checkpoint:
    """Give weights memory of their own, laid out as copies of them are."""
    for tensor in tensors_of(*checkpoint.text_encoders, checkpoint.unet, checkpoint.vae):
        tensor.data = tensor.data.clone()
    return checkpoint


def all_of(engine: Engine) -> list[Tensor]:
    parts = engine.checkpoint
    return [*tensors_of(*parts.text_encoders, parts.unet, parts.vae)]


@pytest.fixture(scope="module")
def plain(registry: Registry) -> Engine:
    return opened(registry)


@pytest.fixture(scope="module")
def expected(plain: Engine) -> Callable[[str], GenerationResult]:
    """What requests come to whose model stays, each made once."""
    return cache(lambda name: plain.generate(REQUESTS[name]))


@pytest.fixture(scope="module", params=[*KINDS])
def away(request: pytest.FixtureRequest, registry: Registry) -> Iterator[Engine]:
    """An engine with nothing on its device, which has all at home again in the end."""
    engine = opened(registry, KINDS[request.param](OtherDevice()))
    modules = all_modules(engine)
    before = state_of(modules)
    yield engine
    assert state_of(modules) == before


def all_modules(engine: Engine) -> dict[int, nn.Module]:
    parts = engine.checkpoint
    return modules_of(*parts.text_encoders, parts.unet, parts.vae)


def same(made: GenerationResult, expected: GenerationResult) -> bool:
    pixels = [image.tobytes() for image in made.images]
    return torch.equal(made.latents, expected.latents) and pixels == [
        image.tobytes() for image in expected.images
    ]


REQUESTS = {
    "networks": replace(BASE, prompt="a cat <hypernet:hn-linear:0.7><hypernet:hn-relu:1.2>"),
    "LoRA": replace(BASE, prompt="a cat <lora:lo-kohya:0.8>"),
    "moving LoRA": replace(BASE, prompt="a cat <lora:lo-kohya:0@0,1@1>", dialect="extended"),
    "two passes, cached steps": replace(
        BASE, cache_interval=2, steps=4, hires=HiresPass(scale=1.5, upscaler="Lanczos")
    ),
    "regions": replace(BASE, prompt="a cat BREAK a dog <hypernet:hn-relu:1>", region_ratios="1,1"),
    "inpainting": replace(
        BASE,
        start=ImageStart(images=(IMAGE,), denoising_strength=0.7, inpainting=Inpainting(mask=MASK)),
    ),
    "tiling": replace(BASE, tiling=True, batch_count=2),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_images_are_the_same_to_the_bit(
    away: Engine, expected: Callable[[str], GenerationResult], name: str
) -> None:
    assert same(away.generate(REQUESTS[name]), expected(name))


def test_rows_with_networks_of_their_own(away: Engine, plain: Engine) -> None:
    tags = ("", " <hypernet:hn-relu:0.4>", " <lora:lo-kohya:0.8>", " <lora:lo-locon:0.5>")
    requests = [replace(BASE, prompt=BASE.prompt + tag) for tag in tags]
    made, expected = away.generate_batch(requests), plain.generate_batch(requests)
    assert all(map(same, made, expected))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_computed_with_weights_at_home(
    registry: Registry, expected: Callable[[str], GenerationResult], kind: str
) -> None:
    device = OtherDevice()
    engine = opened(registry, KINDS[kind](device))
    parts = engine.checkpoint
    device.hide(*parts.text_encoders, parts.unet, parts.vae)
    for name in ("networks", "moving LoRA", "two passes, cached steps", "inpainting"):
        assert same(engine.generate(REQUESTS[name]), expected(name)), name


def is_there(part: nn.Module, homes: dict[int, int]) -> bool:
    return any(tensor.data_ptr() != homes[id(tensor)] for tensor in tensors_of(part))


def test_parts_leave_while_others_work(away: Engine) -> None:
    parts = away.checkpoint
    homes = {id(tensor): tensor.data_ptr() for tensor in all_of(away)}
    others: dict[str, set[tuple[str, ...]]] = {}
    request = replace(BASE, prompt="a text that is not yet remembered", negative_prompt="")
    named = {"text": parts.text_encoder, "UNet": parts.unet, "VAE": parts.vae}

    def note(name: str, *_: Any) -> None:
        there = tuple(other for other, part in named.items() if is_there(part, homes))
        others.setdefault(name, set()).add(there)

    decoder: Any = parts.vae
    handles = [
        parts.text_encoder.register_forward_pre_hook(lambda *_: note("text")),
        parts.unet.register_forward_pre_hook(lambda *_: note("UNet")),
        decoder.decoder.register_forward_pre_hook(lambda *_: note("VAE")),
    ]
    away.generate(request)
    for handle in handles:
        handle.remove()
    assert others == {name: {(name,)} for name in named}


def test_one_layer_at_a_time_is_there(registry: Registry) -> None:
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.resnet import ResnetBlock2D

    engine = opened(registry, KINDS["layers"](OtherDevice()))
    unet = engine.checkpoint.unet
    homes = {id(tensor): tensor.data_ptr() for tensor in all_of(engine)}
    layers = [m for m in unet.modules() if isinstance(m, BasicTransformerBlock | ResnetBlock2D)]
    seen: set[int] = set()

    def note(*_: Any) -> None:
        seen.add(sum(is_there(layer, homes) for layer in layers))

    handles = [next(iter(layer.children())).register_forward_pre_hook(note) for layer in layers]
    engine.generate(BASE)
    for handle in handles:
        handle.remove()
    assert seen == {1}
    assert sum(map(size, layers)) > 0.8 * size(unet)


def size(part: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(part))


def test_texts_that_are_remembered_bring_no_text_encoder(registry: Registry) -> None:
    device = OtherDevice()
    engine = opened(registry, PartByPart(CPU, device))
    engine.generate(BASE)
    once = device.copied
    engine.generate(replace(BASE, seed=8))
    assert device.copied - once == once - len([*tensors_of(engine.checkpoint.text_encoder)])


def test_an_image_that_ends_early_lets_the_others_go_on(away: Engine, plain: Engine) -> None:
    requests = [replace(BASE, prompt=f"a cat <hypernet:hn-relu:{n}>") for n in (0.5, 1)]
    made = [
        engine.generate_batch(requests, interrupts=stopping, on_progress=stop)
        for engine in (away, plain)
        for stopping, stop in [stopping_first()]
    ]
    assert made[0][0].unfinished == (0,)
    assert all(map(same, *made))


def stopping_first() -> tuple[list[Interrupt], Callable[[Progress], None]]:
    """Interrupts of two requests, and what stops the first of them after its first step."""
    interrupts = [Interrupt(), Interrupt()]
    return interrupts, lambda _: interrupts[0].stop()


def test_a_run_that_fails_leaves_all_at_home(away: Engine, plain: Engine) -> None:
    def fail(_: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        away.generate(BASE, on_progress=fail)
    assert same(away.generate(BASE), plain.generate(BASE))


def test_an_interrupt_where_weights_come_and_go_leaves_all_at_home(
    away: Engine, expected: Callable[[str], GenerationResult]
) -> None:
    def run() -> GenerationResult:
        return away.generate(REQUESTS["LoRA"])

    modules, within = all_modules(away), list[State]()
    clean = state_of(modules)
    away.generate(REQUESTS["LoRA"], on_progress=lambda _: within.append(state_of(modules)))
    lines = lines_around(run, modules, ends_of_changes(clean, within[0]))
    for line in lines[::8]:
        assert interrupted(run, line), line
        assert state_of(modules) == clean, line
    assert same(run(), expected("LoRA"))


def test_what_leaves_is_told(away: Engine, plain: Engine) -> None:
    assert repr(away).endswith(f"on cpu, float32, offload {away.offload}>")
    assert repr(plain).endswith("on cpu, float32>")


def test_a_cpu_is_not_left(registry: Registry) -> None:
    with pytest.raises(RequestError, match="offload is 'model', but the model works on the CPU"):
        Engine.open(CHECKPOINT, registry, CONFIG, "cpu", offload="model")
    assert Engine.open(CHECKPOINT, registry, CONFIG, "cpu").offload == "none"


def test_what_reads_weights_itself_refuses_a_model_that_is_away(
    away: Engine, tmp_path: Path
) -> None:
    told = rf"needs all of the model on cpu, and the engine has offload '{away.offload}'"
    network = load_hypernetwork(NETWORKS / "hn-relu.pt")
    with pytest.raises(RequestError, match=told):
        convert_to_lora(network, tmp_path / "x.safetensors", away)
    files = TrainingFiles(name="x", output=tmp_path / "x.pt", folder=tmp_path)
    with pytest.raises(RequestError, match=told):
        train_hypernetwork(away, TrainingConfig(data=tmp_path), files)
