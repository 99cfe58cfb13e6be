"""What there is to choose from, in WebUI's forms."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel

from promptengine.images import upscalers as upscaler_names
from promptengine.kinds import CHECKPOINT, HYPERNETWORK, LORA, VAE
from promptengine.registry.registry import RegistryEntry, metadata
from promptengine.request.fields import fields_of
from promptengine.request.image_start import Inpainting
from promptengine.request.samplers import SAMPLERS, SigmaSampler
from promptengine.request.schedulers import SCHEDULERS
from promptengine.request.styles import read_styles
from promptengine.scripts.script import ScriptArgument, ScriptTab
from promptengine.scripts.table import SCRIPTS
from promptengine.server.sdapi.dynamic import DYNAMIC_ARGUMENTS, DYNAMIC_SCRIPT
from promptengine.server.sdapi.options import title_of
from promptengine.server.sdapi.to_request import SOFT_FIELDS, SOFT_INPAINTING
from promptengine.server.state import Service
from promptengine.text.textual_inversion.embedding import Embedding
from promptengine.validation import Between

__all__ = [
    "ArgumentInfo",
    "Checkpoint",
    "Hypernetwork",
    "Lora",
    "Name",
    "PromptStyle",
    "Sampler",
    "Scheduler",
    "ScriptInfo",
    "Upscaler",
    "Vae",
    "checkpoints",
    "embeddings",
    "hypernetworks",
    "latent_upscalers",
    "loras",
    "memory",
    "samplers",
    "schedulers",
    "script_names",
    "scripts",
    "styles",
    "upscalers",
    "vaes",
]

_CUDA_EVENTS: Final = ("num_alloc_retries", "num_ooms")


class Checkpoint(BaseModel):
    """A checkpoint; hashes are there once they are known."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class ArgumentInfo(BaseModel):
    """An argument of a script; numbers have a range, and some texts are one of several."""

    label: str
    value: bool | int | float | str | list[str]
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: list[str] | None = None


class ScriptInfo(BaseModel):
    """A script, and its arguments in their order."""

    name: str
    is_alwayson: bool
    is_img2img: bool
    args: list[ArgumentInfo]


def scripts() -> list[ScriptInfo]:
    """All scripts, once for each tab, by their names in lower case as WebUI has them."""
    chosen = [
        ScriptInfo(
            name=script.name.lower(),
            is_alwayson=False,
            is_img2img=tab == "img2img",
            args=[_script_argument(argument) for argument in script.arguments],
        )
        for tab in get_args(ScriptTab)
        for script in SCRIPTS.values()
        if tab in script.tabs
    ]
    return [_soft_inpainting(), *map(_dynamic_prompts, get_args(ScriptTab)), *chosen]


def _script_argument(argument: ScriptArgument) -> ArgumentInfo:
    default = argument.default
    whole = isinstance(default, int) and not isinstance(default, bool)
    return ArgumentInfo(
        label=argument.label,
        value=list(default) if isinstance(default, tuple) else default,
        minimum=argument.low,
        maximum=argument.high,
        step=1 if whole and argument.low is not None else None,
        choices=list(argument.choices) or None,
    )


def script_names(tab: ScriptTab) -> list[str]:
    """Names of the scripts of a tab, in lower case, those that are always on first."""
    return [one.name for one in scripts() if one.is_img2img == (tab == "img2img")]


def _dynamic_prompts(tab: ScriptTab) -> ScriptInfo:
    return ScriptInfo(
        name=DYNAMIC_SCRIPT,
        is_alwayson=True,
        is_img2img=tab == "img2img",
        args=[ArgumentInfo(label=name, value=usual) for name, usual in DYNAMIC_ARGUMENTS.items()],
    )


def _soft_inpainting() -> ScriptInfo:
    told = [own for own in fields_of(Inpainting) if own.name in SOFT_FIELDS]
    arguments: list[ArgumentInfo] = []
    for own in told:
        argument = ArgumentInfo(label=own.spec.label, value=own.default)
        for rule in own.rules:
            if isinstance(rule, Between):
                argument.minimum, argument.maximum = rule.low, rule.high
        arguments.append(argument)
    return ScriptInfo(name=SOFT_INPAINTING, is_alwayson=True, is_img2img=True, args=arguments)


class Sampler(BaseModel):
    """A sampler."""

    name: str
    aliases: list[str]
    options: dict[str, Any]


class Scheduler(BaseModel):
    """A schedule type."""

    name: str
    label: str
    aliases: list[str] | None
    default_rho: float
    need_inner_model: bool


class Upscaler(BaseModel):
    """What enlarges images."""

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float | None


class Name(BaseModel):
    """Something that has a name only."""

    name: str


class Hypernetwork(BaseModel):
    """A hypernetwork; its hash is there once it is known."""

    name: str
    path: str
    sha256: str | None


class Lora(BaseModel):
    """A LoRA."""

    name: str
    alias: str
    path: str
    metadata: dict[str, Any]


class PromptStyle(BaseModel):
    """A style."""

    name: str
    prompt: str | None
    negative_prompt: str | None


class Vae(BaseModel):
    """A VAE of its own."""

    model_name: str
    filename: str


