"""Notes of other programs as these document them, at least three forms of each: texts by keyword."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["SAMPLES", "api_graph", "workflow"]

PROMPT, NEGATIVE = "a (kite:1.2) on a hill", "blurry"


def api_graph(**changes: Any) -> dict[str, Any]:
    """The graph that ComfyUI opens with, in its API's form; changes are inputs of the sampler."""
    sampler = {
        **{"seed": 156680208700286, "steps": 20, "cfg": 7.5, "sampler_name": "euler"},
        **{"scheduler": "karras", "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0]},
        **{"negative": ["7", 0], "latent_image": ["5", 0], **changes},
    }
    return {
        "3": {"class_type": "KSampler", "inputs": sampler, "_meta": {"title": "KSampler"}},
        "4": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "sd/v1-5.safetensors"},
        },
        "5": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 512, "height": 768, "batch_size": 1},
        },
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": PROMPT, "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": NEGATIVE, "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a", "images": ["8", 0]}},
    }


def _advanced() -> dict[str, Any]:
    """A graph with networks, an advanced sampler, and more that is not known here."""
    graph = api_graph()
    inputs = graph["3"]["inputs"]
    del inputs["seed"], inputs["denoise"]
    inputs |= {"add_noise": "enable", "noise_seed": ["14", 0], "start_at_step": 0}
    inputs |= {"end_at_step": 10000, "return_with_leftover_noise": "disable"}
    inputs |= {"sampler_name": "dpmpp_2m_sde", "model": ["11", 0]}
    graph["3"]["class_type"] = "KSamplerAdvanced"
    lora = {"lora_name": "styles\\ink.safetensors", "strength_model": 0.8, "strength_clip": 0.5}
    graph |= {
        "10": {"class_type": "LoraLoader", "inputs": {**lora, "model": ["4", 0], "clip": ["4", 1]}},
        "11": {
            "class_type": "HypernetworkLoader",
            "inputs": {"hypernetwork_name": "wash.pt", "strength": 0.7, "model": ["10", 0]},
        },
        "12": {
            "class_type": "CLIPSetLastLayer",
            "inputs": {"stop_at_clip_layer": -2, "clip": ["10", 1]},
        },
        "13": {"class_type": "VAELoader", "inputs": {"vae_name": "kl.safetensors"}},
        "14": {"class_type": "PrimitiveInt", "inputs": {"value": 5}},
        "15": {"class_type": "ImageScale", "inputs": {"width": 9, "image": ["8", 0]}},
    }
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["12", 0]
    graph["8"]["inputs"]["vae"] = ["13", 0]
    graph["9"]["inputs"]["images"] = ["15", 0]
    return graph


def workflow(*, links_as_objects: bool = False) -> dict[str, Any]:
    """The graph that ComfyUI opens with, in its page's form, with a reroute and a bypassed LoRA."""
    kinds = {
        3: ("KSampler", [7, "randomize", 20, 7.5, "euler", "karras", 1], ["model", "positive"]),
        4: ("CheckpointLoaderSimple", ["v1-5.ckpt"], []),
        5: ("EmptyLatentImage", [512, 768, 1], []),
        6: ("CLIPTextEncode", [PROMPT], ["clip"]),
        7: ("CLIPTextEncode", [NEGATIVE], ["clip"]),
        8: ("VAEDecode", [], ["samples", "vae"]),
        9: ("SaveImage", ["a"], ["images"]),
        10: ("LoraLoader", ["ink.safetensors", 1, 1], ["model", "clip"]),
        11: ("Reroute", [], [""]),
        12: ("LoadImage", ["unused.png", "image"], []),
    }
    kinds[3][2].extend(["negative", "latent_image"])
    joined = [(4, 0, 10, 0), (10, 0, 11, 0), (11, 0, 3, 0), (6, 0, 3, 1), (7, 0, 3, 2)]
    joined += [(5, 0, 3, 3), (4, 1, 6, 0), (4, 1, 7, 0), (3, 0, 8, 0), (4, 2, 8, 1), (8, 0, 9, 0)]
    nodes: list[dict[str, Any]] = [
        {
            "id": id_,
            "type": kind,
            "mode": {10: 4, 12: 2}.get(id_, 0),
            "widgets_values": values,
            "inputs": [{"name": name, "type": "*", "link": None} for name in names],
        }
        for id_, (kind, values, names) in kinds.items()
    ]
    places = {node["id"]: node for node in nodes}
    links: list[Any] = []
    for number, (source, output, target, place) in enumerate(joined, start=1):
        places[target]["inputs"][place]["link"] = number
        link = [number, source, output, target, place, "*"]
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        links.append(dict(zip(keys, link, strict=True)) if links_as_objects else link)
    return {"last_node_id": 12, "last_link_id": 11, "nodes": nodes, "links": links, "version": 0.4}


