"""What stands beside a checkpoint's weights: a ``.yaml``, metadata, a folder of configurations.

All are read into one form: configurations by part, in diffusers' and transformers' words.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Final, cast

from promptengine.errors import CheckpointError
from promptengine.families.detect import Prediction
from promptengine.families.specs import FAMILIES, Family
from promptengine.files.size_limits import read_small

__all__ = [
    "METADATA_KEY",
    "PARTS",
    "ModelConfig",
    "PipelineConfigs",
    "native_size",
    "parts_in_folder",
    "parts_in_metadata",
    "parts_in_yaml",
    "stated_parts",
    "vae_beside",
]

METADATA_KEY: Final = "promptengine.config"
"""Safetensors metadata: JSON of configurations by part, any of :data:`PARTS`."""

_EDM_MARKS: Final = ("edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min")
_STANDARD_KEY: Final = "modelspec.prediction_type"  # Stability AI's metadata standard
_VAE_ENDS: Final = (".vae.safetensors", ".vae.pt", ".vae.ckpt")

_MOST_YAML_BYTES: Final = 16 << 10  # parsing takes a second for 32 KiB; such files have 3
_DEEPEST_YAML: Final = 32
_LONGEST_REASON: Final = 300

PARTS: Final = ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler")

ModelConfig = Mapping[str, Any]
PipelineConfigs = Mapping[str, ModelConfig]


def stated_parts(
    names: Container[str],
    path: Path,
    *,
    metadata: Mapping[str, str],
    config: Path | None = None,
) -> PipelineConfigs:
    """Gather what is said of a checkpoint beside its weights.

    The first that says something holds: ``stem.yaml`` beside it, the folder of configurations, its
    metadata, and last the small tensors by which later SDXL models mark themselves: ``v_pred`` and
    ``ztsnr`` as WebUI reads them, and those of EDM's noise, which :func:`require_known_schedule`
    refuses.

    Args:
        names: Of its weights.
        path: The checkpoint.
        metadata: The safetensors file's metadata, or empty.
        config: A folder in the form of a diffusers model (``unet/config.json``, …) or None.

    Raises:
        CheckpointError: A side file or entry is broken.
    """
    marks: dict[str, Any] = {}
    if "v_pred" in names:
        marks["prediction_type"] = "v_prediction"
    if "ztsnr" in names:
        marks["rescale_betas_zero_snr"] = True
    continuous = next((name for name in _EDM_MARKS if name in names), None)
    if continuous is not None:
        marks["edm"] = f"its weight {continuous!r} says so"
    sources: tuple[PipelineConfigs, ...] = (
        {"scheduler": marks},
        parts_in_metadata(metadata, path),
        {} if config is None else parts_in_folder(config),
        parts_in_yaml(path.with_suffix(".yaml")),
    )
    return {
        part: {key: value for source in sources for key, value in source.get(part, {}).items()}
        for part in PARTS
    }


def native_size(unet: ModelConfig, family: Family, prediction: Prediction) -> int:
    """Return the pixels of a side that a model was trained at.

    Args:
        unet: Its configuration, which may say so.
        family: Of the model.
        prediction: What its UNet predicts.
    """
    cells = unet.get("sample_size")
    if isinstance(cells, int) and cells > 0:
        return cells * 8
    spec = FAMILIES[family]
    return spec.native_size_v if prediction == "v" else spec.native_size


def parts_in_yaml(path: Path) -> PipelineConfigs:
    """Read an original configuration (CompVis' or, for SDXL, Stability AI's form).

    Its ``parameterization`` (SDXL: the denoiser's scaling) says what the UNet predicts; silence
    means epsilon. An ``image_size`` of 64 is passed over: the files of all models say so, those of
    768 pixels too.

    Returns:
        The parts, none where there is no such file.

    Raises:
        CheckpointError: The file cannot be read as such a configuration.
    """
    if not path.is_file():
        return {}
    import yaml

    try:
        content = read_small(path, _MOST_YAML_BYTES).decode()
        _check_yaml(content)
        params = yaml.safe_load(content)["model"]["params"]
        original = "network_config" not in params
        unet = params["unet_config" if original else "network_config"]["params"]
        scheduler = _ddpm(params) if original else _stability(params)
        size = params.get("image_size", 64)
        return {
            "unet": _heads(unet) | ({} if size == 64 else {"sample_size": size}),
            "vae": {"scaling_factor": params["scale_factor"]} if "scale_factor" in params else {},
            "scheduler": scheduler,
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = repr(error)[:_LONGEST_REASON]
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        reason = repr(error)[:_LONGEST_REASON]
    message = f"not a configuration of Stable Diffusion ({reason}); mend or remove it"
    raise CheckpointError(message.replace("\n", " "), path=path)


def _check_yaml(content: str) -> None:
    """Refuse what takes more than its length: aliases, since each may stand for a page that holds
    others, and nesting, whose every level the parser looks at for every word.
    """
    import yaml

    starts = (
        *(yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken),
        *(yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken),
    )
    ends = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
    depth = 0
    for token in yaml.scan(content):
        if isinstance(token, yaml.AliasToken):
            raise ValueError("it uses aliases, which no such file does")
        depth += isinstance(token, starts) - isinstance(token, ends)
        if depth > _DEEPEST_YAML:
            raise ValueError(f"it is nested more than {_DEEPEST_YAML} deep")


def _ddpm(params: ModelConfig) -> ModelConfig:
    stated, betas = str(params.get("beta_schedule", "linear")), params.get("given_betas")
    return {
        "beta_start": params["linear_start"],
        "beta_end": params["linear_end"],
        "num_train_timesteps": params.get("timesteps", 1000),
        "prediction_type": params.get("parameterization", "epsilon"),
        # CompVis calls "linear" what is linear in the roots.
        "beta_schedule": {"linear": "scaled_linear", "sqrt_linear": "linear"}.get(stated, stated),
        **({"trained_betas": betas} if betas is not None else {}),
    }


def _stability(params: ModelConfig) -> ModelConfig:
    whole = params.get("denoiser_config", {})
    denoiser = whole.get("params", {})
    levels = denoiser.get("discretization_config", {})
    table = levels.get("params") or {}
    kinds = [_class(whole, "DiscreteDenoiser"), _class(levels, "LegacyDDPMDiscretization")]
    strange = [kind for kind in kinds if kind not in _DISCRETE]
    target = denoiser.get("scaling_config", {}).get("target", "EpsScaling").rpartition(".")[2]
    return {
        "beta_start": table.get("linear_start", 0.00085),
        "beta_end": table.get("linear_end", 0.012),
        "num_train_timesteps": table.get("num_timesteps", 1000),
        "prediction_type": {"EpsScaling": "epsilon", "VScaling": "v"}.get(target, target),
        **({"edm": f"its configuration says {strange[0]}"} if strange else {}),
        **({"rescale_betas_zero_snr": True} if "ZeroSNRDDPMDiscretization" in kinds else {}),
    }


_DISCRETE: Final = (
    "DiscreteDenoiser",
    "LegacyDDPMDiscretization",
    "ZeroSNRDDPMDiscretization",
)


def _class(settings: ModelConfig, usual: str) -> str:
    return str(settings.get("target", usual)).rpartition(".")[2]


def _heads(unet: ModelConfig) -> dict[str, Any]:
    heads, width = unet.get("num_heads", -1), unet.get("num_head_channels", -1)
    if heads > 0:
        return {"attention_head_dim": heads}
    if width > 0:
        channels = [unet["model_channels"] * factor for factor in unet["channel_mult"]]
        return {"attention_head_dim": [max(channel // width, 1) for channel in channels]}
    return {}


def parts_in_metadata(metadata: Mapping[str, str], path: Path) -> PipelineConfigs:
    """Read a safetensors file's metadata: :data:`METADATA_KEY`, and ``modelspec.prediction_type``.

    Raises:
        CheckpointError: The entry is broken.
    """
    try:
        parts = _checked(json.loads(metadata.get(METADATA_KEY, "{}")))
    except (ValueError, RecursionError) as error:
        message = f"its metadata entry {METADATA_KEY!r} is not readable: {error}"
        raise CheckpointError(message, path=path) from None
    stated = metadata.get(_STANDARD_KEY)
    if stated is not None:
        scheduler = {"prediction_type": stated, **parts.get("scheduler", {})}
        parts = {**parts, "scheduler": scheduler}
    return parts


def parts_in_folder(folder: Path) -> PipelineConfigs:
    """Read the configurations in a diffusers folder.

    Raises:
        CheckpointError: No such folder, or a configuration in it is broken.
    """
    if not folder.is_dir():
        raise CheckpointError("no such folder of configurations", path=folder)
    parts: dict[str, ModelConfig] = {}
    for part in PARTS:
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        file = folder / part / name
        try:
            if file.is_file():
                parts |= _checked({part: json.loads(read_small(file))})
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"not readable as JSON: {error}", path=file) from None
    return parts


def _checked(document: object) -> dict[str, ModelConfig]:
    """Check that a JSON document maps parts to configurations, and drop private keys.

    The class of a scheduler is kept as ``class_name``: it says what kind of noise is meant.
    """
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    parts: dict[str, ModelConfig] = {}
    for part, config in cast("dict[str, object]", document).items():
        if not isinstance(config, dict):
            raise ValueError(f"{part!r} is not a JSON object")
        entries = cast("dict[str, Any]", config).items()
        parts[part] = {key: value for key, value in entries if not key.startswith("_")}
        if part == "scheduler" and "_class_name" in config:
            parts[part] = {**parts[part], "class_name": str(config["_class_name"])}
    return parts


def vae_beside(checkpoint: Path) -> Path | None:
    """Return the VAE beside a checkpoint: ``stem.vae.safetensors``, else ``.vae.pt``, ``.vae.ckpt``."""
    beside = (checkpoint.with_name(checkpoint.stem + end) for end in _VAE_ENDS)
    return next((path for path in beside if path.is_file()), None)
