"""LoRAs of rows and of steps: what a UNet answers under them, beside weights that are worked out apart."""

from __future__ import annotations

import copy
import random as numbers
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from promptengine.accel.compile import compile_regions, use_compiled_regions
from promptengine.errors import PromptEngineError
from promptengine.networks.attention import attentions
from promptengine.networks.hypernetwork.files import load_hypernetwork
from promptengine.networks.hypernetwork.inject import HypernetworkStack, inject_hypernetworks
from promptengine.networks.lora.files import load_lora
from promptengine.networks.lora.inject import (
    NO_LORAS,
    LoraSchedule,
    LoraStack,
    inject_loras,
)
from promptengine.networks.lora.merge import (
    Application,
    Fit,
    exchange_weights,
    fit_lora,
    merge,
)
from promptengine.networks.lora.weights import LoraWeights
from promptengine.networks.regional_attention import MaskedRows, attend_regions
from tests.bench.floor import multiply_adds
from tests.conftest import NETWORKS, WEBUI
from tests.networks.lora.builders import checkpoint, model, random

FILES = {
    path.stem: path
    for folder in ("webui-2", "webui-3")
    for path in sorted((WEBUI.parent / folder / "loras").glob("*.safetensors"))
}
X, TEXT = random(4, 4, 8, 8), random(4, 77, 48, seed=9)


@cache
def fit(name: str) -> Fit | None:
    try:
        return fit_lora(load_lora(FILES[name]), model())
    except PromptEngineError:
        return None


def usable() -> list[str]:
    found = [name for name in FILES if (lora := fit(name)) and unet_modules(lora)]
    assert len(found) > 30
    return found


def unet_modules(lora: Fit) -> int:
    return sum(target.part == "unet" for target, _ in lora.modules)


def asked(rows: int | slice = 4, unet: nn.Module | None = None) -> Tensor:
    rows = slice(rows) if isinstance(rows, int) else rows
    model: Any = unet or checkpoint().unet
    with torch.no_grad():
        return model(X[rows], torch.tensor(500), TEXT[rows], return_dict=False)[0]


def alone(stack: LoraStack, row: int) -> Tensor:
    """What a row is answered under weights that are merged for it alone."""
    with exchange_weights(merge(stack)):
        return asked(slice(row, row + 1))


def schedules(*stacks: LoraStack) -> list[LoraSchedule]:
    return [LoraSchedule(lambda _, stack=stack: stack) for stack in stacks]


@pytest.mark.parametrize("name", usable())
def test_at_each_step_the_weights_are_those_that_a_merge_would_give(name: str) -> None:
    lora = fit(name)
    assert lora is not None
    moving = LoraSchedule(lambda call: (Application(lora, unet=0.3 * call - 0.4),), steady=False)
    calls, before = (0, 1, 3), asked(2)
    expected = {
        call: torch.cat([alone(moving.at(call), row) for row in range(2)]) for call in calls
    }
    weights = LoraWeights()
    for _ in range(2):
        with inject_loras(checkpoint().unet, [moving], weights) as injection:
            for call in calls:
                injection.choose(moving.at(call))
                torch.testing.assert_close(asked(2), expected[call], atol=1e-5, rtol=1e-5)
        assert torch.equal(asked(2), before)