def checkpoints(service: Service) -> list[Checkpoint]:
    """Checkpoints in the folders, and the one in use where it lies elsewhere."""
    entries = service.registry.current_entries(CHECKPOINT.name)
    paths = [entry.path for entry in entries]
    current = service.settings.model.checkpoint
    found: list[Checkpoint] = []
    for path in [*([current] if current not in paths else []), *paths]:
        digest = service.registry.digests.known(path)
        title = title_of(path, service.registry)
        found.append(
            Checkpoint(
                title=title,
                model_name=path.stem,
                hash=None if digest is None else digest[:10],
                sha256=digest,
                filename=service.shown.path(path),
                config=None,
            )
        )
    return found


def samplers() -> list[Sampler]:
    """Samplers in WebUI's order."""
    found: list[Sampler] = []
    for sampler in SAMPLERS.values():
        options: dict[str, Any] = {}
        if isinstance(sampler, SigmaSampler):
            options |= {"scheduler": sampler.scheduler} if sampler.scheduler != "automatic" else {}
            options |= {"second_order": True} if sampler.second_order else {}
            options |= {"brownian_noise": True} if sampler.brownian else {}
        aliases = list(sampler.aliases)
        found.append(Sampler(name=sampler.name, aliases=aliases, options=options))
    return found


def schedulers() -> list[Scheduler]:
    """Schedule types, that of the sampler first."""
    automatic = Scheduler(
        name="automatic", label="Automatic", aliases=None, default_rho=-1, need_inner_model=False
    )
    others = [
        Scheduler(
            name=scheduler.name,
            label=scheduler.label,
            aliases=list(scheduler.aliases) or None,
            default_rho=scheduler.rho or -1,
            need_inner_model=scheduler.needs_model,
        )
        for scheduler in SCHEDULERS.values()
    ]
    return [automatic, *others]


def upscalers(service: Service) -> list[Upscaler]:
    """Return what enlarges images, the networks in the folders as they are now."""
    registry = service.registry
    files = {entry.name: entry for entry in registry.current_entries("upscaler")}
    return [
        Upscaler(
            name=name,
            model_name=name if name in files else None,
            model_path=service.shown.path(files[name].path) if name in files else None,
            model_url=None,
            scale=4,
        )
        for name in upscaler_names.pixel_upscalers(registry)
    ]


def latent_upscalers() -> list[Name]:
    """Return what enlarges latents."""
    return [Name(name=name) for name in upscaler_names.latent_upscalers()]


def hypernetworks(service: Service) -> list[Hypernetwork]:
    """Hypernetworks in the folders as they are now."""
    return [
        Hypernetwork(
            name=entry.name,
            path=service.shown.path(entry.path),
            sha256=service.registry.digests.known(entry.path),
        )
        for entry in service.registry.current_entries(HYPERNETWORK.name)
    ]


def loras(service: Service) -> list[Lora]:
    """LoRAs in the folders as they are now."""
    return [
        Lora(
            name=entry.name,
            alias=next(iter(entry.aliases), entry.name),
            path=service.shown.path(entry.path),
            metadata=metadata(entry),
        )
        for entry in service.registry.current_entries(LORA.name)
    ]


def embeddings(service: Service) -> dict[str, dict[str, Any]]:
    """Words that stand for vectors, and those that no model here can read."""
    words = service.words.words()
    skipped = {
        misfit.name: {**_NO_FACTS, "reason": service.shown.text(misfit.reason)}
        for misfit in words.misfits
    }
    return {
        "loaded": {word.name: _word(word) for word in words.table.embeddings},
        "skipped": skipped,
    }


_NO_FACTS: Final = {
    "step": None,
    "sd_checkpoint": None,
    "sd_checkpoint_name": None,
    "shape": 0,
    "vectors": 0,
}


def _word(word: Embedding) -> dict[str, Any]:
    return {
        "step": word.step,
        "sd_checkpoint": word.sd_checkpoint,
        "sd_checkpoint_name": word.sd_checkpoint_name,
        "shape": word.widths[-1],
        "vectors": word.count,
    }


def styles(service: Service) -> list[PromptStyle]:
    """Styles in the file as it is now."""
    found = read_styles(service.config.styles)
    return [
        PromptStyle(name=s.name, prompt=s.prompt, negative_prompt=s.negative_prompt) for s in found
    ]


def vaes(service: Service) -> list[Vae]:
    """VAEs of their own."""
    entries: Sequence[RegistryEntry] = service.registry.current_entries(VAE.name)
    return [
        Vae(model_name=entry.path.name, filename=service.shown.path(entry.path))
        for entry in entries
    ]


def memory() -> dict[str, dict[str, Any]]:
    """Bytes of the machine's memory and of the first GPU's."""
    import psutil

    whole = psutil.virtual_memory()
    own = psutil.Process().memory_info().rss
    ram = {"free": whole.total - own, "used": own, "total": whole.total}
    return {"ram": ram, "cuda": _cuda()}


def _cuda() -> dict[str, Any]:
    torch: Any = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return {"error": "no CUDA device"}
    free, total = torch.cuda.mem_get_info()
    stats = torch.cuda.memory_stats()

    def figures(name: str) -> dict[str, int]:
        return {"current": stats[f"{name}.all.current"], "peak": stats[f"{name}.all.peak"]}

    return {
        "system": {"free": free, "used": total - free, "total": total},
        "active": figures("active_bytes"),
        "allocated": figures("allocated_bytes"),
        "reserved": figures("reserved_bytes"),
        "inactive": figures("inactive_split_bytes"),
        "events": {"retries": stats[_CUDA_EVENTS[0]], "oom": stats[_CUDA_EVENTS[1]]},
    }
