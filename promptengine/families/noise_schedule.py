"""What a checkpoint says of its noise: read where it is understood, refused by name where it is not.

An engine knows noise in discrete steps ("alphas"), a UNet that predicts noise or velocity, and latents
that differ from the VAE's by one factor. A model of another kind would paint, but not what it was
trained to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from promptengine.errors import CheckpointError
from promptengine.families.config import ModelConfig
from promptengine.families.detect import Prediction

__all__ = ["BETA_SCHEDULES", "require_known_latents", "require_known_schedule", "stated_prediction"]

BETA_SCHEDULES: Final = ("scaled_linear", "linear", "squaredcos_cap_v2")
"""How betas may rise between their ends, in diffusers' words."""

_PREDICTIONS: Final[Mapping[str, Prediction]] = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v_prediction": "v",
    "v": "v",
}
_CONTINUOUS: Final = ("EDM", "FlowMatch", "KarrasVe", "ScoreSde", "CMStochastic")
_OTHER_SCHEDULERS: Final = ("UnCLIP", "Wuerstchen", "VQDiffusion", "Amused", "CogVideoX")
# Settings that mean another kind of noise unless they are unset, and what they mean.
_STRANGE: Final = (
    ("edm", "EDM's"),
    ("sigma_data", "EDM's"),
    ("use_flow_sigmas", "that of flow matching"),
    ("flow_shift", "that of flow matching"),
    ("snr_shift_scale", "shifted"),
)


def stated_prediction(scheduler: ModelConfig, path: Path) -> Prediction | None:
    """Return what a scheduler's configuration says the UNet predicts, or None where it is silent.

    Raises:
        CheckpointError: It says something that is not supported.
    """
    stated = scheduler.get("prediction_type")
    if stated is None:
        return None
    prediction = _PREDICTIONS.get(str(stated))
    if prediction is None:
        message = f"prediction type {str(stated)!r} is not supported; epsilon and v are"
        raise CheckpointError(message, path=path)
    return prediction


def require_known_schedule(scheduler: ModelConfig, path: Path) -> None:
    """Refuse noise of another kind than an engine knows.

    Raises:
        CheckpointError: It names the setting and what it means.
    """
    reason = _strange_noise(scheduler)
    if reason is not None:
        raise CheckpointError(f"its noise is {reason}; it would not be painted right", path=path)


def _strange_noise(scheduler: ModelConfig) -> str | None:
    name = str(scheduler.get("class_name", ""))
    if any(word in name for word in _CONTINUOUS):
        kind = "EDM's" if "EDM" in name else "that of another kind of model"
        return f"{kind} ({name}), which is not supported"
    if any(word in name for word in _OTHER_SCHEDULERS):
        return f"that of another kind of model ({name}), which is not supported"
    for key, kind in _STRANGE:
        value = scheduler.get(key)
        if value is True or value not in (None, False, 1.0):
            said = value if key == "edm" else f"its setting {key} is {value!s:.40}"
            return f"{kind}, which is not supported ({said})"
    if scheduler.get("timestep_type", "discrete") != "discrete":
        return (
            f"continuous (timestep_type {scheduler['timestep_type']!s:.40}), which is not supported"
        )
    betas = scheduler.get("beta_schedule", BETA_SCHEDULES[0])
    if scheduler.get("trained_betas") is None and betas not in BETA_SCHEDULES:
        known = ", ".join(BETA_SCHEDULES)
        return f"of beta_schedule {betas!s:.40}, which is not supported; {known} are"
    return None


def require_known_latents(vae: ModelConfig, path: Path) -> None:
    """Refuse a VAE whose latents are shifted or scaled channel by channel.

    Raises:
        CheckpointError: It names the setting.
    """
    neutral = {"latents_mean": 0.0, "latents_std": 1.0, "shift_factor": 0.0}
    for key, nothing in neutral.items():
        value = vae.get(key)
        numbers = cast("Sequence[object]", value) if isinstance(value, list | tuple) else [value]
        if any(number not in (None, nothing) for number in numbers):
            message = (
                f"its VAE's latents are shifted or scaled by {key}, which is not supported; they would "
                "not be decoded right"
            )
            raise CheckpointError(message, path=path)
