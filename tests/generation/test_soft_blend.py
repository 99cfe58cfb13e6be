"""What stays of latents where a mask is gray."""

from __future__ import annotations

import pytest
import torch

from promptengine.generation.sampling_pass import Blend, SoftBlend

START = torch.tensor([3.0, 0, 0, 0]).view(1, 4, 1, 1)
NEW = torch.tensor([0.0, 3, 0, 0]).view(1, 4, 1, 1)


def soft(mask: float, *, bias: float = 1, strength: float = 0.5, boost: float = 4) -> SoftBlend:
    return SoftBlend(START, torch.full((1, 1, 1), mask), bias=bias, strength=strength, boost=boost)


def test_ends_of_the_mask_are_old_and_new() -> None:
    sigma = torch.tensor(2.0)
    torch.testing.assert_close(soft(0).at(NEW, sigma), START, rtol=1e-4, atol=0)
    torch.testing.assert_close(soft(1).at(NEW, sigma), NEW, rtol=1e-4, atol=0)


@pytest.mark.parametrize("boost", [1, 4])
def test_a_mix_is_as_long_as_its_parts(boost: float) -> None:
    mixed = soft(0.25, boost=boost).at(NEW, torch.tensor(1.0))
    # A quarter to the power of 1 * 0.5 is a half.
    expected = (START + NEW) / 2
    torch.testing.assert_close(mixed, expected * 3 / expected.norm(), rtol=1e-4, atol=0)


def test_the_original_holds_less_as_noise_falls() -> None:
    shares = [soft(0.5).at(NEW, torch.tensor(sigma))[0, 1].item() for sigma in (10.0, 1.0, 0.1)]
    assert shares == sorted(shares)


def test_what_is_finished_is_left_alone() -> None:
    assert soft(0.5)(NEW) is NEW
    hard = Blend(START, torch.zeros(1, 1, 1))
    torch.testing.assert_close(hard(NEW), START)
