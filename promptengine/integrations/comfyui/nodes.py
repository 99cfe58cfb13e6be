"""The nodes as ComfyUI knows them: their sockets and widgets, and what they call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from torch import Tensor

from promptengine.errors import RequestError
from promptengine.files.hashing import Digests, default_cache_file
from promptengine.infotext.programs.comfyui_nodes import (
    OWN_HYPERNETWORK,
    OWN_PROMPT,
    OWN_SAMPLER,
    OWN_SAVE,
)
from promptengine.integrations.comfyui.graph_files import files_of
from promptengine.integrations.comfyui.host import file_names, find_file, host_module
from promptengine.integrations.comfyui.infotext import write_infotexts
from promptengine.integrations.comfyui.levels import noise_levels, webui_levels
from promptengine.integrations.comfyui.patches import RunClock, add_hypernetworks, model_widths
from promptengine.integrations.comfyui.prompt import apply_prompt
from promptengine.integrations.comfyui.record import RecordedRun, RunLog, find_runs
from promptengine.integrations.comfyui.sampling import WebUINoise, plan_run
from promptengine.integrations.comfyui.saving import (
    graph_texts,
    save_images,
    writes_metadata,
)
from promptengine.integrations.comfyui.told import PromptSettings, PromptTold
from promptengine.kinds import HYPERNETWORK
from promptengine.networks.attention import require_fit
from promptengine.networks.hypernetwork.files import load_hypernetwork
from promptengine.prompt import Span
from promptengine.prompt.dialects import DIALECTS, WEBUI
from promptengine.request.options import Emphasis, NoiseSource, Options
from promptengine.request.request import Policy
from promptengine.request.result import NetworkReport
from promptengine.request.samplers import SAMPLERS, find_sampler
from promptengine.request.schedulers import AUTOMATIC, SCHEDULERS, scheduler_label

__all__ = [
    "NODE_CLASS_MAPPINGS",
    "NODE_DISPLAY_NAME_MAPPINGS",
    "LoadHypernetwork",
    "SaveWithInfotext",
    "WebUIPrompt",
    "WebUISampler",
]

_CATEGORY: Final = "promptengine"
_LARGEST_SEED: Final = 2**64 - 1
_MOST_STEPS: Final = 1000

Sockets = dict[str, dict[str, Any]]
"""ComfyUI's table of inputs: ``required``, ``optional`` and ``hidden``, each by name."""


class LoadHypernetwork:
    """Lets a hypernetwork act on a model at all calls, whatever its layout."""

    CATEGORY = _CATEGORY
    DESCRIPTION = "Applies a hypernetwork as WebUI does: every layout, activation and layer norm."
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "STRING")
    RETURN_NAMES = ("model", "report")

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:  # noqa: N802 - ComfyUI's name
        """Return what the node takes."""
        strength = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.05}
        return {
            "required": {
                "model": ("MODEL",),
                "hypernetwork": (file_names("hypernet"),),
                "strength": ("FLOAT", strength),
            }
        }

    def load(self, model: Any, hypernetwork: str, strength: float) -> tuple[Any, str]:
        """Return the model with the network, and what was done.

        Raises:
            PromptEngineError: There is no such file, it cannot be read, or the network does not fit.
        """
        path = find_file("hypernet", hypernetwork)
        network = load_hypernetwork(path)
        require_fit(model_widths(model), network, name=hypernetwork)
        if strength == 0:
            return model, f"hypernetwork {hypernetwork!r} is not applied: its strength is 0"
        patched, clock = model.clone(), RunClock()
        digest = Digests(default_cache_file()).of(path)
        loaded = NetworkReport(
            HYPERNETWORK.words[0], path.stem, strength, True, "", Span(0, 0), path, digest
        )
        add_hypernetworks(patched, lambda _: ((network, strength),), clock, loaded)
        return patched, f"hypernetwork {hypernetwork!r} is applied at {strength:g}"


