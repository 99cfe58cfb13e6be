"""Which settings decide a run's result, and whether a run may go on with other ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from promptengine.errors import TrainingError
from promptengine.training.captions import template_lines
from promptengine.training.config import TrainingConfig
from promptengine.training.dataset import TrainingImage, fingerprint
from promptengine.training.lr_schedule import parse_schedule

__all__ = ["check_resumable", "resume_fingerprint"]

_SCHEDULES: Final = ("learning_rate", "clip_at")
# Known by what they lead to: the images' digest and the template's lines. More steps prolong a run.
_LEFT_OUT: Final = (
    *(
        "data",
        "template",
        "word_pattern",
        "word_join",
        "steps",
        "gradient_checkpointing",
        "strict_data",
    ),
)


def resume_fingerprint(
    config: TrainingConfig,
    images: Sequence[TrainingImage],
    *,
    name: str,
    checkpoint: str,
    dtype: str,
) -> dict[str, Any]:
    """Collect what decides the result, in the types of JSON.

    Args:
        config: With everything worked out that the checkpoint or chance decides.
        images: The data.
        name: Of the network.
        checkpoint: SHA-256 of the model.
        dtype: Of its UNet.

    Raises:
        TrainingError: The template cannot be read.
        OSError: An image cannot be read.
    """
    values = {
        key: value
        for key, value in dataclasses.asdict(config).items()
        if key not in _LEFT_OUT and not (key == "clip_at" and config.clipping == "none")
    }
    values |= {
        "name": name,
        "checkpoint": checkpoint,
        "dtype": dtype,
        "images": fingerprint(images),
        "template": template_lines(config.template),
    }
    return json.loads(json.dumps(values))


def check_resumable(before: Mapping[str, Any], now: Mapping[str, Any], *, step: int) -> None:
    """Refuse to go on with settings that would have led elsewhere.

    Learning rates and clipping bounds may differ after the steps that are done: the result is then
    that of a run with the new ones from its start.

    Args:
        before: Those of the run to go on with.
        now: Those asked for.
        step: Steps done.

    Raises:
        TrainingError: Names every setting that differs.
    """
    changed = [
        key
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key) and not _agree(key, before.get(key), now.get(key), step)
    ]
    if not changed:
        return
    told = "; ".join(f"{key} was {_brief(before.get(key))}" for key in changed)
    hint = ""
    if "learning_rate" in changed:
        hint = f" (rates may change, but only after step {step})"
    raise TrainingError(
        f"the run to go on with, now at step {step}, has other settings: {told}{hint}; "
        "give it the same ones, or restart it"
    )


def _agree(key: str, before: Any, now: Any, step: int) -> bool:
    if key not in _SCHEDULES or before is None or now is None:
        return False
    first, second = (parse_schedule(text, field=key) for text in (before, now))
    ends = {until for _, until in (*first.entries, *second.entries) if until is not None}
    return all(first.at(at) == second.at(at) for at in {step, *ends} if at <= step)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
