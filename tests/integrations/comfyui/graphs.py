"""Golden cases as graphs of the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from promptengine.integrations.comfyui.nodes import WebUIPrompt, WebUISampler
from promptengine.request.samplers import find_sampler
from tests.conformance.golden import folder, rows
from tests.conformance.test_sched import TABLE as SCHEDULES
from tests.conformance.test_sched import ends_without_number, misnames
from tests.conformance.test_txt2img import bare_name, mixed_multipliers
from tests.integrations.comfyui.stand_in import CLIP, CFGGuider, ModelPatcher

GOLDENS = folder() / "webui" / "goldens"
CASES = {case["id"]: case for case in rows(GOLDENS / "txt2img.jsonl")}

_OTHER_REQUESTS = frozenset(
    {"n_iter", "seed_resize_from_w", "tiling", "keep_state", "enable_hr", "error", "s_min_uncond"}
)
"""What the nodes have no inputs for, or what is no case of theirs."""

_SETTINGS: Mapping[str, tuple[str, str, Callable[[Any], Any]]] = {
    "randn_source": ("sampler", "noise_source", str.lower),
    "eta_noise_seed_delta": ("sampler", "seed_delta", int),
    "eta_ancestral": ("sampler", "eta", float),
    "eta_ddim": ("sampler", "eta", float),
    "k_sched_type": ("sampler", "scheduler", str),
    "CLIP_stop_at_last_layers": ("prompt", "clip_skip", int),
    "emphasis": ("prompt", "emphasis", str),
}
"""WebUI's settings that are inputs of nodes: of which, and by what name."""


class Run(NamedTuple):
    """A graph that has run.

    Attributes:
        latents: What came out of SamplerCustomAdvanced.
        sampler: The SAMPLER.
        patched: The MODEL that was sampled with.
    """

    latents: Tensor
    sampler: Any
    patched: ModelPatcher


@dataclass(frozen=True)
class Settings:
    """Inputs of the nodes for a case."""

    sampler: Mapping[str, Any]
    prompt: Mapping[str, Any]


def settings_of(case: Mapping[str, Any]) -> Settings | None:
    """The inputs of both nodes; None where they cannot ask for the case's image."""
    opts = dict(case.get("opts") or {})
    # How texts are batched changes no image.
    opts.pop("batch_cond_uncond", None)
    if (
        "sampler" not in case
        or _OTHER_REQUESTS & case.keys()
        or opts.keys() - _SETTINGS.keys()
        or mixed_multipliers(case)
    ):
        return None
    if "schedule_kind" in case:
        found = find_sampler(case["sampler"], bare_name(case["sampler"]) or "Automatic")
    elif misnames(dict(case)) or ends_without_number(dict(case)):
        return None
    else:
        found = find_sampler(case["sampler"], case.get("scheduler") or "Automatic")
    given: dict[str, dict[str, Any]] = {
        "sampler": {
            **{"sampler": found.name, "scheduler": found.scheduler, "steps": case["steps"]},
            **{"denoise": 1.0, "seed": case["seed"]},
        },
        "prompt": {},
    }
    if case.get("subseed_strength"):
        strength = case["subseed_strength"]
        given["sampler"] |= {"variation_seed": case["subseed"], "variation_strength": strength}
    for name, value in opts.items():
        node, own, read = _SETTINGS[name]
        given[node][own] = read(value)
    return Settings(given["sampler"], given["prompt"])


def run_case(model: ModelPatcher, clip: CLIP, case: Mapping[str, Any], **more: Any) -> Run:
    """Make the latents of a case; ``more`` are inputs of WebUI Sampler."""
    settings = settings_of(case)
    assert settings is not None
    patched, sampler, sigmas, noise = WebUISampler().make(model, **{**settings.sampler, **more})
    patched, positive, negative, _, _ = WebUIPrompt().read(
        patched,
        clip,
        case["prompt"],
        case["negative_prompt"],
        case["steps"],
        sampler=sampler,
        **settings.prompt,
    )
    latents = sampled(patched, positive, negative, sampler, sigmas, noise, case)
    return Run(latents, sampler, patched)


def sampled(  # noqa: PLR0917 - the sockets of a graph
    model: Any,
    positive: Any,
    negative: Any,
    sampler: Any,
    sigmas: Tensor,
    noise: Any,
    case: Mapping[str, Any],
    guider: type[CFGGuider] = CFGGuider,
    latent: Tensor | None = None,
) -> Tensor:
    """What SamplerCustomAdvanced gives."""
    guiding = guider(model)
    guiding.set_conds(positive, negative)
    guiding.set_cfg(case["cfg_scale"])
    images = case.get("batch_size", 1)
    if latent is None:
        latent = torch.zeros(images, 4, case["height"] // 8, case["width"] // 8)
    first = noise.generate_noise({"samples": latent})
    return guiding.sample(first, latent, sampler, sigmas, noise.seed)


def new_cases() -> dict[str, dict[str, Any]]:
    """The cases of WebUI 1.10.1's samplers and schedule types."""
    return {case["id"]: case for case in rows(SCHEDULES)} if SCHEDULES.is_file() else {}
