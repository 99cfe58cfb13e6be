"""Hypernetworks as LoRAs, for programs that have no hypernetworks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import torch

from promptengine.accel.offload import require_resident
from promptengine.conversion.fit import Error, Moments, SiteChange, solve_site
from promptengine.conversion.layouts import LORA_LAYOUTS, LoraLayout
from promptengine.conversion.sites import Site, file_names, sites, watching
from promptengine.errors import NetworkFormatError, RequestError
from promptengine.files.atomic import atomic_write
from promptengine.files.weights import write_safetensors
from promptengine.generation.engine import Engine
from promptengine.networks.attention import attention_widths, require_fit
from promptengine.networks.hypernetwork.module import Hypernetwork
from promptengine.request.request import GenerationRequest
from promptengine.validation import check_type

__all__ = ["PROMPTS", "ActivationSampling", "LoraConversion", "convert_to_lora"]

PROMPTS: Final = (
    "portrait of a woman in a red dress, oil painting",
    "a castle on a hill at sunset, highly detailed",
    "a cat sleeping on a wooden table, soft light",
    "a street in the rain at night, neon signs, photo",
    "an old man with a beard, black and white photograph",
    "a forest in autumn, mist, watercolor",
    "a robot holding a flower, digital art",
    "a bowl of fruit on a white cloth, still life",
    "1girl, blue hair, school uniform, smile, looking at viewer",
    "a ship in a storm, dramatic sky",
    "a house by a lake in winter, snow, wide shot",
    "a dragon above mountains, fantasy, concept art",
)
"""What is sampled where nothing else is asked for: people, animals, places, and things in several styles."""

_HELD_OUT: Final = 4
"""Of so many prompts the last one is kept for the measurement."""

_BASE_MODELS: Final = {"SD1": "sd_v1", "SD2": "sd_v2", "SDXL": "sdxl_base_v1-0"}
"""What trainers write into files, by family."""


@dataclass(frozen=True, slots=True)
class ActivationSampling:
    """Which images are made for their activations.

    Attributes:
        prompts: At least one. Every fourth is left out of the fit and measured with; of less than four all
            are measured with, from other noise.
        steps: Of each image.
        seed: Of the first image.
        size: Of a side, in pixels; None for the checkpoint's native size.
    """

    prompts: tuple[str, ...] = PROMPTS
    steps: int = 8
    seed: int = 0
    size: int | None = None

    def __post_init__(self) -> None:
        if not self.prompts:
            raise RequestError("prompts is empty; at least one must be given", field="prompts")

    @property
    def fitted(self) -> tuple[GenerationRequest, ...]:
        """What changes are fitted to."""
        return tuple(
            self._request(number, prompt)
            for number, prompt in enumerate(self.prompts)
            if number % _HELD_OUT != _HELD_OUT - 1
        )

    @property
    def measured(self) -> tuple[GenerationRequest, ...]:
        """What they are measured with."""
        held = self.prompts[_HELD_OUT - 1 :: _HELD_OUT] or self.prompts
        return tuple(
            self._request(len(self.prompts) + number, prompt) for number, prompt in enumerate(held)
        )

    def _request(self, number: int, prompt: str) -> GenerationRequest:
        return GenerationRequest(
            prompt=prompt,
            seed=self.seed + number,
            steps=self.steps,
            width=self.size,
            height=self.size,
        )


@dataclass(frozen=True, slots=True)
class LoraConversion:
    """What became of a hypernetwork.

    Attributes:
        path: The LoRA.
        ranks: Rank of each changed projection, by its name in the file.
        errors: Root of the mean of squares of what the LoRA misses, as a share of what the hypernetwork changes,
            by the same names, over activations that nothing was fitted to; empty where all is exact.
        error: The same over all projections together; 0 where all is exact.
        fitted: How many projections are not exact.
        biased: Whether the hypernetwork has biases that are not 0.
    """

    path: Path
    ranks: Mapping[str, int]
    errors: Mapping[str, float] = field(default_factory=dict[str, float])
    error: float = 0.0
    fitted: int = 0
    biased: bool = False

    @property
    def exact(self) -> bool:
        """Whether nothing is lost but rounding."""
        return self.fitted == 0


def convert_to_lora(
    network: Hypernetwork,
    target: Path,
    engine: Engine,
    *,
    layout: str = "lora",
    rank: int | None = None,
    sampling: ActivationSampling | None = None,
    on_image: Callable[[int, int], None] | None = None,
) -> LoraConversion:
    """Write what a hypernetwork does to a checkpoint as a LoRA for it.

    A network without activation becomes exactly that, at every multiplier, but for its biases, which only the
    layout ``lora-diff`` has room for. What cannot be exact, also for want of rank, is fitted to activations
    of the checkpoint under the hypernetwork at multiplier 1, and the error is measured on others. It stands in
    the file's metadata.

    Args:
        network: Any that fits.
        target: A ``.safetensors``; one that is there is replaced.
        engine: Has the checkpoint. The LoRA is for this one, and less exact for others.
        layout: A key of :data:`promptengine.conversion.layouts.LORA_LAYOUTS`.
        rank: The largest rank; None for what it takes.
        sampling: Which images to make, where that is needed.
        on_image: Called with how many images are made and how many there are to be.

    Raises:
        RequestError: No such layout, a rank that is below 1 or that the layout does not have, or parts of the
            model leave its device.
        NetworkFormatError: A target of another suffix.
        IncompatibleNetworkError: The network does not fit the checkpoint.
        PromptEngineError: As :meth:`promptengine.Engine.generate`.
        OSError: The target cannot be written.
    """
    check_type("network", network, Hypernetwork)
    check_type("target", target, str, Path)
    check_type("engine", engine, Engine)
    check_type("rank", rank, int, type(None))
    require_resident(engine.residence, "the conversion")
    target = Path(target)
    form = _checked(layout, rank, target)
    unet = engine.checkpoint.unet
    require_fit(attention_widths(unet), network)
    weight = next(unet.parameters())
    cast = network.cast_to(device=weight.device, dtype=weight.dtype)
    found = sites(unet, cast)
    samples = _Samples(engine, network, found, sampling or ActivationSampling(), on_image)
    with torch.no_grad():
        changes = {
            site.path: solve_site(
                site, samples.of(site), rank=rank if form.ranked else None, constants=form.constants
            )
            for site in found
        }
        names = file_names(unet, found)
        errors = samples.errors(changes)
    told = _told(target, network, names, changes, errors)
    tensors = {
        f"{names[path]}.{part}": tensor
        for path, change in changes.items()
        for part, tensor in form.tensors(change).items()
    }
    with atomic_write(target) as temporary:
        write_safetensors(temporary, tensors, _metadata(network, engine, told, form))
    return told


def _told(
    path: Path,
    network: Hypernetwork,
    names: Mapping[str, str],
    changes: Mapping[str, SiteChange],
    errors: Mapping[str, Error],
) -> LoraConversion:
    return LoraConversion(
        path=path,
        ranks={names[place]: len(change.down) for place, change in changes.items()},
        errors={names[place]: error.relative for place, error in errors.items()},
        error=sum(errors.values(), Error()).relative,
        fitted=sum(not change.exact for change in changes.values()),
        biased=any(
            bool(weight.any())
            for name, weight in network.state_dict().items()
            if name.endswith("bias")
        ),
    )


def _checked(layout: str, rank: int | None, target: Path) -> LoraLayout:
    form = LORA_LAYOUTS.get(layout)
    if form is None:
        message = f"to is {layout!r}; it must be one of {', '.join(LORA_LAYOUTS)}"
        raise RequestError(message, field="to")
    if rank is not None and not form.ranked:
        message = (
            f"{layout} holds whole differences, which have no rank; leave rank out, or take lora"
        )
        raise RequestError(message, field="rank")
    if rank is not None and rank < 1:
        raise RequestError(f"rank is {rank}; it must be at least 1", field="rank")
    if target.suffix.lower() != ".safetensors":
        message = f"a LoRA cannot be written as {target.suffix or 'a file without suffix'}; use .safetensors"
        raise NetworkFormatError(message, path=target)
    return form


class _Samples:
    """Activations of a checkpoint, sampled when they are first asked for."""

    def __init__(
        self,
        engine: Engine,
        network: Hypernetwork,
        found: tuple[Site, ...],
        sampling: ActivationSampling,
        on_image: Callable[[int, int], None] | None,
    ) -> None:
        self._engine = engine
        self._network = network
        self._sites = found
        self._sampling = sampling
        self._on_image = on_image
        self._made = 0
        # All cross-attentions read the same text, so one projection stands for all of a network's.
        self._leads = {site.path: site.path for site in found}
        of_text: dict[object, str] = {}
        for site in found:
            if site.reads_text:
                self._leads[site.path] = of_text.setdefault(site.network, site.path)

    def of(self, site: Site) -> Callable[[], Moments]:
        """Return what gives the sums of a projection."""
        return lambda: self._moments[self._leads[site.path]]

    @cached_property
    def _moments(self) -> Mapping[str, Moments]:
        leads = tuple(site for site in self._sites if self._leads[site.path] == site.path)
        sums = {site.path: Moments.empty(site.weight.shape[1]) for site in leads}
        with watching(leads, lambda site, x: sums[site.path].add(site, x)):
            self._make(self._sampling.fitted)
        return sums

    def errors(self, changes: Mapping[str, SiteChange]) -> dict[str, Error]:
        """Measure changes; nothing where all of them are exact."""
        if all(change.exact for change in changes.values()):
            return {}
        errors = {path: Error() for path in changes}
        with watching(
            self._sites, lambda site, x: errors[site.path].add(site, changes[site.path], x)
        ):
            self._make(self._sampling.measured)
        return errors

    def _make(self, requests: Sequence[GenerationRequest]) -> None:
        total = len(self._sampling.fitted) + len(self._sampling.measured)
        for request in requests:
            self._engine.generate(replace(request, networks=((self._network, 1.0),)))
            self._made += 1
            if self._on_image is not None:
                self._on_image(self._made, total)


def _metadata(
    network: Hypernetwork, engine: Engine, told: LoraConversion, form: LoraLayout
) -> dict[str, str]:
    family = engine.checkpoint.family
    rank = str(max(told.ranks.values()))
    found = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": rank,
        "ss_output_name": told.path.stem,
        "ss_sd_model_name": engine.checkpoint.path.name,
        "promptengine.hypernetwork": network.name,
        "promptengine.layout": form.name,
        "promptengine.exact": str(told.exact).lower(),
        "promptengine.error": f"{told.error:.6g}",
        "promptengine.errors": json.dumps({k: float(f"{v:.6g}") for k, v in told.errors.items()}),
    }
    base = _BASE_MODELS.get(family)
    return found if base is None else found | {"ss_base_model_version": base}
