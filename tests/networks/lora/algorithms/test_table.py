"""Which algorithm a module's tensors are written by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from promptengine.networks.lora.algorithms.table import ALGORITHMS, algorithm_of, lacking


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({"lora_up.weight", "lora_down.weight"}, "LoRA"),
        ({"lora_up.weight"}, None),
        ({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}, "LoHa"),
        ({"hada_w1_a", "hada_w1_b", "hada_w2_a"}, None),
        ({"lokr_w1", "lokr_w2_a", "lokr_w2_b"}, "LoKr"),
        ({"lokr_w1_a", "lokr_w1_b", "lokr_w2"}, "LoKr"),
        ({"lokr_w1"}, None),
        ({"weight", "on_input"}, "IA3"),
        ({"weight"}, None),
        ({"diff"}, "full"),
        ({"diff_b"}, "full"),
        ({"w_norm", "b_norm"}, "norm"),
        ({"w_norm", "oft_diag"}, "norm"),
        ({"a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha"}, "GLoRA"),
        ({"a1.weight", "a2.weight", "b1.weight", "b2.weight"}, None),
        ({"oft_blocks", "alpha"}, "OFT"),
        ({"oft_diag"}, "OFT"),
        ({"rescale"}, None),
        ({"dora_scale", "alpha", "bias"}, None),
    ],
)
def test_names_of_tensors_tell_the_algorithm(names: set[str], kind: str | None) -> None:
    found = algorithm_of(dict.fromkeys(names, ()))
    assert (found and found.name) == kind
    if found:
        assert found.unused({*names, "alpha", "bias", "dora_scale", "mask"}) == {"mask"} | (
            names & {"oft_diag"} if kind == "norm" else set()
        )


@pytest.mark.parametrize(
    ("axes", "name"), [((3, 2, 2), "OFT"), ((2, 3, 2, 2), "BOFT"), ((2, 2), "OFT")]
)
def test_the_number_of_axes_tells_boft_from_oft(axes: tuple[int, ...], name: str) -> None:
    found = algorithm_of({"oft_blocks": axes})
    assert found is not None and found.name == name


def test_every_algorithm_is_found_by_what_it_requires() -> None:
    for name, algorithm in ALGORITHMS.items():
        for names in algorithm.required:
            shapes = {tensor: (2,) * (algorithm.axes or {}).get(tensor, 1) for tensor in names}
            assert algorithm_of(shapes) is algorithm
        assert algorithm.name == name


@pytest.mark.parametrize(
    ("shapes", "rank"),
    [
        ({"lora_up.weight": (9, 4), "lora_down.weight": (4, 7)}, 4),
        ({"lora_up.weight": (9, 4), "lora_down.weight": ()}, None),
        ({"hada_w1_a": (9, 3), "hada_w1_b": (3, 7), "hada_w2_a": (9, 5), "hada_w2_b": (5, 7)}, 3),
        ({"lokr_w1_a": (3, 2), "lokr_w1_b": (2, 3), "lokr_w2_a": (3, 5), "lokr_w2_b": (5, 3)}, 5),
        ({"lokr_w1_a": (3, 2), "lokr_w1_b": (2, 3), "lokr_w2": (3, 3)}, 2),
        ({"lokr_w1": (3, 3), "lokr_w2": (3, 3)}, None),
        ({"diff": (3, 3)}, None),
        (
            {
                "a1.weight": (4, 9),
                "a2.weight": (9, 4),
                "b1.weight": (4, 9),
                "b2.weight": (7, 4),
                "alpha": (),
            },
            4,
        ),
        ({"oft_blocks": (4, 8, 8)}, None),
    ],
)
def test_ranks(shapes: dict[str, tuple[int, ...]], rank: int | None) -> None:
    algorithm = algorithm_of(shapes)
    assert algorithm is not None
    assert algorithm.rank(shapes) == rank


def test_the_reference_lists_every_algorithm() -> None:
    page = (Path(__file__).parents[4] / "docs/reference/prompt-language.md").read_text("utf-8")
    kinds = re.findall(r"^\| ([^|`]+) \| `", page, flags=re.MULTILINE)
    assert set(ALGORITHMS) <= {name for row in kinds for name in row.split(", ")}


def test_what_tensors_lack_is_said_of_the_nearest_algorithm() -> None:
    assert lacking({"lora_up.weight", "alpha"}) == "LoRA needs lora_down.weight too"
    assert lacking({"lokr_w1", "lokr_w2_a", "lokr_t2"}) in (
        "LoKr needs lokr_w2 too",
        "LoKr needs lokr_w2_b too",
    )
    assert lacking({"a1.weight", "a2.weight", "b1.weight"}) == "GLoRA needs alpha and b2.weight too"
    assert not lacking({"mystery", "alpha", "bias"})
