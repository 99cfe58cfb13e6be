"""Soft inpainting: what of an original is laid over what was painted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from promptengine import Inpainting
from promptengine.images.soft_inpaint import changed_mask, percentile_filter, spread_mask

MASK = Image.new("L", (64, 64), 255)
PAINTED = torch.ones(1, 6, 8)


def test_a_filter_leaves_even_ground_alone() -> None:
    even = np.full((7, 5), 3.0, np.float32)
    assert percentile_filter(even, 0.25, 0.75) == pytest.approx(even)


def test_the_largest_share_is_a_mean_of_the_largest_values() -> None:
    spike = np.zeros((9, 9), np.float32)
    spike[4, 4] = 1
    found = percentile_filter(spike, 0.9, 1)
    # A window of the center's own weight, which its spike fills there and nowhere else.
    assert found[4, 4] == pytest.approx(1)
    assert 0 < found[4, 6] < found[4, 5] < 1
    assert found[4, 7] == 0


def test_one_value_alone_is_its_own_mean() -> None:
    assert percentile_filter(np.array([[2.5]], np.float32), 0.25, 0.75) == pytest.approx(2.5)


def test_what_changed_is_not_covered() -> None:
    start = torch.zeros(4, 6, 8)
    soft = Inpainting(mask=MASK, soft=True)
    assert changed_mask(start, start, PAINTED, soft).getextrema() == (0, 0)
    assert changed_mask(start + 100, start, PAINTED, soft).getextrema() == (255, 255)
    # By the influence of a mask that marks nothing, nothing is uncovered.
    only = Inpainting(mask=MASK, soft=True, soft_influence=1)
    assert changed_mask(start + 1, start, PAINTED * 0, only).getextrema() == (0, 0)


def test_half_is_kept_at_the_threshold() -> None:
    start = torch.zeros(4, 6, 8)
    soft = Inpainting(mask=MASK, soft=True, soft_threshold=3)
    low, high = changed_mask(start + 1.5, start, PAINTED, soft).getextrema()
    assert 126 <= low == high <= 128


def test_no_threshold_and_no_change_keep_the_original() -> None:
    start = torch.zeros(4, 6, 8)
    soft = Inpainting(mask=MASK, soft=True, soft_threshold=0)
    assert changed_mask(start, start, PAINTED, soft).getextrema() == (0, 0)


def test_a_part_is_put_in_its_place() -> None:
    mask = Image.new("L", (8, 8), 255)
    spread = spread_mask(mask, (64, 64), box=(10, 20, 40, 50), whole=(80, 60))
    assert spread.size == (80, 60)
    assert spread.getbbox() == (10, 20, 40, 50)
    assert spread_mask(mask, (64, 64), box=None, whole=(64, 64)).getextrema() == (255, 255)