_INVOKE: dict[str, Any] = {
    **{"app_version": "5.0.0", "generation_mode": "txt2img", "positive_prompt": "a kite++"},
    **{"negative_prompt": NEGATIVE, "width": 512, "height": 768, "seed": 7, "rand_device": "cpu"},
    **{"cfg_scale": 7.5, "cfg_rescale_multiplier": 0, "steps": 20, "scheduler": "euler_k"},
    **{"clip_skip": 1, "vae": {"name": "kl"}, "controlnets": [], "seamless_x": False},
    **{
        "model": {"key": "1", "hash": "blake3:0", "name": "v1-5", "base": "sd-1"},
        "loras": [{"model": {"name": "ink"}, "weight": 0.8}],
        "hrf_enabled": True,
    },
}
_INVOKE_3: dict[str, Any] = {
    **{key: value for key, value in _INVOKE.items() if key != "hrf_enabled"},
    "model": {"model_name": "v1-5", "base_model": "sd-1", "model_type": "main"},
    "loras": [{"lora": {"model_name": "ink", "base_model": "sd-1"}, "weight": 0.8}],
    "scheduler": "deis",
}
_INVOKE_2 = {
    "model": "stable diffusion",
    "model_weights": "v1-5",
    "model_hash": "cc6cb27103417325ff94f52b7a5d2dde45a7515b25c255d8e396c90014281516",
    "app_id": "invoke-ai/InvokeAI",
    "app_version": "v2.2.5",
    "image": {
        **{"prompt": [{"prompt": "a kite++ [blurry]", "weight": 1.0}], "steps": 20},
        **{"cfg_scale": 7.5, "threshold": 0, "perlin": 0.1, "height": 768, "width": 512, "seed": 7},
        **{"seamless": False, "hires_fix": False, "type": "txt2img", "sampler": "k_lms"},
    },
}

