"""What a run within ComfyUI was really made with, noted while it runs.

The nodes of a graph may be wired in many ways, so that what a node was asked for says little about what
became of it. :class:`RecordedRun` looks at what it is called with, and :class:`RunLog` remembers that
under the latents that came out: whoever holds these can ask for it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import torch
from torch import Tensor

from promptengine.errors import RequestError
from promptengine.integrations.comfyui.guidance import PART_KEY, Guidance, PromptPart
from promptengine.integrations.comfyui.host import host_module
from promptengine.integrations.comfyui.levels import WebUILevels
from promptengine.integrations.comfyui.networks import weight_changes
from promptengine.integrations.comfyui.patches import KEY, HypernetworkPatch
from promptengine.integrations.comfyui.sampling import SamplerRun, WebUINoise
from promptengine.integrations.comfyui.sizes import WebUIUpsample
from promptengine.integrations.comfyui.told import PromptOrigin, PromptTold
from promptengine.request.result import NetworkReport

__all__ = ["RecordedRun", "RunFacts", "RunLog", "find_runs"]

_MOST_RUNS: Final = 16
_OWN_ENTRY: Final = frozenset({PART_KEY, "cross_attn", "model_conds", "uuid", "pooled_output"})
"""What an entry of a CONDITIONING of ours holds by the time that the model is asked."""

_CALC: Final = "sampler_calc_cond_batch_function"
_OWN_OPTIONS: Final = frozenset(
    {
        *("transformer_options", _CALC, "disable_cfg1_optimization"),
        # What ComfyUI notes itself, about where models are loaded.
        *("to_load_options", "multigpu_clones"),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class RunFacts:
    """What one run was made with.

    Attributes:
        run: The sampler with its settings.
        noise: The first noise.
        told: The prompts; None where they are not those of *WebUI Prompt*.
        has_negative: Whether there was a negative prompt to steer away from.
        scale: CFG scale.
        size: Width and height of an image in pixels.
        starts_late: Whether it began with latents that hold something.
        loaded: Networks of *Load Hypernetwork* that act before those of the prompt, and behind.
        others: What else changed the latents, in ComfyUI's words.
        problem: Why an infotext would be untrue, or nothing.
    """

    run: SamplerRun
    noise: WebUINoise
    told: PromptTold | None
    has_negative: bool
    scale: float
    size: tuple[int, int]
    starts_late: bool
    loaded: tuple[tuple[NetworkReport, ...], tuple[NetworkReport, ...]]
    others: tuple[str, ...]
    problem: str = ""


@dataclass(slots=True, eq=False)
class RunLog:
    """The last runs of a sampler by the latents that came out of them.

    Attributes:
        pending: The run that is under way.
        runs: For each run what is told of it, by the digests of its images' latents.
    """

    pending: RunFacts | None = None
    runs: OrderedDict[tuple[str, ...], RunFacts] = field(
        default_factory=OrderedDict[tuple[str, ...], RunFacts]
    )

    def attach(self, model: Any) -> None:
        """Let a model's runs be noted.

        Args:
            model: A ``ModelPatcher`` that is the caller's own clone.
        """
        kinds = host_module("comfy.patcher_extension").WrappersMP
        model.add_wrapper_with_key(kinds.OUTER_SAMPLE, KEY, self._sample)

    def _sample(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.pending = None
        latents = executor(*args, **kwargs)
        if self.pending is not None and isinstance(latents, Tensor):
            key = _digests(latents)
            self.runs[key] = self.pending
            self.runs.move_to_end(key)
            while len(self.runs) > _MOST_RUNS:
                self.runs.popitem(last=False)
        self.pending = None
        return latents

    def find(self, latents: Tensor) -> list[tuple[RunFacts, int] | None]:
        """Return for each image's latents the run that they came from, and the image's number in it."""
        known = {
            digest: (facts, number)
            for key, facts in self.runs.items()
            for number, digest in enumerate(key)
        }
        return [known.get(digest) for digest in _digests(latents)]


def _digests(latents: Tensor) -> tuple[str, ...]:
    rows = latents.detach().to("cpu", torch.float32).contiguous()
    return tuple(hashlib.sha256(row.numpy().tobytes()).hexdigest() for row in rows)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRun:
    """A sampler's function within a SAMPLER, which notes what it is called with.

    Attributes:
        run: What it does.
        noise: The first noise that belongs to it.
        log: Where it is noted.
    """

    run: SamplerRun
    noise: WebUINoise
    log: RunLog

    def __call__(  # noqa: PLR0917 - ComfyUI calls it so
        self,
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[Mapping[str, Any]], None] | None = None,
        disable: bool | None = None,
    ) -> Tensor:
        """Sample; arguments and errors are those of :meth:`SamplerRun.__call__`."""
        facts = _Look(self, model, x, sigmas, extra_args or {}).facts()
        found = self.run(model, x, sigmas, extra_args, callback, disable)
        self.log.pending = facts
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A look at what a sampler is called with; attributes are its arguments."""

    recorded: RecordedRun
    model: Any
    x: Tensor
    sigmas: Tensor
    extra: Mapping[str, Any]

    @property
    def guider(self) -> Any:
        return self.model.inner_model

    @property
    def options(self) -> Mapping[str, Any]:
        """ComfyUI's ``model_options``."""
        return self.extra.get("model_options") or {}

    @property
    def transformer(self) -> Mapping[str, Any]:
        return self.options.get("transformer_options") or {}

    def facts(self) -> RunFacts:
        conds: Mapping[str, Any] = getattr(self.guider, "conds", None) or {}
        negative = conds.get("negative")
        told = _told(conds.get("positive") or (), negative=False)
        against = None if negative is None else _told(negative, negative=True)
        scale = getattr(self.guider, "cfg", None)
        loaded = self._loaded()
        problems = [*self._problems(told, scale)]
        if told is not None and negative is not None and against is not told:
            problems.append("prompt and negative prompt are not those of one WebUI Prompt")
        height, width = self.x.shape[-2:]
        return RunFacts(
            run=self.recorded.run,
            noise=self.recorded.noise,
            told=told,
            has_negative=negative is not None,
            scale=float(scale) if isinstance(scale, int | float) else 1.0,
            size=(8 * width, 8 * height),
            starts_late=self._starts_late(),
            loaded=loaded,
            others=tuple(dict.fromkeys(self._others(conds, told))),
            problem="; ".join(problems),
        )

    def _problems(self, told: PromptTold | None, scale: object) -> Iterator[str]:
        """Yield what keeps an infotext from being true."""
        run = self.recorded.run
        if told is None:
            yield "the prompt was not read by WebUI Prompt, or other conditionings were added to it"
        elif told.settings.calls != run.calls and _changes_over_steps(told):
            yield "WebUI Prompt counted other steps than were made; connect the SAMPLER to it, too"
        plain = host_module("comfy.samplers").CFGGuider.predict_noise
        if getattr(type(self.guider), "predict_noise", None) is not plain or not isinstance(
            scale, int | float
        ):
            yield f"the guider ({type(self.guider).__name__}) is none with one CFG scale"
        guidance = self.options.get(_CALC)
        if not isinstance(guidance, Guidance) or (told and guidance.clock is not told.clock):
            yield "the guider's MODEL is not that of the WebUI Prompt that read the prompt"
        sigmas = self.sigmas.cpu()
        if sigmas.shape != run.sigmas.shape or not torch.equal(sigmas, run.sigmas.to(sigmas)):
            yield "the SIGMAS are not those of the WebUI Sampler"
        if not self._is_own_noise():
            yield "the NOISE is not that of the WebUI Sampler"

    def _starts_late(self) -> bool:
        latents = getattr(self.model, "latent_image", None)
        begun = isinstance(latents, Tensor) and bool(latents.any())
        return begun or self.recorded.run.denoise < 1

    def _is_own_noise(self) -> bool:
        own = self.recorded.noise
        if int(self.extra.get("seed") or 0) != own.seed or self.x.ndim != 4:
            return False
        latents: Any = getattr(self.model, "latent_image", None)
        begun = self.x - latents.to(self.x) if isinstance(latents, Tensor) else self.x
        drawn = own.generate_noise({"samples": self.x}).to(self.x)
        return torch.allclose(begun / self.sigmas[0].to(self.x), drawn, rtol=1e-3, atol=1e-3)

    def _loaded(self) -> tuple[tuple[NetworkReport, ...], tuple[NetworkReport, ...]]:
        patches = (self.transformer.get("patches") or {}).get("attn1_patch") or ()
        own = [one.loaded for one in patches if isinstance(one, HypernetworkPatch)]
        middle = own.index(None) if None in own else len(own)
        before, behind = own[:middle], own[middle:]
        return tuple(filter(None, before)), tuple(filter(None, behind))

    def _others(self, conds: Mapping[str, Any], told: PromptTold | None) -> Iterator[str]:
        """Yield what other nodes changed."""
        for cond in conds.values():
            for entry in cast("Sequence[Mapping[str, Any]]", cond or ()):
                more = [key for key, value in entry.items() if value is not None]
                yield from (f"conditioning {key}" for key in more if key not in _OWN_ENTRY)
        yield from (f"model {key}" for key in self.options if key not in _OWN_OPTIONS)
        for name, patches in (self.transformer.get("patches") or {}).items():
            if not all(_is_told(one, told) for one in patches):
                yield f"model {name}"
        if self.transformer.get("patches_replace"):
            yield "model patches_replace"
        for kind, keyed in (self.transformer.get("wrappers") or {}).items():
            yield from (
                f"model {kind} wrapper" for key, some in keyed.items() if key != KEY and some
            )
        patcher = getattr(self.guider, "model_patcher", None)
        if told is not None and patcher is not None:
            waiting = weight_changes(patcher) - told.lora_changes
            if told.changes or waiting:
                yield "model weights"
            if told.clip_skip is None:
                yield "CLIP's last layer"
        for name, value in getattr(patcher, "object_patches", dict[str, Any]()).items():
            own = isinstance(value, WebUILevels | WebUIUpsample)
            if not own or getattr(value, "webui_over_others", False):
                yield f"model {name}"
        if self.extra.get("denoise_mask") is not None:
            yield "a denoise mask"


