"""A small stand-in for ComfyUI over the tiny checkpoint: the documented interface that the nodes use.

It is written from measured facts, not from ComfyUI's code. It keeps what sets ComfyUI apart from WebUI: a
timestep rounded to a whole number, first noise times ``sqrt(1 + sigma**2)``, several conds of one list as
their mean, one negative left out at CFG scale 1, and key and value inputs of an attention as one tensor.
"""

from __future__ import annotations

import copy
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from promptengine.checkpoints.load import Checkpoint
from promptengine.sampling.sigmas import scaled_linear_alphas

Options = dict[str, Any]


class WrappersMP:
    OUTER_SAMPLE = "outer_sample"
    PREDICT_NOISE = "predict_noise"


def wrapped(call: Callable[..., Any], kind: str, options: Options) -> Callable[..., Any]:
    """A call within all wrappers of a kind, the first one outermost."""
    keyed = options["transformer_options"].get("wrappers", {}).get(kind, {})
    for wrapper in reversed([one for some in keyed.values() for one in some]):
        inner = call
        call = lambda *a, w=wrapper, i=inner, **k: w(i, *a, **k)  # noqa: E731
    return call


def options_clone(options: Any) -> Any:
    """Dictionaries and lists copied all the way down, what they hold shared."""
    if isinstance(options, dict):
        return {key: options_clone(value) for key, value in options.items()}
    return list(options) if isinstance(options, list) else options


class ModelSamplingDiscrete(nn.Module):
    """Noise levels of double precision: whole timesteps, and the first noise of a full run too strong."""

    sigmas: Tensor
    log_sigmas: Tensor

    def __init__(self, alphas: Tensor) -> None:
        super().__init__()
        sigmas = ((1 - alphas) / alphas) ** 0.5
        self.register_buffer("sigmas", sigmas.float())
        self.register_buffer("log_sigmas", sigmas.log().float())

    def timestep(self, sigma: Tensor) -> Tensor:
        distance = sigma.log() - self.log_sigmas[:, None]
        return distance.abs().argmin(dim=0).view(sigma.shape)

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        scale = (1 + sigma**2).sqrt() if max_denoise else sigma
        return noise * scale + latent_image

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        return latent


class Attention:
    """diffusers' attention processor, with ComfyUI's place for patches before the projections."""

    def __init__(self, model: BaseModel, kind: str, block: tuple[str, int]) -> None:
        self.model, self.kind, self.block = model, kind, block

    def __call__(
        self, attn: Any, hidden: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ) -> Tensor:
        text = hidden if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = hidden, text, text
        options = self.model.options
        extra = {**options, "block": self.block, "n_heads": attn.heads}
        for patch in options.get("patches", {}).get(f"{self.kind}_patch", []):
            query, key, value = patch(query, key, value, extra)
        rows = len(hidden)
        split = [
            project(x).view(rows, -1, attn.heads, project.out_features // attn.heads)
            for project, x in ((attn.to_q, query), (attn.to_k, key), (attn.to_v, value))
        ]
        found = nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in split))
        return attn.to_out[0](found.transpose(1, 2).reshape(rows, hidden.shape[1], -1))


class Upsample(nn.Module):
    """Resizes to the skip's size before its convolution."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, output_shape: Sequence[int] | None = None) -> Tensor:
        shape = [2 * side for side in x.shape[2:]]
        if output_shape is not None:
            shape = list(output_shape[2:])
        return self.conv(nn.functional.interpolate(x, size=shape, mode="nearest"))


class Upsampler(nn.Module):
    """ComfyUI's upsampler where diffusers calls one of its own."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.layer = Upsample(conv)

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        return self.layer(x, output_shape=None if size is None else (*x.shape[:2], *size))


class BaseModel:
    def __init__(self, checkpoint: Checkpoint) -> None:
        self.diffusion_model: Any = copy.deepcopy(checkpoint.unet)
        for block in self.diffusion_model.up_blocks:
            if block.upsamplers is not None:
                block.upsamplers = nn.ModuleList(Upsampler(one.conv) for one in block.upsamplers)
        self.model_sampling: Any = ModelSamplingDiscrete(scaled_linear_alphas())
        self.options: Options = {}
        layers = self.diffusion_model.config.layers_per_block
        for path, module in self.diffusion_model.named_modules():
            kind = path.rpartition(".")[2]
            if kind in ("attn1", "attn2"):
                module.processor = Attention(self, kind, _block(path.split("."), layers))

    def apply_model(self, x: Tensor, sigma: Tensor, context: Tensor, options: Options) -> Tensor:
        """x0 of rows ``[rows, 4, height, width]`` at their sigmas ``[rows]``."""
        self.options = options
        level = sigma.view(-1, 1, 1, 1)
        timestep = self.model_sampling.timestep(sigma).float()
        scaled = x / (level**2 + 1) ** 0.5
        noise = self.diffusion_model(scaled, timestep, context, return_dict=False)[0]
        return x - noise * level


