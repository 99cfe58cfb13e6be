"""LoRAs of rows and of steps: what a UNet answers under them, beside weights that are worked out apart."""

from __future__ import annotations

import random as numbers
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine.errors import PromptEngineError
from promptengine.networks.hypernetwork.files import load_hypernetwork
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
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


def asked(rows: int | slice = 4) -> Tensor:
    rows = slice(rows) if isinstance(rows, int) else rows
    unet: Any = checkpoint().unet
    with torch.no_grad():
        return unet(X[rows], torch.tensor(500), TEXT[rows], return_dict=False)[0]


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


def test_stacks_for_another_number_of_rows_are_refused() -> None:
    lora = fit(usable()[0])
    assert lora is not None
    stacks = [(Application(lora, unet=float(row)),) for row in range(3)]
    with inject_loras(checkpoint().unet, schedules(*stacks), LoraWeights()) as injection:
        injection.choose(*stacks)
        with pytest.raises(PromptEngineError, match="3 stacks were chosen for a batch of 4 rows"):
            asked()