def _told(cond: Sequence[Mapping[str, Any]], *, negative: bool) -> PromptTold | None:
    """Return the prompts of a CONDITIONING that holds all of one prompt and nothing else."""
    pairs: list[tuple[Any, int]] = [entry.get(PART_KEY, (None, 0)) for entry in cond]
    parts = list(dict.fromkeys(part for part, _ in pairs))
    origins = {part.origin if isinstance(part, PromptPart) else None for part in parts}
    origin = origins.pop() if len(origins) == 1 else None
    if not isinstance(origin, PromptOrigin) or origin.negative != negative:
        return None
    told = origin.told
    whole = [(told.negative, 1.0)] if negative else told.positive
    texts = [(part.conditioning, part.weight) for part in parts]
    counts = sum(len(conditioning.embeddings) for conditioning, _ in whole)
    return told if texts == [*whole] and len(set(pairs)) == len(pairs) == counts else None


def _is_told(patch: object, told: PromptTold | None) -> bool:
    """Return whether a patch is of networks that an infotext names."""
    if not isinstance(patch, HypernetworkPatch):
        return False
    return patch.loaded is not None or (told is not None and patch.clock is told.clock)


def _changes_over_steps(told: PromptTold) -> bool:
    return any(len(one.segments) > 1 for one in told.schedules) or any(
        report.multipliers or report.text_multipliers for report in told.reports
    )


