"""A plan's networks, loaded and checked against the model: what will run, and what became of the rest."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from promptengine.errors import (
    IncompatibleNetworkError,
    NetworkFormatError,
    PromptEngineError,
    RequestError,
    UnsupportedNetworkError,
)
from promptengine.files.lru import SizedLRU
from promptengine.networks.attention import attention_widths, refuse_fused, require_fit
from promptengine.networks.hypernetwork.files import load_hypernetwork
from promptengine.networks.hypernetwork.fuse import ProjectionFuser
from promptengine.networks.hypernetwork.inject import HypernetworkStack
from promptengine.networks.hypernetwork.module import Hypernetwork
from promptengine.networks.lora.files import load_lora
from promptengine.networks.lora.merge import (
    Application,
    ChangedWeights,
    Fit,
    exchange_weights,
    fit_lora,
    merge,
    targets,
)
from promptengine.prompt import Diagnostic, Span
from promptengine.registry.registry import Registry, RegistryEntry
from promptengine.request.plan import LoraUse, NetworkUse, Plan, SkippedTag
from promptengine.request.request import HypernetworkLike, NetworkReport, Policy
from promptengine.undo import UndoLog

__all__ = ["LoadedNetworks", "NetworkCache", "ObjectUse", "hypernetwork_digest", "load_networks"]

_NETWORK_BYTES: Final = 1 << 30  # three to ten large hypernetworks in float32
_FILE_BYTES: Final = 1 << 30
_MERGED_BYTES: Final = 4 << 30  # a Stable Diffusion 1 model in float32 takes 3.7 of these GiB
_NAMED_MODULES: Final = 3

_FileState = tuple[Path, int, int]


class NetworkCache:
    """Recently used networks, found again by file, time and size.

    Never by the name inside the file: a training snapshot carries its parent's name, and a changed
    file is another network. Weights that LoRAs were merged into are found again by the LoRAs' digests
    and multipliers. All stay within a fixed number of bytes.

    Args:
        unet: The model the networks are for; they are cast to its device and dtype once.
        text_encoders: Its text encoders, in their order.
        room: Bytes that hypernetworks may take together; the longest unused goes first.

    Attributes:
        unet: As given.
        widths: What its attentions read.
        folder: Folds networks into its projections.
    """

    def __init__(
        self, unet: nn.Module, *text_encoders: nn.Module, room: int = _NETWORK_BYTES
    ) -> None:
        weight = next(unet.parameters())
        self.unet = unet
        self.widths = attention_widths(unet)
        self.folder = ProjectionFuser()
        self._place = (weight.device, weight.dtype)
        self._networks: SizedLRU[_FileState, Hypernetwork] = SizedLRU(room, _network_bytes)
        self._adopted: SizedLRU[str, Hypernetwork] = SizedLRU(room, _network_bytes)
        self._targets = targets(unet, *text_encoders)
        self._fits: SizedLRU[_FileState, Fit] = SizedLRU(
            _FILE_BYTES, lambda fit_lora: fit_lora.lora.nbytes
        )
        self._merged: SizedLRU[tuple[object, ...], ChangedWeights] = SizedLRU(
            _MERGED_BYTES, _nbytes
        )

    def load(self, entry: RegistryEntry) -> Hypernetwork:
        """Return the network of a file, from memory if the file is unchanged.

        Raises:
            NetworkFormatError: The file is gone, damaged, unsafe or no hypernetwork.
        """
        device, dtype = self._place
        return self._networks.get(
            (entry.path, entry.mtime_ns, entry.size),
            lambda: load_hypernetwork(entry.path).cast_to(device=device, dtype=dtype),
        )

    def adopt(self, network: Hypernetwork, digest: str) -> Hypernetwork:
        """Return a copy of a network in memory, ready for the model; the same for the same digest.

        Args:
            network: Its owner may go on changing it.
            digest: Of what it is now; see :func:`hypernetwork_digest`.
        """
        device, dtype = self._place

        def make() -> Hypernetwork:
            own = copy.deepcopy(network).to(device=device, dtype=dtype)
            return own.eval().requires_grad_(False)

        return self._adopted.get(digest, make)

    def fit_lora(self, entry: RegistryEntry) -> Fit:
        """Return the LoRA of a file, fitted to the model, from memory if the file is unchanged.

        Raises:
            NetworkFormatError: The file is gone, damaged, unsafe or no LoRA.
            IncompatibleNetworkError: It was made for another model.
        """
        key = (entry.path, entry.mtime_ns, entry.size)
        return self._fits.get(key, lambda: fit_lora(load_lora(entry.path), self._targets))

    def merge(self, loras: Mapping[tuple[object, ...], Application]) -> ChangedWeights:
        """Return the weights under some LoRAs, from memory if they were asked for before.

        Args:
            loras: In order, each by what distinguishes it: file and multipliers.

        Raises:
            PromptEngineError: The UNet's projections are fused, so that changes would not act.
        """
        if loras:
            refuse_fused(self.unet)
        return self._merged.get(tuple(loras), lambda: merge(tuple(loras.values())))


def hypernetwork_digest(network: Hypernetwork) -> str:
    """Return a SHA-256 in hex of what a network computes: its settings and its weights."""
    content = hashlib.sha256(repr(network.settings).encode())
    for name, tensor in network.state_dict().items():
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def _network_bytes(network: Hypernetwork) -> int:
    return sum(tensor.nbytes for tensor in network.parameters())


def _nbytes(weights: ChangedWeights) -> int:
    return sum(tensor.nbytes for tensor in weights.values())


@dataclass(frozen=True, slots=True)
class ObjectUse:
    """A network of the request itself, used once.

    Attributes:
        name: As it calls itself.
        multiplier: The same at all calls.
        span: The prompt's end.
    """

    name: str
    multiplier: float
    span: Span

    def at(self, call: int) -> float:
        """Return the multiplier at a denoiser call."""
        return self.multiplier

    def report(self, *, reason: str = "", digest: str | None = None) -> NetworkReport:
        """Return what became of it."""
        return NetworkReport(
            kind="hypernet",
            name=self.name,
            multiplier=self.multiplier,
            applied=not reason,
            reason=reason,
            span=self.span,
            digest=digest,
            origin="request",
        )


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNetworks:
    """What a plan's tags came to.

    Attributes:
        uses: Hypernetworks, in order of application, none of multiplier 0, and how they are used.
        loras: What distinguishes the LoRAs that act: files and multipliers, in order.
        weights: What they make of the model's weights.
        embeddings: Tensors of words that LoRAs bring along, by their name in layouts of embeddings, and the
            stem of the file; of two files with one word the later tag's.
        reports: One per tag of the prompt, in the order of the tags, then one per network of the request.
        diagnostics: What went wrong, for people.
    """

    uses: tuple[tuple[Hypernetwork, NetworkUse | ObjectUse], ...]
    loras: tuple[object, ...]
    weights: ChangedWeights
    embeddings: Mapping[str, tuple[Mapping[str, Tensor], str]]
    reports: tuple[NetworkReport, ...]
    diagnostics: tuple[Diagnostic, ...]

    def at(self, call: int) -> HypernetworkStack:
        """Return the hypernetworks with their multipliers at the 0-based denoiser call."""
        return tuple((network, use.at(call)) for network, use in self.uses)

    def merged(self, journal: UndoLog) -> AbstractContextManager[None]:
        """Let the LoRAs act on UNet and text encoders within a ``with`` block; entering takes no time.

        Args:
            journal: The model's.
        """
        return exchange_weights(self.weights, journal=journal)


@dataclass(slots=True, eq=False)
class _Findings:
    """What comes together while tags are worked through."""

    policy: Policy
    reports: list[NetworkReport] = field(default_factory=list[NetworkReport])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def refuse(self, use: NetworkUse | LoraUse | ObjectUse, error: PromptEngineError) -> None:
        """Note a network that is not applied; under ``strict`` that is an error instead."""
        if self.policy == "strict":
            raise error
        reason = _reason(error)
        own = isinstance(use, ObjectUse)
        self.reports.append(use.report(reason=reason) if own else _report(use, reason=reason))
        if self.policy == "warn":
            hint = "it is not applied"
            self.diagnostics.append(Diagnostic("warning", str(error), use.span, hint))


def load_networks(
    plan: Plan,
    registry: Registry,
    cache: NetworkCache,
    *,
    policy: Policy,
    objects: Sequence[tuple[HypernetworkLike, float]] = (),
    end: int = 0,
) -> LoadedNetworks:
    """Load the networks of a plan, and take those that a request holds itself.

    A file that cannot be read and a network that does not fit the model raise under ``strict``;
    otherwise they are skipped and reported, with a diagnostic under ``warn``.

    Args:
        plan: What the prompt names.
        registry: Where the files are.
        cache: Networks used of late.
        policy: What to do with a network that cannot be applied.
        objects: Networks in memory with their multipliers; they act behind the others.
        end: The prompt's length, which is where these are reported to stand.

    Raises:
        RequestError: An object that is no hypernetwork.
        NetworkFormatError: ``strict``, and a file is damaged, unsafe or gone.
        IncompatibleNetworkError: ``strict``, and a network does not fit.
    """
    found = _Findings(policy, reports=[_skipped(tag) for tag in plan.skipped])
    uses: list[tuple[Hypernetwork, NetworkUse | ObjectUse]] = []
    uses += _hypernetworks(plan, registry, cache, found)
    loras = _loras(plan, registry, cache, found)
    found.reports.sort(key=lambda report: report.span.start)
    uses += _objects(objects, cache, found, end)
    embeddings = (
        (word, (parts, use.fit.lora.path.stem))
        for use in loras.values()
        for word, parts in use.fit.lora.embeddings.items()
    )
    return LoadedNetworks(
        uses=tuple(uses),
        loras=tuple(loras),
        weights=cache.merge(loras),
        embeddings=dict(embeddings),
        reports=tuple(found.reports),
        diagnostics=tuple(found.diagnostics),
    )


def _hypernetworks(
    plan: Plan, registry: Registry, cache: NetworkCache, found: _Findings
) -> list[tuple[Hypernetwork, NetworkUse]]:
    uses: list[tuple[Hypernetwork, NetworkUse]] = []
    for use in plan.networks:
        try:
            # A multiplier of 0 disables, but a broken file behind it is still worth a word.
            network = cache.load(use.entry)
            require_fit(cache.widths, network, name=use.entry.name)
            digest = registry.digest(use.entry)
        except (NetworkFormatError, IncompatibleNetworkError) as error:
            found.refuse(use, error)
            continue
        if use.multiplier == 0:
            found.reports.append(_report(use, reason="multiplier is 0"))
        else:
            uses.append((network, use))
            found.reports.append(_report(use, digest=digest))
    return uses


def _objects(
    objects: Sequence[tuple[HypernetworkLike, float]],
    cache: NetworkCache,
    found: _Findings,
    end: int,
) -> list[tuple[Hypernetwork, ObjectUse]]:
    uses: list[tuple[Hypernetwork, ObjectUse]] = []
    for network, multiplier in objects:
        if not isinstance(network, Hypernetwork):
            message = f"networks holds a {type(network).__name__}; it must be a Hypernetwork"
            raise RequestError(message, field="networks")
        use = ObjectUse(network.name, multiplier, Span(end, end))
        try:
            require_fit(cache.widths, network)
        except IncompatibleNetworkError as error:
            found.refuse(use, error)
            continue
        if multiplier == 0:
            found.reports.append(use.report(reason="multiplier is 0"))
        else:
            digest = hypernetwork_digest(network)
            uses.append((cache.adopt(network, digest), use))
            found.reports.append(use.report(digest=digest))
    return uses


def _loras(
    plan: Plan, registry: Registry, cache: NetworkCache, found: _Findings
) -> dict[tuple[object, ...], Application]:
    loras: dict[tuple[object, ...], Application] = {}
    for place, use in enumerate(plan.loras):
        try:
            fitted = cache.fit_lora(use.entry)
            digest, short = registry.digest(use.entry), registry.lora_hash(use.entry)
        except (NetworkFormatError, IncompatibleNetworkError) as error:
            found.refuse(use, error)
            continue
        application = Application(fitted, text=use.text, unet=use.unet, ranks=use.ranks)
        if application.changes or fitted.lora.embeddings:
            # The same LoRA may stand in the list again: the place keeps the two apart.
            loras[place, digest, use.text, use.unet, use.ranks] = application
            found.reports.append(_report(use, digest=digest, lora_hash=short))
        else:
            reason = "multiplier is 0" if use.text == use.unet == 0 else "it changes nothing"
            found.reports.append(_report(use, reason=reason, lora_hash=short))
        if fitted.unmatched or fitted.lora.ignored:
            found.diagnostics.append(_leftovers(use, fitted))
        if fitted.lora.whole:
            found.diagnostics.append(_whole(use, fitted.lora.whole))
    return loras


def _leftovers(use: LoraUse, fitted: Fit) -> Diagnostic:
    """Says what of a file the model has no place for."""
    misfits = (f"{name} ({why})" if why else name for name, why in fitted.unmatched.items())
    names = [*misfits, *fitted.lora.ignored]
    whole = len(fitted.lora.modules) + len(fitted.lora.ignored)
    message = f"{len(names)} of the {whole} parts of LoRA {use.name!r} have no place in this model"
    return Diagnostic(
        "warning", message, use.span, f"the rest is applied; ignored are {_listed(names)}"
    )


def _whole(use: LoraUse, names: Sequence[str]) -> Diagnostic:
    message = (
        f"LoRA {use.name!r} also holds {len(names)} weights that were trained whole (modules_to_save, "
        "biases); they are not applied"
    )
    return Diagnostic(
        "warning", message, use.span, f"the changes are; left out are {_listed(names)}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_MODULES]) + (", …" if len(names) > _NAMED_MODULES else "")


def _reason(error: PromptEngineError) -> str:
    if isinstance(error, UnsupportedNetworkError):
        return f"{error.noun} is not supported"
    return "does not fit" if isinstance(error, IncompatibleNetworkError) else "not readable"


def _skipped(skipped: SkippedTag) -> NetworkReport:
    return NetworkReport(
        kind=skipped.tag.kind,
        name=skipped.tag.arguments[0],
        multiplier=skipped.multiplier,
        applied=False,
        reason=skipped.reason,
        span=skipped.tag.span,
    )


def _report(
    use: NetworkUse | LoraUse,
    *,
    reason: str = "",
    digest: str | None = None,
    lora_hash: str | None = None,
) -> NetworkReport:
    lora = isinstance(use, LoraUse)
    return NetworkReport(
        kind=use.tag.kind if lora else use.entry.kind,
        name=use.name if lora else use.entry.name,
        multiplier=use.text if lora else use.multiplier,
        applied=not reason,
        reason=reason,
        span=use.span,
        path=use.entry.path,
        digest=digest,
        unet_multiplier=use.unet if lora else None,
        lora_hash=lora_hash,
        multipliers=() if lora else use.multipliers,
    )
