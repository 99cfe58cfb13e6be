"""Models beside an engine's own: opened when asked for, one at a time, and left as they were."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptengine import (
    Engine,
    GenerationRequest,
    HiresPass,
    Interrupt,
    Options,
    OutOfMemoryError,
    Progress,
    RequestError,
    request_from_infotext,
)
from promptengine.checkpoints.load import Checkpoint
from promptengine.generation import further_models, prepare
from promptengine.generation.named_models import check_latents
from promptengine.infotext.read import read_infotext
from promptengine.networks.hypernetwork.inject import Injection
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS
from tests.ctrl_c import modules_of, state_of

PLAIN = GenerationRequest(prompt="a cat", seed=7, steps=4, width=64, height=64, sampler="Euler")
REFINED = replace(PLAIN, refiner="second", refiner_switch_at=0.5)
HIRES = HiresPass(scale=1.25, steps=4, denoising_strength=0.8)
NETWORK = "a cat<hypernet:hn-relu:1>"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    checkpoints = folder / "Stable-diffusion"
    checkpoints.mkdir()
    (checkpoints / CHECKPOINT.name).symlink_to(CHECKPOINT)
    (folder / "hypernetworks").symlink_to(NETWORKS)
    weights = load_file(CHECKPOINT)
    for number, name in enumerate(("second", "third"), 2):
        changed = {key: t * (1 + 0.02 * number) for key, t in weights.items() if t.dim() > 1}
        save_file({**weights, **changed}, checkpoints / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def opened(models: Path) -> Engine:
    torch.set_num_threads(1)
    path = models / "Stable-diffusion" / CHECKPOINT.name
    return Engine.open(path, models=models, config=CONFIG, device="cpu")


@pytest.fixture
def engine(opened: Engine) -> Engine:
    """An engine that holds no further model."""
    opened._further.forget()
    return opened


def states(engine: Engine) -> list[Any]:
    """The own and the further model, as they are."""
    held = engine._further._held
    assert held is not None
    found: list[Any] = []
    for checkpoint in (engine.checkpoint, held.parts.checkpoint):
        parts = (checkpoint.unet, checkpoint.vae, *checkpoint.text_encoders)
        found.append(state_of(modules_of(*parts)))
    return found


def test_nothing_is_opened_that_nobody_asks_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a further model was opened")

    monkeypatch.setattr(further_models.Opening, "open", refuse)
    requests = [
        replace(PLAIN, hires=HIRES),
        replace(REFINED, refiner_switch_at=1),
        replace(REFINED, refiner="None"),
        replace(REFINED, refiner=CHECKPOINT.stem),
        replace(PLAIN, hires=replace(HIRES, checkpoint="Use same checkpoint")),
        replace(PLAIN, hires=replace(HIRES, checkpoint=CHECKPOINT.stem)),
    ]
    for request in requests:
        result = engine.generate(request)
        assert {use.name for use in result.models} == {CHECKPOINT.stem}
        assert "Refiner" not in read_infotext(result.infotexts[0]).entries
    assert engine._further.held is None


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("secnd", "did you mean 'second'?"),
        ("../../Stable-diffusion/second.safetensors", "is no checkpoint here"),
        ("/etc/passwd", "there are second, third, tiny-sd1"),
    ],
)
@pytest.mark.parametrize("field", ["refiner", "hires.checkpoint"])
def test_unknown_names_are_refused(engine: Engine, name: str, remedy: str, field: str) -> None:
    request = replace(PLAIN, refiner=name, refiner_switch_at=1)
    if field == "hires.checkpoint":
        request = replace(PLAIN, hires=replace(HIRES, checkpoint=name))
    with pytest.raises(RequestError) as error:
        engine.generate(request)
    assert error.value.field == field
    assert remedy in str(error.value)


def test_a_path_of_a_file_is_no_name(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.symlink_to(CHECKPOINT)
    with pytest.raises(RequestError, match="is no checkpoint here"):
        engine.generate(replace(REFINED, refiner=str(path)))


def test_both_models_are_afterwards_what_they_were(engine: Engine) -> None:
    before = engine.generate(PLAIN).latents
    request = replace(
        REFINED,
        refiner_switch_at=0.8,
        prompt=NETWORK,
        tiling=True,
        hires=HIRES,
        options=Options(token_merging=0.5),
    )
    first = engine.generate(request)
    clean = states(engine)
    assert [(use.name, use.stage) for use in first.models] == [
        (CHECKPOINT.stem, "first"),
        (CHECKPOINT.stem, "hires"),
        ("second", "hires"),
    ]
    assert torch.equal(engine.generate(request).latents, first.latents)
    assert states(engine) == clean
    assert torch.equal(engine.generate(PLAIN).latents, before)


def test_an_exception_in_the_second_model_leaves_both_as_they_were(engine: Engine) -> None:
    request = replace(REFINED, prompt=NETWORK, tiling=True)
    expected = engine.generate(request).latents
    clean = states(engine)

    def stop(progress: Progress) -> None:
        assert progress.preview().size == (8, 8)
        if progress.step == progress.steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate(request, on_progress=stop)
    assert states(engine) == clean
    assert torch.equal(engine.generate(request).latents, expected)


@pytest.mark.parametrize(("step", "refined"), [(1, False), (3, True)])
def test_an_interrupt_tells_who_made_what(engine: Engine, step: int, *, refined: bool) -> None:
    interrupt = Interrupt()

    def stop(progress: Progress) -> None:
        if progress.step == step:
            interrupt.stop()

    result = engine.generate(REFINED, on_progress=stop, interrupt=interrupt)
    assert result.unfinished == (0,)
    assert sum(use.calls for use in result.models) == step
    assert (result.models[-1].name == "second") == refined
    assert ("Refiner" in read_infotext(result.infotexts[0]).entries) == refined


def test_a_refiner_subtracts_words_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    signed: dict[int, set[tuple[int, ...]]] = {}
    sign = Injection.sign

    def note(injection: Injection, signs: Tensor | None) -> None:
        places = () if signs is None else tuple((signs < 0).nonzero().flatten().tolist())
        signed.setdefault(id(injection._unet), set()).add(places)
        sign(injection, signs)

    monkeypatch.setattr(Injection, "sign", note)
    options = Options(negative_weights="subtract")
    engine.generate(replace(REFINED, prompt="a (cat:-1.2)", options=options))
    assert list(signed.values()) == [{(0, 2)}, {(0, 2)}]


def test_networks_do_not_act_on_a_refiner_and_that_is_said(engine: Engine) -> None:
    at_once = replace(REFINED, refiner_switch_at=None)
    tagged = engine.generate(replace(at_once, prompt=NETWORK))
    assert torch.equal(tagged.latents, engine.generate(at_once).latents)
    (report,) = tagged.refiner_networks
    assert not report.applied
    assert report.reason == "networks do not act on a refiner"


def test_regions_hold_in_a_refiner_without_their_networks(engine: Engine) -> None:
    extended = replace(REFINED, dialect="extended", width=72)
    plain = engine.generate(extended).latents
    same = engine.generate(replace(extended, prompt="a cat ADDCOL a cat")).latents
    assert (same - plain).abs().max() <= 1e-5 * plain.abs().max()
    at_once = replace(extended, refiner_switch_at=None, prompt=f"a cat ADDCOL a dog{NETWORK[5:]}")
    made = engine.generate(at_once)
    (report,) = made.refiner_networks
    assert (report.region, report.applied) == (2, False)
    assert report.reason == "networks do not act on a refiner"
    bare = replace(extended, refiner=None, refiner_switch_at=None, prompt="a cat ADDCOL a dog")
    path = engine.registry.find("checkpoint", "second").path  # type: ignore[union-attr]
    alone = Engine.open(path, config=CONFIG, device="cpu").generate(bare).latents
    assert (made.latents - alone).abs().max() <= 1e-5 * alone.abs().max()
    whole = engine.generate(replace(at_once, prompt="a cat")).latents
    assert (made.latents - whole).abs().max() > 1e-3 * whole.abs().max()


def test_requests_with_one_refiner_share_batches(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [replace(REFINED, seed=seed) for seed in (7, 8)]
    requests.append(replace(PLAIN, seed=7))
    alone = [engine.generate(one) for one in requests]
    groups: list[int] = []
    carried = Engine._carried_out

    def counted(self: Engine, drafts: Any, *more: Any) -> Any:
        groups.append(len(drafts))
        return carried(self, drafts, *more)

    monkeypatch.setattr(Engine, "_carried_out", counted)
    together = engine.generate_batch(requests)
    assert groups == [2, 1]
    for ours, own in zip(together, alone, strict=True):
        torch.testing.assert_close(ours.latents, own.latents, atol=5e-4, rtol=0)
        assert ours.infotexts == own.infotexts
        assert ours.models == own.models


def test_no_more_than_one_is_held(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_ = further_models.Opening.open

    def counted(self: Any, path: Path, *more: Any) -> Checkpoint:
        assert engine._further.held is None
        opened.append(path.stem)
        return open_(self, path, *more)

    monkeypatch.setattr(further_models.Opening, "open", counted)
    hires = replace(HIRES, checkpoint="third")
    request = replace(REFINED, refiner_switch_at=0.8, hires=hires)
    result = engine.generate(request)
    assert [(use.name, use.stage) for use in result.models] == [
        (CHECKPOINT.stem, "first"),
        ("third", "hires"),
        ("second", "hires"),
    ]
    assert opened == ["third", "second"] * 2
    entries = read_infotext(result.infotexts[0]).entries
    assert entries["Hires checkpoint"].startswith("third [")
    assert entries["Refiner"].startswith("second [")
    assert engine._further.held == engine.registry.find("checkpoint", "second").path  # type: ignore[union-attr]


def test_a_further_model_goes_where_memory_is_short(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.generate(REFINED)
    monkeypatch.setattr(prepare, "needs_tiles", lambda *_: engine._further.held is not None)
    assert any("in tiles" in one.message for one in engine.generate(REFINED).diagnostics)
    assert engine._further.held is not None
    assert not engine.generate(PLAIN).diagnostics
    assert engine._further.held is None


def test_no_room_is_said_before_anything_is_opened(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(further_models, "free_bytes", lambda _: 1000)
    with pytest.raises(OutOfMemoryError, match=r"no room on cpu for second\.safetensors beside"):
        engine.generate(REFINED)
    assert engine.generate(PLAIN).images


def test_a_file_that_was_replaced_is_opened_again(engine: Engine, models: Path) -> None:
    path = models / "Stable-diffusion" / "second.safetensors"
    before = engine.generate(REFINED).latents
    kept = path.read_bytes()
    try:
        path.write_bytes((models / "Stable-diffusion" / "third.safetensors").read_bytes())
        os.utime(path, ns=(1, 1))
        assert not torch.equal(engine.generate(REFINED).latents, before)
    finally:
        path.write_bytes(kept)
    assert torch.equal(engine.generate(REFINED).latents, before)


def test_an_infotext_makes_the_image_again(engine: Engine, models: Path) -> None:
    request = replace(
        REFINED,
        hires=replace(HIRES, checkpoint="second"),
        options=Options(refiner_pass="first", refiner_by_steps=True),
    )
    made = engine.generate(request)
    (text,) = made.infotexts
    again, said = request_from_infotext(text, models)
    assert not said
    assert (again.refiner, again.refiner_switch_at) == ("second", 0.5)
    assert (again.options.refiner_pass, again.options.refiner_by_steps) == ("first", True)
    result = engine.generate(again)
    assert torch.equal(result.latents, made.latents)
    assert result.infotexts == made.infotexts


def test_an_infotext_without_its_refiner_says_so_once(models: Path, tmp_path: Path) -> None:
    text = "a cat\nSteps: 4, Sampler: Euler, Seed: 7, RNG: CPU, Refiner: second [0123456789]"
    request, said = request_from_infotext(f"{text}, Refiner switch at: 0.5", tmp_path)
    assert request.refiner is request.refiner_switch_at is None
    assert [one.message for one in said if "Refiner" in one.message] == [
        "Refiner: 'second [0123456789]' is not in the models folder; the image is made without it"
    ]


class StandIn:
    """What two checkpoints are compared by."""

    def __init__(self, **own: object) -> None:
        self.path, self.family = Path(f"{own.pop('name', 'a')}.safetensors"), "SD1"
        self.latent_channels, self.scaling_factor, self.inpainting = 4, 0.18215, False
        self.__dict__.update(own)


@pytest.mark.parametrize(
    ("other", "starts", "said"),
    [
        ({"scaling_factor": 0.13025}, False, "b.safetensors (SD1), which has other latents than a"),
        ({"latent_channels": 16}, False, "has other latents"),
        ({"inpainting": True}, True, "is for inpainting, as a.safetensors is not"),
    ],
)
def test_models_that_cannot_go_on_are_refused(
    other: dict[str, object], said: str, *, starts: bool
) -> None:
    check = cast("Callable[..., None]", check_latents)
    check(StandIn(), StandIn(name="b"), starts=starts, field="refiner")
    with pytest.raises(RequestError) as error:
        check(StandIn(), StandIn(name="b", **other), starts=starts, field="refiner")
    assert said in str(error.value)
    assert error.value.field == "refiner"