def find_runs(
    images: Tensor, latent: Mapping[str, Any], sampler: Any
) -> list[tuple[RunFacts, int]]:
    """Return for each image the run that made it, and its number in that.

    Args:
        images: ComfyUI's IMAGE ``[images, height, width, 3]``.
        latent: The LATENT that they were decoded from.
        sampler: The SAMPLER that made it.

    Raises:
        RequestError: They do not belong together.
    """
    recorded = getattr(sampler, "sampler_function", None)
    if not isinstance(recorded, RecordedRun):
        message = "the SAMPLER is not one of WebUI Sampler, so nothing is known of its runs"
        raise RequestError(f"{message}; use SaveImage for such images", field="sampler")
    found = recorded.log.find(latent["samples"])
    runs = [one for one in found if one is not None]
    if len(runs) < len(found):
        message = "the latents did not come out of a run of this SAMPLER with the MODEL of its node"
        remedy = "connect the output of SamplerCustomAdvanced as it is"
        raise RequestError(f"{message}; {remedy}", field="latent")
    sizes = {(len(runs), *facts.size) for facts, _ in runs}
    count, height, width = images.shape[:3]
    if sizes != {(count, width, height)}:
        (least, wide, high), *_ = sorted(sizes) or [(0, 0, 0)]
        message = f"images must be the {least} of {wide}x{high} that the latents hold"
        got = f"got {count} of {width}x{height}"
        raise RequestError(f"{message} ({got}); save enlarged ones with SaveImage", field="images")
    return runs