def _block(path: Sequence[str], layers: int) -> tuple[str, int]:
    match path:
        case ["down_blocks", level, _, layer, *_]:
            return "input", int(level) * (layers + 1) + int(layer) + 1
        case ["up_blocks", level, _, layer, *_]:
            return "output", int(level) * (layers + 1) + int(layer)
        case _:
            return "middle", 0


class ModelPatcher:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.model_options: Options = {"transformer_options": {}}
        self.object_patches: dict[str, Any] = {}
        self.wrappers: dict[str, dict[str, list[Any]]] = {}
        self.patches: dict[str, list[tuple[Tensor, float]]] = {}

    def clone(self) -> ModelPatcher:
        other = ModelPatcher(self.model)
        other.model_options = options_clone(self.model_options)
        other.wrappers = options_clone(self.wrappers)
        other.object_patches, other.patches = dict(self.object_patches), dict(self.patches)
        return other

    def set_model_attn1_patch(self, patch: Any) -> None:
        self._patch("attn1_patch", patch)

    def set_model_attn2_patch(self, patch: Any) -> None:
        self._patch("attn2_patch", patch)

    def _patch(self, name: str, patch: Any) -> None:
        patches = self.model_options["transformer_options"].setdefault("patches", {})
        patches.setdefault(name, []).append(patch)

    def set_model_sampler_calc_cond_batch_function(self, function: Any) -> None:
        self.model_options["sampler_calc_cond_batch_function"] = function

    def add_object_patch(self, name: str, value: Any) -> None:
        self.object_patches[name] = value

    def get_model_object(self, name: str) -> Any:
        return self.object_patches.get(name, _found(self.model, name))

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Any) -> None:
        self.wrappers.setdefault(kind, {}).setdefault(key, []).append(wrapper)

    def add_patches(self, patches: Mapping[str, Tensor], strength: float) -> list[str]:
        for path, delta in patches.items():
            self.patches[path] = [*self.patches.get(path, []), (delta, strength)]
        return list(patches)