_FOOOCUS: dict[str, Any] = {
    **{"adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "juggernautXL_v8Rundiffusion"},
    **{"base_model_hash": "aeb7e9e689", "clip_skip": 2, "guidance_scale": 4.0},
    **{"full_negative_prompt": [NEGATIVE, "low"], "full_prompt": [PROMPT, "cinematic"]},
    **{"loras": [["sd_xl_offset_example-lora_1.0", 0.1, "4852686128"]], "prompt": PROMPT},
    **{"metadata_scheme": "fooocus", "negative_prompt": NEGATIVE, "performance": "Speed"},
    **{"prompt_expansion": "", "refiner_model": "None", "refiner_switch": 0.5},
    **{"resolution": "(1152, 896)", "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras"},
    **{"seed": "8018", "sharpness": 2.0, "steps": 30, "styles": "['Fooocus V2']"},
    **{"vae": "Default (model)", "version": "Fooocus v2.5.0"},
}
_FOOOCUS_LABELS = {
    **{"Prompt": PROMPT, "Negative Prompt": NEGATIVE, "Fooocus V2 Expansion": "wide"},
    **{"Styles": "[]", "Performance": "Speed", "Resolution": "(1152, 896)", "Sharpness": 2.0},
    **{"Guidance Scale": 4.0, "ADM Guidance": "(1.5, 0.8, 0.3)", "Sampler": "dpmpp_2m_sde_gpu"},
    **{"Base Model": "juggernautXL_v8Rundiffusion.safetensors", "Refiner Model": "None"},
    **{"Refiner Switch": 0.5, "Scheduler": "karras", "Seed": 8018, "Steps": 30},
    **{"LoRA 1": "sd_xl_offset_example-lora_1.0.safetensors : 0.1", "Version": "v2.1.8"},
}
_FOOOCUS_WEBUI = (
    f"{PROMPT}, cinematic\nNegative prompt: {NEGATIVE}, low\nSteps: 30, Sampler: DPM++ 2M SDE, "
    "Schedule type: Karras, Seed: 8018, Size: 1152x896, CFG scale: 4, Sharpness: 2, "
    'ADM Guidance: "(1.5, 0.8, 0.3)", Model: juggernautXL_v8Rundiffusion, Model hash: aeb7e9e689, '
    'Performance: Speed, Scheduler: karras, VAE: Default (model), Raw prompt: "a (kite:1.2)", '
    'Lora hashes: "sd_xl_offset_example-lora_1.0: 4852686128", '
    'Lora weights: "sd_xl_offset_example-lora_1.0: 0.1", Version: Fooocus v2.5.0'
)

_SWARM: dict[str, Any] = {
    **{"prompt": PROMPT, "negativeprompt": NEGATIVE, "model": "sd/v1-5", "seed": 7, "steps": 20},
    **{"cfgscale": 7.5, "aspectratio": "2:3", "width": 512, "height": 768, "sampler": "euler"},
    **{"scheduler": "karras", "loras": ["styles/ink"], "loraweights": ["0.8"], "vae": "kl"},
    **{"clipstopatlayer": -2, "swarm_version": "0.9.5.0", "automaticvae": True},
}
_SWARM_OLD = {
    **{key: value for key, value in _SWARM.items() if key not in ("automaticvae", "scheduler")},
    **{"loras": "ink", "loraweights": "0.8", "model": "sd/v1-5.safetensors"},
}

_SDNEXT = (
    f"{PROMPT}\nNegative prompt: {NEGATIVE}\nSteps: 20, Size: 512x768, Sampler: DPM++ 2M, Seed: 7, "
    "CFG scale: 7.5, App: SD.Next, Version: 77e3b3b, Pipeline: StableDiffusionPipeline, "
    "Operations: txt2img, Model: v1-5, Model hash: cc6cb27103, Sampler options: karras"
)
_SDNEXT_OLD = (
    f"{PROMPT}\nNegative prompt: {NEGATIVE}\nSteps: 20, Seed: 7, Sampler: PNDM, CFG scale: 7.5, "
    "Size: 512x768, Parser: Full parser, Model: v1-5, Model hash: cc6cb27103, Backend: Diffusers, "
    "Version: a1b2c3d, Operations: txt2img; hires"
)
_SDNEXT_ORIGINAL = (
    f"{PROMPT}\nSteps: 20, Seed: 7, Sampler: Euler a, CFG scale: 7.5, Size: 512x768, "
    "Parser: Fixed attention, Model: v1-5, Backend: Original, App: SDNext, Version: 1234567, "
    "Operations: txt2img, Sampler options: rescale/beta"
)

_EASY: dict[str, Any] = {
    **{"prompt": "a kite++", "seed": 7, "negative_prompt": NEGATIVE, "num_inference_steps": 20},
    **{"guidance_scale": 7.5, "width": 512, "height": 768, "sampler_name": "euler_a"},
    **{"use_stable_diffusion_model": "C:\\models\\v1-5.ckpt", "use_vae_model": "kl"},
    **{"use_lora_model": "ink", "lora_alpha": 0.8, "clip_skip": True, "tiling": "none"},
    **{"use_hypernetwork_model": "wash", "hypernetwork_strength": 0.7},
}
_EASY_LABELS = {
    **{"Prompt": "a kite++", "Seed": "7", "Negative Prompt": NEGATIVE, "Steps": "20"},
    **{"Guidance Scale": "7.5", "Width": "512", "Height": "768", "Sampler": "euler_a"},
    **{"Stable Diffusion model": "v1-5", "VAE model": "kl", "LoRA model": "ink"},
    **{"LoRA Strength": "0.8", "Clip Skip": "True", "Use Face Correction": "None"},
}
_EASY_LINES = "a kite++\n" + "\n".join(f"{k}: {v}" for k, v in list(_EASY_LABELS.items())[1:])

_NOVELAI: dict[str, Any] = {
    **{"prompt": "a {kite}", "steps": 28, "height": 768, "width": 512, "scale": 11.0},
    **{"uncond_scale": 1.0, "cfg_rescale": 0.0, "seed": 7, "n_samples": 1, "sampler": "k_euler"},
    **{"noise_schedule": "karras", "sm": True, "uc": NEGATIVE, "request_type": None},
    **{"signed_hash": "abc=", "version": 1},
}
_NOVELAI_TEXTS = {
    "Title": "AI generated image",
    "Description": "a {kite}",
    "Software": "NovelAI",
    "Source": "Stable Diffusion 1D44365E",
    "Comment": json.dumps(_NOVELAI),
}
_NOVELAI_4 = {
    **_NOVELAI,
    "v4_prompt": {
        "caption": {"base_caption": "a {kite}", "char_captions": [{"char_caption": "a girl"}]},
        "use_coords": False,
    },
}

_CIVITAI = [
    {"type": "checkpoint", "modelVersionId": 128713, "modelName": "v1-5", "modelVersionName": "8"},
    {"type": "lora", "weight": 0.8, "modelVersionId": 5, "modelName": "ink"},
    {"type": "embed", "weight": 1, "modelVersionId": 6},
]
_CIVITAI_LINE = (
    f"{PROMPT}\nNegative prompt: {NEGATIVE}\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 7, "
    "Size: 512x768, Clip skip: 2, "
)


def _kept(document: object, *keywords: str) -> dict[str, str]:
    return {keyword: json.dumps(document) for keyword in keywords}


SAMPLES: Mapping[str, tuple[Mapping[str, str], ...]] = {
    "ComfyUI": (
        _kept(api_graph(), "prompt"),
        {**_kept(_advanced(), "prompt"), **_kept(workflow(), "workflow")},
        _kept(workflow(), "workflow"),
        _kept(workflow(links_as_objects=True), "workflow"),
        _kept({"prompt": api_graph(), "client_id": "0"}, "UserComment"),
    ),
    "InvokeAI": (
        _kept(_INVOKE, "invokeai_metadata"),
        _kept(_INVOKE_3, "invokeai_metadata"),
        {**_kept(_INVOKE_2, "sd-metadata"), "Dream": '"a kite++ [blurry]" -s 20 -S 7'},
        {"Dream": '"a kite++ [blurry]" -s 20 -S 7 -W 512 -H 768 -C 7.5 -A k_lms'},
    ),
    "Fooocus": (
        {**_kept(_FOOOCUS, "parameters"), "fooocus_scheme": "fooocus"},
        _kept(_FOOOCUS, "UserComment"),
        _kept({**_FOOOCUS_LABELS, "Version": "Fooocus v2.1.8"}, "parameters"),
        {"parameters": _FOOOCUS_WEBUI, "fooocus_scheme": "a1111"},
    ),
    "SwarmUI": (
        _kept({"sui_image_params": _SWARM, "sui_models": []}, "parameters"),
        _kept({"sui_image_params": _SWARM}, "UserComment"),
        _kept({"sui_image_params": _SWARM_OLD}, "parameters"),
    ),
    "SD.Next": (
        {"parameters": _SDNEXT},
        {"UserComment": _SDNEXT_OLD},
        {"parameters": _SDNEXT_ORIGINAL},
    ),
    "Easy Diffusion": (
        {key: str(value) for key, value in _EASY.items()},
        _kept(_EASY, "UserComment"),
        _kept({"reqBody": _EASY, "numOutputsTotal": 1}, "parameters"),
        _EASY_LABELS,
        {"": _EASY_LINES},
    ),
    "NovelAI": (
        _NOVELAI_TEXTS,
        {**_NOVELAI_TEXTS, "Comment": json.dumps(_NOVELAI_4), "Source": "NovelAI Diffusion V4 37"},
        _kept(_NOVELAI_TEXTS, ""),
        _kept({**_NOVELAI, "sampler": "k_dpmpp_2m", "noise_schedule": "native"}, "UserComment"),
    ),
    "Civitai": (
        {
            "parameters": f"{_CIVITAI_LINE}Civitai resources: {json.dumps(_CIVITAI)}, Civitai metadata: {{}}"
        },
        {
            "UserComment": f"{_CIVITAI_LINE}Version: ComfyUI, Civitai resources: {json.dumps(_CIVITAI)}"
        },
        {
            "parameters": f"{_CIVITAI_LINE}Created Date: 2025, Civitai resources: {json.dumps(_CIVITAI[:1])}"
        },
    ),
}
"""By program."""