class WebUISampler:
    """Gives WebUI's sampler, noise and schedule, and the model as WebUI asks it."""

    CATEGORY = _CATEGORY
    DESCRIPTION = (
        "WebUI's samplers, schedule types and noise for SamplerCustomAdvanced. Use its MODEL, too: "
        "it is asked at WebUI's timesteps and starts from WebUI's noise."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("MODEL", "SAMPLER", "SIGMAS", "NOISE")
    RETURN_NAMES = ("model", "sampler", "sigmas", "noise")

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:  # noqa: N802 - ComfyUI's name
        """Return what the node takes."""
        seed = {"default": 0, "min": 0, "max": _LARGEST_SEED}
        share = {"default": 1.0, "min": 0.01, "max": 1.0, "step": 0.01}
        labels = [scheduler_label(name) for name in (AUTOMATIC, *SCHEDULERS)]
        return {
            "required": {
                "model": ("MODEL",),
                "sampler": (list(SAMPLERS), {"default": "Euler a"}),
                "scheduler": (labels,),
                "steps": ("INT", {"default": 20, "min": 1, "max": _MOST_STEPS}),
                "denoise": ("FLOAT", share),
                "seed": ("INT", {**seed, "control_after_generate": True}),
            },
            "optional": {
                "variation_seed": ("INT", seed),
                "variation_strength": ("FLOAT", {**share, "default": 0.0, "min": 0.0}),
                "noise_source": (list(get_args(NoiseSource)),),
                "eta": ("FLOAT", {"default": -1.0, "min": -1.0, "max": 1.0, "step": 0.01}),
                "seed_delta": ("INT", {**seed, "max": 2**31 - 1}),
            },
        }

    def make(  # noqa: PLR0917 - a node's inputs
        self,
        model: Any,
        sampler: str,
        scheduler: str,
        steps: int,
        denoise: float,
        seed: int,
        variation_seed: int = 0,
        variation_strength: float = 0.0,
        noise_source: NoiseSource = "cpu",
        eta: float = -1.0,
        seed_delta: int = 0,
    ) -> tuple[Any, Any, Tensor, WebUINoise]:
        """Return the model, the sampler, its levels and the noise.

        Args:
            model: Stable Diffusion 1, 2 or XL.
            sampler: As WebUI spells it.
            scheduler: WebUI's schedule type.
            steps: 1 or more.
            denoise: Denoising strength; below 1 the run starts from latents, by WebUI's rule of steps.
            seed: Of the first image; the next has the next, or the same where there is a variation.
            variation_seed: Of the first image; the next has the next.
            variation_strength: How far the noise moves towards that of the variation seed.
            noise_source: Who draws random numbers.
            eta: Fresh noise of ancestral samplers and DDIM; -1 is the sampler's own.
            seed_delta: WebUI's ENSD.

        Raises:
            RequestError: There is no such sampler or schedule type, or it has no eta.
            PromptEngineError: The model is of another kind.
        """
        found = find_sampler(sampler, scheduler)
        options = Options(noise_source=noise_source, noise_seed_delta=seed_delta)
        if eta >= 0:
            name = found.settings.get("eta")
            if name is None:
                message = f"{found.name} takes no eta; set it to -1"
                raise RequestError(message, field="eta")
            changed: dict[str, Any] = {name: eta}
            options = replace(options, **changed)
        varies = variation_strength > 0
        run = plan_run(found, noise_levels(model), steps, options, denoise, varies=varies)
        noise = WebUINoise(seed, variation_seed, variation_strength, options)
        patched, log = webui_levels(model), RunLog()
        log.attach(patched)
        wrapped = host_module("comfy.samplers").KSAMPLER(RecordedRun(run, noise, log))
        return patched, wrapped, run.sigmas, noise


class WebUIPrompt:
    """Reads a prompt and a negative prompt as WebUI does."""

    CATEGORY = _CATEGORY
    DESCRIPTION = (
        "WebUI's prompts: weights, BREAK, AND, schedules, embeddings, <hypernet:…> and <lora:…>. Its "
        "conditionings mean what they say together with its MODEL only. Connect the SAMPLER of WebUI "
        "Sampler for schedules to count as in WebUI; else SIGMAS or steps count, one call each."
    )
    FUNCTION = "read"
    RETURN_TYPES = ("MODEL", "CONDITIONING", "CONDITIONING", "STRING", "PROMPTENGINE_PROMPT")
    RETURN_NAMES = ("model", "positive", "negative", "report", "prompt")

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:  # noqa: N802 - ComfyUI's name
        """Return what the node takes."""
        return {
            "required": {
                "model": ("MODEL",),
                "clip": ("CLIP",),
                "prompt": ("STRING", {"multiline": True, "dynamicPrompts": False}),
                "negative": ("STRING", {"multiline": True, "dynamicPrompts": False}),
                "steps": ("INT", {"default": 20, "min": 1, "max": _MOST_STEPS}),
            },
            "optional": {
                "sampler": ("SAMPLER",),
                "sigmas": ("SIGMAS",),
                "dialect": (list(DIALECTS), {"default": WEBUI}),
                "clip_skip": ("INT", {"default": 1, "min": 1, "max": 12}),
                "emphasis": (list(get_args(Emphasis)), {"default": "Original"}),
                "policy": (list(get_args(Policy)), {"default": "warn"}),
            },
        }

    def read(  # noqa: PLR0917 - a node's inputs
        self,
        model: Any,
        clip: Any,
        prompt: str,
        negative: str,
        steps: int,
        sampler: Any = None,
        sigmas: Tensor | None = None,
        dialect: str = WEBUI,
        clip_skip: int = 1,
        emphasis: Emphasis = "Original",
        policy: Policy = "warn",
    ) -> tuple[Any, Any, Any, str, PromptTold]:
        """Return the model, both conditionings, what was applied in words, and the same for an infotext.

        Args:
            model: Stable Diffusion 1, 2 or XL.
            clip: Its text encoders.
            prompt: In the dialect, tags included.
            negative: Likewise.
            steps: What schedules count where neither sampler nor sigmas are given.
            sampler: Of WebUI Sampler: its steps and calls count.
            sigmas: As many calls as there are steps in them count, where no such sampler is given.
            dialect: That both are written in.
            clip_skip: As WebUI counts; 1 leaves it to the CLIP.
            emphasis: What becomes of weights.
            policy: What to do with a network that cannot be applied.

        Raises:
            PromptEngineError: As :func:`promptengine.integrations.comfyui.prompt.apply_prompt` says.
        """
        calls, counted = _counted_calls(sampler, sigmas, steps)
        settings = PromptSettings(
            prompt, negative, calls, dialect, clip_skip=clip_skip, emphasis=emphasis, policy=policy
        )
        found = apply_prompt(model, clip, settings)
        report = f"{found.report}\nschedules count {counted}"
        return found.model, found.positive, found.negative, report, found.told


class SaveWithInfotext:
    """Writes images that say how they were made, as WebUI's do."""

    CATEGORY = _CATEGORY
    DESCRIPTION = (
        "Saves PNG files in ComfyUI's output folder with WebUI's infotext beside ComfyUI's own graph. Connect "
        "the latents that the images were decoded from and the SAMPLER of WebUI Sampler that made them: "
        "what is written was noted while they ran."
    )
    FUNCTION = "save"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("infotext",)

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:  # noqa: N802 - ComfyUI's name
        """Return what the node takes."""
        return {
            "required": {
                "images": ("IMAGE",),
                "latent": ("LATENT",),
                "sampler": ("SAMPLER",),
                "filename_prefix": ("STRING", {"default": "ComfyUI"}),
            },
            "hidden": {
                "prompt": "PROMPT",
                "extra_pnginfo": "EXTRA_PNGINFO",
                "unique_id": "UNIQUE_ID",
            },
        }

    def save(  # noqa: PLR0917 - a node's inputs
        self,
        images: Tensor,
        latent: Mapping[str, Any],
        sampler: Any,
        filename_prefix: str = "ComfyUI",
        prompt: object = None,
        extra_pnginfo: object = None,
        unique_id: object = None,
    ) -> dict[str, object]:
        """Write the files; where ComfyUI was started with ``--disable-metadata`` they hold no text.

        Args:
            images: As they came out of the VAE.
            latent: What they were decoded from, as it came out of the sampler.
            sampler: Of WebUI Sampler.
            filename_prefix: As of ComfyUI's own node that saves.
            prompt: The graph, from ComfyUI.
            extra_pnginfo: What its page sends along.
            unique_id: This node's.

        Returns:
            What ComfyUI's page shows, and as result the infotexts with an empty line between.

        Raises:
            RequestError: No infotext would be true of these images, or they cannot have this name.
            PromptEngineError: The images cannot be written.
        """
        runs = find_runs(images, latent, sampler)
        files, digests = files_of(prompt, unique_id), Digests(default_cache_file())
        infotexts = write_infotexts(runs, files, digests)
        digests.save()
        if writes_metadata():
            texts = graph_texts(prompt, extra_pnginfo)
            saved = save_images(images, infotexts, filename_prefix, texts)
        else:
            saved = save_images(images, [""] * len(runs), filename_prefix, {})
        return {"ui": {"images": saved}, "result": ("\n\n".join(map(str, infotexts)),)}


def _counted_calls(sampler: Any, sigmas: Tensor | None, steps: int) -> tuple[int, str]:
    """Return what schedules count, and that in words."""
    recorded = getattr(sampler, "sampler_function", None)
    if isinstance(recorded, RecordedRun):
        run = recorded.run
        return run.calls, f"the {run.calls} calls of {run.steps} steps of {run.sampler.name}"
    if sampler is not None and sigmas is None:
        message = "the SAMPLER is not one of WebUI Sampler, so its steps are unknown"
        raise RequestError(f"{message}; connect SIGMAS too, or leave it out", field="sampler")
    count = steps if sigmas is None else len(sigmas) - 1
    if count < 1:
        raise RequestError("the SIGMAS hold no step; they must hold one", field="sigmas")
    return count, f"{count} steps, one call each"


NODE_CLASS_MAPPINGS: Final[dict[str, type]] = {
    OWN_PROMPT: WebUIPrompt,
    OWN_SAMPLER: WebUISampler,
    OWN_HYPERNETWORK: LoadHypernetwork,
    OWN_SAVE: SaveWithInfotext,
}
"""The nodes by the names that stand in workflows."""

NODE_DISPLAY_NAME_MAPPINGS: Final = {
    OWN_PROMPT: "WebUI Prompt",
    OWN_SAMPLER: "WebUI Sampler",
    OWN_HYPERNETWORK: "Load Hypernetwork (WebUI)",
    OWN_SAVE: "Save with infotext",
}
"""What menus call them."""
