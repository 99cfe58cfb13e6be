"""The fields of a request by which a refiner takes over on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from promptengine.request.fields import ApiField, Entry, Flag, Said, described
from promptengine.request.values import parse_float

__all__ = ["REFINER", "REFINER_SWITCH_AT", "named_refiner"]


def named_refiner(name: str | None) -> str | None:
    """Return the checkpoint that a refiner's name means, or None where the name is WebUI's word for none."""
    return None if name is None or name.lower() in ("", "none") else name


def _if_refined(share: float | None, said: Said) -> float | None:
    return None if share is None or said.own["refiner"] is None else float(share)


REFINER: Final[Mapping[str, object]] = described(
    "Refiner checkpoint",
    "another checkpoint, which takes over on the way",
    flag=Flag("--refiner", "NAME"),
    api=ApiField({"refiner_checkpoint": None}, named_refiner),
    entry=Entry("Refiner", str),
    axis="refiner",
    usual="none",
    choices="checkpoints",
)
REFINER_SWITCH_AT: Final[Mapping[str, object]] = described(
    "Refiner switch at",
    "share of the way after which the refiner takes over, 0 to 1",
    flag=Flag("--refiner-switch-at", "X"),
    api=ApiField({"refiner_switch_at": None}),
    entry=Entry("Refiner switch at", parse_float, _if_refined),
    axis="refiner-switch-at",
    usual="at once",
)