@pytest.mark.parametrize("seed", range(6))
def test_rows_with_their_own_loras_are_what_each_is_alone(seed: int) -> None:
    """Random stacks of all kinds, some rows alike and some without, with a hypernetwork on top."""
    dice, names = numbers.Random(seed), usable()
    network = load_hypernetwork(NETWORKS / "hn-relu.pt")
    stacks: list[LoraStack] = []
    for row in range(4):
        chosen = dice.sample(names, dice.choice((0, 1, 2)))
        loras = [fit(name) for name in chosen]
        stack = tuple(
            Application(lora, unet=dice.uniform(-0.5, 1), ranks=dice.choice((None, None, 1)))
            for lora in loras
            if lora
        )
        stacks.append(stacks[-1] if row and dice.random() < 0.3 else stack)
    with (
        inject_loras(checkpoint().unet, schedules(*stacks), LoraWeights()) as loras,
        inject_hypernetworks(checkpoint().unet) as injection,
    ):
        loras.choose(*stacks)
        together = asked()
        assert torch.equal(asked(), together)
        injection.choose(*([(network, 0.7 * (row % 2))] for row in range(4)))
        both = asked()
    for row, stack in enumerate(stacks):
        torch.testing.assert_close(together[[row]], alone(stack, row), atol=2e-5, rtol=1e-4)
        with (
            exchange_weights(merge(stack)),
            inject_hypernetworks(checkpoint().unet, [(network, 0.7 * (row % 2))]),
        ):
            expected = asked(slice(row, row + 1))
        torch.testing.assert_close(both[[row]], expected, atol=5e-5, rtol=1e-4)