def _found(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root


def _put(root: Any, path: str, value: Any) -> None:
    parent, _, name = path.rpartition(".")
    setattr(_found(root, parent) if parent else root, name, value)


class loaded:
    """A patcher's changes in its model, within a ``with`` block."""

    def __init__(self, patcher: ModelPatcher, root: nn.Module) -> None:
        self.patcher, self.root = patcher, root

    def __enter__(self) -> None:
        model = self.patcher.model
        self.before = {name: _found(model, name) for name in self.patcher.object_patches}
        self.weights: dict[str, Tensor] = {}
        for name, value in self.patcher.object_patches.items():
            _put(model, name, value)
        for path, changes in self.patcher.patches.items():
            weight: Any = self.root.get_submodule(path).weight
            self.weights[path] = weight.data
            weight.data = weight.data + sum(delta * strength for delta, strength in changes)

    def __exit__(self, *_: object) -> None:
        for name, value in self.before.items():
            _put(self.patcher.model, name, value)
        for path, value in self.weights.items():
            weight: Any = self.root.get_submodule(path).weight
            weight.data = value


class CLIP:
    """A text encoder that takes token ids, and vectors in their places, with weights of 1 only."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        encoder = copy.deepcopy(checkpoint.text_encoder)
        self.cond_stage_model = SimpleNamespace(clip_l=SimpleNamespace(transformer=encoder))
        self.patcher = ModelPatcher(self.cond_stage_model)
        self.layer_idx: int | None = None

    def clone(self) -> CLIP:
        other = copy.copy(self)
        other.patcher = self.patcher.clone()
        return other

    def clip_layer(self, layer: int) -> None:
        self.layer_idx = layer

    def tokenize(self, text: str) -> dict[str, list[list[tuple[int, float]]]]:
        return {"l": [[(49406, 1.0), *[(49407, 1.0)] * 76]]}

    def encode_from_tokens(
        self, tokens: Mapping[str, Any], return_pooled: bool = False
    ) -> tuple[Tensor, Tensor]:
        encoder: Any = self.cond_stage_model.clip_l.transformer
        with loaded(self.patcher, encoder):
            chunks = [self._chunk(encoder, chunk) for chunk in tokens["l"]]
        return torch.cat([state for state, _ in chunks], dim=1), chunks[0][1]

    @torch.no_grad()
    def _chunk(self, encoder: Any, chunk: Sequence[tuple[Any, float]]) -> tuple[Tensor, Tensor]:
        assert len(chunk) == 77
        assert all(weight == 1.0 for _, weight in chunk)
        ids = torch.tensor([[one if isinstance(one, int) else 0 for one, _ in chunk]])

        def replaced(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            output = output.clone()
            for place, (one, _) in enumerate(chunk):
                if isinstance(one, Tensor):
                    output[0, place] = one
            return output

        hook = encoder.get_input_embeddings().register_forward_hook(replaced)
        try:
            output = encoder(input_ids=ids, output_hidden_states=True)
        finally:
            hook.remove()
        if self.layer_idx is None:
            return output.last_hidden_state, output.pooler_output
        inner = getattr(encoder, "text_model", encoder)
        state = inner.final_layer_norm(output.hidden_states[self.layer_idx])
        return state, output.pooler_output


def load_lora_for_models(
    model: ModelPatcher, clip: CLIP, lora: Mapping[str, Tensor], unet: float, text: float
) -> tuple[ModelPatcher, CLIP]:
    """Plain LoRAs of linear layers by kohya's names; other keys are passed over, as ComfyUI does."""
    model, clip = model.clone(), clip.clone()
    roots: list[tuple[str, nn.Module, ModelPatcher, float]] = [
        ("lora_unet_", model.model.diffusion_model, model, unet),
        ("lora_te_", clip.cond_stage_model.clip_l.transformer, clip.patcher, text),
    ]
    for prefix, root, patcher, strength in roots:
        found: dict[str, Tensor] = {}
        for path, module in root.named_modules():
            spelled = (
                path if prefix == "lora_unet_" or "text_model" in path else f"text_model.{path}"
            )
            name = prefix + spelled.replace(".", "_")
            up = lora.get(f"{name}.lora_up.weight")
            if isinstance(module, nn.Linear) and up is not None:
                down = lora[f"{name}.lora_down.weight"]
                scale = float(lora.get(f"{name}.alpha", torch.tensor(len(down)))) / len(down)
                found[path] = (up.flatten(1).float() @ down.flatten(1).float()) * scale
        patcher.add_patches(found, strength)
    return model, clip


def calc_cond_batch(
    model: BaseModel, conds: Sequence[Any], x: Tensor, sigma: Tensor, options: Options
) -> list[Tensor]:
    """Each list's x0: the mean of its entries, all of them asked in one batch, the last first."""
    entries = [(entry, n) for n, cond in enumerate(conds) for entry in cond or []][::-1]
    texts = [entry["model_conds"]["c_crossattn"] for entry, _ in entries]
    length = math.lcm(*(text.shape[1] for text in texts))
    context = torch.cat(
        [t.expand(len(x), -1, -1).repeat(1, length // t.shape[1], 1) for t in texts]
    )
    transformer = {
        **options.get("transformer_options", {}),
        "cond_or_uncond": [number for _, number in entries],
        "sigmas": sigma,
        "uuids": [entry["uuid"] for entry, _ in entries],
    }
    count = len(entries)
    answers = model.apply_model(
        x.repeat(count, 1, 1, 1), sigma.repeat(count), context, transformer
    ).chunk(count)
    sums = [torch.zeros_like(x) for _ in conds]
    counts = [0 for _ in conds]
    for (_, number), answer in zip(entries, answers, strict=True):
        sums[number] += answer
        counts[number] += 1
    return [one / (number or 1) for one, number in zip(sums, counts, strict=True)]


class CFGGuider:
    def __init__(self, model_patcher: ModelPatcher) -> None:
        self.model_patcher = model_patcher
        self.model_options = model_patcher.model_options
        self.original_conds: dict[str, list[Options]] = {}
        self.cfg = 1.0

    def set_conds(self, positive: Any, negative: Any) -> None:
        for name, cond in (("positive", positive), ("negative", negative)):
            self.original_conds[name] = [
                {**extra, "cross_attn": text, "uuid": uuid.uuid4()} for text, extra in cond
            ]

    def set_cfg(self, cfg: float) -> None:
        self.cfg = cfg

    def __call__(self, x: Tensor, sigma: Tensor, model_options: Options, seed: int) -> Tensor:
        ask = wrapped(self.predict_noise, WrappersMP.PREDICT_NOISE, self.model_options)
        return ask(x, sigma, model_options, seed)

    def predict_noise(self, x: Tensor, sigma: Tensor, model_options: Options, seed: int) -> Tensor:
        positive, negative = self.conds["positive"], self.conds.get("negative")
        free = math.isclose(self.cfg, 1.0) and not model_options.get("disable_cfg1_optimization")
        conds = [positive, None if free else negative]
        function = model_options.get("sampler_calc_cond_batch_function")
        if function is None:
            found = calc_cond_batch(self.inner_model, conds, x, sigma, model_options)
        else:
            args = {"conds": conds, "input": x, "sigma": sigma, "model": self.inner_model}
            found = function({**args, "model_options": model_options})
        cond, uncond = found
        result = uncond + (cond - uncond) * self.cfg
        for after in model_options.get("sampler_post_cfg_function", []):
            told = {"denoised": result, "cond_denoised": cond, "uncond_denoised": uncond}
            result = after({**told, "cond_scale": self.cfg, "sigma": sigma, "input": x})
        return result

    @torch.no_grad()
    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, seed: int
    ) -> Tensor:
        kept, self.model_options = self.model_options, options_clone(self.model_options)
        self.model_options["to_load_options"] = {"wrappers": {}, "callbacks": {}}
        self.model_options["transformer_options"] |= {
            "wrappers": options_clone(self.model_patcher.wrappers),
            "sample_sigmas": sigmas,
        }
        self.conds = {
            name: [{**e, "model_conds": {"c_crossattn": e["cross_attn"]}} for e in cond]
            for name, cond in self.original_conds.items()
        }
        self.inner_model = self.model_patcher.model
        try:
            with loaded(self.model_patcher, self.inner_model.diffusion_model):
                run = wrapped(sampler.sample, WrappersMP.OUTER_SAMPLE, self.model_options)
                extra = {"model_options": self.model_options, "seed": seed}
                return run(self, sigmas, extra, None, noise, latent_image)
        finally:
            self.model_options = kept


class KSamplerX0Inpaint:
    def __init__(self, guider: CFGGuider, latent_image: Tensor) -> None:
        self.inner_model, self.latent_image = guider, latent_image

    def __call__(
        self, x: Tensor, sigma: Tensor, *, denoise_mask: Any, model_options: Options, seed: int
    ) -> Tensor:
        return self.inner_model(x, sigma, model_options=model_options, seed=seed)


class KSAMPLER:
    def __init__(self, sampler_function: Any, extra_options: Any = None) -> None:
        self.sampler_function, self.extra_options = sampler_function, extra_options or {}

    def sample(  # noqa: PLR0917 - ComfyUI calls it so
        self,
        guider: CFGGuider,
        sigmas: Tensor,
        extra_args: Options,
        callback: Any,
        noise: Tensor,
        latent_image: Tensor,
    ) -> Tensor:
        model = KSamplerX0Inpaint(guider, latent_image)
        levels = guider.inner_model.model_sampling
        highest, first = float(levels.sigmas[-1]), float(sigmas[0])
        most = math.isclose(highest, first, rel_tol=1e-5) or first > highest
        x = levels.noise_scaling(sigmas[0], noise, latent_image, most)
        extra = {**extra_args, "denoise_mask": None}
        x = self.sampler_function(
            model,
            x,
            sigmas,
            extra_args=extra,
            callback=callback,
            disable=True,
            **self.extra_options,
        )
        return levels.inverse_noise_scaling(sigmas[-1], x)


def sample_euler(  # noqa: PLR0917 - ComfyUI calls it so
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Options, callback: Any, disable: bool
) -> Tensor:
    """Euler's method as a stock sampler."""
    for sigma, target in pairwise(sigmas):
        denoised = model(x, sigma * x.new_ones(len(x)), **extra_args)
        x = x + (x - denoised) / sigma * (target - sigma)
    return x
