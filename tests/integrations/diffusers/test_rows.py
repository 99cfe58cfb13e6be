"""Rows of what a denoiser is asked with."""

from __future__ import annotations

import torch

from promptengine.integrations.diffusers.rows import chosen_rows


def test_whatever_has_a_row_for_each_of_the_batch_is_chosen_from() -> None:
    rows, other, number = torch.arange(3)[:, None], torch.arange(4), torch.tensor(2.0)
    value = {"rows": rows, "more": [(rows, "text")], "other": other, "number": number, "none": None}
    found = chosen_rows(value, [2, 0, 0], 3)
    assert found["rows"].flatten().tolist() == [2, 0, 0]
    ((inner, text),) = found["more"]
    assert torch.equal(inner, found["rows"]) and text == "text"
    assert found["other"] is other and found["number"] is number and found["none"] is None


def test_all_rows_in_their_order_are_the_same_tensors_in_mappings_of_their_own() -> None:
    rows = torch.arange(3)
    value = {"rows": rows, "more": {"rows": rows}}
    found = chosen_rows(value, [0, 1, 2], 3)
    assert found["rows"] is rows
    assert found["more"] == value["more"] and found["more"] is not value["more"]