def halves(height: int, width: int) -> Tensor:
    """The left half and the right one, then the whole: ``[3, height, width]``."""
    left = torch.zeros(height, width)
    left[:, : width // 2] = 1
    return torch.stack([left, 1 - left, torch.ones(height, width)])


def test_rows_that_regions_make_have_the_loras_of_theirs() -> None:
    """The first of two rows has two regions, a hypernetwork in one of them."""
    of_rows, unet = (0, 0, 1), cast("Any", checkpoint().unet)
    network = load_hypernetwork(NETWORKS / "hn-relu.pt")
    stacks = [(Application(lora, unet=0.8),) for lora in map(fit, ("lo-kohya", "lo-locon")) if lora]

    def answered(rows: slice, askings: slice) -> Tensor:
        places = tuple(row - rows.start for row in of_rows[askings])
        masked = MaskedRows(places, lambda height, width: halves(height, width)[askings], (8, 8))
        networks: list[HypernetworkStack] = [[], [(network, 0.7)], []]
        with inject_hypernetworks(unet) as injection, attend_regions(unet) as regional:
            regional.choose(masked)
            injection.choose_regions(networks[askings], networks[askings], masked)
            with torch.no_grad():
                return unet(X[rows], torch.tensor(500), TEXT[askings], return_dict=False)[0]

    with inject_loras(unet, schedules(*stacks), LoraWeights()) as loras:
        loras.choose(*stacks, text=of_rows, image=of_rows)
        together = answered(slice(0, 2), slice(0, 3))
        for known in ({"text": of_rows}, {"image": of_rows}):
            loras.choose(*stacks, **known)
            with pytest.raises(PromptEngineError, match="2 stacks were chosen for a batch of 3"):
                answered(slice(0, 2), slice(0, 3))
    for row, askings in ((slice(0, 1), slice(0, 2)), (slice(1, 2), slice(2, 3))):
        with exchange_weights(merge(stacks[row.start])):
            expected = answered(row, askings)
        torch.testing.assert_close(together[row], expected, atol=5e-5, rtol=1e-4)


def test_what_a_module_makes_of_a_text_is_made_once_and_anew_when_the_text_changes() -> None:
    lora = fit("lo-ldmnames")
    assert lora is not None
    unet: Any = checkpoint().unet
    text = TEXT[:2].clone()
    moving = LoraSchedule(lambda call: (Application(lora, unet=0.3 + 0.1 * call),), steady=False)
    costs: list[int] = []
    answers: list[Tensor] = []
    with (
        torch.no_grad(),
        inject_loras(unet, [moving], LoraWeights()) as loras,
        inject_hypernetworks(unet),
    ):
        for call in range(3):
            loras.choose(moving.at(call))

            def ask() -> None:
                answers.append(unet(X[:2], torch.tensor(500), text, return_dict=False)[0])

            costs.append(multiply_adds(ask))
            if call == 1:
                text.add_(1)
    projections = [
        one.projections[part]
        for one in attentions(unet)
        if one.reads_text
        for part in ("key", "value")
    ]
    own = sum(2 * 77 * cast("Tensor", module.weight).numel() for module in projections)
    assert costs[2] - costs[1] == own
    changed = TEXT[:2] + 1
    with torch.no_grad(), exchange_weights(merge(moving.at(2))):
        expected = unet(X[:2], torch.tensor(500), changed, return_dict=False)[0]
    torch.testing.assert_close(answers[2], expected, rtol=0, atol=1e-5)


def test_rows_that_agree_at_all_steps_get_merged_weights() -> None:
    lora = fit(usable()[0])
    assert lora is not None
    stack = (Application(lora, unet=0.5),)
    unet = checkpoint().unet
    with inject_loras(unet, schedules(stack, stack), LoraWeights()) as injection:
        injection.choose(stack, stack)
        assert not any("forward" in vars(module) for module in unet.modules())
        found = asked(2)
    with exchange_weights(merge(stack)):
        assert torch.equal(asked(2), found)


def test_without_loras_nothing_is_touched() -> None:
    before, unet = asked(), checkpoint().unet
    with inject_loras(unet, [NO_LORAS] * 4, LoraWeights()) as injection:
        injection.choose(*[()] * 4)
        assert not any("forward" in vars(module) for module in unet.modules())
        assert torch.equal(asked(), before)


def test_the_model_is_as_before_after_an_exception() -> None:
    before, lora = asked(), fit(usable()[0])
    assert lora is not None
    stacks = [(Application(lora, unet=float(row)),) for row in range(4)]
    unet = checkpoint().unet
    with (
        pytest.raises(KeyboardInterrupt),
        inject_loras(unet, schedules(*stacks), LoraWeights()) as injection,
    ):
        injection.choose(*stacks)
        assert not torch.equal(asked(), before)
        raise KeyboardInterrupt
    assert not any("forward" in vars(module) for module in unet.modules())
    assert torch.equal(asked(), before)


def test_compiled_regions_know_of_rows_and_steps() -> None:
    stacks = [(Application(lora, unet=0.5 + row / 4),) for row, lora in enumerate(four())]
    later = [(replace(stack[0], unet=0.1),) for stack in stacks]
    plain = asked()

    def both(unet: nn.Module) -> list[Tensor]:
        with inject_loras(unet, schedules(*stacks), LoraWeights()) as injection:
            found: list[Tensor] = []
            for chosen in (stacks, later):
                injection.choose(*chosen)
                found.append(asked(unet=unet))
            return found

    expected = both(checkpoint().unet)
    unet = copy.deepcopy(checkpoint().unet)
    moved = [(Application(moved_to(unet, stack[0].fit), unet=stack[0].unet),) for stack in stacks]
    stacks, later = moved, [(replace(stack[0], unet=0.1),) for stack in moved]
    compile_regions(unet, backend="eager")
    with use_compiled_regions():
        torch.testing.assert_close(asked(unet=unet), plain, atol=1e-5, rtol=1e-5)
        for _ in range(2):
            for found, wanted in zip(both(unet), expected, strict=True):
                torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(asked(unet=unet), plain, atol=1e-5, rtol=1e-5)


def four() -> list[Fit]:
    return [lora for lora in map(fit, usable()[:4]) if lora]


def moved_to(unet: nn.Module, lora: Fit) -> Fit:
    """A LoRA fitted to a copy of the UNet."""
    moved = [
        (target._replace(module=unet.get_submodule(target.path)), module)
        for target, module in lora.modules
        if target.part == "unet"
    ]
    return replace(lora, modules=tuple(moved))


def test_stacks_for_another_number_of_rows_are_refused() -> None:
    lora = fit(usable()[0])
    assert lora is not None
    stacks = [(Application(lora, unet=float(row)),) for row in range(3)]
    with inject_loras(checkpoint().unet, schedules(*stacks), LoraWeights()) as injection:
        injection.choose(*stacks)
        with pytest.raises(PromptEngineError, match="3 stacks were chosen for a batch of 4 rows"):
            asked()
