"""What is known of ComfyUI's nodes: the names of their fields, and what each kind does to an image.

A node that is in none of these tables is named as one that is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = [
    "DECODERS",
    "ENCODERS",
    "ENDS",
    "FIELDS",
    "MODEL_FILES",
    "OWN_HYPERNETWORK",
    "OWN_PROMPT",
    "OWN_SAMPLER",
    "OWN_SAVE",
    "SAMPLERS",
    "SAMPLER_NAMES",
    "SCHEDULERS",
    "SILENT",
    "STOCHASTIC",
    "SamplerNode",
]


OWN_PROMPT: Final = "PromptEngineWebUIPrompt"
OWN_SAMPLER: Final = "PromptEngineWebUISampler"
OWN_HYPERNETWORK: Final = "PromptEngineLoadHypernetwork"
OWN_SAVE: Final = "PromptEngineSaveWithInfotext"
"""This package's own nodes, by the names that stand in graphs."""


class SamplerNode(NamedTuple):
    """Where a sampler's node has its settings.

    Attributes:
        seed: Name of the input.
        latent: Of the input that holds the start.
        parts: Nodes that hold some of its settings, by the input they are at.
    """

    seed: str = "seed"
    latent: str = "latent_image"
    parts: tuple[str, ...] = ()


SAMPLERS: Final[Mapping[str, SamplerNode]] = {
    "KSampler": SamplerNode(),
    "KSamplerAdvanced": SamplerNode("noise_seed"),
    "SamplerCustom": SamplerNode("noise_seed", parts=("sampler", "sigmas")),
    "SamplerCustomAdvanced": SamplerNode(
        "noise_seed", parts=("guider", "noise", "sampler", "sigmas")
    ),
}

ENDS: Final = frozenset(
    {"SaveImage", "SaveImageWebsocket", "PreviewImage", "SaveAnimatedWEBP", OWN_SAVE}
)
"""Nodes that give the image out."""

ENCODERS: Final[Mapping[str, tuple[str, ...]]] = {
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": ("text_g", "text_l"),
    "CLIPTextEncodeSDXLRefiner": ("text",),
    "CLIPTextEncodeSD3": ("clip_l", "clip_g", "t5xxl"),
    "CLIPTextEncodeFlux": ("t5xxl", "clip_l"),
}
"""Nodes that read prompts, and their inputs that are texts; the first counts."""

MODEL_FILES: Final[Mapping[str, str]] = {
    "CheckpointLoaderSimple": "ckpt_name",
    "CheckpointLoader": "ckpt_name",
    "unCLIPCheckpointLoader": "ckpt_name",
    "ImageOnlyCheckpointLoader": "ckpt_name",
    "UNETLoader": "unet_name",
    "UnetLoaderGGUF": "unet_name",
    "DiffusersLoader": "model_path",
}
"""Nodes that load a model, and their input that names its file."""

DECODERS: Final = frozenset({"VAEDecode", "VAEDecodeTiled"})
"""Nodes that make an image of latents."""

SILENT: Final = frozenset(
    {
        *(*DECODERS, "Note", "MarkdownNote", "Reroute", OWN_SAMPLER, OWN_PROMPT),
        *("PrimitiveNode", "KSamplerSelect", "BasicScheduler", "RandomNoise", "CFGGuider"),
        *("BasicGuider", "PreviewAny", *ENDS),
    }
)
"""Nodes that change nothing, or whose settings are read where others use them."""

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "KSampler": ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        *("add_noise", "noise_seed", "steps", "cfg", "sampler_name", "scheduler"),
        *("start_at_step", "end_at_step", "return_with_leftover_noise"),
    ),
    "SamplerCustom": ("add_noise", "noise_seed", "cfg"),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "KarrasScheduler": ("steps", "sigma_max", "sigma_min", "rho"),
    "ExponentialScheduler": ("steps", "sigma_max", "sigma_min"),
    "RandomNoise": ("noise_seed",),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "CheckpointLoader": ("config_name", "ckpt_name"),
    "unCLIPCheckpointLoader": ("ckpt_name",),
    "ImageOnlyCheckpointLoader": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "VAELoader": ("vae_name",),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": (
        *("width", "height", "crop_w", "crop_h", "target_width", "target_height"),
        *("text_g", "text_l"),
    ),
    "CLIPTextEncodeSDXLRefiner": ("ascore", "width", "height", "text"),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "HypernetworkLoader": ("hypernetwork_name", "strength"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "LatentUpscale": ("upscale_method", "width", "height", "crop"),
    "LatentUpscaleBy": ("upscale_method", "scale_by"),
    "LoadImage": ("image",),
    "SaveImage": ("filename_prefix",),
    "PrimitiveNode": ("value",),
    OWN_PROMPT: ("prompt", "negative", "steps", "dialect", "clip_skip", "emphasis", "policy"),
    OWN_SAMPLER: (
        *("sampler", "scheduler", "steps", "denoise", "seed", "variation_seed"),
        *("variation_strength", "noise_source", "eta", "seed_delta"),
    ),
    OWN_HYPERNETWORK: ("hypernetwork", "strength"),
    OWN_SAVE: ("filename_prefix",),
}
"""The fields of nodes in the order in which workflows hold their values."""

SAMPLER_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "euler": ("Euler", ""),
    "euler_ancestral": ("Euler a", ""),
    "heun": ("Heun", ""),
    "dpm_2": ("DPM2", ""),
    "dpm_2_ancestral": ("DPM2 a", ""),
    "lms": ("LMS", ""),
    "dpm_fast": ("DPM fast", ""),
    "dpm_adaptive": ("DPM adaptive", ""),
    "dpmpp_2s_ancestral": ("DPM++ 2S a", ""),
    "dpmpp_sde": ("DPM++ SDE", ""),
    "dpmpp_sde_gpu": ("DPM++ SDE", ""),
    "dpmpp_2m": ("DPM++ 2M", ""),
    "dpmpp_2m_sde": ("DPM++ 2M SDE", ""),
    "dpmpp_2m_sde_gpu": ("DPM++ 2M SDE", ""),
    "dpmpp_2m_sde_heun": ("DPM++ 2M SDE Heun", ""),
    "dpmpp_2m_sde_heun_gpu": ("DPM++ 2M SDE Heun", ""),
    "dpmpp_3m_sde": ("DPM++ 3M SDE", ""),
    "dpmpp_3m_sde_gpu": ("DPM++ 3M SDE", ""),
    "lcm": ("LCM", ""),
    "ddim": ("DDIM", ""),
    "uni_pc": ("UniPC", ""),
    "uni_pc_bh2": ("UniPC", ""),
}
"""ComfyUI's samplers, which SwarmUI and Fooocus name likewise: sampler, and no schedule type."""

STOCHASTIC: Final = frozenset(
    {"Euler a", "DPM2 a", "DPM++ 2S a", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun"}
    | {"DPM++ 3M SDE", "LCM"}
)
"""Samplers that draw noise on the way."""

SCHEDULERS: Final[Mapping[str, str]] = {
    "normal": "Normal",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "ddim_uniform": "DDIM",
    "beta": "Beta",
    "kl_optimal": "KL Optimal",
    "align_your_steps": "Align Your Steps",
}
"""ComfyUI's schedule types, by WebUI's labels of them."""
